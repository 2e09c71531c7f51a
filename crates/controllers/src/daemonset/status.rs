//! What a DaemonSet says of its pods.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSetStatus;
use kube::ResourceExt;

use super::min_ready_seconds;
use super::plan::State;
use super::pods::{Verdict, is_updated};
use crate::common::{is_available, is_ready, shown};

/// The status that the observed pods amount to; `acted` says whether the current generation was acted upon.
pub(super) fn desired_status(
    state: &State<'_>,
    collisions: Option<i32>,
    acted: bool,
    now: Timestamp,
) -> DaemonSetStatus {
    let old = state.ds.status.clone().unwrap_or_default();
    let (mut status, mut updated, mut available) = (DaemonSetStatus::default(), 0_i32, 0_i32);
    let add = |number: &mut i32| *number = number.saturating_add(1);
    for node in state.nodes {
        let pod = state.pods.get(&node.name_any()).and_then(|pods| pods.first());
        match (state.template.verdict(node), pod) {
            (Verdict::Run, Some(pod)) => {
                add(&mut status.desired_number_scheduled);
                add(&mut status.current_number_scheduled);
                if is_ready(pod) {
                    add(&mut status.number_ready);
                }
                if is_available(pod, min_ready_seconds(state.ds), now) {
                    add(&mut available);
                }
                if is_updated(state.ds, pod, state.hashes) {
                    add(&mut updated);
                }
            }
            (Verdict::Run, None) => add(&mut status.desired_number_scheduled),
            (_, Some(_)) => add(&mut status.number_misscheduled),
            (_, None) => {}
        }
    }
    status.updated_number_scheduled = shown(updated, old.updated_number_scheduled);
    status.number_available = shown(available, old.number_available);
    let unavailable = status.desired_number_scheduled.saturating_sub(available);
    status.number_unavailable = shown(unavailable, old.number_unavailable);
    status.observed_generation = if acted { state.ds.metadata.generation } else { old.observed_generation };
    status.collision_count = collisions;
    status.conditions = old.conditions;
    status
}
