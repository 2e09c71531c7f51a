//! All filters of a profile, ready for one pod.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::framework::profile::Filtering;
use crate::framework::{Prepared, Profile, Refusal, Scope};
use crate::metrics::{Metrics, status};
use crate::pod::PodInfo;
use crate::preemption::Candidates;
use crate::table::{NodeInfo, Table};

/// A refusal, and the place in the profile of the plugin that refused.
type Placed = (usize, Refusal);

struct Ready {
    /// Its place in [`Profile::filters`].
    at: usize,
    /// Whether it serves the next pod of the template, too.
    is_kept: bool,
    name: &'static str,
    filter: Box<dyn Prepared>,
}

impl Ready {
    fn filter(&self, pod: &PodInfo, node: usize, table: &Table) -> Result<(), Placed> {
        let verdict = Metrics::filter(self.name, || self.filter.filter(pod, node, table));
        verdict.map_err(|refusal| (self.at, refusal))
    }
}

/// The filters that look at more than one node, prepared for a pod; those that look at the node alone need no preparation.
#[derive(Default)]
pub(crate) struct Filters {
    ready: Vec<Ready>,
    /// The only nodes to look at.
    pub nodes: Option<BTreeSet<usize>>,
    /// What is said of the others.
    pub narrowed_by: Option<Refusal>,
    /// What preemption has found for pods of the template.
    pub candidates: Candidates,
}

impl Filters {
    /// Runs PreFilter; `kept` are the filters that a pod of the same template has left.
    ///
    /// # Errors
    /// A plugin says that no node will do.
    pub fn prepare(pod: &PodInfo, table: &Table, profile: &Profile, kept: Option<Filters>) -> Result<Filters, Refusal> {
        let has_kept = kept.is_some();
        let mut filters = kept.unwrap_or_default();
        filters.forget_pod();
        let mut narrowing = Vec::new();
        for (at, filtering) in profile.filters.iter().enumerate() {
            if filtering.scope == Scope::Cluster && has_kept {
                continue;
            }
            let name = filtering.plugin.name();
            let before = match Metrics::plugin(name, "PreFilter", status, || filtering.plugin.pre_filter(pod, table)) {
                Ok(before) => before,
                Err(refusal) if filtering.pre_filters => return Err(refusal),
                Err(_) => continue,
            };
            if let Some(filter) = before.filter.filter(|_| filtering.filters) {
                filters.ready.push(Ready { at, is_kept: filtering.scope == Scope::Cluster, name, filter });
            }
            if let Some(nodes) = before.nodes.filter(|_| filtering.pre_filters) {
                narrowing.push(name);
                filters.narrow(nodes);
            }
        }
        filters.ready.sort_by_key(|ready| ready.at);
        if let Some(first) = narrowing.first() {
            let reason = format!("node(s) didn't satisfy plugin(s) [{}]", narrowing.join(" "));
            filters.narrowed_by = Some(Refusal::told(first, reason, false));
        }
        if narrowing.len() > 1 && filters.nodes.as_ref().is_some_and(BTreeSet::is_empty) {
            let reason = format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", narrowing.join(" "));
            return Err(Refusal::told(narrowing.first().copied().unwrap_or_default(), reason, false));
        }
        Ok(filters)
    }

    fn narrow(&mut self, nodes: BTreeSet<usize>) {
        self.nodes = Some(match self.nodes.take() {
            Some(others) => others.intersection(&nodes).copied().collect(),
            None => nodes,
        });
    }

    /// Leaves what serves other pods of the template.
    pub fn forget_pod(&mut self) {
        self.ready.retain(|ready| ready.is_kept);
        self.nodes = None;
        self.narrowed_by = None;
    }

    /// Those that serve other pods of the template.
    pub fn kept(&mut self) -> impl Iterator<Item = &mut Box<dyn Prepared>> {
        self.ready.iter_mut().filter(|ready| ready.is_kept).map(|ready| &mut ready.filter)
    }

    /// Whether they let the pod on every node, as things are.
    pub fn allow_all(&self) -> bool {
        self.ready.iter().all(|ready| ready.filter.allows_all())
    }

    /// What the filters before a place in the profile say; that one refused.
    pub fn allow_before(&self, pod: &PodInfo, table: &Table, node: usize, place: usize) -> Result<(), Placed> {
        let mut before = self.ready.iter().take_while(|ready| ready.at < place);
        before.try_for_each(|ready| ready.filter(pod, node, table))
    }

    /// What all filters say of a node, as if the pods that it is reserved for and that matter as much were there, and if they
    /// were not.
    pub fn allow_beside_nominated(
        &mut self,
        pod: &PodInfo,
        table: &mut Table,
        profile: &Profile,
        node: usize,
        known: Known,
    ) -> Result<(), Placed> {
        match known {
            Known::Nothing => self.allow(pod, table, profile, node)?,
            Known::AllButPods => {
                filter_by(pod, table.node(node), table, profile, |filtering| filtering.sees_pods)?;
                self.allow_before(pod, table, node, usize::MAX)?;
            }
            Known::Node => self.allow_before(pod, table, node, usize::MAX)?,
        }
        self.allow_with_nominated(pod, table, profile, node)
    }

    fn allow_with_nominated(
        &mut self,
        pod: &PodInfo,
        table: &mut Table,
        profile: &Profile,
        node: usize,
    ) -> Result<(), Placed> {
        let matter = |other: &&Arc<PodInfo>| other.priority >= pod.priority && other.uid != pod.uid;
        let others: Vec<Arc<PodInfo>> = table.nominated(node).iter().filter(matter).cloned().collect();
        if others.is_empty() {
            return Ok(());
        }
        others.iter().for_each(|other| self.add(pod, other, node, table));
        let verdict = self.allow(pod, table, profile, node);
        others.iter().for_each(|other| self.remove(pod, other, node, table));
        verdict
    }

    /// What all filters say of a node, as things are.
    pub fn allow(&self, pod: &PodInfo, table: &Table, profile: &Profile, node: usize) -> Result<(), Placed> {
        match filter_node(pod, table.node(node), table, profile) {
            Ok(()) => self.allow_before(pod, table, node, usize::MAX),
            Err(refused) => self.allow_before(pod, table, node, refused.0).and(Err(refused)),
        }
    }

    /// Looks at things as if another pod were on a node.
    pub fn add(&mut self, pod: &PodInfo, other: &Arc<PodInfo>, node: usize, table: &mut Table) {
        table.put(node, other.clone());
        self.ready.iter_mut().for_each(|ready| ready.filter.add_pod(pod, other, node, table));
    }

    /// Looks at things as if another pod were gone.
    pub fn remove(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, table: &mut Table) {
        table.take(node, &other.uid);
        self.ready.iter_mut().for_each(|ready| ready.filter.remove_pod(pod, other, node, table));
    }
}

/// What of a node let the pod on before, and would say the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Nothing,
    /// The filters that look at no pods: only pods were in the way.
    AllButPods,
    /// The filters that look at a node alone.
    Node,
}

/// What the filters say that look at a node alone; the first that refuses counts.
pub(crate) fn filter_node(pod: &PodInfo, node: &NodeInfo, table: &Table, profile: &Profile) -> Result<(), Placed> {
    filter_by(pod, node, table, profile, |_| true)
}

fn filter_by(
    pod: &PodInfo,
    node: &NodeInfo,
    table: &Table,
    profile: &Profile,
    choose: impl Fn(&Filtering) -> bool,
) -> Result<(), Placed> {
    for (at, filtering) in profile.filters.iter().enumerate() {
        if filtering.scope == Scope::Node && filtering.filters && choose(filtering) {
            let verdict = Metrics::filter(filtering.plugin.name(), || filtering.plugin.filter(pod, node, table));
            verdict.map_err(|refusal| (at, refusal))?;
        }
    }
    Ok(())
}
