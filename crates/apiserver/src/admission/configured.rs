//! What is made of all objects of some kinds, such as compiled policies: made anew when one of them has changed.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::cache::Cache;
use crate::object::Object;
use crate::storage::Storage;

/// The group of policies and webhooks.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";

/// Makes something of the objects of each kind; what it made before is given to take over what has not changed.
pub(super) type Make<T> = fn(&[Vec<Object>], &T) -> T;

/// Something that is made of objects. Whoever was told that an object is written finds it in what is made.
pub(super) struct Configured<T> {
    caches: Vec<Arc<Cache>>,
    make: Make<T>,
    state: RwLock<State<T>>,
}

struct State<T> {
    changed: Vec<watch::Receiver<()>>,
    made: Arc<T>,
}

impl<T: Default> Configured<T> {
    /// What is made of the objects of kinds of a version, named by their plural. There are none of those that are not served.
    pub fn of(storage: &Storage, version: &str, plurals: &[&str], make: Make<T>) -> Configured<T> {
        let served = storage.kinds.look();
        let kinds = plurals.iter().filter_map(|plural| served.by_resource(GROUP, version, plural));
        let caches: Vec<Arc<Cache>> = kinds.filter_map(|kind| storage.caches.of(kind)).collect();
        let mut changed: Vec<watch::Receiver<()>> = caches.iter().map(|cache| cache.subscribe()).collect();
        // What was there before counts as a change.
        changed.iter_mut().for_each(watch::Receiver::mark_changed);
        Configured { caches, make, state: RwLock::new(State { changed, made: Arc::default() }) }
    }

    /// What is made of the objects that there are now.
    pub fn get(&self) -> Arc<T> {
        let state = self.state.read();
        if state.is_current() {
            return state.made.clone();
        }
        drop(state);
        let mut state = self.state.write();
        if !state.is_current() {
            // Noted first: what changes from here on is looked for again.
            state.changed.iter_mut().for_each(|changed| drop(changed.borrow_and_update()));
            let objects: Vec<Vec<Object>> =
                self.caches.iter().map(|cache| cache.snapshot().range("", None).cloned().collect()).collect();
            state.made = Arc::new((self.make)(&objects, &state.made));
        }
        state.made.clone()
    }
}

impl<T> State<T> {
    fn is_current(&self) -> bool {
        self.changed.iter().all(|changed| !changed.has_changed().unwrap_or(false))
    }
}
