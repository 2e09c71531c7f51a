//! Events, recorded as client-go's recorder does: repeated ones are counted, similar ones are combined, and an
//! object that floods is held back.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use smallvec::SmallVec;
use tokio::sync::mpsc;

use crate::Backoff;
use crate::patch::is_not_found;

/// Events that wait to be written; beyond it new ones are dropped.
const QUEUE_LENGTH: usize = 1000;
/// Objects and events the correlator remembers.
const CACHE_SIZE: usize = 4096;
/// This many similar events within the interval are combined into one.
const COMBINE_AFTER: usize = 10;
const COMBINE_INTERVAL: Duration = Duration::from_secs(600);
/// An object may send this many at once, then one every five minutes.
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Information.
    Normal,
    /// Something went wrong.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// A reference to an object, as an event's `involvedObject`.
pub fn object_reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// One occurrence, before it is correlated with others.
struct Occurrence {
    source: EventSource,
    object: ObjectReference,
    kind: EventType,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Records events without waiting for the API server. Cheap to clone.
#[derive(Clone)]
pub struct EventRecorder {
    source: EventSource,
    queue: mpsc::Sender<Occurrence>,
    /// How many were not written.
    dropped: Arc<AtomicU64>,
}

impl EventRecorder {
    /// A recorder for a component (`kubelet`) on a host; empty for components that belong to no node. Needs a
    /// tokio runtime.
    pub fn new(client: Client, component: &str, host: &str) -> EventRecorder {
        let (queue, receiver) = mpsc::channel(QUEUE_LENGTH);
        let source = EventSource {
            component: Some(component.to_owned()),
            host: Some(host.to_owned()).filter(|host| !host.is_empty()),
        };
        tokio::spawn(write_all(client, receiver));
        EventRecorder { source, queue, dropped: Arc::default() }
    }

    /// The same for the component on another host: what it records is written by the same task.
    pub fn on_host(&self, host: &str) -> EventRecorder {
        let mut recorder = self.clone();
        recorder.source.host = Some(host.to_owned());
        recorder
    }

    /// Records an event about an object.
    pub fn event<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.record(object_reference(object), kind, reason, message);
    }

    /// Records an event about what a reference names; `fieldPath` in it names a part of the object.
    pub fn record(&self, object: ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        let mut message: String = message.into();
        // The API refuses longer messages.
        if message.len() > 1024 {
            let end = (0..=1020).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
            message.truncate(end);
            message.push_str("...");
        }
        let source = self.source.clone();
        let occurrence = Occurrence { source, object, kind, reason: reason.to_owned(), message, at: Timestamp::now() };
        if let Err(error) = self.queue.try_send(occurrence) {
            // Who records more than can be written does not fill the log as well.
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            if dropped.is_power_of_two() {
                tracing::warn!(reason, dropped, "an event is dropped: {error}");
            }
        }
    }
}

async fn write_all(client: Client, mut receiver: mpsc::Receiver<Occurrence>) {
    let mut correlator = Correlator::default();
    while let Some(occurrence) = receiver.recv().await {
        let Some(correlated) = correlator.correlate(&occurrence, Instant::now()) else { continue };
        write(&client, &mut correlator, occurrence, correlated).await;
    }
}

async fn write(client: &Client, correlator: &mut Correlator, occurrence: Occurrence, correlated: Correlated) {
    let namespace = occurrence.object.namespace.clone().filter(|ns| !ns.is_empty()).unwrap_or_else(|| "default".into());
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let mut known = correlated.known;
    for _ in 0..12 {
        let written = match &known {
            Some(record) => {
                let patch = serde_json::json!({
                    "count": record.count + 1,
                    "lastTimestamp": Time(occurrence.at),
                    "message": correlated.message,
                });
                api.patch(&record.name(&occurrence), &PatchParams::default(), &Patch::Strategic(patch))
                    .await
                    .map(|_| Record { first: record.first, count: record.count + 1 })
            }
            None => {
                let record = Record { first: occurrence.at.as_nanosecond(), count: 1 };
                let event = event(&namespace, &occurrence, record.name(&occurrence), &correlated.message);
                api.create(&PostParams::default(), &event).await.map(|_| record)
            }
        };
        match written {
            Ok(record) => {
                correlator.written(correlated.key, record);
                return;
            }
            // It expired; it begins again.
            Err(error) if known.is_some() && is_not_found(&error) => known = None,
            Err(kube::Error::Api(status)) => {
                tracing::debug!(reason = occurrence.reason, "the server refused an event: {}", status.message);
                return;
            }
            Err(error) => {
                tracing::debug!(reason = occurrence.reason, %error, "failed to write an event, trying again");
                backoff.sleep().await;
            }
        }
    }
}

fn event(namespace: &str, occurrence: &Occurrence, name: String, message: &str) -> Event {
    let now = Time(occurrence.at);
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..Default::default() },
        involved_object: occurrence.object.clone(),
        reason: Some(occurrence.reason.clone()),
        message: Some(message.to_owned()),
        type_: Some(occurrence.kind.as_str().to_owned()),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        source: Some(occurrence.source.clone()),
        reporting_component: occurrence.source.component.clone(),
        reporting_instance: occurrence.source.host.clone().or(Some(String::new())),
        ..Default::default()
    }
}

/// The event in the API to which further occurrences are counted. Thousands are remembered among what comes and goes, where
/// a piece of memory of their own would each keep a page: so they have none.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Record {
    /// Nanoseconds since 1970 of the first occurrence, of which its name is made.
    first: i128,
    count: i32,
}

impl Record {
    /// The event's name; an occurrence of the same object tells the object's.
    fn name(&self, occurrence: &Occurrence) -> String {
        format!("{}.{:x}", occurrence.object.name.as_deref().unwrap_or_default(), self.first)
    }
}

struct Correlated {
    key: u64,
    message: String,
    known: Option<Record>,
}

struct Similar {
    /// Hashes of them, up to [`COMBINE_AFTER`]; most have one.
    messages: SmallVec<[u64; 2]>,
    since: Instant,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Decides which occurrences are written, and as what.
#[derive(Default)]
struct Correlator {
    /// What is remembered of thousands of events is found by hashes of their texts.
    seed: RandomState,
    records: Bounded<Record>,
    similar: Bounded<Similar>,
    buckets: Bounded<Bucket>,
}

impl Correlator {
    /// `None` when the object sends too much.
    fn correlate(&mut self, occurrence: &Occurrence, now: Instant) -> Option<Correlated> {
        let object = &occurrence.object;
        let about = self.hash(&(
            (&object.kind, &object.namespace, &object.name),
            (&object.uid, &object.api_version, &object.field_path),
        ));
        let similar_key = self.hash(&(about, occurrence.kind.as_str(), &occurrence.reason));
        let message_key = self.hash(&(similar_key, &occurrence.message));
        let similar = self.similar.entry(similar_key, || Similar { messages: SmallVec::new(), since: now });
        if now.duration_since(similar.since) > COMBINE_INTERVAL {
            similar.messages.clear();
        }
        similar.since = now;
        if similar.messages.len() < COMBINE_AFTER && !similar.messages.contains(&message_key) {
            similar.messages.push(message_key);
        }
        let combined = similar.messages.len() >= COMBINE_AFTER;
        let (key, message) = if combined {
            (similar_key, format!("(combined from similar events): {}", occurrence.message))
        } else {
            (message_key, occurrence.message.clone())
        };
        let bucket = self.buckets.entry(about, || Bucket { tokens: BURST, at: now });
        bucket.tokens = (bucket.tokens + now.duration_since(bucket.at).as_secs_f64() * REFILL_PER_SECOND).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return None;
        }
        bucket.tokens -= 1.0;
        let known = self.records.get(key).copied();
        Some(Correlated { key, message, known })
    }

    fn hash(&self, what: &impl Hash) -> u64 {
        self.seed.hash_one(what)
    }

    fn written(&mut self, key: u64, record: Record) {
        *self.records.entry(key, || record) = record;
    }
}

/// A map that forgets its oldest entries.
struct Bounded<V> {
    entries: HashMap<u64, V>,
    order: VecDeque<u64>,
}

impl<V> Default for Bounded<V> {
    fn default() -> Self {
        Bounded { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V> Bounded<V> {
    fn get(&self, key: u64) -> Option<&V> {
        self.entries.get(&key)
    }

    fn entry(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(&key) {
            if self.entries.len() >= CACHE_SIZE
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(key);
        }
        self.entries.entry(key).or_insert_with(make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(message: &str) -> Occurrence {
        let object = ObjectReference { name: Some("web".into()), ..Default::default() };
        Occurrence {
            source: EventSource::default(),
            object,
            kind: EventType::Warning,
            reason: "BackOff".into(),
            message: message.into(),
            at: Timestamp::now(),
        }
    }

    #[test]
    fn a_repeated_event_is_counted() {
        let mut correlator = Correlator::default();
        let now = Instant::now();
        let first = correlator.correlate(&occurrence("x"), now).unwrap();
        assert!(first.known.is_none());
        let record = Record { first: 31, count: 1 };
        correlator.written(first.key, record);
        let again = occurrence("x");
        assert_eq!(correlator.correlate(&again, now).unwrap().known, Some(record));
        assert_eq!(record.name(&again), "web.1f");
    }

    #[test]
    fn many_similar_events_are_combined_and_a_flood_is_cut() {
        let mut correlator = Correlator::default();
        let now = Instant::now();
        let written: Vec<_> = (0..40).filter_map(|n| correlator.correlate(&occurrence(&n.to_string()), now)).collect();
        assert_eq!(written.len(), 25);
        assert!(!written[8].message.starts_with("(combined"));
        assert!(written[9].message.starts_with("(combined from similar events): "));
        assert!(correlator.correlate(&occurrence("later"), now + Duration::from_secs(301)).is_some());
    }
}
