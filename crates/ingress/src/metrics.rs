//! What the ways in count. There is no upstream part whose names they could have.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use coracle_metrics::{Counter, Family, Gauge, Histogram, SHARED};

/// All of them.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// What is counted.
pub(crate) struct Metrics {
    pub requests: Arc<Family<Counter, 2>>,
    pub durations: Arc<Family<Histogram, 1>>,
    pub sent: Arc<Counter>,
    pub connections: Arc<Gauge>,
    pub refused: Arc<Counter>,
    pub handshakes: Arc<Counter>,
    pub retries: Arc<Counter>,
    pub reloads: Arc<Counter>,
}

impl Metrics {
    /// Has nothing shown of routes that are no more.
    pub fn forget_routes(&self, kept: &HashSet<String>) {
        for (labels, _) in self.requests.all() {
            if !labels[0].is_empty() && !kept.contains(labels[0].as_str()) {
                self.requests.forget([&labels[0], &labels[1]]);
            }
        }
        for (labels, _) in self.durations.all() {
            if !labels[0].is_empty() && !kept.contains(labels[0].as_str()) {
                self.durations.forget([&labels[0]]);
            }
        }
    }

    fn new() -> Metrics {
        let r = &SHARED;
        let bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
        Metrics {
            requests: r.counters(
                "coracle_ingress_requests_total",
                "Requests by the object whose route they took, and the status of the answer",
                ["route", "code"],
            ),
            durations: r.histograms(
                "coracle_ingress_request_duration_seconds",
                "Seconds from a request's head to the end of its answer",
                ["route"],
                &bounds,
            ),
            sent: r.counter("coracle_ingress_response_bytes_total", "Bytes of the bodies of answers"),
            connections: r.gauge("coracle_ingress_connections", "Connections of clients"),
            refused: r.counter(
                "coracle_ingress_connections_refused_total",
                "Connections that were closed at once, as they were too many or came by no service",
            ),
            handshakes: r.counter("coracle_ingress_tls_handshake_errors_total", "TLS handshakes that failed"),
            retries: r.counter(
                "coracle_ingress_backend_retries_total",
                "Tries of another endpoint after one to which no connection could be made",
            ),
            reloads: r.counter("coracle_ingress_reloads_total", "Tables of routes that took another's place"),
        }
    }
}
