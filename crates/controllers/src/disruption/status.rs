//! What a disruption budget's pods amount to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;

use crate::common::{is_deleting, is_ready, now};

const ALLOWED: &str = "DisruptionAllowed";
/// How long a pod that was evicted may take until its deletion is seen; then it counts as healthy again.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// How many pods there should be, and how many of them healthy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expected {
    pub pods: i32,
    pub healthy: i32,
}

/// Pods that were evicted and are still there.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Disrupted {
    pub pods: BTreeMap<String, Time>,
    /// When the first of them will have taken too long.
    pub recheck: Option<Duration>,
    /// Pods that have taken too long.
    pub not_deleted: Vec<Arc<Pod>>,
}

/// Looks for the pods that the status of a budget has as evicted.
pub(super) fn disrupted(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], now: Timestamp) -> Disrupted {
    let mut found = Disrupted::default();
    let Some(noted) = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref()) else { return found };
    for pod in pods.iter().filter(|pod| !is_deleting(&***pod)) {
        let Some(time) = noted.get(&pod.name_any()) else { continue };
        let waited = now.duration_since(time.0);
        match DELETION_TIMEOUT.checked_sub(waited).and_then(|left| Duration::try_from(left).ok()) {
            Some(left) => {
                found.recheck = Some(found.recheck.map_or(left, |known| known.min(left)));
                found.pods.insert(pod.name_any(), time.clone());
            }
            None => found.not_deleted.push(pod.clone()),
        }
    }
    found
}

/// The status of a budget with these pods.
pub(super) fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    expected: Expected,
    disrupted: &BTreeMap<String, Time>,
) -> PodDisruptionBudgetStatus {
    let counts = |pod: &&Arc<Pod>| !is_deleting(&***pod) && is_ready(pod) && !disrupted.contains_key(&pod.name_any());
    let healthy = i32::try_from(pods.iter().filter(counts).count()).unwrap_or(i32::MAX);
    // Without any pod nothing is known of the first one that comes.
    let allowed = if expected.pods > 0 { healthy.saturating_sub(expected.healthy).max(0) } else { 0 };
    let condition = if allowed > 0 { ("True", "SufficientPods", "") } else { ("False", "InsufficientPods", "") };
    PodDisruptionBudgetStatus {
        current_healthy: healthy,
        desired_healthy: expected.healthy,
        expected_pods: expected.pods,
        disruptions_allowed: allowed,
        disrupted_pods: Some(disrupted.clone()).filter(|pods| !pods.is_empty()),
        observed_generation: budget.metadata.generation,
        conditions: Some(conditions(budget, condition, budget.metadata.generation)),
    }
}

/// The status when nothing can be said of the pods: none may go, whatever was allowed before.
pub(super) fn failed(budget: &PodDisruptionBudget, why: &str) -> PodDisruptionBudgetStatus {
    let before = budget.status.clone().unwrap_or_default();
    let conditions = conditions(budget, ("False", "SyncFailed", why), before.observed_generation);
    PodDisruptionBudgetStatus { disruptions_allowed: 0, conditions: Some(conditions), ..before }
}

/// The conditions of a budget with another [`ALLOWED`], which keeps its time unless its status changes.
fn conditions(
    budget: &PodDisruptionBudget,
    (status, reason, message): (&str, &str, &str),
    generation: Option<i64>,
) -> Vec<Condition> {
    let mut all = budget.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let at = all.iter().position(|condition| condition.type_ == ALLOWED);
    let since = at.and_then(|at| all.get(at)).filter(|condition| condition.status == status);
    let new = Condition {
        type_: ALLOWED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: since.map_or_else(now, |condition| condition.last_transition_time.clone()),
    };
    match at.and_then(|at| all.get_mut(at)) {
        Some(old) => *old = new,
        None => all.push(new),
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, ready: &str) -> Arc<Pod> {
        let conditions = json!([{"type": "Ready", "status": ready}]);
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {"conditions": conditions}})).unwrap(),
        )
    }

    fn budget(status: Value) -> PodDisruptionBudget {
        let mut whole = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
        whole.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "b", "generation": 3}, "status": whole})).unwrap()
    }

    fn allowed(pods: &[Arc<Pod>], expected: Expected) -> (i32, String) {
        let status = status(&budget(json!({})), pods, expected, &BTreeMap::new());
        (status.disruptions_allowed, status.conditions.unwrap().remove(0).reason)
    }

    #[test]
    fn what_is_healthy_beyond_what_is_needed_may_go() {
        let pods = [pod("a", "True"), pod("b", "True"), pod("c", "False")];
        assert_eq!(allowed(&pods, Expected { pods: 3, healthy: 1 }), (1, "SufficientPods".into()));
        assert_eq!(allowed(&pods, Expected { pods: 3, healthy: 2 }), (0, "InsufficientPods".into()));
        assert_eq!(allowed(&pods, Expected { pods: 3, healthy: 9 }), (0, "InsufficientPods".into()));
        assert_eq!(allowed(&pods, Expected { pods: 0, healthy: 0 }), (0, "InsufficientPods".into()));
    }

    #[test]
    fn an_evicted_pod_counts_no_more_until_it_has_taken_too_long() {
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let noted = json!({"a": "2026-01-01T00:04:00Z", "b": "2026-01-01T00:02:00Z", "gone": "2026-01-01T00:04:00Z"});
        let (budget, pods) = (budget(json!({"disruptedPods": noted})), [pod("a", "True"), pod("b", "True")]);
        let found = disrupted(&budget, &pods, now);
        assert_eq!((found.pods.len(), found.recheck), (1, Some(Duration::from_secs(60))));
        assert_eq!(found.not_deleted.iter().map(|pod| pod.name_any()).collect::<Vec<_>>(), ["b"]);
        let status = status(&budget, &pods, Expected { pods: 2, healthy: 1 }, &found.pods);
        assert_eq!((status.current_healthy, status.disruptions_allowed, status.observed_generation), (1, 0, Some(3)));
    }

    #[test]
    fn a_failure_allows_nothing_and_says_why() {
        let before = budget(json!({"disruptionsAllowed": 2, "observedGeneration": 2}));
        let status = failed(&before, "found no controllers");
        let condition = status.conditions.unwrap().remove(0);
        assert_eq!((status.disruptions_allowed, status.observed_generation), (0, Some(2)));
        assert_eq!((condition.reason.as_str(), condition.message.as_str()), ("SyncFailed", "found no controllers"));
    }
}
