//! What a StatefulSet does next: pods are made in the order of their ordinals and deleted in the reverse one, each
//! after its predecessors are available, or, with the policy `Parallel`, all at once.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#deployment-and-scaling-guarantees>

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_client::Store;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::identity::{claims, conformed, ordinal_of, ordinals, pod_name, revision_of, spec_of};
use super::retention::{is_leaving, wanted_owners};
use crate::common::{is_available, is_deleting, is_ready, is_terminal, namespace_of, phase, scaled};

/// No more pods are made, or deleted, in one pass.
const BURST: usize = 500;

/// What to do, in this order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Pods whose claims are missing or have other owners than the policy says, or that lack labels of their own.
    pub mend: Vec<Arc<Pod>>,
    /// Pods that are too many, whose claims have other owners than the policy says.
    pub hand_over: Vec<Arc<Pod>>,
    /// The ordinals of pods to make.
    pub create: Vec<i32>,
    pub delete: Vec<Arc<Pod>>,
}

/// What is looked at.
pub(super) struct State<'a> {
    pub set: &'a StatefulSet,
    /// The set's pods.
    pub pods: &'a [Arc<Pod>],
    pub claims: &'a Store<PersistentVolumeClaim>,
    /// The name of the revision that pods are to have.
    pub update_revision: &'a str,
    pub now: Timestamp,
}

impl State<'_> {
    fn is_parallel(&self) -> bool {
        spec_of(self.set).pod_management_policy.as_deref() == Some("Parallel")
    }

    pub fn is_available(&self, pod: &Pod) -> bool {
        is_available(pod, spec_of(self.set).min_ready_seconds.unwrap_or(0), self.now)
    }

    /// Whether the pod serves, and goes on to.
    fn is_healthy(&self, pod: &Pod) -> bool {
        is_running_and_ready(pod) && !is_deleting(pod) && self.is_available(pod)
    }

    fn claim(&self, claim: &PersistentVolumeClaim) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(namespace_of(self.set), claim.metadata.name.as_deref().unwrap_or_default())
    }

    fn needs_mending(&self, pod: &Pod, ordinal: i32) -> bool {
        conformed(self.set, pod, ordinal).is_some()
            || (phase(pod) == "Pending" && claims(self.set, ordinal).iter().any(|claim| self.claim(claim).is_none()))
            || self.needs_hand_over(pod, ordinal)
    }

    /// Whether claims of the ordinal have other owners than the policy says.
    fn needs_hand_over(&self, pod: &Pod, ordinal: i32) -> bool {
        let found = claims(self.set, ordinal);
        let mut found = found.iter().filter_map(|claim| self.claim(claim));
        found.any(|claim| wanted_owners(&claim, self.set, pod).is_some())
    }

    /// Whether a claim of the ordinal's former pod is still on its way out.
    fn waits_for_claims(&self, ordinal: i32) -> bool {
        let name = pod_name(self.set, ordinal);
        let leaving = |claim: Arc<PersistentVolumeClaim>| is_leaving(self.set, &claim, &name);
        claims(self.set, ordinal).iter().any(|claim| self.claim(claim).is_some_and(leaving))
    }
}

pub(super) fn is_running_and_ready(pod: &Pod) -> bool {
    phase(pod) == "Running" && is_ready(pod)
}

/// The pods by their ordinals.
type ByOrdinal = BTreeMap<i32, Arc<Pod>>;

pub(super) fn plan(state: &State<'_>) -> Plan {
    let mut plan = Plan::default();
    let of_set = state.pods.iter().filter_map(|pod| Some((ordinal_of(state.set, pod)?, pod.clone())));
    let range = ordinals(state.set);
    let (replicas, condemned): (ByOrdinal, ByOrdinal) = of_set.partition(|(ordinal, _)| range.contains(ordinal));
    let settled = keep_replicas(state, &replicas, &mut plan) && drop_condemned(state, &condemned, &mut plan);
    if settled {
        update(state, &replicas, &mut plan);
    }
    plan
}

/// Looks after the pods that are to be there. Returns whether the rest may be looked at.
fn keep_replicas(state: &State<'_>, replicas: &ByOrdinal, plan: &mut Plan) -> bool {
    let ordered = !state.is_parallel();
    for ordinal in ordinals(state.set) {
        if plan.create.len() >= BURST {
            return false;
        }
        let Some(pod) = replicas.get(&ordinal) else {
            if !state.waits_for_claims(ordinal) {
                plan.create.push(ordinal);
            }
            if ordered {
                return false;
            }
            continue;
        };
        // One that has ended is made anew, whatever it ended with: evicted ones end well, too.
        if is_terminal(pod) {
            if !is_deleting(&**pod) && plan.delete.len() < BURST {
                plan.delete.push(pod.clone());
            }
            if ordered {
                return false;
            }
            continue;
        }
        if !is_deleting(&**pod) && state.needs_mending(pod, ordinal) {
            plan.mend.push(pod.clone());
        }
        if ordered && !state.is_healthy(pod) {
            return false;
        }
    }
    true
}

/// Deletes pods that are too many, the last ordinal first. Returns whether there are none left.
fn drop_condemned(state: &State<'_>, condemned: &ByOrdinal, plan: &mut Plan) -> bool {
    for (ordinal, pod) in condemned {
        if state.needs_hand_over(pod, *ordinal) {
            plan.hand_over.push(pod.clone());
        }
    }
    if state.is_parallel() {
        let living = condemned.values().rev().filter(|pod| !is_deleting(&***pod));
        plan.delete.extend(living.take(BURST.saturating_sub(plan.delete.len())).cloned());
        return true;
    }
    let Some((last, pod)) = condemned.last_key_value() else { return true };
    // A pod that does not serve blocks those behind it, but not itself.
    let first_unhealthy = condemned.iter().find(|(_, pod)| !state.is_healthy(pod)).map(|(ordinal, _)| ordinal);
    if !is_deleting(&**pod) && (state.is_healthy(pod) || first_unhealthy == Some(last)) {
        plan.delete.push(pod.clone());
    }
    false
}

fn rolling(set: &StatefulSet) -> Option<RollingUpdateStatefulSetStrategy> {
    let strategy = spec_of(set).update_strategy.clone().unwrap_or_default();
    (strategy.type_.as_deref() != Some("OnDelete")).then(|| strategy.rolling_update.unwrap_or_default())
}

/// The first ordinal that is updated; `None` when pods are only as they are deleted.
pub(super) fn partition(set: &StatefulSet) -> Option<i32> {
    Some(ordinals(set).start.saturating_add(rolling(set)?.partition.unwrap_or(0)))
}

/// Deletes pods of older revisions, the last ordinal first, at most as many as may be missing. Those that do not serve
/// anyway do not count: to replace them costs nothing.
fn update(state: &State<'_>, replicas: &ByOrdinal, plan: &mut Plan) {
    let (Some(first), Some(strategy)) = (partition(state.set), rolling(state.set)) else { return };
    let wanted = ordinals(state.set);
    let total = wanted.end.saturating_sub(wanted.start);
    let limit = strategy.max_unavailable.as_ref().and_then(|limit| scaled(limit, total, false)).unwrap_or(1).max(1);
    let healthy = replicas.values().filter(|pod| state.is_healthy(pod)).count();
    let missing = usize::try_from(total).unwrap_or(0).saturating_sub(healthy);
    let mut room = usize::try_from(limit).unwrap_or(1).saturating_sub(missing);
    for (_, pod) in replicas.range(first..).rev() {
        let outdated = revision_of(pod) != state.update_revision && !is_deleting(&**pod);
        if !outdated || plan.delete.len() >= BURST || plan.delete.contains(pod) {
            continue;
        }
        if !state.is_healthy(pod) {
            plan.delete.push(pod.clone());
        } else if room > 0 {
            room = room.saturating_sub(1);
            plan.delete.push(pod.clone());
        }
    }
}
