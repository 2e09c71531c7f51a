//! What the pods of a job amount to, beside what its status counts already.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;

use super::failure_policy::Policy;
use super::indexes::Indexes;
use super::pod::*;
use super::wanted::Wanted;
use crate::common::{is_active, is_ready, uid};

/// The state of a job's pods.
pub(super) struct Observed {
    pub wanted: Wanted,
    /// All pods that belong to the job; those of an Indexed Job by index.
    pub pods: Vec<Arc<Pod>>,
    /// Those that neither have ended nor are being deleted.
    pub active: Vec<Arc<Pod>>,
    pub terminating: i32,
    /// UIDs of pods whose finalizer was removed, which the cache does not show yet.
    pub removing: HashSet<String>,
    /// UIDs that the status has noted and not counted.
    pub uncounted: Uncounted,
    /// Pods that ended and are neither counted nor noted.
    pub new_succeeded: Vec<Arc<Pod>>,
    pub new_failed: Vec<Arc<Pod>>,
    /// How many have succeeded and failed in all.
    pub succeeded: i32,
    pub failed: i32,
    /// Indexes that the status counts as succeeded, and these with those of pods.
    pub counted_indexes: Indexes,
    pub succeeded_indexes: Indexes,
    /// With a limit of failures for each index: the indexes that have failed.
    pub failed_indexes: Option<Indexes>,
    /// With such a limit, the failed pod of each index that is to be replaced. It stays until the new pod is there, which
    /// takes the number of failures over from it.
    pub to_replace: BTreeMap<i32, Arc<Pod>>,
}

/// UIDs of pods that have ended.
#[derive(Default)]
pub(super) struct Uncounted {
    pub succeeded: HashSet<String>,
    pub failed: HashSet<String>,
}

impl Uncounted {
    fn of(pods: Option<&UncountedTerminatedPods>) -> Uncounted {
        let set = |uids: Option<&Vec<String>>| uids.into_iter().flatten().cloned().collect();
        Uncounted {
            succeeded: set(pods.and_then(|pods| pods.succeeded.as_ref())),
            failed: set(pods.and_then(|pods| pods.failed.as_ref())),
        }
    }
}

impl Observed {
    pub fn of(job: &Job, mut pods: Vec<Arc<Pod>>, removing: HashSet<String>) -> Observed {
        let (wanted, policy) = (Wanted::of(job), Policy::of(job));
        let status = job.status.clone().unwrap_or_default();
        if wanted.indexed {
            pods.sort_by_key(|pod| completion_index(pod));
        }
        let active = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
        let terminating = count(&pods, is_terminating);
        let mut observed = Observed {
            pods,
            active,
            terminating,
            removing,
            uncounted: Uncounted::of(status.uncounted_terminated_pods.as_ref()),
            new_succeeded: Vec::new(),
            new_failed: Vec::new(),
            succeeded: 0,
            failed: 0,
            counted_indexes: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            to_replace: BTreeMap::new(),
            wanted,
        };
        observed.new_succeeded = observed.new_pods(&observed.uncounted.succeeded, has_succeeded);
        observed.new_failed = observed.new_pods(&observed.uncounted.failed, |pod| has_failed(pod, &observed.wanted));
        let counting = count(&observed.new_failed, |pod| policy.verdict(pod).counts);
        observed.failed = sum([status.failed.unwrap_or(0), counting, length(&observed.uncounted.failed)]);
        let known = length(&observed.uncounted.succeeded);
        observed.succeeded = sum([status.succeeded.unwrap_or(0), as_i32(observed.new_succeeded.len()), known]);
        if observed.wanted.indexed {
            observed.look_at_indexes(job, policy);
        }
        observed
    }

    /// Pods still to be counted that are none of those noted, have a valid index where one is needed, and fit.
    fn new_pods(&self, noted: &HashSet<String>, fits: impl Fn(&Pod) -> bool) -> Vec<Arc<Pod>> {
        let new = |pod: &&Arc<Pod>| self.is_to_be_counted(pod) && !noted.contains(uid(&***pod)) && fits(pod);
        self.pods.iter().filter(new).filter(|pod| !self.wanted.indexed || self.index(pod).is_some()).cloned().collect()
    }

    /// Whether the pod has its finalizer, also once the cache has caught up.
    pub fn is_to_be_counted(&self, pod: &Pod) -> bool {
        is_tracked(pod) && !self.removing.contains(uid(pod))
    }

    /// The index of a pod, if it is one of the job's.
    pub fn index(&self, pod: &Pod) -> Option<i32> {
        completion_index(pod).filter(|index| self.wanted.has_index(*index))
    }

    pub fn ready(&self) -> i32 {
        count(&self.active, is_ready)
    }

    fn look_at_indexes(&mut self, job: &Job, policy: Policy<'_>) {
        let completions = self.wanted.completions.unwrap_or(0);
        let status = job.status.as_ref();
        let counted = status.and_then(|status| status.completed_indexes.as_deref()).unwrap_or_default();
        self.counted_indexes = Indexes::parse(counted, completions);
        let new: Indexes = self
            .pods
            .iter()
            .filter(|pod| is_tracked(pod) && has_succeeded(pod))
            .filter_map(|pod| self.index(pod))
            .collect();
        self.succeeded_indexes = self.counted_indexes.union(&new);
        self.succeeded = self.succeeded_indexes.len();
        let Some(limit) = self.wanted.backoff_limit_per_index else { return };
        let failed = status.and_then(|status| status.failed_indexes.as_deref()).unwrap_or_default();
        let fails = |pod: &&Arc<Pod>| is_tracked(pod) && self.fails_its_index(pod, limit, policy);
        let new: Indexes = self.pods.iter().filter(fails).filter_map(|pod| self.index(pod)).collect();
        let failed = Indexes::parse(failed, completions).union(&new);
        self.to_replace = self.pods_to_replace(&failed);
        self.failed_indexes = Some(failed);
    }

    fn fails_its_index(&self, pod: &Pod, limit: i32, policy: Policy<'_>) -> bool {
        if !has_failed(pod, &self.wanted) {
            return false;
        }
        let verdict = policy.verdict(pod);
        verdict.fails_index || (verdict.counts && failures_before(pod).0 >= limit)
    }

    fn pods_to_replace(&self, failed: &Indexes) -> BTreeMap<i32, Arc<Pod>> {
        let active: HashSet<i32> = self.active.iter().filter_map(|pod| completion_index(pod)).collect();
        let mut last: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| self.is_to_be_counted(pod) && has_failed(pod, &self.wanted)) {
            let Some(index) = self.index(pod) else { continue };
            if self.succeeded_indexes.contains(index) || failed.contains(index) || active.contains(&index) {
                continue;
            }
            let age = |pod: &Pod| (all_failures_before(pod), finished_at(pod));
            if last.get(&index).is_none_or(|known| age(known) <= age(pod)) {
                last.insert(index, pod.clone());
            }
        }
        last
    }
}

pub(super) fn as_i32(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn length(set: &HashSet<String>) -> i32 {
    as_i32(set.len())
}

fn sum(numbers: [i32; 3]) -> i32 {
    numbers.into_iter().fold(0, i32::saturating_add)
}

fn count(pods: &[Arc<Pod>], fits: impl Fn(&Pod) -> bool) -> i32 {
    as_i32(pods.iter().filter(|pod| fits(pod)).count())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{job, pod};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_counted_once_however_far_its_counting_got() {
        let job = job(
            json!({"completions": 9}),
            json!({"succeeded": 2, "failed": 1, "uncountedTerminatedPods": {"succeeded": ["noted"], "failed": ["gone"]}}),
        );
        let pods = vec![
            pod("new", None, "Succeeded"),
            pod("noted", None, "Succeeded"),
            pod("removed", None, "Succeeded"),
            pod("failed", None, "Failed"),
            pod("running", None, "Running"),
        ];
        let observed = Observed::of(&job, pods, ["removed".to_owned()].into());
        assert_eq!((observed.succeeded, observed.failed, observed.active.len()), (4, 3, 1));
    }

    #[test]
    fn indexes_of_the_job_alone_count() {
        let job = job(
            json!({"completions": 4, "completionMode": "Indexed", "backoffLimitPerIndex": 1}),
            json!({"completedIndexes": "0,8", "failedIndexes": ""}),
        );
        let mut again = (*pod("again", Some(2), "Failed")).clone();
        again.annotations_mut().insert(INDEX_FAILURES.into(), "1".into());
        let pods = vec![
            pod("one", Some(1), "Succeeded"),
            pod("beyond", Some(7), "Succeeded"),
            pod("first", Some(3), "Failed"),
            Arc::new(again),
        ];
        let observed = Observed::of(&job, pods, HashSet::new());
        assert_eq!(observed.succeeded_indexes.to_string(), "0,1");
        assert_eq!(observed.failed_indexes.as_ref().map(Indexes::to_string).as_deref(), Some("2"));
        assert_eq!(observed.to_replace.keys().collect::<Vec<_>>(), [&3]);
        assert_eq!(observed.succeeded, 2);
    }

    use kube::ResourceExt as _;
}
