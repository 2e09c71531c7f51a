//! Pods that somebody was about to disrupt, and did not: after two minutes their condition says so no more.

use std::time::Duration;

use coracle_client::{Event, Informer, ObjectKey, WorkQueue, is_not_found, patch_status_strategic};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::common::{is_deleting, is_terminal, now, pod_condition, uid};
use crate::run::reconcile_all;

const DISRUPTION_TARGET: &str = "DisruptionTarget";
const TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// Clears such conditions until the process ends.
pub(super) async fn run(client: Client, pods: Informer<Pod>) -> anyhow::Result<()> {
    let queue = WorkQueue::named("stale_pod_disruption");
    let changed = queue.clone();
    pods.subscribe(move |event| {
        if let Event::Added(pod) | Event::Updated { new: pod, .. } = event
            && left(pod, Timestamp::now()).is_some()
        {
            changed.add(ObjectKey::of(&**pod));
        }
    });
    let cached = pods.store();
    reconcile_all(&[&pods], &queue, 1, move |key: ObjectKey| {
        let (pod, api) = (cached.get_key(&key), Api::<Pod>::namespaced(client.clone(), &key.namespace));
        async move {
            let Some(pod) = pod else { return Ok(None) };
            let Some(left) = left(&pod, Timestamp::now()) else { return Ok(None) };
            if !left.is_zero() {
                return Ok(Some(left));
            }
            let condition = json!({"type": DISRUPTION_TARGET, "status": "False", "lastTransitionTime": now()});
            let patch = json!({"metadata": {"uid": uid(&*pod)}, "status": {"conditions": [condition]}});
            match patch_status_strategic(&api, &pod.name_any(), &patch).await {
                Err(error) if is_not_found(&error) => Ok(None),
                other => other.map(|_| None),
            }
        }
    })
    .await
}

/// How long the condition may still be true of the pod, if it is.
fn left(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let condition = pod_condition(pod, DISRUPTION_TARGET).filter(|condition| condition.status == "True")?;
    // What the kubelet itself ends is not taken back.
    if is_deleting(pod) || is_terminal(pod) || condition.reason.as_deref() == Some("TerminationByKubelet") {
        return None;
    }
    let waited = condition.last_transition_time.as_ref().map_or(TIMEOUT, |time| now.duration_since(time.0));
    Some(Duration::try_from(TIMEOUT.saturating_sub(waited)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disruption_that_does_not_come_is_forgotten_after_two_minutes() {
        let pod = |reason: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({"status": {"phase": phase, "conditions": [{"type": "DisruptionTarget",
                "status": "True", "reason": reason, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
            .unwrap()
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let evicted = pod("EvictionByEvictionAPI", "Running");
        assert_eq!(left(&evicted, at("2026-01-01T00:00:30Z")), Some(Duration::from_secs(90)));
        assert_eq!(left(&evicted, at("2026-01-01T01:00:00Z")), Some(Duration::ZERO));
        assert_eq!(left(&pod("TerminationByKubelet", "Running"), at("2026-01-01T01:00:00Z")), None);
        assert_eq!(left(&pod("EvictionByEvictionAPI", "Failed"), at("2026-01-01T01:00:00Z")), None);
    }
}
