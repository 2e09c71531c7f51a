//! Which pods a job that goes on makes or deletes next.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::backoff::{Record, remaining};
use super::indexes::Indexes;
use super::observed::{Observed, as_i32};
use super::pod::{all_failures_before, completion_index, finished_at, is_terminating};
use crate::replicaset::deletion_order;

/// No more pods are made or deleted in one pass.
const BURST: usize = 500;

/// What is done in one pass: pods go before others come.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub delete: Vec<Arc<Pod>>,
    /// A pod for each; with its index if it has one.
    pub create: Vec<Option<i32>>,
    /// After failures, how long to wait before pods are made.
    pub wait: Option<Duration>,
}

pub(super) fn plan(observed: &Observed, record: Record, now: Timestamp) -> Plan {
    let wanted = wanted_active(observed);
    let active = as_i32(observed.active.len());
    let surplus = usize::try_from(active.saturating_sub(wanted)).unwrap_or(0);
    let mut delete = to_delete(observed, surplus, now);
    if !observed.wanted.suspended {
        delete.truncate(BURST);
    }
    if !delete.is_empty() || observed.wanted.suspended {
        return Plan { delete, ..Plan::default() };
    }
    let ending = if observed.wanted.replaces_only_failed { observed.terminating } else { 0 };
    let missing = usize::try_from(wanted.saturating_sub(ending).saturating_sub(active)).unwrap_or(0).min(BURST);
    if missing == 0 {
        return Plan::default();
    }
    if observed.wanted.backoff_limit_per_index.is_some() {
        return plan_of_indexes(observed, missing, now);
    }
    match record.remaining(now) {
        Duration::ZERO if observed.wanted.indexed => {
            Plan { create: pending_indexes(observed, missing).into_iter().map(Some).collect(), ..Plan::default() }
        }
        Duration::ZERO => Plan { create: vec![None; missing], ..Plan::default() },
        wait => Plan { wait: Some(wait), ..Plan::default() },
    }
}

/// How many pods should be active.
fn wanted_active(observed: &Observed) -> i32 {
    let wanted = &observed.wanted;
    match wanted.completions {
        _ if wanted.suspended => 0,
        // Once one pod has succeeded the others only end.
        None if observed.succeeded > 0 => as_i32(observed.active.len()),
        None => wanted.parallelism,
        Some(completions) => completions.saturating_sub(observed.succeeded).clamp(0, wanted.parallelism),
    }
}

/// Pods without an index of their own, and then those that are missed least, until there are `surplus`.
fn to_delete(observed: &Observed, surplus: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let order = |pods: &mut Vec<Arc<Pod>>| pods.sort_by(|a, b| deletion_order((a, 0), (b, 0), now));
    let (mut delete, mut left) = (Vec::new(), Vec::new());
    if observed.wanted.indexed {
        let mut by_index: BTreeMap<Option<i32>, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in &observed.active {
            by_index.entry(observed.index(pod)).or_default().push(pod.clone());
        }
        for (index, mut pods) in by_index {
            order(&mut pods);
            left.extend(index.and_then(|_| pods.pop()));
            delete.append(&mut pods);
        }
    } else {
        left.clone_from(&observed.active);
    }
    order(&mut left);
    let more = surplus.saturating_sub(delete.len());
    delete.extend(left.into_iter().take(more));
    delete
}

/// The first indexes that need a pod.
fn pending_indexes(observed: &Observed, count: usize) -> Vec<i32> {
    let ending = observed.pods.iter().filter(|pod| observed.wanted.replaces_only_failed && is_terminating(pod));
    let taken: Indexes = observed.active.iter().chain(ending).filter_map(|pod| completion_index(pod)).collect();
    let mut taken = taken.union(&observed.succeeded_indexes);
    if let Some(failed) = &observed.failed_indexes {
        taken = taken.union(failed);
    }
    taken.first_missing(count, observed.wanted.completions.unwrap_or(0))
}

/// Each index waits by its own failures; the job waits only if all of them do.
fn plan_of_indexes(observed: &Observed, count: usize, now: Timestamp) -> Plan {
    let waits: HashMap<i32, Duration> = pending_indexes(observed, count)
        .into_iter()
        .map(|index| (index, observed.to_replace.get(&index).map_or(Duration::ZERO, |pod| wait_after(pod, now))))
        .collect();
    let mut create: Vec<i32> = waits.iter().filter(|(_, wait)| wait.is_zero()).map(|(index, _)| *index).collect();
    create.sort_unstable();
    // Those that wait longer are looked at again when the first of them need not wait any more.
    let wait = waits.into_values().filter(|wait| !wait.is_zero()).min();
    Plan { create: create.into_iter().map(Some).collect(), wait, ..Plan::default() }
}

fn wait_after(failed: &Pod, now: Timestamp) -> Duration {
    let failures = u32::try_from(all_failures_before(failed)).unwrap_or(0).saturating_add(1);
    remaining(failures, finished_at(failed), now)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use kube::ResourceExt as _;
    use serde_json::{Value, json};

    use super::super::testing::{job, pod};
    use super::*;

    fn planned(spec: Value, status: Value, pods: Vec<Arc<Pod>>) -> Plan {
        let observed = Observed::of(&job(spec, status), pods, HashSet::new());
        plan(&observed, Record::default(), "2026-01-01T00:01:00Z".parse().unwrap())
    }

    fn created(spec: Value, status: Value, pods: Vec<Arc<Pod>>) -> usize {
        planned(spec, status, pods).create.len()
    }

    fn deleted(plan: &Plan) -> Vec<String> {
        plan.delete.iter().map(|pod| pod.name_any()).collect()
    }

    #[test]
    fn no_more_pods_run_than_completions_are_left() {
        assert_eq!(created(json!({"parallelism": 3, "completions": 9}), json!({}), vec![]), 3);
        assert_eq!(created(json!({"parallelism": 3, "completions": 9}), json!({"succeeded": 8}), vec![]), 1);
        assert_eq!(created(json!({"parallelism": 3, "completions": 9}), json!({"succeeded": 9}), vec![]), 0);
        assert_eq!(created(json!({"parallelism": 1000, "completions": 1000}), json!({}), vec![]), BURST);
    }

    #[test]
    fn a_work_queue_gets_no_pod_after_its_first_success() {
        assert_eq!(created(json!({"parallelism": 3}), json!({}), vec![pod("a", None, "Running")]), 2);
        let after = vec![pod("a", None, "Running"), pod("b", None, "Succeeded")];
        assert_eq!(planned(json!({"parallelism": 3}), json!({}), after), Plan::default());
    }

    #[test]
    fn a_suspended_job_loses_its_pods() {
        let pods = vec![pod("a", None, "Running"), pod("b", None, "Pending"), pod("c", None, "Succeeded")];
        let plan = planned(json!({"parallelism": 3, "completions": 3, "suspend": true}), json!({}), pods);
        assert_eq!((deleted(&plan).len(), plan.create.len()), (2, 0));
    }

    #[test]
    fn a_pod_twice_of_an_index_or_beyond_the_job_goes() {
        let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed"});
        let pods = vec![
            pod("a", Some(0), "Running"),
            pod("b", Some(0), "Pending"),
            pod("c", Some(5), "Running"),
            pod("d", None, "Running"),
        ];
        let mut names = deleted(&planned(spec, json!({}), pods));
        names.sort();
        assert_eq!(names, ["b", "c", "d"]);
    }

    #[test]
    fn indexes_without_a_pod_get_one() {
        let spec = json!({"parallelism": 3, "completions": 9, "completionMode": "Indexed"});
        let plan = planned(spec, json!({"completedIndexes": "0,2"}), vec![pod("a", Some(1), "Running")]);
        assert_eq!(plan.create, [Some(3), Some(4)]);
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_replaced_at_once_or_when_it_ended() {
        let mut ending = (*pod("a", None, "Running")).clone();
        ending.metadata.deletion_timestamp = ending.metadata.creation_timestamp.clone();
        let with = |policy: &str| {
            let spec = json!({"parallelism": 1, "completions": 1, "podReplacementPolicy": policy, "backoffLimit": 6});
            created(spec, json!({}), vec![Arc::new(ending.clone())])
        };
        assert_eq!((with("TerminatingOrFailed"), with("Failed")), (1, 0));
    }

    #[test]
    fn an_index_waits_for_its_own_failures_only() {
        let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 9,
            "backoffLimit": 99});
        let failed = |name: &str, index, second: &str| {
            let mut pod = (*pod(name, Some(index), "Failed")).clone();
            let at = format!("2026-01-01T00:00:{second}Z");
            pod.status.get_or_insert_default().conditions =
                serde_json::from_value(json!([{"type": "Ready", "status": "False", "lastTransitionTime": at}]))
                    .unwrap();
            Arc::new(pod)
        };
        let pods = vec![failed("a", 0, "55"), failed("b", 1, "10")];
        let plan = planned(spec, json!({}), pods);
        assert_eq!(plan.create, [Some(1), Some(2)]);
        assert_eq!(plan.wait, Some(Duration::from_secs(5)));
    }
}
