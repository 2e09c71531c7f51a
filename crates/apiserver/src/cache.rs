//! The watch cache: per resource a persistent ordered map of objects and one ring of recent changes.
//!
//! The store's feed is the only writer. Reads take a snapshot of the map in constant time; a past
//! revision is the newest map with the ring's younger changes undone. Watchers hold nothing but a
//! revision and pull from the ring. What is in the ring longer than a client takes to come back is forgotten, so that
//! the memory of a load does not stay.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU64};
use std::time::{Duration, Instant};

use coracle_api::kinds::{self, Kind};
use coracle_api::status::Status;
use coracle_store::{Event, KeyValue, Revision, Store, View};
use imbl::{OrdMap, OrdSet};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::object::Object;
use crate::unreadable::{self, Unreadable};

/// The most changes, and bytes of objects in them, that a ring keeps.
const RING_CHANGES: usize = 16_384;
const RING_BYTES: usize = 16 << 20;
/// How long changes are kept that are more than [`KEPT_BYTES`].
const FRESH: Duration = Duration::from_secs(40);
const KEPT_BYTES: usize = 1 << 20;
/// What a change costs besides its objects' bytes.
const OVERHEAD: usize = 500;
/// Bytes of objects after which a watcher has enough for one look into the ring.
const PULLED: usize = 256 << 10;

/// One change of one object.
#[derive(Debug)]
pub struct Change {
    pub revision: Revision,
    pub now: Option<Object>,
    pub before: Option<Object>,
    /// What a watch shows of a deletion: the last state at the revision of the deletion.
    pub gone: Option<Object>,
    at: Instant,
}

impl Change {
    /// The key below the resource.
    pub fn key(&self) -> &str {
        self.now.as_ref().or(self.before.as_ref()).map_or("", Object::key)
    }

    /// Bytes that it keeps in memory. What was before an update is the previous change's, or soon nobody's.
    fn size(&self) -> usize {
        let length = |object: &Option<Object>| object.as_ref().map_or(0, |object| object.stored().len());
        let before = if self.now.is_none() { length(&self.before) } else { 0 };
        length(&self.now).saturating_add(before).saturating_add(OVERHEAD)
    }
}

/// All objects of one resource.
pub struct Cache {
    pub kind: &'static Kind,
    state: RwLock<State>,
    changed: watch::Sender<()>,
    global: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    objects: OrdSet<ByKey>,
    /// Keys whose values are no objects. None of them is among the objects.
    unreadable: OrdMap<Arc<str>, Arc<Unreadable>>,
    ring: VecDeque<Arc<Change>>,
    ring_bytes: usize,
    /// Changes up to this revision are no longer in the ring.
    compacted: Revision,
    /// The revision of the last change of this resource.
    last: Revision,
}

impl State {
    /// Notes that a key's new value is no object. Watchers are told nothing: for all that is known the object is there.
    fn set_aside(&mut self, key: Arc<str>, revision: Revision, why: String, seen: Option<Object>) {
        let before = self.objects.remove(key.as_bytes()).map(|object| object.0).or(seen);
        self.unreadable.insert(key, Arc::new(Unreadable { revision, why, before }));
        self.last = revision;
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.ring.pop_front() {
            self.ring_bytes = self.ring_bytes.saturating_sub(oldest.size());
            self.compacted = oldest.revision;
        }
    }
}

/// The objects of one resource at one revision.
pub struct Snapshot {
    pub revision: Revision,
    kind: &'static Kind,
    objects: OrdSet<ByKey>,
    unreadable: OrdMap<Arc<str>, Arc<Unreadable>>,
}

/// In an ordered set of objects: two with the same key are the same.
#[derive(Clone)]
struct ByKey(Object);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        self.0.key_bytes()
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &ByKey) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &ByKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &ByKey) -> Ordering {
        self.0.key_bytes().cmp(other.0.key_bytes())
    }
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
            Some((key, unreadable)) => Err(unreadable.status(self.kind, key)),
            None => Ok(()),
        }
    }

    /// How many objects there are, of all namespaces.
    pub fn len(&self) -> usize {
        self.objects.len()
    }
}

impl Cache {
    /// One object, by its key below the resource (`namespace/name` or `name`).
    ///
    /// # Errors
    /// 500 when there is something that is no object.
    pub fn get(&self, key: &str) -> Result<Option<Object>, Status> {
        let state = self.state.read();
        match (state.objects.get(key.as_bytes()), state.unreadable.get(key)) {
            (None, Some(unreadable)) => Err(unreadable.status(self.kind, key)),
            (object, _) => Ok(object.map(|object| object.0.clone())),
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
            kind: self.kind,
            objects: state.objects.clone(),
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
        if revision < state.compacted {
            return Err(too_old(revision, state.compacted));
        }
        let mut objects = state.objects.clone();
        let (unreadable, younger): (OrdMap<_, _>, OrdMap<_, _>) = state
            .unreadable
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .partition(|(_, value)| value.revision <= revision);
        objects.extend(
            younger.into_iter().filter_map(|(_, value): (Arc<str>, Arc<Unreadable>)| value.before.clone().map(ByKey)),
        );
        for change in state.ring.iter().rev().take_while(|change| change.revision > revision) {
            match &change.before {
                Some(object) => objects.insert(ByKey(object.clone())),
                None => objects.remove(change.key().as_bytes()),
            };
        }
        Ok(Snapshot { revision, kind: self.kind, objects, unreadable })
    }

    /// The newest revision of the whole store.
    pub fn revision(&self) -> Revision {
        self.global.load(atomic::Ordering::Acquire)
    }

    /// At most `limit` changes after a revision, the oldest first, and no more than hold about [`PULLED`] bytes: whoever
    /// has them keeps them in memory.
    pub fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Arc<Change>>, Status> {
        let state = self.state.read();
        if after < state.compacted {
            return Err(too_old(after, state.compacted));
        }
        let from = state.ring.partition_point(|change| change.revision <= after);
        let mut bytes = 0usize;
        let fits = |change: &&Arc<Change>| {
            let fits = bytes < PULLED;
            bytes = bytes.saturating_add(change.size());
            fits
        };
        let mut to = from.saturating_add(state.ring.range(from..).take(limit).take_while(fits).count());
        // Changes of one revision belong together: a watcher remembers only the revision.
        while to > from && to < state.ring.len() && state.ring[to].revision == state.ring[to - 1].revision {
            to += 1;
        }
        Ok(state.ring.range(from..to).cloned().collect())
    }

    /// Wakes when something changed.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn apply(&self, event: &Event, key: &str) {
        let now = event.now.as_ref().map(|kv| self.parse(key, kv)).transpose();
        let mut state = self.state.write();
        let seen = state.unreadable.remove(key).and_then(|unreadable| unreadable.before.clone());
        let now = match now {
            Ok(now) => now,
            Err(why) => return state.set_aside(key.into(), event.revision, why, seen),
        };
        let before = match &now {
            Some(object) => state.objects.insert(ByKey(object.clone())),
            None => state.objects.remove(key.as_bytes()),
        };
        let before = before.map(|object| object.0).or(seen);
        let gone = match (&now, &before) {
            (None, Some(before)) => Some(before.at_revision(event.revision)),
            _ => None,
        };
        let change = Arc::new(Change { revision: event.revision, now, before, gone, at: Instant::now() });
        state.last = event.revision;
        state.ring_bytes += change.size();
        state.ring.push_back(change);
        while state.ring.len() > RING_CHANGES || state.ring_bytes > RING_BYTES {
            state.forget_oldest();
        }
    }

    /// Forgets changes that are no longer fresh, but for a few.
    fn tidy(&self, now: Instant) {
        let mut state = self.state.write();
        let is_old = |state: &State| state.ring.front().is_some_and(|oldest| now.duration_since(oldest.at) >= FRESH);
        while state.ring_bytes > KEPT_BYTES && is_old(&state) {
            state.forget_oldest();
        }
        let room = state.ring.len().saturating_mul(2).max(64);
        state.ring.shrink_to(room);
    }

    /// The object that a value is, or why it is none.
    fn parse(&self, key: &str, stored: &KeyValue) -> Result<Object, String> {
        Object::parse(self.kind, key, stored.clone()).ok_or_else(|| {
            let why = unreadable::why(stored.value());
            tracing::error!(key = stored.key(), revision = stored.mod_revision(), "{why}; it is not served");
            why
        })
    }
}

fn too_old(requested: Revision, oldest: Revision) -> Status {
    Status::expired(format!("too old resource version: {requested} ({oldest})"))
}

/// The answer to a revision that does not exist yet.
pub fn too_large(requested: Revision, newest: Revision) -> Status {
    Status::too_large_resource_version(requested, newest)
}

/// The caches of all resources.
pub struct Caches {
    /// By storage prefix, the first segments of a key below `/registry/`.
    by_prefix: HashMap<&'static str, Arc<Cache>>,
    global: Arc<AtomicU64>,
}

/// The root of all keys, as upstream's.
pub const ROOT: &str = "/registry/";

impl Caches {
    /// Fills the caches from the store and follows it from there.
    pub fn follow(store: &dyn Store) -> Arc<Caches> {
        let global = Arc::new(AtomicU64::new(0));
        let mut by_prefix = HashMap::new();
        for kind in kinds::kinds().iter().filter(|kind| !kind.review) {
            by_prefix.entry(kind.storage_prefix).or_insert_with(|| {
                let (changed, _) = watch::channel(());
                Arc::new(Cache { kind: kind.storage(), state: RwLock::default(), changed, global: global.clone() })
            });
        }
        let caches = Arc::new(Caches { by_prefix, global });
        let feed = caches.clone();
        store.subscribe(&mut |view| caches.fill(view), Box::new(move |events| feed.apply(events)));
        caches
    }

    /// The cache that holds a kind.
    pub fn of(&self, kind: &Kind) -> Option<&Arc<Cache>> {
        self.by_prefix.get(kind.storage_prefix)
    }

    /// Every cache.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Cache>> {
        self.by_prefix.values()
    }

    /// Forgets changes that are no longer fresh, but for a few of each resource.
    pub fn tidy(&self) {
        let now = Instant::now();
        self.by_prefix.values().for_each(|cache| cache.tidy(now));
    }

    /// The newest revision of the store.
    pub fn revision(&self) -> Revision {
        self.global.load(atomic::Ordering::Acquire)
    }

    fn route<'a>(&self, key: &'a str) -> Option<(&Arc<Cache>, &'a str)> {
        let path = key.strip_prefix(ROOT)?;
        let mut slashes = path.match_indices('/').map(|(at, _)| at);
        // Prefixes are one segment (`pods`) or two (`services/specs`).
        let (first, second) = (slashes.next()?, slashes.next());
        let long = second.and_then(|at| Some((self.by_prefix.get(&path[..at])?, &path[at + 1..])));
        long.or_else(|| Some((self.by_prefix.get(&path[..first])?, &path[first + 1..])))
    }

    fn fill(&self, view: &View) {
        for kv in view.iter() {
            let Some((cache, key)) = self.route(kv.key()) else { continue };
            let object = cache.parse(key, kv);
            let mut state = cache.state.write();
            match object {
                Ok(object) => drop(state.objects.insert(ByKey(object))),
                Err(why) => {
                    let unreadable = Unreadable { revision: kv.mod_revision(), why, before: None };
                    state.unreadable.insert(key.into(), Arc::new(unreadable));
                }
            }
        }
        for cache in self.by_prefix.values() {
            let mut state = cache.state.write();
            (state.compacted, state.last) = (view.revision, view.revision);
        }
        self.global.store(view.revision, atomic::Ordering::Release);
    }

    fn apply(&self, events: &[Arc<Event>]) {
        let mut woken: Vec<&Arc<Cache>> = Vec::new();
        for event in events {
            if let Some((cache, key)) = self.route(event.key()) {
                cache.apply(event, key);
                if !woken.iter().any(|other| Arc::ptr_eq(other, cache)) {
                    woken.push(cache);
                }
            }
        }
        if let Some(last) = events.last() {
            self.global.store(last.revision, atomic::Ordering::Release);
        }
        for cache in woken {
            cache.changed.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Cache {
        let kind = kinds::by_kind("", "v1", "ConfigMap").expect("a kind of the table");
        Cache { kind, state: RwLock::default(), changed: watch::channel(()).0, global: Arc::default() }
    }

    /// Writes an object of about `length` bytes again and again.
    fn write(cache: &Cache, times: u64, length: usize) {
        for revision in 1..=times {
            let text = format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a","resourceVersion":"{revision}"}},"data":{{"k":"{}"}}}}"#,
                "x".repeat(length)
            );
            let now = KeyValue::new("a", text.as_bytes(), 1, revision, None);
            let event = Event { revision, now: Some(now), before: None };
            cache.apply(&event, "a");
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
        assert!(state.ring_bytes <= KEPT_BYTES && state.ring.len() >= 9, "{} {}", state.ring_bytes, state.ring.len());
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
