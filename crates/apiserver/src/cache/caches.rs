//! The caches of all resources: filled from a list of the store, and fed from then on.
//!
//! Where the store loses its place among the changes, everything is read anew. Watchers are told 410 then, as what
//! happened between is not known.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use coracle_api::{Kind, Registry};
use coracle_store::{self as store, Error, Event, KeyValue, Revision, Store, Subscription, Update};
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::Notify;

use super::ring::Ring;
use super::{Cache, State};
use crate::metrics;
use crate::unreadable::ROOT;

/// Keys of a page of what a cache begins with.
const PAGE: usize = 5_000;
/// How long to wait before the store is read again that could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// The caches of all resources.
pub struct Caches {
    /// By storage prefix, the first segments of a key below `/registry/`.
    by_prefix: ArcSwap<HashMap<SmolStr, Arc<Cache>>>,
    global: Arc<AtomicU64>,
    /// Told each time the newest known revision moves.
    moved: Notify,
    /// Held by who makes a cache, or fills all of them.
    adding: tokio::sync::Mutex<()>,
    subscription: Mutex<Option<Subscription>>,
    /// Told when the store cannot say any more what comes next.
    lost: Arc<Notify>,
}

impl Drop for Caches {
    fn drop(&mut self) {
        self.lost.notify_one();
    }
}

impl Caches {
    /// Fills the caches of the kinds of a registry from the store and follows it from there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn follow(store: &Arc<dyn Store>, registry: &Registry) -> store::Result<Arc<Caches>> {
        let global = Arc::new(AtomicU64::new(0));
        let stored = registry.kinds().iter().filter(|kind| !kind.review && kind.is_storage_version());
        let by_prefix = stored.map(|kind| (kind.storage_prefix.clone(), Cache::new(kind, &global, State::default())));
        let caches = Arc::new(Caches {
            by_prefix: ArcSwap::from_pointee(by_prefix.collect()),
            global,
            moved: Notify::new(),
            adding: tokio::sync::Mutex::default(),
            subscription: Mutex::default(),
            lost: Arc::default(),
        });
        // What was read is old by the time it is followed where others write very much.
        while let Err(error) = caches.fill(&**store).await {
            if !matches!(error, Error::Compacted { .. }) {
                return Err(error);
            }
        }
        tokio::spawn(refill(Arc::downgrade(&caches), Arc::downgrade(store), caches.lost.clone()));
        Ok(caches)
    }

    /// Takes what is in the store for what all objects are, and follows it from there.
    async fn fill(self: &Arc<Caches>, store: &dyn Store) -> store::Result<()> {
        // Whoever adds a kind meanwhile waits: what they would miss is read here.
        let _alone = self.adding.lock().await;
        let caches = self.by_prefix.load_full();
        let mut states: HashMap<&SmolStr, State> = HashMap::new();
        let revision = read(store, ROOT, |kv, revision| {
            let Some((cache, key)) = route(&caches, kv.key()) else { return };
            let state = states.entry(&cache.kind.storage_prefix).or_insert_with(|| State::starting_at(revision));
            state.begin_with(key, kv.mod_revision(), cache.parse_old(key, kv));
        })
        .await?;
        for (prefix, cache) in &*caches {
            let state = states.remove(prefix).unwrap_or_else(|| State::starting_at(revision));
            cache.state.write().replace(state);
        }
        self.reached(revision);
        let feed = Arc::downgrade(self);
        let feed = move |update: Update<'_>| {
            if let Some(caches) = feed.upgrade() {
                caches.take(update);
            }
        };
        let subscription = store.subscribe(ROOT, revision, Box::new(feed)).await?;
        *self.subscription.lock() = Some(subscription);
        caches.values().for_each(|cache| cache.wake_all());
        Ok(())
    }

    fn take(&self, update: Update<'_>) {
        match update {
            Update::Changes(events) => self.apply(events),
            Update::Progress(revision) => self.reached(revision),
            Update::Ended(error) => {
                tracing::warn!(%error, "the store has lost what comes next: everything is read anew");
                self.lost.notify_one();
            }
        }
    }

    /// Notes that every change up to a revision is in the caches.
    fn reached(&self, revision: Revision) {
        self.global.fetch_max(revision, Ordering::AcqRel);
        self.moved.notify_waiters();
    }

    /// Waits until every change up to a revision is in the caches.
    pub async fn reach(&self, revision: Revision) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.revision() >= revision {
                return;
            }
            moved.await;
        }
    }

    /// Makes the cache of a kind and fills it from the store, unless it is there. Where one of the same resource but of
    /// another making is there, it answers until the new one is filled; then its watches end.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn add(&self, store: &dyn Store, kind: &Arc<Kind>) -> store::Result<()> {
        let prefix = &kind.storage_prefix;
        let _one_at_a_time = self.adding.lock().await;
        // One that still waits was begun by someone who did not stay to fill it.
        let before = self.of(kind).filter(|cache| cache.state.read().waiting.is_none());
        if before.as_ref().is_some_and(|cache| Arc::ptr_eq(&cache.kind, kind.storage())) {
            return Ok(());
        }
        let waiting = State { waiting: Some(Vec::new()), ..State::default() };
        let cache = Cache::new(kind, &self.global, waiting);
        // Who is fed from now on waits for what was there before: nothing that changes meanwhile is missed.
        match &before {
            Some(before) => before.state.write().next = Some(cache.clone()),
            None => self.put(prefix, Some(&cache)),
        }
        let root = format!("{ROOT}{prefix}/");
        let mut state = State::default();
        let begun = read(store, &root, |kv, _| {
            let key = kv.key().strip_prefix(&root).unwrap_or_default();
            state.begin_with(key, kv.mod_revision(), cache.parse_old(key, kv));
        });
        let begun = begun.await;
        let revision = match begun {
            Ok(revision) => revision,
            Err(error) => {
                match before {
                    Some(before) => before.state.write().next = None,
                    None => self.put(prefix, None),
                }
                return Err(error);
            }
        };
        (state.ring, state.last, state.since) = (Ring::starting_at(revision), revision, revision);
        let mut place = cache.state.write();
        let waiting = place.waiting.take().unwrap_or_default();
        place.replace(state);
        for (key, changed, now) in waiting.into_iter().filter(|(_, changed, _)| *changed > revision) {
            place.apply(&cache.kind, &key, changed, now);
        }
        drop(place);
        if before.is_some() {
            self.put(prefix, Some(&cache));
        }
        Ok(())
    }

    /// Drops the cache of a kind. Its watches end.
    pub fn remove(&self, kind: &Kind) {
        self.put(&kind.storage_prefix, None);
    }

    /// Puts a cache, or none, in the place of the one that is there, which ends.
    fn put(&self, prefix: &SmolStr, cache: Option<&Arc<Cache>>) {
        let before = self.by_prefix.rcu(|caches| {
            let mut caches = HashMap::clone(caches);
            match cache {
                Some(cache) => caches.insert(prefix.clone(), cache.clone()),
                None => caches.remove(prefix),
            };
            caches
        });
        if let Some(cache) = before.get(prefix) {
            cache.end();
        }
    }

    /// The cache that holds a kind.
    pub fn of(&self, kind: &Kind) -> Option<Arc<Cache>> {
        self.by_prefix.load().get(&kind.storage_prefix).cloned()
    }

    /// Every cache.
    pub fn all(&self) -> Vec<Arc<Cache>> {
        self.by_prefix.load().values().cloned().collect()
    }

    /// Forgets changes that are no longer fresh, but for a few of each resource.
    pub fn tidy(&self) {
        let now = Instant::now();
        self.all().iter().for_each(|cache| cache.tidy(now));
    }

    /// The newest revision of the store.
    pub fn revision(&self) -> Revision {
        self.global.load(Ordering::Acquire)
    }

    fn apply(&self, events: &[Event]) {
        let caches = self.by_prefix.load();
        let mut woken: Vec<&Arc<Cache>> = Vec::new();
        for transaction in events.chunk_by(|a, b| a.revision == b.revision) {
            let routed = transaction.iter().filter_map(|event| Some((event, route(&caches, event.key())?)));
            let mut changes: Vec<_> = routed.map(|(event, (cache, key))| (cache, event, key)).collect();
            changes.sort_by_key(|(cache, ..)| Arc::as_ptr(cache));
            for own in changes.chunk_by(|a, b| Arc::ptr_eq(a.0, b.0)) {
                own[0].0.apply(own.iter().map(|(_, event, key)| (*event, *key)));
            }
            for (cache, ..) in changes {
                if !woken.iter().any(|other| Arc::ptr_eq(other, cache)) {
                    woken.push(cache);
                }
            }
        }
        if let Some(last) = events.last() {
            self.reached(last.revision);
        }
        for cache in woken {
            cache.wake();
            // What took its place since then was fed by it, and may have watchers already.
            let next = cache.state.read().next.clone();
            if let Some(next) = next {
                next.wake();
            }
        }
    }
}

/// Gives everything with a prefix to `each`, with the revision at which that is so, which is answered too.
async fn read(
    store: &dyn Store,
    prefix: &str,
    mut each: impl FnMut(&KeyValue, Revision) + Send,
) -> store::Result<Revision> {
    let mut page = metrics::of_store("list", Some(prefix), store.list(prefix, None, None, Some(PAGE))).await?;
    let revision = page.revision;
    loop {
        page.items.iter().for_each(|kv| each(kv, revision));
        let Some(last) = page.items.last().filter(|_| page.more) else { return Ok(revision) };
        let next = store.list(prefix, Some(revision), Some(last.key()), Some(PAGE));
        page = metrics::of_store("list", Some(prefix), next).await?;
    }
}

/// Fills the caches anew each time the store has lost what comes next, as long as there are caches and a store.
async fn refill(caches: Weak<Caches>, store: Weak<dyn Store>, lost: Arc<Notify>) {
    loop {
        lost.notified().await;
        while let (Some(caches), Some(store)) = (caches.upgrade(), store.upgrade()) {
            let Err(error) = caches.fill(&*store).await else { break };
            tracing::warn!(%error, "failed to read everything anew");
            drop((caches, store));
            tokio::time::sleep(RETRY).await;
        }
        if caches.strong_count() == 0 {
            return;
        }
    }
}

/// The cache of a key of the store, and the key below its prefix.
fn route<'a, 'k>(caches: &'a HashMap<SmolStr, Arc<Cache>>, key: &'k str) -> Option<(&'a Arc<Cache>, &'k str)> {
    let path = key.strip_prefix(ROOT)?;
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    // Prefixes are one segment (`pods`) or two (`services/specs`).
    let (first, second) = (slashes.next()?, slashes.next());
    let long = second.and_then(|at| Some((caches.get(&path[..at])?, &path[at + 1..])));
    long.or_else(|| Some((caches.get(&path[..first])?, &path[first + 1..])))
}

#[cfg(test)]
mod tests {
    use coracle_store::Change;

    use super::*;

    #[test]
    fn who_watches_the_cache_that_takes_anothers_place_is_woken_by_what_that_one_is_fed() {
        let kind = coracle_api::kinds::by_kind("", "v1", "ConfigMap").expect("a kind of the table");
        let cache = || Cache::new(kind, &Arc::default(), State::default());
        let (before, next) = (cache(), cache());
        let by_prefix = HashMap::from([("configmaps".into(), before.clone())]);
        let caches = Caches {
            by_prefix: ArcSwap::from_pointee(by_prefix),
            global: Arc::default(),
            moved: Notify::new(),
            adding: tokio::sync::Mutex::default(),
            subscription: Mutex::default(),
            lost: Arc::default(),
        };
        before.state.write().next = Some(next.clone());
        let changed = next.subscribe();
        let text = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","resourceVersion":""}}"#;
        let now = KeyValue::new("/registry/configmaps/d/a", text, 7, 7);
        caches.apply(&[Event { revision: 7, change: Change::Put(now) }]);
        assert!(changed.has_changed().unwrap() && next.get("d/a").unwrap().is_some());
    }

    #[test]
    fn nobody_sees_a_part_of_a_transaction() {
        const KEYS: usize = 20;
        let kind = coracle_api::kinds::by_kind("", "v1", "ConfigMap").expect("a kind of the table");
        let cache = Cache::new(kind, &Arc::default(), State::default());
        let caches = Arc::new(Caches {
            by_prefix: ArcSwap::from_pointee(HashMap::from([("configmaps".into(), cache.clone())])),
            global: Arc::default(),
            moved: Notify::new(),
            adding: tokio::sync::Mutex::default(),
            subscription: Mutex::default(),
            lost: Arc::default(),
        });
        let writer = std::thread::spawn(move || {
            for revision in 1..=3000 {
                let event = |key| {
                    let text = format!(
                        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c{key}","resourceVersion":""}}}}"#
                    );
                    let key = format!("/registry/configmaps/d/c{key}");
                    Event { revision, change: Change::Put(KeyValue::new(&key, text.as_bytes(), 1, revision)) }
                };
                caches.apply(&(0..KEYS).map(event).collect::<Vec<_>>());
            }
        });
        let mut seen = 0;
        while !writer.is_finished() {
            let revisions: Vec<_> = cache.snapshot().range("", None).map(|object| object.revision()).collect();
            assert!(revisions.windows(2).all(|two| two[0] == two[1]), "{revisions:?}");
            let changes = cache.changes(seen, 50).unwrap_or_default();
            assert!(changes.len().is_multiple_of(KEYS), "{}", changes.len());
            seen = changes.last().map_or_else(|| cache.snapshot().revision, |change| change.revision);
        }
        writer.join().unwrap();
    }
}
