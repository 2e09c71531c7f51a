//! How a DaemonSet's pods are replaced by those of a new template.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::plan::{Plan, State};
use super::pods::{ByNode, Verdict, is_updated};
use super::{min_ready_seconds, rolling};
use crate::common::{is_available, is_deleting, scaled};

/// The one old and the one new pod of a node; pods that are deleted do not count.
struct OnNode<'a> {
    old: Option<&'a Arc<Pod>>,
    new: Option<&'a Arc<Pod>>,
}

/// What to replace now. A node that is just being worked on is left to [`manage`](super::plan::manage).
pub(super) fn roll(state: &State<'_>) -> Plan {
    let (pods, desired) = wanted(state);
    let scale = |value: Option<&IntOrString>| value.and_then(|value| scaled(value, desired, true)).unwrap_or(0);
    let strategy = rolling(state.ds);
    let surge = scale(strategy.and_then(|rolling| rolling.max_surge.as_ref()));
    let unavailable = scale(strategy.and_then(|rolling| rolling.max_unavailable.as_ref()));
    match (count(surge), count(unavailable)) {
        // Nothing could ever move.
        (0, 0) => replace(state, &pods, 1),
        (0, unavailable) => replace(state, &pods, unavailable),
        (surge, _) => surge_by(state, &pods, surge),
    }
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// The pods of all nodes, and of those that are to have one and have none; how many are to have one.
fn wanted(state: &State<'_>) -> (ByNode, i32) {
    let mut pods = state.pods.clone();
    let mut desired = 0_i32;
    for node in state.nodes.iter().filter(|node| state.template.verdict(node) == Verdict::Run) {
        desired = desired.saturating_add(1);
        pods.entry(node.name_any()).or_default();
    }
    (pods, desired)
}

/// `None` when there are too many pods to tell.
fn on_node<'a>(state: &State<'_>, pods: &'a [Arc<Pod>]) -> Option<OnNode<'a>> {
    let living = pods.iter().filter(|pod| !is_deleting(&***pod));
    let (new, old): (Vec<_>, Vec<_>) = living.partition(|pod| is_updated(state.ds, pod, state.hashes));
    (new.len() <= 1 && old.len() <= 1).then(|| OnNode { old: old.first().copied(), new: new.first().copied() })
}

fn available(state: &State<'_>, pod: &Pod) -> bool {
    is_available(pod, min_ready_seconds(state.ds), Timestamp::now())
}

/// Deletes old pods, at most as many as may be missing; those that are not available anyway all at once. These are missing
/// too: a template whose pods never serve is not to take the serving ones one by one.
fn replace(state: &State<'_>, pods: &ByNode, max_unavailable: usize) -> Plan {
    let (mut free, mut candidates, mut unavailable) = (Vec::new(), Vec::new(), 0_usize);
    for pods in pods.values() {
        match on_node(state, pods) {
            Some(OnNode { old: Some(old), new: None }) if available(state, old) => candidates.push(old.clone()),
            Some(OnNode { old: Some(old), new: None }) => {
                unavailable = unavailable.saturating_add(1);
                free.push(old.clone());
            }
            Some(OnNode { old: None, new: Some(new) }) if available(state, new) => {}
            _ => unavailable = unavailable.saturating_add(1),
        }
    }
    candidates.truncate(max_unavailable.saturating_sub(unavailable));
    free.extend(candidates);
    Plan { delete: free, ..Plan::default() }
}

/// Makes new pods beside old ones, at most as many as may be too many, and deletes old ones whose successor is available.
fn surge_by(state: &State<'_>, pods: &ByNode, max_surge: usize) -> Plan {
    let (mut plan, mut candidates, mut surging) = (Plan::default(), Vec::new(), 0_usize);
    for (node, pods) in pods {
        match on_node(state, pods) {
            Some(OnNode { old: None, .. }) => {}
            Some(OnNode { old: Some(old), new: None }) if available(state, old) => candidates.push(node.clone()),
            // Its service is gone already: a new one can only help.
            Some(OnNode { old: Some(_), new: None }) => plan.create.push(node.clone()),
            Some(OnNode { old: Some(old), new: Some(new) }) if available(state, new) => plan.delete.push(old.clone()),
            Some(OnNode { old: Some(_), new: Some(_) }) | None => surging = surging.saturating_add(1),
        }
    }
    candidates.truncate(max_surge.saturating_sub(surging));
    plan.create.extend(candidates);
    plan
}
