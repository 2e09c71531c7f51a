//! How many replicas a metric asks for: functions of the metric's values and the pods.
//! <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::common::{is_deleting, phase, pod_condition};

/// How long the processor use of a pod that was just started says nothing while it is not ready.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// A pod that was not ready so soon after its start has never been ready.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// A value of one pod, in thousandths.
#[derive(Clone, Copy, Debug)]
pub(super) struct PodMetric {
    pub at: Timestamp,
    pub window: Duration,
    pub value: i64,
}

/// Values by the names of pods.
pub(super) type PodMetrics = BTreeMap<String, PodMetric>;

/// How far the ratio of usage to target may be from 1 before anything changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    pub up: f64,
    pub down: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// The pods of a target, by what their values are good for.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

impl Groups {
    /// Sorts pods. Only of the processor it is known that a start takes more than what follows.
    pub fn of(pods: &[Arc<Pod>], metrics: &PodMetrics, is_cpu: bool, now: Timestamp) -> Groups {
        let mut groups = Groups::default();
        for pod in pods {
            let name = pod.name_any();
            if is_deleting(&**pod) || phase(pod) == "Failed" {
                groups.ignored.insert(name);
            } else if phase(pod) == "Pending" {
                groups.unready.insert(name);
            } else {
                match metrics.get(&name) {
                    None => drop(groups.missing.insert(name)),
                    Some(metric) if is_cpu && is_starting(pod, metric, now) => drop(groups.unready.insert(name)),
                    Some(_) => groups.ready = groups.ready.saturating_add(1),
                }
            }
        }
        groups
    }
}

/// Whether what a pod uses is still of its start.
fn is_starting(pod: &Pod, metric: &PodMetric, now: Timestamp) -> bool {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let ready = pod_condition(pod, "Ready");
    let (Some(started), Some(ready)) = (started, ready) else { return true };
    let changed = ready.last_transition_time.as_ref().map_or(started, |time| time.0);
    if now.duration_since(started) < CPU_INITIALIZATION {
        let window = SignedDuration::try_from(metric.window).unwrap_or_default();
        ready.status == "False" || metric.at.duration_since(changed) < window
    } else {
        ready.status == "False" && changed.duration_since(started) < INITIAL_READINESS
    }
}

/// What a pod ought to use at most: a share of its request, or an amount.
pub(super) trait Goal {
    /// What stands for a pod without a value when there is too little load.
    fn assumed(&self, pod: &str) -> i64;

    /// The ratio of usage to target; `None` where nothing is known of any of the pods.
    fn ratio(&self, metrics: &PodMetrics) -> Option<f64>;
}

/// A percentage of what the pods request, by pod.
pub(super) struct Utilization<'a> {
    pub target: i32,
    pub requests: &'a BTreeMap<String, i64>,
}

impl Utilization<'_> {
    /// The percentage that is used, and how much that is of each pod.
    pub fn used(&self, metrics: &PodMetrics) -> Option<(i32, i64)> {
        let (mut used, mut requested, mut count) = (0i64, 0i64, 0i64);
        for (pod, metric) in metrics {
            let Some(request) = self.requests.get(pod) else { continue };
            used = used.saturating_add(metric.value);
            requested = requested.saturating_add(*request);
            count = count.saturating_add(1);
        }
        let percent = used.saturating_mul(100).checked_div(requested)?;
        Some((i32::try_from(percent).unwrap_or(i32::MAX), used.checked_div(count)?))
    }
}

impl Goal for Utilization<'_> {
    fn assumed(&self, pod: &str) -> i64 {
        let request = self.requests.get(pod).copied().unwrap_or_default();
        request.saturating_mul(i64::from(self.target.max(100))).div_euclid(100)
    }

    fn ratio(&self, metrics: &PodMetrics) -> Option<f64> {
        self.used(metrics).map(|(percent, _)| f64::from(percent) / f64::from(self.target))
    }
}

/// An amount for each pod, in thousandths.
pub(super) struct Average(pub i64);

impl Average {
    /// The mean of the values.
    pub fn used(metrics: &PodMetrics) -> Option<i64> {
        let sum = metrics.values().fold(0i64, |sum, metric| sum.saturating_add(metric.value));
        sum.checked_div(i64::try_from(metrics.len()).unwrap_or(i64::MAX))
    }
}

impl Goal for Average {
    fn assumed(&self, _: &str) -> i64 {
        self.0
    }

    fn ratio(&self, metrics: &PodMetrics) -> Option<f64> {
        Average::used(metrics).map(|used| used as f64 / self.0 as f64)
    }
}

/// The values that count: without those of pods that go, and that start.
///
/// # Errors
/// None is left.
pub(super) fn counted(metrics: &PodMetrics, groups: &Groups) -> Result<PodMetrics, String> {
    let mut counted = metrics.clone();
    counted.retain(|pod, _| !groups.ignored.contains(pod) && !groups.unready.contains(pod));
    match counted.is_empty() {
        true => Err("did not receive metrics for targeted pods (pods might be unready)".into()),
        false => Ok(counted),
    }
}

/// How many replicas bring what the pods use to the target. Pods of which nothing is known are assumed to use what makes the
/// change smaller.
///
/// # Errors
/// The values are of none of the pods.
pub(super) fn of_pods(
    current: i32,
    goal: &impl Goal,
    metrics: &PodMetrics,
    groups: &Groups,
    tolerance: Tolerance,
) -> Result<i32, String> {
    let mut metrics = metrics.clone();
    let none = "no metrics returned matched known pods";
    let ratio = goal.ratio(&metrics).ok_or(none)?;
    let counts_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !counts_unready && groups.missing.is_empty() {
        return Ok(if tolerance.covers(ratio) { current } else { ceil(ratio * groups.ready as f64) });
    }
    let at = Timestamp::UNIX_EPOCH;
    let mut assume = |pod: &String, value: i64| {
        metrics.insert(pod.clone(), PodMetric { at, window: Duration::ZERO, value });
    };
    for pod in &groups.missing {
        if ratio < 1.0 {
            assume(pod, goal.assumed(pod));
        } else if ratio > 1.0 {
            assume(pod, 0);
        }
    }
    if counts_unready {
        groups.unready.iter().for_each(|pod| assume(pod, 0));
    }
    let newer = goal.ratio(&metrics).ok_or(none)?;
    if tolerance.covers(newer) || (ratio < 1.0 && newer > 1.0) || (ratio > 1.0 && newer < 1.0) {
        return Ok(current);
    }
    let replicas = ceil(newer * metrics.len() as f64);
    let turns = (newer < 1.0 && replicas > current) || (newer > 1.0 && replicas < current);
    Ok(if turns { current } else { replicas })
}

/// How many replicas bring one value of all to the target.
pub(super) fn of_one(current: i32, usage: i64, target: i64, ready: usize, tolerance: Tolerance) -> i32 {
    let ratio = usage as f64 / target as f64;
    match current {
        0 => ceil(ratio),
        _ if tolerance.covers(ratio) => current,
        _ => ceil(ratio * ready as f64),
    }
}

/// How many replicas bring one value, shared by all, to the target for each; and the share of each now.
pub(super) fn of_share(current: i32, usage: i64, target: i64, tolerance: Tolerance) -> (i32, i64) {
    let ratio = usage as f64 / (target as f64 * f64::from(current));
    let replicas = if current > 0 && tolerance.covers(ratio) { current } else { ceil(usage as f64 / target as f64) };
    let share = if current > 0 { ceil64(usage as f64 / f64::from(current)) } else { usage };
    (replicas, share)
}

fn ceil(value: f64) -> i32 {
    value.ceil() as i32
}

fn ceil64(value: f64) -> i64 {
    value.ceil() as i64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOLERANCE: Tolerance = Tolerance { up: 0.1, down: 0.1 };

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    /// Pods that have been ready for long, but for what is said of them.
    fn pods(states: &[&str]) -> Vec<Arc<Pod>> {
        let pod = |(number, state): (usize, &&str)| {
            let (phase, ready) = match *state {
                "pending" => ("Pending", "False"),
                "failed" => ("Failed", "False"),
                "unready" => ("Running", "False"),
                _ => ("Running", "True"),
            };
            let since = if *state == "new" { "2026-01-01T00:59:30Z" } else { "2026-01-01T00:00:10Z" };
            let started = if *state == "new" { "2026-01-01T00:59:00Z" } else { "2026-01-01T00:00:00Z" };
            serde_json::from_value(json!({"metadata": {"name": format!("p{number}")}, "status": {"phase": phase,
                "startTime": started, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]}}))
            .map(Arc::new)
            .unwrap()
        };
        states.iter().enumerate().map(pod).collect()
    }

    fn metrics(values: &[Option<i64>]) -> PodMetrics {
        let one = |(number, value): (usize, &Option<i64>)| {
            let metric = PodMetric { at: now(), window: Duration::from_secs(60), value: (*value)? };
            Some((format!("p{number}"), metric))
        };
        values.iter().enumerate().filter_map(one).collect()
    }

    /// With a request of one processor for each pod.
    fn by_cpu(states: &[&str], values: &[Option<i64>], target: i32) -> Result<i32, String> {
        let (pods, metrics) = (pods(states), metrics(values));
        let requests = pods.iter().map(|pod| (pod.name_any(), 1000)).collect();
        let groups = Groups::of(&pods, &metrics, true, now());
        let counted = counted(&metrics, &groups)?;
        let goal = Utilization { target, requests: &requests };
        of_pods(states.len() as i32, &goal, &counted, &groups, TOLERANCE)
    }

    #[test]
    fn replicas_follow_the_ratio_of_usage_to_target() {
        let three = ["", "", ""];
        assert_eq!(by_cpu(&three, &[Some(300), Some(500), Some(700)], 30), Ok(5));
        assert_eq!(by_cpu(&three, &[Some(300), Some(300), Some(300)], 50), Ok(2));
        assert_eq!(by_cpu(&three, &[Some(530), Some(540), Some(550)], 50), Ok(3), "within the tolerance");
    }

    #[test]
    fn pods_that_start_hold_back_more_of_them() {
        assert_eq!(by_cpu(&["", "", "new"], &[Some(500), Some(700), Some(100)], 30), Ok(4), "60 % of two, none of one");
        assert_eq!(by_cpu(&["", "", "pending"], &[Some(500), Some(700), None], 30), Ok(4));
        assert!(by_cpu(&["unready", "pending"], &[None, None], 30).is_err());
        assert_eq!(by_cpu(&["", "failed"], &[Some(600), Some(900)], 30), Ok(2), "what has failed is no pod");
    }

    #[test]
    fn pods_without_a_value_make_the_change_smaller() {
        assert_eq!(by_cpu(&["", "", "", ""], &[Some(1000), Some(1000), Some(1000), None], 50), Ok(6));
        assert_eq!(by_cpu(&["", "", "", ""], &[Some(100), Some(100), Some(100), None], 50), Ok(3));
        assert_eq!(by_cpu(&["", "", ""], &[Some(100), None, None], 50), Ok(3), "and never turn it round");
    }

    #[test]
    fn amounts_count_as_shares_do() {
        let (pods, metrics) = (pods(&["", "", ""]), metrics(&[Some(20_000), Some(10_000), Some(10_000)]));
        let groups = Groups::of(&pods, &metrics, false, now());
        assert_eq!(of_pods(3, &Average(10_000), &metrics, &groups, TOLERANCE), Ok(4));
        assert_eq!((Average::used(&metrics), Average::used(&PodMetrics::new())), (Some(13_333), None));
        assert_eq!(of_one(3, 40_000, 20_000, 3, TOLERANCE), 6);
        assert_eq!(of_one(0, 40_000, 20_000, 0, TOLERANCE), 2);
        assert_eq!(of_share(3, 8_600, 1_000, TOLERANCE), (9, 2_867));
        assert_eq!(of_share(3, 3_200, 1_000, TOLERANCE), (3, 1_067));
        assert_eq!(of_share(0, 3_200, 1_000, TOLERANCE), (4, 3_200));
    }
}
