//! What the API server counts of its own work, and the page that tells it, under upstream's names.
//! <https://kubernetes.io/docs/reference/instrumentation/metrics/>
//!
//! Servers of one process count together, as there is one of them in each that is not a test.

mod features;
mod page;
mod requests;
mod storage;
mod users;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use coracle_metrics::{API_SERVER, Counter, Family, Gauge, Histogram, Labels, Page, exponential};

pub use page::Pages;
pub(crate) use page::page;
pub(crate) use requests::{Answered, Asked, LongRunning, Requests};
pub(crate) use storage::of_store;
pub(crate) use users::username;

/// Seconds of most things that are waited for.
const DURATIONS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// The same without the shortest ones.
const OBJECTIVES: [f64; 21] =
    [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
const ADMISSION: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const WEBHOOKS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Half an hour to a year.
const CERTIFICATES: [f64; 14] = [
    0.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0, 172800.0, 345600.0, 604800.0, 2592000.0, 7776000.0,
    15552000.0, 31104000.0,
];

/// All of them.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// How often something was decided in one way, and how long that took.
pub(crate) struct Decided {
    count: Arc<Counter>,
    duration: Arc<Histogram>,
}

impl Decided {
    /// Once more.
    pub fn after(&self, took: Duration) {
        self.count.inc();
        self.duration.observe(took.as_secs_f64());
    }
}

/// What is counted of requests and of who is asked about them.
pub(crate) struct Metrics {
    pub requests: Requests,
    pub mutating: Arc<Gauge>,
    pub reading: Arc<Gauge>,
    pub watch_events: Arc<Family<Counter, 3>>,
    pub watch_event_sizes: Arc<Family<Histogram, 3>>,
    pub handshake_errors: Arc<Counter>,
    pub certificates: Arc<Histogram>,
    pub users: Arc<Family<Counter, 1>>,
    pub authenticated: Decided,
    pub not_authenticated: Decided,
    pub allowed: Decided,
    pub denied: Decided,
    pub no_opinion: Decided,
    pub plugins: Arc<Family<Histogram, 4>>,
    pub steps: Arc<Family<Histogram, 3>>,
    pub webhooks: Arc<Family<Histogram, 4>>,
    pub webhook_requests: Arc<Family<Counter, 5>>,
    pub webhook_rejections: Arc<Family<Counter, 5>>,
    pub webhooks_let_pass: Arc<Family<Counter, 2>>,
    pub store_calls: Arc<Family<Histogram, 3>>,
    pub store_requests: Arc<Family<Counter, 3>>,
    pub store_errors: Arc<Family<Counter, 3>>,
    pub unavailable: Arc<Family<Gauge, 1>>,
    pub became_unavailable: Arc<Family<Counter, 2>>,
}

impl Metrics {
    fn new() -> Metrics {
        let r = &API_SERVER;
        let in_flight = r.gauges(
            "apiserver_current_inflight_requests",
            "Requests that are being answered now, without those that last",
            ["request_kind"],
        );
        let attempts = "How often it was looked who makes a request, by what was found";
        let attempts = r.counters("authentication_attempts", attempts, ["result"]);
        let took = "Seconds until it was known who makes a request";
        let (name, bounds) = ("authentication_duration_seconds", &coracle_metrics::DOUBLING_FROM_A_MILLISECOND);
        let took = r.histograms(name, took, ["result"], bounds);
        let asked = "How often authorizers were asked, by what they said";
        let asked = r.counters("authorization_attempts_total", asked, ["result"]);
        let asking = "Seconds until authorizers had decided";
        let asking = r.histograms("authorization_duration_seconds", asking, ["result"], bounds);
        let authentication = |result| Decided { count: attempts.get([result]), duration: took.get([result]) };
        let authorization = |result| Decided { count: asked.get([result]), duration: asking.get([result]) };
        let of_call = ["operation", "group", "resource"];
        Metrics {
            requests: Requests::register(r),
            mutating: in_flight.get(["mutating"]),
            reading: in_flight.get(["readOnly"]),
            watch_events: r.counters(
                "apiserver_watch_events_total",
                "Events that watches were sent",
                ["group", "version", "resource"],
            ),
            watch_event_sizes: r.histograms(
                "apiserver_watch_events_sizes",
                "Bytes of the events that watches were sent",
                ["group", "version", "resource"],
                &exponential(1024.0, 2.0, 8),
            ),
            handshake_errors: r.counter("apiserver_tls_handshake_errors_total", "TLS handshakes that failed"),
            certificates: r.histogram(
                "apiserver_client_certificate_expiration_seconds",
                "How long certificates are still valid by which requests are authenticated",
                &CERTIFICATES,
            ),
            users: r.counters("authenticated_user_requests", "Requests by groups of users' names", ["username"]),
            authenticated: authentication("success"),
            not_authenticated: authentication("failure"),
            allowed: authorization("allowed"),
            denied: authorization("denied"),
            no_opinion: authorization("no-opinion"),
            plugins: r.histograms(
                "apiserver_admission_controller_admission_duration_seconds",
                "Seconds that a plugin of admission took",
                ["name", "operation", "rejected", "type"],
                &ADMISSION,
            ),
            steps: r.histograms(
                "apiserver_admission_step_admission_duration_seconds",
                "Seconds that all plugins of admission took",
                ["operation", "rejected", "type"],
                &ADMISSION,
            ),
            webhooks: r.histograms(
                "apiserver_admission_webhook_admission_duration_seconds",
                "Seconds that a webhook of admission took",
                ["name", "operation", "rejected", "type"],
                &WEBHOOKS,
            ),
            webhook_requests: r.counters(
                "apiserver_admission_webhook_request_total",
                "How often a webhook of admission was asked, by the code of what it said",
                ["name", "type", "operation", "code", "rejected"],
            ),
            webhook_rejections: r.counters(
                "apiserver_admission_webhook_rejection_count",
                "How often a webhook of admission refused something, or could not be asked",
                ["name", "type", "operation", "error_type", "rejection_code"],
            ),
            webhooks_let_pass: r.counters(
                "apiserver_admission_webhook_fail_open_count",
                "How often something passed as a webhook of admission that may fail could not be asked",
                ["name", "type"],
            ),
            store_calls: r.histograms(
                "etcd_request_duration_seconds",
                "Seconds that a call to the store took",
                of_call,
                &DURATIONS,
            ),
            store_requests: r.counters("etcd_requests_total", "Calls to the store", of_call),
            store_errors: r.counters("etcd_request_errors_total", "Calls to the store that failed", of_call),
            unavailable: r.gauges(
                "aggregator_unavailable_apiservice",
                "APIServices by whether the server behind them is unavailable",
                ["name"],
            ),
            became_unavailable: r.counters(
                "aggregator_unavailable_apiservice_total",
                "How often an APIService became unavailable, by the reason",
                ["name", "reason"],
            ),
        }
    }
}

/// Shows a number as one family with one sample.
fn number(page: &mut Page, name: &str, help: &str, labels: Labels<'_>, value: u64) {
    page.family(name, "gauge", help);
    page.sample(name, labels, value);
}
