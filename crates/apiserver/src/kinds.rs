//! The kinds that the server serves now: the newest registry, and word of each change.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use coracle_api::{Kind, Registry};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Holds the newest [`Registry`]. Reading takes no lock; who changes it waits for others that do.
pub struct Kinds {
    newest: ArcSwap<Registry>,
    changing: Mutex<()>,
    revision: watch::Sender<u64>,
}

impl Kinds {
    /// Begins with a registry.
    pub(crate) fn new(registry: Registry) -> Kinds {
        let (revision, _) = watch::channel(registry.revision());
        Kinds { newest: ArcSwap::from_pointee(registry), changing: Mutex::default(), revision }
    }

    /// The newest registry, for a look; not to be held while waiting.
    pub fn look(&self) -> Guard<Arc<Registry>> {
        self.newest.load()
    }

    /// The newest registry, to hold.
    pub fn snapshot(&self) -> Arc<Registry> {
        self.newest.load_full()
    }

    /// Serves kinds from now on; see [`Registry::with`].
    pub(crate) fn insert(&self, kinds: impl IntoIterator<Item = Arc<Kind>>) {
        self.change(|registry| registry.with(kinds));
    }

    /// Serves a resource no more, in no version.
    pub(crate) fn remove(&self, group: &str, plural: &str) {
        self.change(|registry| registry.without(group, plural));
    }

    /// Tells of each new revision of the registry.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn change(&self, make: impl FnOnce(&Registry) -> Registry) {
        let _one_at_a_time = self.changing.lock();
        let registry = make(&self.look());
        let revision = registry.revision();
        self.newest.store(Arc::new(registry));
        self.revision.send_replace(revision);
    }
}
