//! What the kubelet counts of its own work, under upstream's names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::probe::metrics::ProbeMetrics;

/// What a call to the runtime, or a step of a pod's worker, is called.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Operation {
    operation_type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ContainerType {
    container_type: &'static str,
}

/// What a request to the API server was, and what came of it.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClientRequest {
    code: String,
    host: &'static str,
    method: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClientVerb {
    host: &'static str,
    verb: String,
}

/// What was done with a volume, and what came of it.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StorageOperation {
    migrated: &'static str,
    operation_name: &'static str,
    status: &'static str,
    volume_plugin: String,
}

/// The one server that the kubelet asks.
const SERVER: &str = "kubernetes.default.svc";

type Durations = Family<Operation, Histogram, fn() -> Histogram>;

/// From half a millisecond to 32 seconds.
fn quick() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

/// As upstream has it for the start of pods.
fn slow() -> Histogram {
    Histogram::new([
        0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0,
        300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
    ])
}

/// Counts and durations.
pub(crate) struct Metrics {
    evictions: Mutex<BTreeMap<&'static str, u64>>,
    pod_start: Histogram,
    pod_worker: Durations,
    runtime: Durations,
    runtime_calls: Family<Operation, Counter>,
    runtime_errors: Family<Operation, Counter>,
    relist: Histogram,
    started_pods: Counter,
    started_containers: Family<ContainerType, Counter>,
    start_errors: Family<ContainerType, Counter>,
    storage: Family<StorageOperation, Histogram, fn() -> Histogram>,
    requests: Family<ClientRequest, Counter>,
    request_durations: Family<ClientVerb, Histogram, fn() -> Histogram>,
    health_checks: Counter,
    /// Told on a page of their own.
    pub(crate) probes: ProbeMetrics,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            evictions: Mutex::default(),
            pod_start: slow(),
            pod_worker: Family::new_with_constructor(quick),
            runtime: Family::new_with_constructor(quick),
            runtime_calls: Family::default(),
            runtime_errors: Family::default(),
            relist: quick(),
            started_pods: Counter::default(),
            started_containers: Family::default(),
            start_errors: Family::default(),
            storage: Family::new_with_constructor(quick),
            requests: Family::default(),
            request_durations: Family::new_with_constructor(quick),
            health_checks: Counter::default(),
            probes: ProbeMetrics::default(),
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
        let label = ContainerType { container_type };
        self.started_containers.get_or_create(&label).inc();
        if failed {
            self.start_errors.get_or_create(&label).inc();
        }
    }

    /// A sync of a pod took so long, with all that it began: `create`, `update`, `sync`, `kill` or `terminated`.
    pub(crate) fn worked(&self, operation_type: &'static str, since: Instant) {
        self.pod_worker.get_or_create(&Operation { operation_type }).observe(since.elapsed().as_secs_f64());
    }

    /// All of a pod was listed.
    pub(crate) fn relisted(&self, since: Instant) {
        self.relist.observe(since.elapsed().as_secs_f64());
    }

    /// The runtime was called.
    pub(crate) fn called(&self, operation_type: &'static str, since: Instant, failed: bool) {
        let label = Operation { operation_type };
        self.runtime_calls.get_or_create(&label).inc();
        self.runtime.get_or_create(&label).observe(since.elapsed().as_secs_f64());
        if failed {
            self.runtime_errors.get_or_create(&label).inc();
        }
    }

    /// A volume was mounted or unmounted, or could not be.
    pub(crate) fn stored(&self, operation_name: &'static str, plugin: &str, since: Instant, failed: bool) {
        let status = if failed { "fail-unknown" } else { "success" };
        let volume_plugin = format!("kubernetes.io/{plugin}");
        let label = StorageOperation { migrated: "false", operation_name, status, volume_plugin };
        self.storage.get_or_create(&label).observe(since.elapsed().as_secs_f64());
    }

    /// The API server answered, or did not.
    pub(crate) fn answered(&self, method: &Method, status: Option<StatusCode>, after: Duration) {
        let code = status.map_or_else(|| "<error>".to_owned(), |status| status.as_str().to_owned());
        self.requests.get_or_create(&ClientRequest { code, host: SERVER, method: method.to_string() }).inc();
        let label = ClientVerb { host: SERVER, verb: method.to_string() };
        self.request_durations.get_or_create(&label).observe(after.as_secs_f64());
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

    /// All but evictions, checks of health and probes, as text.
    pub(crate) fn text(&self) -> String {
        let mut registry = Registry::default();
        let start = "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run";
        registry.register("kubelet_pod_start_duration_seconds", start, self.pod_start.clone());
        let worker = "Duration in seconds to sync a single pod, by operation type";
        registry.register("kubelet_pod_worker_duration_seconds", worker, self.pod_worker.clone());
        let runtime = "Duration in seconds of runtime operations, by operation type";
        registry.register("kubelet_runtime_operations_duration_seconds", runtime, self.runtime.clone());
        let calls = "Number of runtime operations, by operation type";
        registry.register("kubelet_runtime_operations", calls, self.runtime_calls.clone());
        let errors = "Number of runtime operations that failed, by operation type";
        registry.register("kubelet_runtime_operations_errors", errors, self.runtime_errors.clone());
        let relist = "Duration in seconds of listing what the runtime has of a pod";
        registry.register("kubelet_pleg_relist_duration_seconds", relist, self.relist.clone());
        registry.register("kubelet_started_pods", "Number of pods started", self.started_pods.clone());
        let containers = "Number of containers started, or tried to start";
        registry.register("kubelet_started_containers", containers, self.started_containers.clone());
        let failures = "Number of containers that could not be started";
        registry.register("kubelet_started_containers_errors", failures, self.start_errors.clone());
        registry.register("storage_operation_duration_seconds", "Storage operation duration", self.storage.clone());
        let requests = "Number of HTTP requests, partitioned by status code, method, and host";
        registry.register("rest_client_requests", requests, self.requests.clone());
        let durations = "Request latency in seconds, broken down by verb and host";
        registry.register("rest_client_request_duration_seconds", durations, self.request_durations.clone());
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &registry);
        text.trim_end_matches("# EOF\n").to_owned()
    }
}

/// Shared by who counts and who shows.
pub(crate) type Shared = Arc<Metrics>;
