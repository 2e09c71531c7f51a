//! Entries go to another server, many in one request.
//! <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#webhook-backend>

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::log::{Entry, Failing, Mode};
use crate::webhook_config;

/// Bytes of entries in one request, if it is not a single one that is longer.
const MAX_BYTES: usize = 10 << 20;
/// Requests under way at once.
const AT_ONCE: usize = 4;
/// How long one request may take, with all its repetitions.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Where entries are sent, and how many at once.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// A file in the form of a kubeconfig.
    pub file: PathBuf,
    /// How long to wait before a request that failed is repeated the first time.
    pub initial_backoff: Duration,
    /// The most entries in one request.
    pub max_size: usize,
    /// How long the first entry of a request waits for others, where no request waits for it.
    pub max_wait: Duration,
    /// How many requests are made in a second, and how many besides after a while without; as many as there are otherwise.
    pub throttle: Option<(f64, u32)>,
}

/// Sends what comes until nobody is left who could send more.
pub(super) async fn send(
    options: Webhook,
    webhook: webhook_config::Webhook,
    mode: Mode,
    mut entries: mpsc::Receiver<Entry>,
    failing: Arc<Failing>,
) {
    let (webhook, places) = (Arc::new(webhook), Arc::new(Semaphore::new(AT_ONCE)));
    let mut bucket = options.throttle.map(|(rate, burst)| Bucket::new(rate, burst));
    let waits = if mode == Mode::Batch { options.max_wait } else { Duration::ZERO };
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(entry) => Some(entry),
            None => entries.recv().await,
        };
        let Some(first) = first else { return };
        let together;
        (together, left) = gather(first, &mut entries, options.max_size, waits).await;
        if let Some(bucket) = &mut bucket {
            bucket.take().await;
        }
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (webhook, failing, backoff) = (webhook.clone(), failing.clone(), options.initial_backoff);
        tokio::spawn(async move {
            let sent = webhook.send(list(&together), backoff, TIMEOUT).await;
            if let Err(why) = &sent {
                failing.tell(together.len(), why);
            }
            together.into_iter().for_each(|entry| entry.done(sent.is_ok()));
            drop(place);
        });
    }
}

/// The first entry and those that come before its time is over; and one for the next request, that is too long for this one.
async fn gather(
    first: Entry,
    entries: &mut mpsc::Receiver<Entry>,
    most: usize,
    wait: Duration,
) -> (Vec<Entry>, Option<Entry>) {
    let end = Instant::now().checked_add(wait).unwrap_or_else(Instant::now);
    let mut bytes = first.line.len();
    let mut together = vec![first];
    while together.len() < most && bytes < MAX_BYTES {
        let next = match entries.try_recv() {
            Ok(next) => Some(next),
            Err(_) if wait.is_zero() => None,
            Err(_) => timeout_at(end, entries.recv()).await.ok().flatten(),
        };
        let Some(next) = next else { break };
        bytes = bytes.saturating_add(next.line.len());
        if bytes > MAX_BYTES {
            return (together, Some(next));
        }
        together.push(next);
    }
    (together, None)
}

/// The list that a request has. Each entry is a line of JSON.
fn list(entries: &[Entry]) -> Bytes {
    let mut out = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#.to_vec();
    for (number, entry) in entries.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(entry.line.trim_ascii_end());
    }
    out.extend_from_slice(b"]}");
    out.into()
}

/// Lets through so many in a second, and after a while without some more.
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: f64, burst: u32) -> Bucket {
        let burst = f64::from(burst.max(1));
        Bucket { rate: rate.max(0.001), burst, tokens: burst, at: Instant::now() }
    }

    async fn take(&mut self) {
        let now = Instant::now();
        self.tokens = (self.tokens + now.duration_since(self.at).as_secs_f64() * self.rate).min(self.burst);
        self.at = now;
        self.tokens -= 1.0;
        if self.tokens < 0.0 {
            let wait = Duration::try_from_secs_f64(-self.tokens / self.rate).unwrap_or(Duration::from_secs(1000));
            sleep_until(now.checked_add(wait).unwrap_or(now)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn entry(line: &str) -> Entry {
        Entry::of(format!("{line}\n").into_bytes())
    }

    #[tokio::test]
    async fn entries_go_together_as_many_as_may_and_no_longer_than_the_first_waits() {
        let (sender, mut entries) = mpsc::channel(10);
        for number in 0..5 {
            sender.try_send(entry(&json!({"n": number}).to_string())).ok();
        }
        let wait = Duration::from_millis(50);
        let first = entries.recv().await.unwrap();
        let (together, _) = gather(first, &mut entries, 3, wait).await;
        assert_eq!(together.len(), 3);
        let sent: Value = serde_json::from_slice(&list(&together)).unwrap();
        assert_eq!(sent["items"], json!([{"n": 0}, {"n": 1}, {"n": 2}]));
        let first = entries.recv().await.unwrap();
        let begun = Instant::now();
        let (together, _) = gather(first, &mut entries, 3, wait).await;
        assert!(together.len() == 2 && begun.elapsed() >= wait);
        sender.try_send(entry("{}")).ok();
        let first = entries.recv().await.unwrap();
        assert_eq!(gather(first, &mut entries, 3, Duration::ZERO).await.0.len(), 1);
    }

    #[tokio::test]
    async fn what_is_too_long_for_a_request_goes_with_the_next() {
        let (sender, mut entries) = mpsc::channel(10);
        let long = "x".repeat(MAX_BYTES / 2 - 1);
        for line in ["{}", &long, &long] {
            sender.try_send(entry(line)).ok();
        }
        let first = entries.recv().await.unwrap();
        let (together, left) = gather(first, &mut entries, 9, Duration::ZERO).await;
        assert_eq!(together.len(), 2);
        let (together, left) = gather(left.unwrap(), &mut entries, 9, Duration::ZERO).await;
        assert!(together.len() == 1 && left.is_none());
        sender.try_send(entry(&"x".repeat(MAX_BYTES + 1))).ok();
        let first = entries.recv().await.unwrap();
        assert_eq!(gather(first, &mut entries, 9, Duration::ZERO).await.0.len(), 1);
    }

    #[tokio::test]
    async fn no_more_requests_are_made_than_may_be() {
        let mut bucket = Bucket::new(1000.0, 5);
        let begun = Instant::now();
        for _ in 0..55 {
            bucket.take().await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(49));
    }
}
