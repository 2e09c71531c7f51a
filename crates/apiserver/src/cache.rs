//! The watch cache: per resource a persistent ordered map of objects and one ring of recent changes.
//!
//! What the store tells is the only writer. Reads take a snapshot of the map in constant time; a past
//! revision is the newest map with the ring's younger changes undone. Watchers hold nothing but a
//! revision and pull from the ring. What is in the ring longer than a client takes to come back is forgotten, so that
//! the memory of a load does not stay.

mod caches;
mod objects;
mod parts;
mod ring;

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use coracle_api::status::Status;
use coracle_api::{Kind, meta};
use coracle_store::{ByKey, Event, KeyValue, Revision};
use imbl::{OrdMap, OrdSet};
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::watch;

use crate::object::Object;
use crate::unreadable::{self, Unreadable};

use objects::Objects;
use parts::Parts;
use ring::Ring;

pub use caches::Caches;
pub use parts::{By, Follower, Part};
pub use ring::Change;

/// The most changes, and bytes of objects in them, that a ring keeps.
const RING_CHANGES: usize = 16_384;
const RING_BYTES: usize = 16 << 20;
/// How long changes are kept that are more than [`KEPT_BYTES`].
const FRESH: Duration = Duration::from_secs(40);
const KEPT_BYTES: usize = 256 << 10;
/// All objects of one resource.
pub struct Cache {
    pub kind: Arc<Kind>,
    state: RwLock<State>,
    changed: watch::Sender<()>,
    global: Arc<AtomicU64>,
    /// The kind is served no more.
    ended: AtomicBool,
}

/// A key's new value, or why it is no object; `None` when it was deleted.
type New = Result<Option<Object>, String>;

#[derive(Default)]
struct State {
    objects: Objects,
    /// Keys whose values are no objects. None of them is among the objects.
    unreadable: OrdMap<Arc<str>, Arc<Unreadable>>,
    ring: Ring,
    /// How many changes there were.
    received: u64,
    ring_bytes: usize,
    parts: Parts,
    /// The revision of the last change of this resource.
    last: Revision,
    /// Changes that wait until what was there before them has been read.
    waiting: Option<Vec<(Arc<str>, Revision, New)>>,
    /// What was there before was read at this revision: changes up to it are known.
    since: Revision,
    /// The cache that takes the place of this one, and is fed along with it meanwhile.
    next: Option<Arc<Cache>>,
}

impl State {
    /// One that knows nothing of what was before a revision.
    fn starting_at(revision: Revision) -> State {
        State { ring: Ring::starting_at(revision), last: revision, since: revision, ..State::default() }
    }

    fn apply(&mut self, kind: &Kind, key: &str, revision: Revision, now: New) {
        let seen = self.unreadable.remove(key).and_then(|unreadable| unreadable.before.clone());
        let now = match now {
            Ok(now) => now,
            Err(why) => return self.set_aside(key.into(), revision, why, seen),
        };
        let before = match &now {
            Some(object) => self.objects.insert(object.clone()),
            None => self.objects.remove(key),
        };
        let before = before.or(seen);
        let gone = match (&now, &before) {
            (None, Some(before)) => Some(before.at_revision(revision)),
            _ => None,
        };
        let change = Arc::new(Change { revision, now, before, gone, at: Instant::now() });
        self.last = revision;
        self.received = self.received.wrapping_add(1);
        self.ring_bytes += change.size();
        self.parts.push(kind, &change);
        self.ring.changes.push_back(change);
        while self.ring.changes.len() > RING_CHANGES || self.ring_bytes > RING_BYTES {
            self.forget_oldest(kind);
        }
    }

    /// Takes over a value that was there when the cache began.
    fn begin_with(&mut self, key: &str, revision: Revision, object: Result<Object, String>) {
        match object {
            Ok(object) => drop(self.objects.insert(object)),
            Err(why) => {
                let unreadable = Unreadable { revision, why, before: None };
                self.unreadable.insert(key.into(), Arc::new(unreadable));
            }
        }
    }

    /// Notes that a key's new value is no object. Watchers are told nothing: for all that is known the object is there.
    fn set_aside(&mut self, key: Arc<str>, revision: Revision, why: String, seen: Option<Object>) {
        let before = self.objects.remove(&key).or(seen);
        self.unreadable.insert(key, Arc::new(Unreadable { revision, why, before }));
        self.last = revision;
    }

    fn forget_oldest(&mut self, kind: &Kind) {
        if let Some(oldest) = self.ring.forget_oldest() {
            self.ring_bytes = self.ring_bytes.saturating_sub(oldest.size());
            self.parts.forget(kind, &oldest);
        }
    }

    /// Takes another state for what is there; who watches goes on, or is told 410.
    fn replace(&mut self, mut other: State) {
        other.parts = std::mem::take(&mut self.parts);
        other.received = self.received;
        other.parts.begin_anew(other.ring.compacted);
        *self = other;
    }
}

/// The objects of one resource at one revision.
pub struct Snapshot {
    pub revision: Revision,
    kind: Arc<Kind>,
    objects: OrdSet<ByKey<Object>>,
    unreadable: OrdMap<Arc<str>, Arc<Unreadable>>,
}

/// Where what lies in a namespace (`prefix` is its name and a slash) or in all (an empty `prefix`), behind the key
/// `after`, begins and ends.
struct Range<'a> {
    start: Bound<&'a str>,
    /// The first text behind all that start so; compared once, not with every key.
    end: Option<String>,
}

impl<'a> Range<'a> {
    fn new(prefix: &'a str, after: Option<&'a str>) -> Range<'a> {
        let start = match after {
            Some(key) if key >= prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix),
        };
        Range { start, end: prefix.strip_suffix('/').map(|namespace| format!("{namespace}0")) }
    }

    fn bounds(&self) -> (Bound<&str>, Bound<&str>) {
        (self.start, self.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded))
    }
}

impl Snapshot {
    /// Objects of a namespace (`prefix` is its name and a slash) or of all (an empty `prefix`), behind the key
    /// `after`, in the order of keys.
    pub fn range(&self, prefix: &str, after: Option<&str>) -> impl Iterator<Item = &Object> + use<'_> {
        let range = Range::new(prefix, after);
        let (start, end) = range.bounds();
        let found = self.objects.range::<_, [u8]>((start.map(str::as_bytes), end.map(str::as_bytes)));
        found.map(|object| &object.0)
    }

    /// Checks that everything in such a range can be read: what shows all of it must not leave out something.
    ///
    /// # Errors
    /// 500 that names the first key that cannot.
    pub fn check(&self, prefix: &str, after: Option<&str>) -> Result<(), Status> {
        match self.unreadable.range::<_, str>(Range::new(prefix, after).bounds()).next() {
            Some((key, unreadable)) => Err(unreadable.status(&self.kind, key)),
            None => Ok(()),
        }
    }

    /// How many objects there are, of all namespaces.
    pub fn len(&self) -> usize {
        self.objects.len()
    }
}

impl Cache {
    fn new(kind: &Arc<Kind>, global: &Arc<AtomicU64>, state: State) -> Arc<Cache> {
        Arc::new(Cache {
            kind: kind.storage().clone(),
            state: RwLock::new(state),
            changed: watch::channel(()).0,
            global: global.clone(),
            ended: AtomicBool::new(false),
        })
    }

    /// One object, by its key below the resource (`namespace/name` or `name`).
    ///
    /// # Errors
    /// 500 when there is something that is no object.
    pub fn get(&self, key: &str) -> Result<Option<Object>, Status> {
        let state = self.state.read();
        match state.objects.get(key) {
            Some(object) => Ok(Some(object.clone())),
            None => match state.unreadable.get(key) {
                Some(unreadable) => Err(unreadable.status(&self.kind, key)),
                None => Ok(None),
            },
        }
    }

    /// What there is under a key instead of an object.
    pub fn unreadable(&self, key: &str) -> Option<Arc<Unreadable>> {
        self.state.read().unreadable.get(key).cloned()
    }

    /// The objects now.
    pub fn snapshot(&self) -> Snapshot {
        // Read before the lock: the feed moves it only after every cache has the change, so the state
        // below holds all changes up to it.
        let global = self.global.load(atomic::Ordering::Acquire);
        let state = self.state.read();
        Snapshot {
            revision: global.max(state.last),
            kind: self.kind.clone(),
            objects: state.objects.sorted().clone(),
            unreadable: state.unreadable.clone(),
        }
    }

    /// The objects at a past revision.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, Status> {
        let newest = self.snapshot();
        if revision > newest.revision {
            return Err(too_large(revision, newest.revision));
        }
        let state = self.state.read();
        state.ring.check(revision)?;
        let mut objects = state.objects.sorted().clone();
        let (unreadable, younger): (OrdMap<_, _>, OrdMap<_, _>) = state
            .unreadable
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .partition(|(_, value)| value.revision <= revision);
        objects.extend(
            younger.into_iter().filter_map(|(_, value): (Arc<str>, Arc<Unreadable>)| value.before.clone().map(ByKey)),
        );
        for change in state.ring.after(revision).rev() {
            match &change.before {
                Some(object) => objects.insert(ByKey(object.clone())),
                None => objects.remove(change.key().as_bytes()),
            };
        }
        Ok(Snapshot { revision, kind: self.kind.clone(), objects, unreadable })
    }

    /// The newest revision of the whole store.
    pub fn revision(&self) -> Revision {
        self.global.load(atomic::Ordering::Acquire)
    }

    /// At most `limit` changes after a revision, the oldest first, and no more than fit into memory.
    ///
    /// # Errors
    /// 410 when some are forgotten.
    pub fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Arc<Change>>, Status> {
        self.state.read().ring.pull(after, limit)
    }

    /// How many changes it was told of.
    pub fn received(&self) -> u64 {
        self.state.read().received
    }

    /// The revision of the last change of this resource.
    pub fn last(&self) -> Revision {
        self.state.read().last
    }

    /// How many changes it keeps at most.
    pub const fn capacity() -> u64 {
        RING_CHANGES as u64
    }

    /// Whether the kind is served no more: nothing further comes.
    pub fn has_ended(&self) -> bool {
        self.ended.load(atomic::Ordering::Acquire)
    }

    fn end(&self) {
        self.ended.store(true, atomic::Ordering::Release);
        self.wake_all();
    }

    /// Wakes who follows what has changed.
    fn wake(&self) {
        self.changed.send_replace(());
        // Readers need not wait where nobody follows a part.
        if self.state.read().parts.has_due() {
            self.state.write().parts.wake();
        }
    }

    fn wake_all(&self) {
        self.changed.send_replace(());
        self.state.read().parts.wake_all();
    }

    /// Wakes when something changed.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Takes over all that one transaction changed of the resource, with the keys below it: nobody sees a part of it.
    fn apply<'a>(&self, changes: impl Iterator<Item = (&'a Event, &'a str)> + Clone) {
        let parse = |(event, key): (&Event, &str)| event.now().map(|kv| self.parse(key, kv)).transpose();
        let news: Vec<New> = changes.clone().map(parse).collect();
        let mut state = self.state.write();
        for ((event, key), now) in changes.clone().zip(news) {
            let since = state.since;
            match &mut state.waiting {
                Some(waiting) => waiting.push((key.into(), event.revision, now)),
                None if event.revision <= since => {}
                None => state.apply(&self.kind, key, event.revision, now),
            }
        }
        let next = state.next.clone();
        drop(state);
        if let Some(next) = next {
            next.apply(changes);
        }
    }

    /// Takes objects, by their keys, for all there are: of a kind that no store holds, and that nobody can watch.
    pub fn show(&self, objects: Vec<(String, Value)>) {
        let revision = self.revision().max(1);
        let mut state = State::starting_at(revision);
        for (key, mut object) in objects {
            meta::set_resource_version(&mut object, "");
            let stored = KeyValue::new(&key, object.to_string().as_bytes(), revision, revision);
            state.begin_with(&key, revision, self.parse(&key, &stored));
        }
        self.state.write().replace(state);
    }

    /// Forgets changes that are no longer fresh, but for a few.
    fn tidy(&self, now: Instant) {
        let mut state = self.state.write();
        let is_old =
            |state: &State| state.ring.changes.front().is_some_and(|oldest| now.duration_since(oldest.at) >= FRESH);
        while state.ring_bytes > KEPT_BYTES && is_old(&state) {
            state.forget_oldest(&self.kind);
        }
        state.ring.shrink();
        state.objects.shrink();
        state.parts.shrink();
    }

    /// The same of what was stored before the cache: custom resources are brought into the form of their schema, which may
    /// be younger.
    fn parse_old(&self, key: &str, stored: &KeyValue) -> Result<Object, String> {
        match Object::conformed(&self.kind, key, stored) {
            Some(object) => Ok(object),
            None => self.parse(key, stored),
        }
    }

    /// The object that a value is, or why it is none.
    fn parse(&self, key: &str, stored: &KeyValue) -> Result<Object, String> {
        Object::parse(&self.kind, key, stored.clone()).ok_or_else(|| {
            let why = unreadable::why(&self.kind, stored.value());
            tracing::error!(key = stored.key(), revision = stored.mod_revision(), "{why}; it is not served");
            why
        })
    }
}

/// The answer to a revision that does not exist yet.
pub fn too_large(requested: Revision, newest: Revision) -> Status {
    Status::too_large_resource_version(requested, newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_store::Change;

    fn cache() -> Arc<Cache> {
        let kind = coracle_api::kinds::by_kind("", "v1", "ConfigMap").expect("a kind of the table");
        Cache::new(kind, &Arc::default(), State::default())
    }

    /// Writes an object of about `length` bytes again and again.
    fn write(cache: &Cache, times: u64, length: usize) {
        for revision in 1..=times {
            let text = format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a","resourceVersion":"{revision}"}},"data":{{"k":"{}"}}}}"#,
                "x".repeat(length)
            );
            let change = Change::Put(KeyValue::new("a", text.as_bytes(), 1, revision));
            let event = Event { revision, change };
            cache.apply(std::iter::once((&event, "a")));
        }
    }

    #[test]
    fn changes_are_forgotten_when_they_are_no_longer_fresh_but_for_a_few() {
        let cache = cache();
        write(&cache, 100, 100_000);
        cache.tidy(Instant::now());
        assert_eq!(cache.changes(0, 1000).unwrap().first().unwrap().revision, 1);
        cache.tidy(Instant::now() + FRESH);
        let state = cache.state.read();
        assert!(
            state.ring_bytes <= KEPT_BYTES && state.ring.changes.len() == 2,
            "{} {}",
            state.ring_bytes,
            state.ring.changes.len()
        );
        drop(state);
        assert_eq!(cache.changes(0, 1).unwrap_err().code, 410);
        assert_eq!(cache.get("a").unwrap().unwrap().revision(), 100);
    }

    #[test]
    fn a_watcher_takes_few_large_changes_at_a_time() {
        let cache = cache();
        write(&cache, 100, 100_000);
        assert_eq!(cache.changes(0, 256).unwrap().len(), 3);
        assert_eq!(cache.changes(99, 256).unwrap().len(), 1);
    }
}
