//! What the kubelet counts of its own work, under upstream's names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::probe::metrics::ProbeMetrics;
use coracle_metrics::{Counter, Family, Histogram, Page, REST, Registry};
use http::{Method, StatusCode};
use parking_lot::Mutex;

/// The one server that the kubelet asks.
const SERVER: &str = "kubernetes.default.svc";

/// From half a millisecond to 30 seconds.
const QUICK: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// As upstream has it for the start of pods.
const SLOW: [f64; 28] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0,
    360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];

/// As upstream has it for volumes.
const STORAGE: [f64; 13] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0];

/// Counts and durations.
pub(crate) struct Metrics {
    registry: Registry,
    evictions: Mutex<BTreeMap<&'static str, u64>>,
    pod_start: Arc<Histogram>,
    pod_worker: Arc<Family<Histogram, 1>>,
    runtime: Arc<Family<Histogram, 1>>,
    runtime_calls: Arc<Family<Counter, 1>>,
    runtime_errors: Arc<Family<Counter, 1>>,
    relist: Arc<Histogram>,
    started_pods: Arc<Counter>,
    started_containers: Arc<Family<Counter, 1>>,
    start_errors: Arc<Family<Counter, 1>>,
    storage: Arc<Family<Histogram, 4>>,
    requested_resizes: Arc<Family<Counter, 3>>,
    infeasible_resizes: Arc<Family<Counter, 1>>,
    deferred_accepted_resizes: Arc<Family<Counter, 1>>,
    requests: Arc<Family<Counter, 3>>,
    request_durations: Arc<Family<Histogram, 2>>,
    health_checks: Counter,
    /// Told on a page of their own.
    pub(crate) probes: ProbeMetrics,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let r = Registry::new();
        let start = "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run";
        let worker = "Duration in seconds to sync a single pod, by operation type";
        let runtime = "Duration in seconds of runtime operations, by operation type";
        let calls = "Number of runtime operations, by operation type";
        let errors = "Number of runtime operations that failed, by operation type";
        let relist = "Duration in seconds of listing what the runtime has of a pod";
        let containers = "Number of containers started, or tried to start";
        let failures = "Number of containers that could not be started";
        let requests = "Number of HTTP requests, partitioned by status code, method, and host";
        let durations = "Request latency in seconds, broken down by verb and host";
        let (operation, container) = (["operation_type"], ["container_type"]);
        let storage = ["migrated", "operation_name", "status", "volume_plugin"];
        Metrics {
            evictions: Mutex::default(),
            pod_start: r.histogram("kubelet_pod_start_duration_seconds", start, &SLOW),
            pod_worker: r.histograms("kubelet_pod_worker_duration_seconds", worker, operation, &QUICK),
            runtime: r.histograms("kubelet_runtime_operations_duration_seconds", runtime, operation, &QUICK),
            runtime_calls: r.counters("kubelet_runtime_operations_total", calls, operation),
            runtime_errors: r.counters("kubelet_runtime_operations_errors_total", errors, operation),
            relist: r.histogram("kubelet_pleg_relist_duration_seconds", relist, &QUICK),
            started_pods: r.counter("kubelet_started_pods_total", "Number of pods started"),
            started_containers: r.counters("kubelet_started_containers_total", containers, container),
            start_errors: r.counters("kubelet_started_containers_errors_total", failures, container),
            storage: r.histograms(
                "storage_operation_duration_seconds",
                "Storage operation duration",
                storage,
                &STORAGE,
            ),
            requested_resizes: r.counters(
                "kubelet_container_requested_resizes_total",
                "Number of requested resizes, counted at the container level",
                ["operation", "requirement", "resource"],
            ),
            infeasible_resizes: r.counters(
                "kubelet_pod_infeasible_resizes_total",
                "Number of infeasible resizes for pods",
                ["reason_detail"],
            ),
            deferred_accepted_resizes: r.counters(
                "kubelet_pod_deferred_accepted_resizes_total",
                "Number of resizes that were accepted after they were deferred",
                ["retry_trigger"],
            ),
            requests: r.counters("rest_client_requests_total", requests, ["code", "host", "method"]),
            request_durations: r.histograms("rest_client_request_duration_seconds", durations, ["host", "verb"], &REST),
            health_checks: Counter::default(),
            probes: ProbeMetrics::default(),
            registry: r,
        }
    }
}

impl Metrics {
    /// A pod was evicted for want of what a signal tells of.
    pub(crate) fn evicted(&self, signal: &'static str) {
        let mut evictions = self.evictions.lock();
        let count = evictions.entry(signal).or_default();
        *count = count.saturating_add(1);
    }

    /// A pod's first container runs, so long after the kubelet saw it.
    pub(crate) fn pod_started(&self, after: Duration) {
        self.started_pods.inc();
        self.pod_start.observe(after.as_secs_f64());
    }

    /// A container was started, or could not be.
    pub(crate) fn container_started(&self, container_type: &'static str, failed: bool) {
        self.started_containers.with([container_type], Counter::inc);
        if failed {
            self.start_errors.with([container_type], Counter::inc);
        }
    }

    /// A sync of a pod took so long, with all that it began: `create`, `update`, `sync`, `kill` or `terminated`.
    pub(crate) fn worked(&self, operation_type: &'static str, since: Instant) {
        self.pod_worker.with([operation_type], |duration| duration.observe_since(since));
    }

    /// All of a pod was listed.
    pub(crate) fn relisted(&self, since: Instant) {
        self.relist.observe_since(since);
    }

    /// The runtime was called.
    pub(crate) fn called(&self, operation_type: &'static str, since: Instant, failed: bool) {
        self.runtime_calls.with([operation_type], Counter::inc);
        self.runtime.with([operation_type], |duration| duration.observe_since(since));
        if failed {
            self.runtime_errors.with([operation_type], Counter::inc);
        }
    }

    /// A volume was mounted or unmounted, or could not be.
    pub(crate) fn stored(&self, operation_name: &'static str, plugin: &str, since: Instant, failed: bool) {
        let status = if failed { "fail-unknown" } else { "success" };
        let volume_plugin = format!("kubernetes.io/{plugin}");
        let labels = ["false", operation_name, status, &volume_plugin];
        self.storage.with(labels, |duration| duration.observe_since(since));
    }

    /// A container is to have another amount of a resource: `add`, `remove`, `increase` or `decrease` of `requests` or `limits`.
    pub(crate) fn resize_requested(&self, operation: &'static str, requirement: &'static str, resource: &'static str) {
        self.requested_resizes.with([operation, requirement, resource], Counter::inc);
    }

    /// A pod asks for more than the node has.
    pub(crate) fn resize_infeasible(&self) {
        self.infeasible_resizes.with(["insufficient_node_allocatable"], Counter::inc);
    }

    /// A pod that waited is given what it asks for: something happened that made room.
    pub(crate) fn resize_accepted(&self, retry_trigger: &'static str) {
        self.deferred_accepted_resizes.with([retry_trigger], Counter::inc);
    }

    /// The API server answered, or did not.
    pub(crate) fn answered(&self, method: &Method, status: Option<StatusCode>, after: Duration) {
        let code = status.as_ref().map_or("<error>", StatusCode::as_str);
        self.requests.with([code, SERVER, method.as_str()], Counter::inc);
        self.request_durations.with([SERVER, method.as_str()], |duration| duration.observe(after.as_secs_f64()));
    }

    /// Somebody asked whether the kubelet is healthy, and was answered.
    pub(crate) fn health_checked(&self) {
        self.health_checks.inc();
    }

    /// How often somebody asked.
    pub(crate) fn health_checks(&self) -> u64 {
        self.health_checks.get()
    }

    /// Evictions by signal.
    pub(crate) fn evictions(&self) -> BTreeMap<&'static str, u64> {
        self.evictions.lock().clone()
    }

    /// Shows all but evictions, checks of health and probes.
    pub(crate) fn write(&self, page: &mut Page) {
        self.registry.write(page);
    }
}

/// Shared by who counts and who shows.
pub(crate) type Shared = Arc<Metrics>;
