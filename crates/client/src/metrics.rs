//! What clients, queues and elections tell of themselves, under upstream's names.

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use coracle_metrics::{Counter, Family, Gauge, Histogram, Page, REST, SHARED, exponential};
use http::{Method, StatusCode};
use parking_lot::Mutex;

/// Where requests go that leave the process not.
pub(crate) const IN_PROCESS: &str = "kubernetes.default.svc";

/// All of them.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Queues that there are, by name.
type Queues = Arc<Mutex<Vec<(&'static str, Weak<dyn Queue>)>>>;

/// What is counted of requests, queues and elections.
pub(crate) struct Metrics {
    requests: Arc<Family<Counter, 3>>,
    durations: Arc<Family<Histogram, 2>>,
    pub leading: Arc<Family<Gauge, 1>>,
    adds: Arc<Family<Counter, 1>>,
    retries: Arc<Family<Counter, 1>>,
    waited: Arc<Family<Histogram, 1>>,
    worked: Arc<Family<Histogram, 1>>,
    queues: Queues,
}

impl Metrics {
    fn new() -> Metrics {
        let r = &SHARED;
        let (requests, durations) =
            ("Requests by status code, method and host", "Seconds until requests were answered");
        let leading = "Whether this process holds a lease: 1 if it does";
        // From ten nanoseconds to ten seconds.
        let bounds = exponential(1e-8, 10.0, 10);
        let queues = Queues::default();
        let shown = queues.clone();
        let metrics = Metrics {
            requests: r.counters("rest_client_requests_total", requests, ["code", "method", "host"]),
            durations: r.histograms("rest_client_request_duration_seconds", durations, ["verb", "host"], &REST),
            leading: r.gauges("leader_election_master_status", leading, ["name"]),
            adds: r.counters("workqueue_adds_total", "Keys that were added to a queue", ["name"]),
            retries: r.counters("workqueue_retries_total", "Keys that were added again with backoff", ["name"]),
            waited: r.histograms(
                "workqueue_queue_duration_seconds",
                "Seconds that a key waits until somebody works on it",
                ["name"],
                &bounds,
            ),
            worked: r.histograms(
                "workqueue_work_duration_seconds",
                "Seconds that somebody works on a key",
                ["name"],
                &bounds,
            ),
            queues,
        };
        r.show(move |page| show(&shown, page));
        metrics
    }

    /// The API server answered, or did not.
    pub fn answered(&self, method: &Method, host: &str, status: Option<StatusCode>, after: Duration) {
        let code = status.as_ref().map_or("<error>", StatusCode::as_str);
        self.requests.with([code, method.as_str(), host], Counter::inc);
        self.durations.with([method.as_str(), host], |duration| duration.observe(after.as_secs_f64()));
    }

    /// What a queue of this name counts. How it is now is shown until it is dropped.
    pub fn of_queue(&self, name: &'static str, queue: Weak<dyn Queue>) -> QueueMetrics {
        let mut queues = self.queues.lock();
        queues.retain(|(_, queue)| queue.strong_count() > 0);
        queues.push((name, queue));
        QueueMetrics {
            adds: self.adds.get([name]),
            retries: self.retries.get([name]),
            waited: self.waited.get([name]),
            worked: self.worked.get([name]),
        }
    }
}

/// A queue as it is now.
pub(crate) trait Queue: Send + Sync {
    /// How many keys wait, and how long somebody works already on each of those that are worked on.
    fn now(&self) -> (usize, Vec<Duration>);
}

/// What one queue counts; those of one name count together.
#[derive(Clone)]
pub(crate) struct QueueMetrics {
    pub adds: Arc<Counter>,
    pub retries: Arc<Counter>,
    pub waited: Arc<Histogram>,
    pub worked: Arc<Histogram>,
}

fn show(queues: &Queues, page: &mut Page) {
    let queues = queues.lock();
    let mut all: std::collections::BTreeMap<&str, (usize, Duration, Duration)> = Default::default();
    for (name, queue) in queues.iter().filter_map(|(name, queue)| Some((name, queue.upgrade()?))) {
        let (waiting, working) = queue.now();
        let (depth, unfinished, longest) = all.entry(name).or_default();
        *depth = depth.saturating_add(waiting);
        *unfinished = working.iter().fold(*unfinished, |sum, one| sum.saturating_add(*one));
        *longest = working.into_iter().fold(*longest, Duration::max);
    }
    page.family("workqueue_depth", "gauge", "Keys that wait");
    all.iter().for_each(|(name, (depth, ..))| page.sample("workqueue_depth", &[("name", name)], depth));
    let of = "workqueue_unfinished_work_seconds";
    page.family(of, "gauge", "Seconds of work on the keys that are worked on now");
    all.iter().for_each(|(name, (_, unfinished, _))| page.sample(of, &[("name", name)], unfinished.as_secs_f64()));
    let of = "workqueue_longest_running_processor_seconds";
    page.family(of, "gauge", "Seconds of work on the key that is worked on longest now");
    all.iter().for_each(|(name, (.., longest))| page.sample(of, &[("name", name)], longest.as_secs_f64()));
}
