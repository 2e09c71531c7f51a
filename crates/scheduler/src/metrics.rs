//! What the scheduler counts of its own work, under upstream's names.
//! <https://kubernetes.io/docs/reference/instrumentation/metrics/>

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use coracle_metrics::{Counter, DOUBLING_FROM_A_MILLISECOND, Family, Gauge, Histogram, SCHEDULER, exponential};
use smol_str::SmolStr;
use tokio::time::Instant;

use crate::framework::Verdict;

/// All of them.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Of how many pods one is looked at so closely that each plugin's time is known, as upstream does.
const SAMPLED: u64 = 10;

/// Whether the pod that is decided on is one of those.
static IS_SAMPLED: AtomicBool = AtomicBool::new(false);

/// What is counted.
pub(crate) struct Metrics {
    attempts: Arc<Family<Counter, 2>>,
    attempt_durations: Arc<Family<Histogram, 2>>,
    pub algorithm: Arc<Histogram>,
    points: Arc<Family<Histogram, 3>>,
    plugins: Arc<Family<Histogram, 3>>,
    pub active: Arc<Gauge>,
    pub backoff: Arc<Gauge>,
    pub unschedulable: Arc<Gauge>,
    pub gated: Arc<Gauge>,
    pub incoming: Arc<Family<Counter, 2>>,
    pub refused_by: Arc<Family<Gauge, 2>>,
    pub preemptions: Arc<Counter>,
    pub victims: Arc<Histogram>,
    attempts_of_pod: Arc<Histogram>,
    since_seen: Arc<Family<Histogram, 1>>,
}

impl Metrics {
    fn new() -> Metrics {
        let (r, bounds) = (&SCHEDULER, &DOUBLING_FROM_A_MILLISECOND);
        let of_attempt = ["result", "profile"];
        let pending = r.gauges("scheduler_pending_pods", "Pods that wait, by where they do", ["queue"]);
        Metrics {
            attempts: r.counters("scheduler_schedule_attempts_total", "Attempts to schedule a pod", of_attempt),
            attempt_durations: r.histograms(
                "scheduler_scheduling_attempt_duration_seconds",
                "Seconds of an attempt to schedule a pod, with its binding",
                of_attempt,
                bounds,
            ),
            algorithm: r.histogram(
                "scheduler_scheduling_algorithm_duration_seconds",
                "Seconds until nodes were found for a pod",
                bounds,
            ),
            points: r.histograms(
                "scheduler_framework_extension_point_duration_seconds",
                "Seconds of all plugins at one point",
                ["extension_point", "status", "profile"],
                &exponential(0.0001, 2.0, 12),
            ),
            plugins: r.histograms(
                "scheduler_plugin_execution_duration_seconds",
                "Seconds of one plugin at one point, of one pod in ten",
                ["plugin", "extension_point", "status"],
                &exponential(0.00001, 1.5, 20),
            ),
            active: pending.get(["active"]),
            backoff: pending.get(["backoff"]),
            unschedulable: pending.get(["unschedulable"]),
            gated: pending.get(["gated"]),
            incoming: r.counters(
                "scheduler_queue_incoming_pods_total",
                "Pods that came to where they wait, and by what",
                ["queue", "event"],
            ),
            refused_by: r.gauges(
                "scheduler_unschedulable_pods",
                "Pods that no node takes, for each plugin that keeps them from one",
                ["plugin", "profile"],
            ),
            preemptions: r.counter("scheduler_preemption_attempts_total", "Attempts to make room for a pod"),
            victims: r.histogram(
                "scheduler_preemption_victims",
                "Pods that had to go for another one",
                &exponential(1.0, 2.0, 7),
            ),
            attempts_of_pod: r.histogram(
                "scheduler_pod_scheduling_attempts",
                "Attempts until a pod was scheduled",
                &exponential(1.0, 2.0, 5),
            ),
            since_seen: r.histograms(
                "scheduler_pod_scheduling_sli_duration_seconds",
                "Seconds from when a pod was to be scheduled until it was, by attempts",
                ["attempts"],
                &exponential(0.01, 2.0, 20),
            ),
        }
    }

    /// All plugins of a profile did their work at one point: `Success`, `Unschedulable` or `Error`.
    pub fn ran(&self, point: &str, status: &str, profile: &str, since: Instant) {
        let took = since.elapsed().as_secs_f64();
        self.points.with([point, status, profile], |duration| duration.observe(took));
    }

    /// Runs a plugin at one point.
    pub fn plugin<T>(plugin: &str, point: &str, status: impl FnOnce(&T) -> &'static str, run: impl FnOnce() -> T) -> T {
        // What most pods cost is this.
        if !IS_SAMPLED.load(Ordering::Relaxed) {
            return run();
        }
        let began = std::time::Instant::now();
        let result = run();
        let took = began.elapsed().as_secs_f64();
        METRICS.plugins.with([plugin, point, status(&result)], |duration| duration.observe(took));
        result
    }

    /// Runs a plugin's filter.
    pub fn filter(plugin: &str, run: impl FnOnce() -> Verdict) -> Verdict {
        Metrics::plugin(plugin, "Filter", status, run)
    }

    /// An attempt ended: `scheduled`, `unschedulable` or `error`.
    pub fn attempted(&self, attempt: &Attempt, result: &str, profile: &str) {
        self.attempts.with([result, profile], Counter::inc);
        let took = attempt.began.elapsed().as_secs_f64();
        self.attempt_durations.with([result, profile], |duration| duration.observe(took));
        if result == "scheduled" {
            self.attempts_of_pod.observe(f64::from(attempt.number));
            let number = if attempt.number < 15 { SmolStr::from(attempt.number.to_string()) } else { "15+".into() };
            let took = attempt.since.elapsed().as_secs_f64();
            self.since_seen.with([&number], |duration| duration.observe(took));
        }
    }
}

/// Whether the times of plugins are taken of the pod that is decided on next, the `number`th.
pub(crate) fn sample(number: u64) {
    IS_SAMPLED.store(number % SAMPLED == 1, Ordering::Relaxed);
}

/// What upstream calls what a plugin says.
pub(crate) fn status<T>(said: &Result<T, crate::framework::Refusal>) -> &'static str {
    match said {
        Ok(_) => "Success",
        Err(refusal) if refusal.resolvable => "Unschedulable",
        Err(_) => "UnschedulableAndUnresolvable",
    }
}

/// One attempt to schedule a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// When it began.
    pub began: Instant,
    /// How many there were, with this one.
    pub number: u32,
    /// Since when the pod is to be scheduled.
    pub since: Instant,
}
