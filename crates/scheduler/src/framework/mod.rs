//! What a plugin is, and what a profile makes of plugins.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/>
//!
//! A pod passes PreFilter, Filter, PostFilter where no node is left, PreScore, Score, Reserve, PreBind and Bind. All but the
//! last two compute only, on the scheduler's own thread; these two run beside the next pods' decisions.

pub(crate) mod event;
pub(crate) mod profile;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use kube::Client;
use smallvec::{SmallVec, smallvec};
use smol_str::SmolStr;

pub(crate) use event::{Actions, ClusterEvent, Subject};
pub(crate) use profile::Profile;

use crate::pod::PodInfo;
use crate::table::{NodeInfo, Table};

/// The best score that a plugin gives.
pub(crate) const MAX_SCORE: i64 = 100;

/// Why a plugin does not let a pod on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub plugin: &'static str,
    /// As events and conditions word them; usually one.
    pub reasons: Reasons,
    /// Whether it could if other pods went: `Unschedulable`, and not `UnschedulableAndUnresolvable`.
    pub resolvable: bool,
}

/// Why a plugin refuses.
pub(crate) type Reasons = SmallVec<[SmolStr; 1]>;

impl Refusal {
    /// Other pods are in the way.
    pub fn resolvable(plugin: &'static str, reason: &'static str) -> Refusal {
        Refusal::told(plugin, SmolStr::new_static(reason), true)
    }

    /// No other pod's going would help.
    pub fn unresolvable(plugin: &'static str, reason: &'static str) -> Refusal {
        Refusal::told(plugin, SmolStr::new_static(reason), false)
    }

    /// Of a reason that is worded now.
    pub fn told(plugin: &'static str, reason: impl Into<SmolStr>, resolvable: bool) -> Refusal {
        Refusal { plugin, reasons: smallvec![reason.into()], resolvable }
    }
}

/// What a filter says of a pod on a node.
pub(crate) type Verdict = Result<(), Refusal>;

/// What a plugin looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The pod's template and one node: what it says of them is kept until the node changes.
    Node,
    /// Pods of the template and pods elsewhere: what it prepared is kept, and told of pods that come and go.
    Cluster,
    /// This very pod and whatever else there is, as its volumes: nothing is kept.
    Pod,
}

/// How scores of one plugin on all nodes are made comparable with others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Normalize {
    /// They are.
    No,
    /// The best becomes [`MAX_SCORE`].
    Best,
    /// The least becomes the best, and the most nothing.
    Reverse,
}

/// What a plugin knows of a pod before nodes are looked at.
#[derive(Default)]
pub(crate) struct PreFilter {
    /// Only these nodes can take it.
    pub nodes: Option<BTreeSet<usize>>,
    /// Looks at nodes. Without any the plugin lets the pod on all (of a plugin of another scope than [`Scope::Node`]).
    pub filter: Option<Box<dyn Prepared>>,
}

/// A plugin of a profile. Each implements the extension points that it has; the others let everything pass.
pub(crate) trait Plugin: Send + Sync {
    /// Its name, which is upstream's.
    fn name(&self) -> &'static str;

    /// What its filters and scores look at.
    fn scope(&self) -> Scope {
        Scope::Node
    }

    /// PreFilter: what there is to know before nodes are looked at, or why no node will do.
    fn pre_filter(&self, _pod: &PodInfo, _table: &Table) -> Result<PreFilter, Refusal> {
        Ok(PreFilter::default())
    }

    /// Whether its filter looks at the pods of a node, and not only at the node. Of a plugin of [`Scope::Node`].
    fn sees_pods(&self) -> bool {
        false
    }

    /// Filter, of a plugin of [`Scope::Node`].
    fn filter(&self, _pod: &PodInfo, _node: &NodeInfo, _table: &Table) -> Verdict {
        Ok(())
    }

    /// PreScore, of a plugin of another scope: who scores nodes, unless all would be alike.
    fn pre_score(&self, _pod: &PodInfo, _table: &Table) -> Option<Box<dyn Prepared>> {
        None
    }

    /// Score, of a plugin of [`Scope::Node`], before it is normalized.
    fn score(&self, _pod: &PodInfo, _node: &NodeInfo, _table: &Table) -> i64 {
        0
    }

    /// NormalizeScore, of a plugin of [`Scope::Node`].
    fn normalize(&self) -> Normalize {
        Normalize::No
    }

    /// Reserve: keeps what the pod needs on its node for it.
    fn reserve(&self, _pod: &Arc<PodInfo>, _node: usize, _table: &mut Table) -> Verdict {
        Ok(())
    }

    /// Unreserve: gives it back. Called although the plugin reserved nothing, and maybe twice.
    fn unreserve(&self, _pod: &Arc<PodInfo>, _node: &str, _table: &mut Table) {}

    /// PreBind: what has to be done and waited for before the pod is bound, if anything.
    fn pre_bind(&self, _pod: &Arc<PodInfo>, _node: usize, _table: &Table, _handle: &Handle) -> Option<PreBind> {
        None
    }

    /// EventsToRegister: what may make it think otherwise of a pod that it refused.
    fn events(&self) -> Actions;

    /// QueueingHint: whether one of [`Plugin::events`] may really help a pod that it refused.
    fn hint(&self, _pod: &PodInfo, _event: &ClusterEvent<'_>, _table: &Table) -> bool {
        true
    }
}

/// What a plugin prepared for one pod, or for all pods of a template: it says what it would say of any node, and knows how
/// to go on when another pod comes or goes, so that nothing is counted anew for the next pod and for each victim of
/// preemption.
pub(crate) trait Prepared: Send {
    /// Filter.
    fn filter(&self, _pod: &PodInfo, _node: usize, _table: &Table) -> Verdict {
        Ok(())
    }

    /// Whether the filter lets the pod on every node, as things are.
    fn allows_all(&self) -> bool {
        false
    }

    /// Score and NormalizeScore: one for each of `nodes`, up to [`MAX_SCORE`]; none when all would be alike.
    fn scores(&mut self, _pod: &PodInfo, _nodes: &[usize], _table: &Table) -> Option<Vec<i64>> {
        None
    }

    /// AddPod: another pod is on a node.
    fn add_pod(&mut self, _pod: &PodInfo, _other: &PodInfo, _node: usize, _table: &Table) {}

    /// RemovePod: another pod is no longer on a node.
    fn remove_pod(&mut self, _pod: &PodInfo, _other: &PodInfo, _node: usize, _table: &Table) {}
}

/// Work before a binding. It may take minutes: other pods are scheduled meanwhile.
///
/// # Errors
/// Why the pod cannot be bound, as its event tells it.
pub(crate) type PreBind = BoxFuture<'static, Result<(), String>>;

/// What PreBind acts with.
#[derive(Clone)]
pub(crate) struct Handle {
    pub client: Client,
}
