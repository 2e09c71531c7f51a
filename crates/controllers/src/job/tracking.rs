//! How the pods of a job come to be counted, each once, whenever the process ends and whoever deletes pods.
//!
//! A pod that ended keeps its finalizer until the status has noted its UID. Then the finalizer goes, and then the UID becomes
//! one more of the counter. A UID whose pod has no finalizer is therefore counted, and one whose pod has it is not yet. For
//! indexes the list of those that succeeded takes the place of UIDs.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers>

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;

use super::failure_policy::Policy;
use super::observed::{Observed, as_i32};
use super::outcome::Outcome;
use super::pod::{has_failed, has_succeeded};
use crate::common::{is_deleting, uid};

/// No more pods are noted at once: the status has their UIDs.
const MOST_NOTED: usize = 500;

/// What was noted in one pass.
#[derive(Default)]
pub(super) struct Noted {
    /// Pods whose finalizer may go once the status is written.
    pub release: Vec<Arc<Pod>>,
    /// Whether there are more, which wait for the next pass.
    pub full: bool,
}

/// Notes in the status what has ended since. When the job ends, what has not ended has failed, unless the job succeeds.
pub(super) fn note(status: &mut JobStatus, job: &Job, observed: &Observed, outcome: Option<&Outcome>) -> Noted {
    let policy = Policy::of(job);
    let fails = outcome.is_some_and(|outcome| !outcome.succeeds);
    let mut noted = Noted::default();
    let mut new_indexes = 0_usize;
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    for pod in observed.pods.iter().filter(|pod| observed.is_to_be_counted(pod)) {
        let (index, failed) = (observed.index(pod), has_failed(pod, &observed.wanted));
        let has_ended = has_succeeded(pod) || (failed && !is_kept(observed, index, pod));
        if !has_ended && outcome.is_none() && !is_deleting(job) {
            continue;
        }
        noted.release.push(pod.clone());
        let valid = !observed.wanted.indexed || index.is_some();
        let known_as_failed = observed.uncounted.failed.contains(uid(&**pod));
        if has_succeeded(pod) && !known_as_failed {
            if observed.wanted.indexed {
                let new = index.is_some_and(|index| !observed.counted_indexes.contains(index));
                new_indexes = new_indexes.saturating_add(usize::from(new));
            } else if !observed.uncounted.succeeded.contains(uid(&**pod)) {
                uncounted.succeeded.get_or_insert_default().push(uid(&**pod).to_owned());
            }
        } else if (failed || fails) && !known_as_failed && valid && policy.verdict(pod).counts {
            uncounted.failed.get_or_insert_default().push(uid(&**pod).to_owned());
        }
        if new_indexes.saturating_add(length(uncounted)) >= MOST_NOTED {
            noted.full = true;
            break;
        }
    }
    if observed.wanted.indexed {
        let indexes = observed.succeeded_indexes.to_string();
        status.completed_indexes = Some(indexes).filter(|text| !text.is_empty());
        status.succeeded = nonzero(observed.succeeded_indexes.len());
        status.failed_indexes = observed.failed_indexes.as_ref().map(ToString::to_string);
    }
    noted
}

/// Whether a failed pod stays until the one that replaces it has taken over its number of failures.
fn is_kept(observed: &Observed, index: Option<i32>, pod: &Pod) -> bool {
    let kept = index.and_then(|index| observed.to_replace.get(&index));
    kept.is_some_and(|kept| uid(&**kept) == uid(pod))
}

/// Counts what was noted of pods that have no finalizer any more; `tracked` are the UIDs of those that have.
pub(super) fn count_released(status: &mut JobStatus, tracked: &HashSet<String>) {
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let take = |uids: &mut Option<Vec<String>>| {
        let before = uids.as_ref().map_or(0, Vec::len);
        uids.iter_mut().for_each(|uids| uids.retain(|uid| tracked.contains(uid)));
        let after = uids.as_ref().map_or(0, Vec::len);
        *uids = uids.take().filter(|uids| !uids.is_empty());
        as_i32(before.saturating_sub(after))
    };
    let (succeeded, failed) = (take(&mut uncounted.succeeded), take(&mut uncounted.failed));
    status.succeeded = nonzero(status.succeeded.unwrap_or(0).saturating_add(succeeded));
    status.failed = nonzero(status.failed.unwrap_or(0).saturating_add(failed));
}

/// Whether everything noted is counted.
pub(super) fn is_all_counted(status: &JobStatus) -> bool {
    status.uncounted_terminated_pods.as_ref().is_none_or(|uncounted| length(uncounted) == 0)
}

fn length(uncounted: &UncountedTerminatedPods) -> usize {
    let len = |uids: &Option<Vec<String>>| uids.as_ref().map_or(0, Vec::len);
    len(&uncounted.succeeded).saturating_add(len(&uncounted.failed))
}

/// A counter as the API has it: nothing instead of zero.
pub(super) fn nonzero(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use serde_json::{Value, json};

    use super::super::testing::{job, pod};
    use super::*;

    fn noted(spec: Value, status: Value, pods: Vec<Arc<Pod>>, outcome: Option<Outcome>) -> (JobStatus, Vec<String>) {
        let job = job(spec, status);
        let observed = Observed::of(&job, pods, HashSet::new());
        let mut status = job.status.clone().unwrap_or_default();
        let noted = note(&mut status, &job, &observed, outcome.as_ref());
        (status, noted.release.iter().map(|pod| pod.name_any()).collect())
    }

    fn uncounted(status: &JobStatus) -> Value {
        serde_json::to_value(&status.uncounted_terminated_pods).unwrap()
    }

    #[test]
    fn what_ended_is_noted_and_released() {
        let pods = vec![pod("a", None, "Succeeded"), pod("b", None, "Failed"), pod("c", None, "Running")];
        let (status, released) = noted(json!({"completions": 3}), json!({}), pods, None);
        assert_eq!(uncounted(&status), json!({"succeeded": ["a"], "failed": ["b"]}));
        assert_eq!(released, ["a", "b"]);
    }

    #[test]
    fn what_is_noted_is_counted_when_its_finalizer_is_gone() {
        let job =
            job(json!({}), json!({"failed": 1, "uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["b"]}}));
        let mut status = job.status.unwrap();
        count_released(&mut status, &["a".to_owned()].into());
        assert_eq!((status.succeeded, status.failed), (None, Some(2)));
        assert!(!is_all_counted(&status));
        count_released(&mut status, &HashSet::new());
        assert_eq!((status.succeeded, status.failed), (Some(1), Some(2)));
        assert_eq!(uncounted(&status), json!({}));
        assert!(is_all_counted(&status));
    }

    #[test]
    fn of_a_job_that_fails_the_running_pods_have_failed() {
        let pods = || vec![pod("a", None, "Running")];
        let fails = Outcome { succeeds: false, reason: String::new(), message: String::new() };
        let (status, released) = noted(json!({}), json!({}), pods(), Some(fails));
        assert_eq!((uncounted(&status), released), (json!({"failed": ["a"]}), vec!["a".to_owned()]));
        let (status, released) = noted(json!({}), json!({}), pods(), Some(Outcome::completed()));
        assert_eq!((uncounted(&status), released), (json!({}), vec!["a".to_owned()]));
    }

    #[test]
    fn a_failure_that_is_ignored_is_released_and_not_counted() {
        let rules = json!([{"action": "Ignore", "onPodConditions": [{"type": "X", "status": "True"}]}]);
        let mut failed = (*pod("a", None, "Failed")).clone();
        let conditions = serde_json::from_value(json!([{"type": "X", "status": "True"}])).unwrap();
        failed.status.get_or_insert_default().conditions = conditions;
        let (status, released) =
            noted(json!({"podFailurePolicy": {"rules": rules}}), json!({}), vec![Arc::new(failed)], None);
        assert_eq!((uncounted(&status), released), (json!({}), vec!["a".to_owned()]));
    }

    #[test]
    fn a_failed_pod_of_an_index_stays_until_it_is_replaced() {
        let spec = json!({"completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1});
        let (status, released) = noted(spec.clone(), json!({}), vec![pod("a", Some(0), "Failed")], None);
        assert_eq!((uncounted(&status), released.len()), (json!({}), 0));
        let pods = vec![pod("a", Some(0), "Failed"), pod("b", Some(0), "Running"), pod("c", Some(1), "Succeeded")];
        let (status, released) = noted(spec, json!({}), pods, None);
        assert_eq!((uncounted(&status), released), (json!({"failed": ["a"]}), vec!["a".to_owned(), "c".to_owned()]));
        assert_eq!((status.completed_indexes.as_deref(), status.succeeded), (Some("1"), Some(1)));
        assert_eq!(status.failed_indexes.as_deref(), Some(""));
    }

    #[test]
    fn no_status_has_more_than_so_many_uids() {
        let pods = (0..600).map(|n| pod(&n.to_string(), None, "Succeeded")).collect();
        let (_, released) = noted(json!({"completions": 600}), json!({}), pods, None);
        assert_eq!(released.len(), MOST_NOTED);
    }
}
