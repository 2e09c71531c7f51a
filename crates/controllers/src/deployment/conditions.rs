//! The status of a deployment: counts, and the conditions Progressing, Available and ReplicaFailure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use kube::ResourceExt;

use super::math::{available, desired, has_deadline, max_unavailable, replicas};
use super::spec_of;
use crate::common::{now, seconds_between, secs, shown};

pub(super) fn find<'a>(status: Option<&'a DeploymentStatus>, kind: &str) -> Option<&'a DeploymentCondition> {
    status?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Sets a condition unless it is there with the same status and reason; the transition time is kept while the
/// status stays the same.
pub(super) fn set_condition(status: &mut DeploymentStatus, kind: &str, value: &str, reason: &str, message: &str) {
    let old = find(Some(status), kind).cloned();
    if old.as_ref().is_some_and(|old| old.status == value && old.reason.as_deref() == Some(reason)) {
        return;
    }
    put_condition(status, old, kind, value, reason, message);
}

fn put_condition(
    status: &mut DeploymentStatus,
    old: Option<DeploymentCondition>,
    kind: &str,
    value: &str,
    reason: &str,
    message: &str,
) {
    let time = now();
    let transition = old.filter(|old| old.status == value).and_then(|old| old.last_transition_time);
    remove_condition(status, kind);
    status.conditions.get_or_insert_default().push(DeploymentCondition {
        type_: kind.into(),
        status: value.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_transition_time: transition.or_else(|| Some(time.clone())),
        last_update_time: Some(time),
    });
}

fn remove_condition(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != kind);
        if conditions.is_empty() {
            status.conditions = None;
        }
    }
}

/// Notes that the deployment was paused or resumed, so that time spent paused is not taken for lack of progress.
/// Returns whether the status changed.
pub(super) fn check_paused(d: &mut Deployment) -> bool {
    let spec = spec_of(d);
    if !has_deadline(&spec) {
        return false;
    }
    let reason = find(d.status.as_ref(), "Progressing").and_then(|condition| condition.reason.clone());
    let noted = reason.as_deref() == Some("DeploymentPaused");
    if reason.as_deref() == Some("ProgressDeadlineExceeded") || spec.paused.unwrap_or(false) == noted {
        return false;
    }
    let (reason, text) = if noted {
        ("DeploymentResumed", "Deployment is resumed")
    } else {
        ("DeploymentPaused", "Deployment is paused")
    };
    set_condition(d.status.get_or_insert_default(), "Progressing", "Unknown", reason, text);
    true
}

/// Counts and the Available condition.
pub(super) fn calculate_status(sets: &[Arc<ReplicaSet>], new: Option<&ReplicaSet>, d: &Deployment) -> DeploymentStatus {
    let spec = spec_of(d);
    let old = d.status.clone().unwrap_or_default();
    let in_status = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
    let count = |of: &dyn Fn(&ReplicaSet) -> i32| sets.iter().map(|set| of(set)).sum::<i32>();
    let available_count = count(&available);
    let unavailable = (count(&replicas) - available_count).max(0);
    let mut status = DeploymentStatus {
        observed_generation: d.metadata.generation.or(old.observed_generation),
        replicas: shown(count(&|set| in_status(set).replicas), old.replicas),
        updated_replicas: shown(new.map_or(0, |set| in_status(set).replicas), old.updated_replicas),
        ready_replicas: shown(count(&|set| in_status(set).ready_replicas.unwrap_or(0)), old.ready_replicas),
        available_replicas: shown(available_count, old.available_replicas),
        unavailable_replicas: shown(unavailable, old.unavailable_replicas),
        terminating_replicas: if sets.iter().all(|set| in_status(set).terminating_replicas.is_some()) {
            Some(count(&|set| in_status(set).terminating_replicas.unwrap_or(0)))
        } else {
            None
        },
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let (value, reason, text) = if available_count >= desired(&spec) - max_unavailable(&spec) {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set_condition(&mut status, "Available", value, reason, text);
    status
}

/// Whether all pods are of the new template and available, and no others are left.
pub(super) fn is_complete(d: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = desired(&spec_of(d));
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= d.metadata.generation
}

fn is_progressing(d: &Deployment, new: &DeploymentStatus) -> bool {
    let old = d.status.clone().unwrap_or_default();
    let count = |value: Option<i32>| value.unwrap_or(0);
    let stale = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || stale(new) < stale(&old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

fn has_timed_out(d: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let Some(condition) = find(Some(status), "Progressing") else { return false };
    match condition.reason.as_deref() {
        // A complete rollout stays complete.
        Some("NewReplicaSetAvailable") => return false,
        Some("ProgressDeadlineExceeded") => return true,
        _ => {}
    }
    let Some(updated) = &condition.last_update_time else { return false };
    let deadline = spec_of(d).progress_deadline_seconds.unwrap_or(i32::MAX);
    seconds_between(updated.0, now) > i64::from(deadline)
}

/// The whole status while rolling out.
pub(super) fn rollout_status(
    sets: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
    d: &Deployment,
    now: Timestamp,
) -> DeploymentStatus {
    let spec = spec_of(d);
    let mut status = calculate_status(sets, new, d);
    if !has_deadline(&spec) {
        remove_condition(&mut status, "Progressing");
    }
    let current = find(d.status.as_ref(), "Progressing").cloned();
    let was_complete = status.replicas.unwrap_or(0) == status.updated_replicas.unwrap_or(0)
        && current.as_ref().is_some_and(|condition| condition.reason.as_deref() == Some("NewReplicaSetAvailable"));
    if has_deadline(&spec) && !was_complete {
        let subject = match new {
            Some(set) => format!("ReplicaSet \"{}\"", set.name_any()),
            None => format!("Deployment \"{}\"", d.name_any()),
        };
        if is_complete(d, &status) {
            let text = format!("{subject} has successfully progressed.");
            set_condition(&mut status, "Progressing", "True", "NewReplicaSetAvailable", &text);
        } else if is_progressing(d, &status) {
            // Progress moves the update time even when the reason stays, for the deadline counts from there.
            let text = format!("{subject} is progressing.");
            put_condition(&mut status, current, "Progressing", "True", "ReplicaSetUpdated", &text);
        } else if has_timed_out(d, &status, now) {
            let text = format!("{subject} has timed out progressing.");
            set_condition(&mut status, "Progressing", "False", "ProgressDeadlineExceeded", &text);
        }
    }
    let failure = new
        .into_iter()
        .chain(sets.iter().map(|set| &**set))
        .filter_map(|set| set.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == "ReplicaFailure"))
        .next();
    match failure {
        Some(failure) => set_condition(
            &mut status,
            "ReplicaFailure",
            &failure.status,
            failure.reason.as_deref().unwrap_or_default(),
            failure.message.as_deref().unwrap_or_default(),
        ),
        None => remove_condition(&mut status, "ReplicaFailure"),
    }
    status
}

/// When to check again whether the rollout is stuck; `None` when nothing is expected to move.
pub(super) fn progress_check_after(d: &Deployment, now: Timestamp) -> Option<Duration> {
    let spec = spec_of(d);
    let status = d.status.as_ref()?;
    let condition = find(Some(status), "Progressing")?;
    if !has_deadline(&spec) || is_complete(d, status) || condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    {
        return None;
    }
    let updated = condition.last_update_time.as_ref()?.0;
    let left = i64::from(spec.progress_deadline_seconds?) - seconds_between(updated, now);
    Some(secs(left.max(0).saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(status: serde_json::Value) -> Deployment {
        serde_json::from_value(json!({"metadata": {"name": "web", "generation": 2},
            "spec": {"replicas": 3, "progressDeadlineSeconds": 600, "selector": {}, "template": {}}, "status": status}))
        .unwrap()
    }

    fn set(size: i32, available: i32) -> Arc<ReplicaSet> {
        let value = json!({"metadata": {"name": "web-1"}, "spec": {"replicas": size, "selector": {}},
            "status": {"replicas": size, "readyReplicas": available, "availableReplicas": available}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn reason(status: &DeploymentStatus, kind: &str) -> Option<String> {
        find(Some(status), kind).and_then(|condition| condition.reason.clone())
    }

    #[test]
    fn a_rollout_progresses_completes_and_stays_complete() {
        let d = deployment(json!({}));
        let part = set(3, 1);
        let status = rollout_status(std::slice::from_ref(&part), Some(&part), &d, Timestamp::now());
        assert_eq!(reason(&status, "Progressing").as_deref(), Some("ReplicaSetUpdated"));
        assert_eq!(reason(&status, "Available").as_deref(), Some("MinimumReplicasUnavailable"));
        let mut d = d;
        d.status = Some(status);
        assert!(progress_check_after(&d, Timestamp::now()).is_some());
        let whole = set(3, 3);
        let status = rollout_status(std::slice::from_ref(&whole), Some(&whole), &d, Timestamp::now());
        assert_eq!(reason(&status, "Progressing").as_deref(), Some("NewReplicaSetAvailable"));
        assert_eq!(
            find(Some(&status), "Progressing").unwrap().message.as_deref(),
            Some("ReplicaSet \"web-1\" has successfully progressed.")
        );
        d.status = Some(status.clone());
        assert_eq!(progress_check_after(&d, Timestamp::now()), None);
        assert_eq!(rollout_status(std::slice::from_ref(&whole), Some(&whole), &d, Timestamp::now()), status);
    }

    #[test]
    fn a_stuck_rollout_times_out() {
        let d = deployment(json!({"replicas": 3, "updatedReplicas": 3, "conditions": [{"type": "Progressing",
            "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": "2020-01-01T00:00:00Z"}]}));
        let stuck = set(3, 0);
        let status = rollout_status(std::slice::from_ref(&stuck), Some(&stuck), &d, Timestamp::now());
        assert_eq!(reason(&status, "Progressing").as_deref(), Some("ProgressDeadlineExceeded"));
    }

    #[test]
    fn pausing_and_resuming_is_noted_once() {
        let mut d = deployment(json!({}));
        assert!(!check_paused(&mut d));
        d.spec.as_mut().unwrap().paused = Some(true);
        assert!(check_paused(&mut d));
        assert!(!check_paused(&mut d));
        d.spec.as_mut().unwrap().paused = None;
        assert!(check_paused(&mut d));
        assert_eq!(reason(d.status.as_ref().unwrap(), "Progressing").as_deref(), Some("DeploymentResumed"));
    }
}
