//! The watch cache: per resource a persistent ordered map of objects and one ring of recent changes.
//!
//! The store's feed is the only writer. Reads take a snapshot of the map in constant time; a past
//! revision is the newest map with the ring's younger changes undone. Watchers hold nothing but a
//! revision and pull from the ring.

use std::collections::{HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coracle_api::kinds::{self, Kind};
use coracle_api::status::Status;
use coracle_store::{Event, Revision, Store, View};
use imbl::OrdMap;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::object::{Object, Shared};

/// The most changes, and bytes of objects in them, that a ring keeps.
const RING_CHANGES: usize = 16_384;
const RING_BYTES: usize = 16 << 20;
/// Bytes of objects after which a watcher has enough for one look into the ring.
const PULLED: usize = 256 << 10;

/// One change of one object.
#[derive(Debug)]
pub struct Change {
    pub revision: Revision,
    pub key: Arc<str>,
    pub now: Option<Shared>,
    pub before: Option<Shared>,
    /// What a watch shows of a deletion: the last state at the revision of the deletion.
    pub gone: Option<Shared>,
}

impl Change {
    fn size(&self) -> usize {
        self.now.as_ref().or(self.gone.as_ref()).map_or(0, |object| object.bytes.len()) + 200
    }
}

/// All objects of one resource.
pub struct Cache {
    pub kind: &'static Kind,
    state: RwLock<State>,
    changed: watch::Sender<()>,
    global: Arc<AtomicU64>,
}

struct State {
    objects: OrdMap<Arc<str>, Shared>,
    ring: VecDeque<Arc<Change>>,
    ring_bytes: usize,
    /// Changes up to this revision are no longer in the ring.
    compacted: Revision,
    /// The revision of the last change of this resource.
    last: Revision,
}

/// The objects of one resource at one revision.
pub struct Snapshot {
    pub revision: Revision,
    objects: OrdMap<Arc<str>, Shared>,
}

impl Snapshot {
    /// Objects of a namespace (`prefix` is its name and a slash) or of all (an empty `prefix`), behind the key
    /// `after`, in the order of keys.
    pub fn range(&self, prefix: &str, after: Option<&str>) -> impl Iterator<Item = (&Arc<str>, &Shared)> + use<'_> {
        let start = match after {
            Some(key) if key >= prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix),
        };
        // The first text behind all that start so; compared once, not with every key.
        let end = prefix.strip_suffix('/').map(|namespace| format!("{namespace}0"));
        self.objects.range::<_, str>((start, end.as_deref().map_or(Bound::Unbounded, Bound::Excluded)))
    }

    /// How many objects there are, of all namespaces.
    pub fn len(&self) -> usize {
        self.objects.len()
    }
}

impl Cache {
    /// One object, by its key below the resource (`namespace/name` or `name`).
    pub fn get(&self, key: &str) -> Option<Shared> {
        self.state.read().objects.get(key).cloned()
    }

    /// The objects now.
    pub fn snapshot(&self) -> Snapshot {
        // Read before the lock: the feed moves it only after every cache has the change, so the state
        // below holds all changes up to it.
        let global = self.global.load(Ordering::Acquire);
        let state = self.state.read();
        Snapshot { revision: global.max(state.last), objects: state.objects.clone() }
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
        for change in state.ring.iter().rev().take_while(|change| change.revision > revision) {
            match &change.before {
                Some(object) => objects.insert(change.key.clone(), object.clone()),
                None => objects.remove(&change.key),
            };
        }
        Ok(Snapshot { revision, objects })
    }

    /// The newest revision of the whole store.
    pub fn revision(&self) -> Revision {
        self.global.load(Ordering::Acquire)
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
        let key: Arc<str> = key.into();
        let now = event.now.as_ref().and_then(|kv| self.parse(&kv.value, event.revision));
        let mut state = self.state.write();
        let before = match &now {
            Some(object) => state.objects.insert(key.clone(), object.clone()),
            None => state.objects.remove(&key),
        };
        let gone = match (&now, &before) {
            (None, Some(before)) => Some(Arc::new(before.at_revision(event.revision))),
            _ => None,
        };
        let change = Arc::new(Change { revision: event.revision, key, now, before, gone });
        state.last = event.revision;
        state.ring_bytes += change.size();
        state.ring.push_back(change);
        while state.ring.len() > RING_CHANGES || state.ring_bytes > RING_BYTES {
            let Some(oldest) = state.ring.pop_front() else { break };
            state.ring_bytes -= oldest.size();
            state.compacted = oldest.revision;
        }
    }

    fn parse(&self, bytes: &bytes::Bytes, revision: Revision) -> Option<Shared> {
        let object = Object::parse(self.kind, bytes.clone(), revision);
        if object.is_none() {
            tracing::error!(
                kind = self.kind.kind,
                revision,
                "a stored value is not an object of its kind and is not served"
            );
        }
        object.map(Arc::new)
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
                let state =
                    State { objects: OrdMap::new(), ring: VecDeque::new(), ring_bytes: 0, compacted: 0, last: 0 };
                let (changed, _) = watch::channel(());
                Arc::new(Cache { kind: kind.storage(), state: RwLock::new(state), changed, global: global.clone() })
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

    /// The newest revision of the store.
    pub fn revision(&self) -> Revision {
        self.global.load(Ordering::Acquire)
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
        for (key, kv) in &view.keys {
            if let Some((cache, key)) = self.route(key)
                && let Some(object) = cache.parse(&kv.value, kv.mod_revision)
            {
                cache.state.write().objects.insert(key.into(), object);
            }
        }
        for cache in self.by_prefix.values() {
            let mut state = cache.state.write();
            (state.compacted, state.last) = (view.revision, view.revision);
        }
        self.global.store(view.revision, Ordering::Release);
    }

    fn apply(&self, events: &[Arc<Event>]) {
        let mut woken: Vec<&Arc<Cache>> = Vec::new();
        for event in events {
            if let Some((cache, key)) = self.route(&event.key) {
                cache.apply(event, key);
                if !woken.iter().any(|other| Arc::ptr_eq(other, cache)) {
                    woken.push(cache);
                }
            }
        }
        if let Some(last) = events.last() {
            self.global.store(last.revision, Ordering::Release);
        }
        for cache in woken {
            cache.changed.send_replace(());
        }
    }
}
