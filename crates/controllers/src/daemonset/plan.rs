//! Which pods a DaemonSet makes and deletes so that each node has what it is to have.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_client::EventType;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;

use super::failures::Failures;
use super::pods::{ByNode, Template, Verdict, is_updated};
use super::rolling::roll;
use super::{allows_surge, min_ready_seconds, rolling};
use crate::common::{is_available, is_deleting, is_ready, namespace_of, node_name, phase};

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    /// What to tell of it.
    pub events: Vec<(EventType, &'static str, String)>,
    /// When to look again though nothing changes.
    pub again: Option<Duration>,
}

/// What is looked at.
pub(super) struct State<'a> {
    pub ds: &'a DaemonSet,
    pub template: &'a Template,
    pub nodes: &'a [Arc<Node>],
    pub pods: &'a ByNode,
    /// The hash of the current revision, which new pods get.
    pub hash: &'a str,
    /// The hashes of the current template.
    pub hashes: &'a BTreeSet<String>,
    pub failures: &'a Failures,
}

/// The plan of a pass. Pods are replaced only when nothing else is to do: what is done is not seen yet, and could be all that
/// may be missing.
pub(super) fn plan(state: &State<'_>) -> Plan {
    let plan = manage(state);
    if !plan.create.is_empty() || !plan.delete.is_empty() || rolling(state.ds).is_none() {
        return plan;
    }
    let Plan { create, delete, .. } = roll(state);
    Plan { create, delete, ..plan }
}

/// Puts a pod on every node that is to have one, and takes away those that are too many or have ended.
pub(super) fn manage(state: &State<'_>) -> Plan {
    let mut plan = Plan::default();
    for node in state.nodes {
        manage_node(state, node, &mut plan);
    }
    // Nobody else deletes a pod that waits for a node which is gone.
    let known: HashSet<&str> = state.nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
    for (_, pods) in state.pods.iter().filter(|(node, _)| !known.contains(node.as_str())) {
        let waiting = pods.iter().filter(|pod| node_name(pod).is_empty() && !is_deleting(&***pod));
        plan.delete.extend(waiting.cloned());
    }
    plan
}

fn manage_node(state: &State<'_>, node: &Node, plan: &mut Plan) {
    let name = node.name_any();
    let pods = state.pods.get(&name).map(Vec::as_slice).unwrap_or_default();
    let living = || pods.iter().filter(|pod| !is_deleting(&***pod)).cloned();
    match state.template.verdict(node) {
        Verdict::Leave => plan.delete.extend(living()),
        Verdict::Run if pods.is_empty() => plan.create.push(name),
        verdict => {
            let running = living().filter(|pod| is_running(state, &name, pod, plan)).collect();
            if allows_surge(state.ds) {
                keep_two(state, running, verdict == Verdict::Run, name, plan);
            } else {
                plan.delete.extend(running.into_iter().skip(1));
            }
        }
    }
}

/// Whether a pod has not ended. One that has is deleted, after a back-off if it failed: the next one may fail as fast.
fn is_running(state: &State<'_>, node: &str, pod: &Arc<Pod>, plan: &mut Plan) -> bool {
    let named = format!("{}/{} on node {node}", namespace_of(&**pod), pod.name_any());
    match phase(pod) {
        "Failed" => {
            match state.failures.next(state.ds, node, Instant::now()) {
                Some(wait) => plan.again = Some(plan.again.map_or(wait, |again| again.min(wait))),
                None => {
                    let text = format!("Found failed daemon pod {named}, will try to kill it");
                    plan.events.push((EventType::Warning, "FailedDaemonPod", text));
                    plan.delete.push(pod.clone());
                }
            }
            false
        }
        "Succeeded" => {
            let text = format!("Found succeeded daemon pod {named}, will try to delete it");
            plan.events.push((EventType::Normal, "SucceededDaemonPod", text));
            plan.delete.push(pod.clone());
            false
        }
        _ => true,
    }
}

/// Where pods surge, an old and a new one may be on a node: while the old one is ready and the new one is not available.
fn keep_two(state: &State<'_>, running: Vec<Arc<Pod>>, run: bool, node: String, plan: &mut Plan) {
    if running.len() <= 1 {
        if running.is_empty() && run {
            plan.create.push(node);
        }
        return;
    }
    let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|pod| is_updated(state.ds, pod, state.hashes));
    let available = |pod: &Arc<Pod>| is_available(pod, min_ready_seconds(state.ds), Timestamp::now());
    let replaced = match (new.first(), old.first()) {
        (Some(new), Some(old)) => !is_ready(old) || available(new),
        _ => false,
    };
    plan.delete.extend(old.into_iter().skip(usize::from(!replaced)));
    plan.delete.extend(new.into_iter().skip(1));
}
