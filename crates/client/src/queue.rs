//! The controllers' work queue.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backoff::exponential;
use crate::metrics::{self, METRICS, QueueMetrics};
use crate::time::from_now;

/// First delay after a failure, as in client-go.
const BASE_DELAY: Duration = Duration::from_millis(5);
/// Longest delay after a failure.
const MAX_DELAY: Duration = Duration::from_secs(1000);

struct State<K> {
    ready: VecDeque<K>,
    /// Waits to be worked on, in `ready` or again after the current run; since when, if anybody counts.
    dirty: HashMap<K, Option<Instant>>,
    /// The same of who works on it.
    processing: HashMap<K, Option<Instant>>,
    /// When a delayed key is due; the heap may hold later duplicates, which are then ignored.
    due: HashMap<K, Instant>,
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    delayed_keys: HashMap<u64, K>,
    sequence: u64,
    failures: HashMap<K, u32>,
    closed: bool,
    metrics: Option<QueueMetrics>,
}

/// A queue of keys: a key waits at most once, and at most one worker has it at a time. A key added while it is
/// worked on is worked on again afterwards. Its size is bounded by the number of distinct keys. Cheap to clone.
pub struct WorkQueue<K>(Arc<(Mutex<State<K>>, Notify)>);

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        WorkQueue(self.0.clone())
    }
}

impl<K: Hash + Eq + Clone> Default for WorkQueue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Hash + Eq + Clone> WorkQueue<K> {
    /// An empty queue.
    pub fn new() -> WorkQueue<K> {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            processing: HashMap::new(),
            due: HashMap::new(),
            delayed: BinaryHeap::new(),
            delayed_keys: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            closed: false,
            metrics: None,
        };
        WorkQueue(Arc::new((Mutex::new(state), Notify::new())))
    }

    /// An empty queue of which the metrics tell under a name, which is upstream's.
    pub fn named(name: &'static str) -> WorkQueue<K>
    where
        K: Send + Sync + 'static,
    {
        let queue = WorkQueue::new();
        let shown: Arc<dyn metrics::Queue> = queue.0.clone();
        let counted = METRICS.of_queue(name, Arc::downgrade(&shown));
        queue.0.0.lock().metrics = Some(counted);
        queue
    }

    /// Adds a key to be worked on as soon as possible.
    pub fn add(&self, key: K) {
        self.0.0.lock().add(key);
        self.0.1.notify_one();
    }

    /// Adds a key once `delay` (at most a year) has passed; of several delays the earliest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.0.0.lock().add_at(key, from_now(delay));
        self.0.1.notify_one();
    }

    /// Adds a key after a delay that doubles with every call since [`WorkQueue::forget`]: 5 ms to 1000 s.
    pub fn add_rate_limited(&self, key: K) {
        let delay = {
            let mut state = self.0.0.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let delay = exponential(BASE_DELAY, MAX_DELAY, *failures);
            *failures = failures.saturating_add(1);
            state.metrics.iter().for_each(|metrics| metrics.retries.inc());
            delay
        };
        self.add_after(key, delay);
    }

    /// Ends the backoff of a key.
    pub fn forget(&self, key: &K) {
        self.0.0.lock().failures.remove(key);
    }

    /// How often [`WorkQueue::add_rate_limited`] was called for a key since it was forgotten.
    pub fn failures(&self, key: &K) -> u32 {
        self.0.0.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// How many keys wait to be worked on now.
    pub fn len(&self) -> usize {
        self.0.0.lock().ready.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for a key; `None` once the queue is closed and empty. Every key is given back with
    /// [`WorkQueue::done`].
    pub async fn get(&self) -> Option<K> {
        loop {
            let mut notified = std::pin::pin!(self.0.1.notified());
            notified.as_mut().enable();
            let next = {
                let mut state = self.0.0.lock();
                state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.begin(&key);
                    let more = !state.ready.is_empty();
                    drop(state);
                    // Several adds may have left one wake-up only.
                    if more {
                        self.0.1.notify_one();
                    }
                    return Some(key);
                }
                if state.closed {
                    self.0.1.notify_one();
                    return None;
                }
                state.delayed.peek().map(|Reverse((at, _))| *at)
            };
            match next {
                Some(at) => tokio::select! {
                    () = notified => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => notified.await,
            }
        }
    }

    /// Gives a key back after it was worked on.
    pub fn done(&self, key: &K) {
        let mut state = self.0.0.lock();
        let began = state.processing.remove(key).flatten();
        if let (Some(metrics), Some(began)) = (&state.metrics, began) {
            metrics.worked.observe(began.elapsed().as_secs_f64());
        }
        if state.dirty.contains_key(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.0.1.notify_one();
        } else if state.ready.is_empty() {
            state.shrink();
        }
    }

    /// Ends all workers once the keys that wait now are done.
    pub fn close(&self) {
        self.0.0.lock().closed = true;
        self.0.1.notify_one();
    }
}

impl<K: Hash + Eq + Clone> State<K> {
    fn add(&mut self, key: K) {
        if self.closed || self.dirty.contains_key(&key) {
            return;
        }
        self.metrics.iter().for_each(|metrics| metrics.adds.inc());
        self.dirty.insert(key.clone(), self.metrics.is_some().then(Instant::now));
        if !self.processing.contains_key(&key) {
            self.ready.push_back(key);
        }
    }

    /// Somebody works on a key from now on.
    fn begin(&mut self, key: &K) {
        let since = self.dirty.remove(key).flatten();
        if let (Some(metrics), Some(since)) = (&self.metrics, since) {
            metrics.waited.observe(since.elapsed().as_secs_f64());
        }
        self.processing.insert(key.clone(), self.metrics.is_some().then(Instant::now));
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if self.closed || self.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        self.due.insert(key.clone(), at);
        self.sequence += 1;
        self.delayed.push(Reverse((at, self.sequence)));
        self.delayed_keys.insert(self.sequence, key);
    }

    /// Gives the room back that a load has taken.
    fn shrink(&mut self) {
        shrink(&mut self.dirty);
        shrink(&mut self.processing);
        shrink(&mut self.due);
        shrink(&mut self.delayed_keys);
        shrink(&mut self.failures);
        if is_roomy(self.ready.capacity(), self.ready.len()) {
            self.ready.shrink_to(self.ready.len() * 2);
        }
        if is_roomy(self.delayed.capacity(), self.delayed.len()) {
            self.delayed.shrink_to(self.delayed.len() * 2);
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some(Reverse((at, sequence))) = self.delayed.peek().copied() {
            if at > now {
                return;
            }
            self.delayed.pop();
            let Some(key) = self.delayed_keys.remove(&sequence) else { continue };
            if self.due.get(&key) == Some(&at) {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }
}

/// Gives the room back that a map has kept for what is gone, if that is much.
pub fn shrink<K: Hash + Eq, V>(map: &mut HashMap<K, V>) {
    if is_roomy(map.capacity(), map.len()) {
        map.shrink_to(map.len() * 2);
    }
}

/// Whether something has much more room than it needs.
fn is_roomy(capacity: usize, len: usize) -> bool {
    capacity > 256 && len < capacity / 8
}

impl<K: Send + Sync> metrics::Queue for (Mutex<State<K>>, Notify) {
    fn now(&self) -> (usize, Vec<Duration>) {
        let state = self.0.lock();
        (state.ready.len(), state.processing.values().flatten().map(Instant::elapsed).collect())
    }
}

/// Works on a queue with `workers` tasks until it is closed. A `reconcile` that fails (or panics) is tried again
/// with backoff; one that returns `Some(delay)` is called again after it. A worker that dies is replaced, so that
/// no key can end the work on the others.
pub async fn run<K, F, Fut, E>(queue: WorkQueue<K>, workers: usize, reconcile: F)
where
    K: Hash + Eq + Clone + Debug + Send + Sync + 'static,
    F: Fn(K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<Duration>, E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    // Whatever fails, by its text, and in a box: who works on a queue is compiled once for all that have such keys.
    let reconcile: Reconcile<K> = Arc::new(move |key| {
        let reconciled = reconcile(key);
        Box::pin(async { reconciled.await.map_err(|error| error.to_string()) })
    });
    work_with(queue, workers, reconcile).await;
}

/// What is done about a key.
type Reconcile<K> = Arc<dyn Fn(K) -> BoxFuture<'static, Result<Option<Duration>, String>> + Send + Sync>;

async fn work_with<K>(queue: WorkQueue<K>, workers: usize, reconcile: Reconcile<K>)
where
    K: Hash + Eq + Clone + Debug + Send + Sync + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers.max(1) {
        tasks.spawn(work(queue.clone(), reconcile.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a worker of a queue died, another takes its place");
            tasks.spawn(work(queue.clone(), reconcile.clone()));
        }
    }
}

/// One worker; it ends when the queue is closed.
async fn work<K>(queue: WorkQueue<K>, reconcile: Reconcile<K>)
where
    K: Hash + Eq + Clone + Debug,
{
    while let Some(key) = queue.get().await {
        let held = Held { queue: &queue, key };
        let key = &held.key;
        match AssertUnwindSafe(async { reconcile(key.clone()).await }).catch_unwind().await {
            Ok(Ok(again)) => {
                queue.forget(key);
                if let Some(delay) = again {
                    queue.add_after(key.clone(), delay);
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(?key, %error, "reconciling failed, trying again");
                queue.add_rate_limited(key.clone());
            }
            Err(_) => {
                tracing::error!(?key, "reconciling panicked, trying again");
                queue.add_rate_limited(key.clone());
            }
        }
    }
}

/// A key that is worked on; it is given back however that ends.
struct Held<'a, K: Hash + Eq + Clone> {
    queue: &'a WorkQueue<K>,
    key: K,
}

impl<K: Hash + Eq + Clone> Drop for Held<'_, K> {
    fn drop(&mut self) {
        self.queue.done(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn the_room_of_a_load_is_given_back() {
        let queue = WorkQueue::new();
        let room = |queue: &WorkQueue<u32>| {
            let state = queue.0.0.lock();
            [state.ready.capacity(), state.dirty.capacity(), state.due.capacity(), state.delayed.capacity()]
        };
        (0..10_000).for_each(|key| queue.add(key));
        (0..10_000).for_each(|key| queue.add_after(key + 10_000, Duration::from_millis(1)));
        assert!(room(&queue).iter().all(|room| *room >= 10_000), "{:?}", room(&queue));
        tokio::time::sleep(Duration::from_millis(5)).await;
        for _ in 0..20_000 {
            let key = queue.get().await.unwrap();
            queue.done(&key);
        }
        assert!(room(&queue).iter().all(|room| *room <= 256), "{:?}", room(&queue));
    }

    #[tokio::test]
    async fn a_key_waits_once_and_is_worked_on_by_one_worker() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.get().await, Some("a"));
        queue.add("a");
        assert_eq!(queue.get().await, Some("b"));
        assert!(queue.is_empty(), "a is being worked on and must wait");
        queue.done(&"a");
        assert_eq!(queue.get().await, Some("a"));
    }

    #[tokio::test]
    async fn a_queue_with_a_name_is_told_of() {
        let queue = WorkQueue::named("told_of");
        let page = || {
            let mut page = coracle_metrics::Page::default();
            coracle_metrics::SHARED.write(&mut page);
            page.into_text()
        };
        let shows = |name: &str, value: &str| {
            let line = format!("\nworkqueue_{name}{{name=\"told_of\"}} {value}\n");
            assert!(page().contains(&line), "{line}{}", page());
        };
        queue.add(1);
        queue.add(1);
        queue.add(2);
        queue.add_rate_limited(3);
        shows("depth", "2");
        shows("adds_total", "2");
        shows("retries_total", "1");
        assert_eq!(queue.get().await, Some(1));
        shows("queue_duration_seconds_count", "1");
        shows("work_duration_seconds_count", "0");
        assert!(!page().contains("workqueue_unfinished_work_seconds{name=\"told_of\"} 0\n"));
        queue.done(&1);
        shows("work_duration_seconds_count", "1");
        shows("longest_running_processor_seconds", "0");
        drop(queue);
        assert!(!page().contains("workqueue_depth{name=\"told_of\"}"));
    }

    #[tokio::test]
    async fn a_delayed_key_comes_at_its_earliest_time() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(1000));
        queue.add_after("a", Duration::from_millis(20));
        queue.add_after("a", Duration::from_secs(500));
        assert_eq!(queue.get().await, Some("a"));
        assert!(start.elapsed() >= Duration::from_millis(20));
        queue.done(&"a");
        queue.0.0.lock().promote(start + Duration::from_secs(2000));
        assert!(queue.is_empty(), "the later times count no more");
    }

    #[tokio::test]
    async fn failures_and_panics_are_tried_again_with_backoff() {
        let queue = WorkQueue::new();
        let calls = Arc::new(AtomicUsize::new(0));
        queue.add(1);
        let (counted, closing) = (calls.clone(), queue.clone());
        run(queue, 3, move |_key| {
            let n = counted.fetch_add(1, Ordering::SeqCst);
            let closing = closing.clone();
            async move {
                match n {
                    0 => Err("failed"),
                    1 => panic!("a bug"),
                    2 => Ok(Some(Duration::from_millis(10))),
                    _ => {
                        closing.close();
                        Ok(None)
                    }
                }
            }
        })
        .await;
        assert_eq!(calls.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn a_delay_beyond_all_clocks_is_only_a_long_one() {
        let queue = WorkQueue::new();
        queue.add_after("a", Duration::MAX);
        queue.add("b");
        assert_eq!(queue.get().await, Some("b"));
        assert!(queue.is_empty());
    }

    /// A key of which no copy can be made while it is armed.
    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Key(u32);

    static ARMED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

    impl Clone for Key {
        fn clone(&self) -> Key {
            assert!(!ARMED.swap(false, Ordering::SeqCst), "armed");
            Key(self.0)
        }
    }

    #[tokio::test]
    async fn a_worker_that_dies_is_replaced_and_its_key_given_back() {
        let queue = WorkQueue::new();
        let calls = Arc::new(Mutex::new(Vec::new()));
        queue.add(Key(1));
        let (seen, again) = (calls.clone(), queue.clone());
        run(queue, 1, move |key: Key| {
            seen.lock().push(key.0);
            let again = again.clone();
            let count = seen.lock().len();
            async move {
                match count {
                    // The worker dies when it plans the next run of the key.
                    1 => {
                        again.add(Key(2));
                        ARMED.store(true, Ordering::SeqCst);
                        return Ok::<_, std::convert::Infallible>(Some(Duration::MAX));
                    }
                    2 => again.add(Key(1)),
                    _ => again.close(),
                }
                Ok(None)
            }
        })
        .await;
        assert_eq!(*calls.lock(), [1, 2, 1]);
    }
}
