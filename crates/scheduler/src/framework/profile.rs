//! What is done with the pods of one `schedulerName`: plugins, in order, with their weights.

use std::sync::Arc;

use super::{Plugin, Scope};
use crate::preemption::PreemptionArgs;

/// Plugins of [`Scope::Node`] whose scores are normalized, at most.
pub(crate) const RELATIVE: usize = 4;

/// A plugin that filters.
pub(crate) struct Filtering {
    pub plugin: Arc<dyn Plugin>,
    pub scope: Scope,
    pub sees_pods: bool,
    /// Its PreFilter runs.
    pub pre_filters: bool,
    /// Its Filter runs.
    pub filters: bool,
}

/// A plugin that scores.
pub(crate) struct Scoring {
    pub plugin: Arc<dyn Plugin>,
    pub scope: Scope,
    pub weight: i64,
}

/// A profile of the configuration, as its plugins are run.
pub(crate) struct Profile {
    /// The `spec.schedulerName` of its pods.
    pub scheduler_name: String,
    /// How many of 100 nodes are to be found before scoring; by their count unless given.
    pub percentage_of_nodes_to_score: Option<u64>,
    /// Whether scheduling gates hold pods back.
    pub gates: bool,
    pub filters: Vec<Filtering>,
    pub scores: Vec<Scoring>,
    pub reserve: Vec<Arc<dyn Plugin>>,
    pub pre_bind: Vec<Arc<dyn Plugin>>,
    /// How pods of lower priority give way, if they do.
    pub preemption: Option<PreemptionArgs>,
}

impl Profile {
    /// A plugin that may have refused a pod.
    pub fn plugin(&self, name: &str) -> Option<&Arc<dyn Plugin>> {
        let filters = self.filters.iter().map(|filtering| &filtering.plugin);
        filters.chain(&self.reserve).find(|plugin| plugin.name() == name)
    }
}
