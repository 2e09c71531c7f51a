//! What decisions are made of, computed from objects of the watch caches and kept up change by change.
//!
//! Before it is read it takes in what has changed since; where nothing has, that costs an atomic read for each kind of
//! object. So whoever was told that an object is made finds it in force.

use std::sync::Arc;

use coracle_api::Kind;
use coracle_store::Revision;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

use crate::cache::{Cache, Caches};
use crate::object::Object;

/// Changes that are taken in at once.
const CHANGES: usize = 1024;

/// What is computed from objects of some kinds.
pub(crate) trait Derived {
    /// Names one of the kinds.
    type Source: Copy;

    /// Takes note of an object that is new, or has changed, or is gone.
    fn put(&mut self, source: Self::Source, key: &str, before: Option<&Object>, now: Option<&Object>);

    /// Forgets all objects of a kind.
    fn clear(&mut self, source: Self::Source);
}

/// Something derived and the kinds of objects it is derived from.
pub(crate) struct Index<D: Derived>(RwLock<State<D>>);

struct State<D: Derived> {
    derived: D,
    followed: Vec<Followed<D::Source>>,
}

/// One kind of objects, and how far its changes are known.
struct Followed<S> {
    source: S,
    cache: Arc<Cache>,
    changed: watch::Receiver<()>,
    seen: Revision,
}

impl<D: Derived> Index<D> {
    /// One that begins with what is there when it is first read.
    pub fn follow<'a>(caches: &Caches, derived: D, kinds: impl IntoIterator<Item = (D::Source, &'a Kind)>) -> Index<D> {
        let follow = |(source, kind): (D::Source, &Kind)| {
            let cache = caches.of(kind)?;
            let mut changed = cache.subscribe();
            changed.mark_changed();
            Some(Followed { source, changed, seen: 0, cache })
        };
        Index(RwLock::new(State { derived, followed: kinds.into_iter().filter_map(follow).collect() }))
    }

    /// It, with all changes that anyone was told of.
    pub fn current(&self) -> MappedRwLockReadGuard<'_, D> {
        let mut state = self.0.read();
        if !state.followed.iter().all(Followed::is_current) {
            drop(state);
            let mut outdated = self.0.write();
            let State { derived, followed } = &mut *outdated;
            followed.iter_mut().for_each(|followed| followed.catch_up(derived));
            state = RwLockWriteGuard::downgrade(outdated);
        }
        RwLockReadGuard::map(state, |state| &state.derived)
    }
}

impl<S: Copy> Followed<S> {
    fn is_current(&self) -> bool {
        !self.changed.has_changed().unwrap_or(false)
    }

    /// Takes in what has changed, or everything when that is no longer known.
    fn catch_up(&mut self, derived: &mut impl Derived<Source = S>) {
        if self.is_current() {
            return;
        }
        // Noted first: what changes from here on is looked for again.
        self.changed.borrow_and_update();
        loop {
            let Ok(changes) = self.cache.changes(self.seen, CHANGES) else { return self.read_all(derived) };
            let Some(last) = changes.last() else { return };
            self.seen = last.revision;
            for change in &changes {
                derived.put(self.source, change.key(), change.before.as_ref(), change.now.as_ref());
            }
        }
    }

    fn read_all(&mut self, derived: &mut impl Derived<Source = S>) {
        let snapshot = self.cache.snapshot();
        self.seen = snapshot.revision;
        derived.clear(self.source);
        for object in snapshot.range("", None) {
            derived.put(self.source, object.key(), None, Some(object));
        }
    }
}
