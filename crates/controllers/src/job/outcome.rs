//! Whether a job has come to its end, and why.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};

use super::conditions::{COMPLETE, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET, SUSPENDED, holding};
use super::failure_policy::Policy;
use super::observed::Observed;
use super::pod::{has_failed, restarts};
use super::success_policy;
use crate::common::{phase, seconds_between};

/// How a job ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub succeeds: bool,
    pub reason: String,
    pub message: String,
}

impl Outcome {
    fn failure(reason: &str, message: impl Into<String>) -> Option<Outcome> {
        Some(Outcome { succeeds: false, reason: reason.to_owned(), message: message.into() })
    }

    /// Enough pods have succeeded.
    pub fn completed() -> Outcome {
        Outcome {
            succeeds: true,
            reason: "CompletionsReached".to_owned(),
            message: "Reached expected number of succeeded pods".to_owned(),
        }
    }

    /// The condition that says so while pods are still ending.
    pub fn interim_condition(&self) -> &'static str {
        if self.succeeds { SUCCESS_CRITERIA_MET } else { FAILURE_TARGET }
    }

    /// The condition that says so for good.
    pub fn final_condition(&self) -> &'static str {
        if self.succeeds { COMPLETE } else { FAILED }
    }
}

/// The end that the job has come to: what was decided before stays, then failures, then the success policy.
pub(super) fn decide(job: &Job, status: &JobStatus, observed: &Observed, now: Timestamp) -> Option<Outcome> {
    decided(status)
        .or_else(|| failed_by_policy(job, observed))
        .or_else(|| failed_by_limits(status, observed, now))
        .or_else(|| failed_by_indexes(observed))
        .or_else(|| {
            let completions = observed.wanted.completions.filter(|_| observed.wanted.indexed)?;
            let message = success_policy::matched(job, completions, &observed.succeeded_indexes)?;
            Some(Outcome { succeeds: true, reason: "SuccessPolicy".to_owned(), message })
        })
}

fn decided(status: &JobStatus) -> Option<Outcome> {
    let success = holding(status, SUCCESS_CRITERIA_MET);
    let condition = success.or_else(|| holding(status, FAILURE_TARGET))?;
    Some(Outcome {
        succeeds: success.is_some(),
        reason: condition.reason.clone().unwrap_or_default(),
        message: condition.message.clone().unwrap_or_default(),
    })
}

fn failed_by_policy(job: &Job, observed: &Observed) -> Option<Outcome> {
    let policy = Policy::of(job);
    let failed = observed.pods.iter().filter(|pod| has_failed(pod, &observed.wanted));
    let message = failed.filter_map(|pod| policy.verdict(pod).fails_job).next()?;
    Outcome::failure("PodFailurePolicy", message)
}

fn failed_by_limits(status: &JobStatus, observed: &Observed, now: Timestamp) -> Option<Outcome> {
    if observed.failed > observed.wanted.backoff_limit || restarted_too_often(observed) {
        return Outcome::failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if seconds_left(status, observed, now)? <= 0 {
        return Outcome::failure("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    None
}

/// Containers that are restarted in their pod count against the limit as pods do elsewhere.
fn restarted_too_often(observed: &Observed) -> bool {
    let wanted = &observed.wanted;
    let counted = observed.pods.iter().filter(|pod| matches!(phase(pod), "Running" | "Pending"));
    let restarts = counted.fold(0, |sum: i32, pod| sum.saturating_add(restarts(pod)));
    wanted.restarts_on_failure && restarts >= wanted.backoff_limit.max(1)
}

/// How many seconds are left until the deadline of a job that is not suspended, if it has one. The clock of a job that is being
/// resumed has not begun again.
pub(super) fn seconds_left(status: &JobStatus, observed: &Observed, now: Timestamp) -> Option<i64> {
    let stands = observed.wanted.suspended || holding(status, SUSPENDED).is_some();
    let deadline = observed.wanted.active_deadline_seconds.filter(|_| !stands)?;
    let active = seconds_between(status.start_time.as_ref()?.0, now);
    Some(deadline.saturating_sub(active))
}

fn failed_by_indexes(observed: &Observed) -> Option<Outcome> {
    let failed = observed.failed_indexes.as_ref()?.len();
    if observed.wanted.max_failed_indexes.is_some_and(|most| failed > most) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Outcome::failure("MaxFailedIndexesExceeded", message);
    }
    let ended = failed.saturating_add(observed.succeeded_indexes.len());
    if failed > 0 && observed.wanted.completions.is_some_and(|completions| ended >= completions) {
        return Outcome::failure("FailedIndexes", "Job has failed indexes");
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::super::testing::{job, pod};
    use super::*;

    fn reason(spec: Value, status: Value, pods: Vec<Arc<Pod>>) -> Option<String> {
        let job = job(spec, status);
        let observed = Observed::of(&job, pods, HashSet::new());
        let status = job.status.clone().unwrap_or_default();
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        decide(&job, &status, &observed, now).map(|outcome| outcome.reason)
    }

    #[test]
    fn too_many_failures_end_a_job() {
        let failed = || vec![pod("a", None, "Failed")];
        assert_eq!(reason(json!({"backoffLimit": 1}), json!({}), failed()), None);
        let exceeded = Some("BackoffLimitExceeded".to_owned());
        assert_eq!(reason(json!({"backoffLimit": 0}), json!({}), failed()), exceeded);
        assert_eq!(reason(json!({"backoffLimit": 1}), json!({"failed": 1}), failed()), exceeded);
    }

    #[test]
    fn restarts_count_where_containers_are_restarted() {
        let mut running = (*pod("a", None, "Running")).clone();
        running.status.get_or_insert_default().container_statuses = serde_json::from_value(json!([{"name": "c",
            "image": "", "imageID": "", "ready": true, "restartCount": 2}]))
        .unwrap();
        let with = |policy: &str, limit: i32| {
            let spec =
                json!({"backoffLimit": limit, "template": {"spec": {"restartPolicy": policy, "containers": []}}});
            reason(spec, json!({}), vec![Arc::new(running.clone())])
        };
        assert_eq!(with("OnFailure", 2).as_deref(), Some("BackoffLimitExceeded"));
        assert_eq!(with("OnFailure", 0).as_deref(), Some("BackoffLimitExceeded"));
        assert_eq!(with("OnFailure", 3), None);
        assert_eq!(with("Never", 1), None);
    }

    #[test]
    fn a_deadline_counts_from_the_start_and_not_while_suspended() {
        let started = json!({"startTime": "2026-01-01T00:00:30Z"});
        let spec = |deadline: i32, suspend: bool| json!({"activeDeadlineSeconds": deadline, "suspend": suspend});
        assert_eq!(reason(spec(30, false), started.clone(), vec![]).as_deref(), Some("DeadlineExceeded"));
        assert_eq!(reason(spec(31, false), started.clone(), vec![]), None);
        assert_eq!(reason(spec(1, true), started, vec![]), None);
        let resumed =
            json!({"startTime": "2026-01-01T00:00:30Z", "conditions": [{"type": "Suspended", "status": "True"}]});
        assert_eq!(reason(spec(1, false), resumed, vec![]), None);
    }

    #[test]
    fn failed_indexes_end_a_job_when_they_are_too_many_or_the_rest_is_done() {
        let spec = |most: Value| {
            json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 0, "maxFailedIndexes": most,
                "backoffLimit": 9})
        };
        let pods = || vec![pod("a", Some(0), "Failed"), pod("b", Some(1), "Succeeded")];
        assert_eq!(reason(spec(Value::Null), json!({}), pods()), None);
        assert_eq!(reason(spec(json!(0)), json!({}), pods()).as_deref(), Some("MaxFailedIndexesExceeded"));
        let done = json!({"completedIndexes": "2"});
        assert_eq!(reason(spec(Value::Null), done, pods()).as_deref(), Some("FailedIndexes"));
    }

    #[test]
    fn what_was_decided_stays() {
        let met = json!({"conditions": [{"type": "SuccessCriteriaMet", "status": "True", "reason": "SuccessPolicy"}]});
        let failed = || vec![pod("a", None, "Failed")];
        assert_eq!(reason(json!({"backoffLimit": 0}), met, failed()).as_deref(), Some("SuccessPolicy"));
        let target = json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}]});
        assert_eq!(reason(json!({"backoffLimit": 0}), target, failed()).as_deref(), Some("DeadlineExceeded"));
    }
}
