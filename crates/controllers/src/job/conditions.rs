//! Conditions of a Job.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) const COMPLETE: &str = "Complete";
pub(super) const FAILED: &str = "Failed";
/// Comes before [`FAILED`], while pods are still ending.
pub(super) const FAILURE_TARGET: &str = "FailureTarget";
/// Comes before [`COMPLETE`], while pods are still ending.
pub(super) const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
pub(super) const SUSPENDED: &str = "Suspended";

/// The condition of a type, if it holds.
pub(super) fn holding<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// The condition with which a job has ended, if it has.
pub(crate) fn finished(job: &Job) -> Option<&JobCondition> {
    let status = job.status.as_ref()?;
    holding(status, COMPLETE).or_else(|| holding(status, FAILED))
}

/// Sets a condition; whether that changed anything. One that never held is not written as false.
pub(super) fn set(
    status: &mut JobStatus,
    kind: &str,
    holds: bool,
    (reason, message): (&str, &str),
    now: Timestamp,
) -> bool {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let new = JobCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()).filter(|text| !text.is_empty()),
        message: Some(message.to_owned()).filter(|text| !text.is_empty()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    };
    let conditions = status.conditions.get_or_insert_default();
    let same = |a: &JobCondition| (&a.status, &a.reason, &a.message) == (&new.status, &new.reason, &new.message);
    match conditions.iter_mut().find(|condition| condition.type_ == kind) {
        Some(old) if same(old) => false,
        Some(old) => {
            *old = new;
            true
        }
        None if holds => {
            conditions.push(new);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_written_when_it_begins_to_hold_and_when_it_changes() {
        let (mut status, now) = (JobStatus::default(), Timestamp::from_second(9).unwrap());
        assert!(!set(&mut status, SUSPENDED, false, ("JobResumed", "Job resumed"), now));
        assert!(set(&mut status, SUSPENDED, true, ("JobSuspended", "Job suspended"), now));
        assert!(!set(&mut status, SUSPENDED, true, ("JobSuspended", "Job suspended"), now));
        assert!(holding(&status, SUSPENDED).is_some());
        assert!(set(&mut status, SUSPENDED, false, ("JobResumed", "Job resumed"), now));
        assert!(holding(&status, SUSPENDED).is_none());
        assert_eq!(status.conditions.map(|all| all.len()), Some(1));
    }
}
