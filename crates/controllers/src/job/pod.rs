//! What a Job asks of its pods: which index they have, whether they count, how and when they ended.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::failure_policy::Policy;
use super::wanted::Wanted;
use crate::common::{is_deleting, phase, pod_condition};

/// The finalizer of a pod that the status of its job does not count yet.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label of the index of a pod.
pub(super) const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often pods of this index failed before.
pub(super) const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How often they failed in a way that is not counted.
pub(super) const INDEX_IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// Whether the pod is still to be counted.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == TRACKING)
}

/// Whether the pod has ended, and is still to be counted.
pub(super) fn waits_to_be_counted(pod: &Pod) -> bool {
    is_tracked(pod) && crate::common::is_terminal(pod)
}

/// The index of the pod, if it has a valid one.
pub(super) fn completion_index(pod: &Pod) -> Option<i32> {
    pod.annotations().get(COMPLETION_INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// How often pods of this pod's index failed before it, as it was counted and as it was ignored.
pub(super) fn failures_before(pod: &Pod) -> (i32, i32) {
    let number = |key: &str| pod.annotations().get(key).and_then(|text| text.parse::<i32>().ok()).unwrap_or(0).max(0);
    (number(INDEX_FAILURES), number(INDEX_IGNORED_FAILURES))
}

/// The same after this pod failed.
pub(super) fn failures_with(pod: &Pod, policy: Policy<'_>) -> (i32, i32) {
    let (counted, ignored) = failures_before(pod);
    if policy.verdict(pod).counts { (counted.saturating_add(1), ignored) } else { (counted, ignored.saturating_add(1)) }
}

/// All failures of the index before this pod.
pub(super) fn all_failures_before(pod: &Pod) -> i32 {
    let (counted, ignored) = failures_before(pod);
    counted.saturating_add(ignored)
}

pub(super) fn has_succeeded(pod: &Pod) -> bool {
    phase(pod) == "Succeeded"
}

/// Whether the pod counts as failed. One that is being deleted does, as it may never get to say so itself, unless the job
/// waits for pods to end before it replaces them.
pub(super) fn has_failed(pod: &Pod, wanted: &Wanted) -> bool {
    phase(pod) == "Failed" || (!wanted.replaces_only_failed && is_deleting(pod) && !has_succeeded(pod))
}

/// Whether the pod is being deleted and has not ended.
pub(super) fn is_terminating(pod: &Pod) -> bool {
    is_deleting(pod) && !crate::common::is_terminal(pod)
}

/// When the pod ended, by the first of these that is known: its last container, the end of its readiness, the deletion,
/// its creation.
pub(super) fn finished_at(pod: &Pod) -> Timestamp {
    let not_ready =
        || pod_condition(pod, "Ready").filter(|ready| ready.status == "False")?.last_transition_time.as_ref();
    containers_finished_at(pod)
        .or_else(|| not_ready().map(|time| time.0))
        .or_else(|| deleted_at(pod))
        .or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
        .unwrap_or_default()
}

fn containers_finished_at(pod: &Pod) -> Option<Timestamp> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ends: Option<Vec<Timestamp>> = containers
        .iter()
        .map(|container| Some(container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0))
        .collect();
    ends?.into_iter().max()
}

/// When the deletion was asked for.
fn deleted_at(pod: &Pod) -> Option<Timestamp> {
    let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
    pod.metadata.deletion_timestamp.as_ref()?.0.checked_sub(grace).ok()
}

/// How often containers of the pod were restarted.
pub(super) fn restarts(pod: &Pod) -> i32 {
    let Some(status) = &pod.status else { return 0 };
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.fold(0, |sum, container| sum.saturating_add(container.restart_count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_waits_to_be_counted_from_its_end_until_it_loses_its_finalizer() {
        let pod = |finalizers: &[&str], phase: &str| -> Pod {
            let object = json!({"metadata": {"finalizers": finalizers}, "status": {"phase": phase}});
            serde_json::from_value(object).expect("a pod")
        };
        assert!(!waits_to_be_counted(&pod(&[TRACKING], "Running")));
        assert!(waits_to_be_counted(&pod(&[TRACKING], "Failed")));
        assert!(!waits_to_be_counted(&pod(&["example.com/other"], "Succeeded")));
    }
}
