//! Where objects are: the store, the watch caches that are fed from it, and the kinds that are served.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::status::Status;
use coracle_api::{Kind, Registry, kinds};
use coracle_store::{Error, Op, Outcome, Result as Stored, Revision, Store, Txn};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::cache::{self, Cache, Caches};
use crate::kinds::Kinds;
use crate::metrics;
use crate::unreadable::ROOT;

/// How long anyone waits at most until the caches have come to a revision.
const CATCH_UP: Duration = Duration::from_secs(3);
/// How long to wait before the store is asked to tell how far it is: where the newest revisions are none of the caches',
/// nothing else would.
const PATIENCE: Duration = Duration::from_millis(50);

/// What is stored, and of which kinds.
pub(crate) struct Storage {
    pub store: Arc<dyn Store>,
    pub kinds: Kinds,
    pub caches: Arc<Caches>,
    /// Held by who asks the store to tell how far it is.
    hastening: Mutex<()>,
}

impl Storage {
    /// Follows a store with the built-in kinds, of which those of a registry are served.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn follow(store: Arc<dyn Store>, served: Registry) -> Stored<Storage> {
        let caches = Caches::follow(&store, kinds::built_in()).await?;
        Ok(Storage { store, kinds: Kinds::new(served), caches, hastening: Mutex::default() })
    }

    /// Where the objects of a kind are read; an error once it is served no more.
    pub fn cache(&self, kind: &Kind) -> Result<Arc<Cache>, Status> {
        self.caches.of(kind).ok_or_else(Status::path_not_found)
    }

    /// Makes changes if compares hold. Whoever made them, or was outrun, then finds in the caches what is there: a store
    /// that others write to as well tells the caches later than it answers.
    pub async fn commit(&self, txn: Txn) -> Result<Outcome, Status> {
        let (key, operation) = match txn.ops.first() {
            Some(Op::Put { key, .. }) if txn.is_new(key) => (Some(key.clone()), "create"),
            Some(Op::Put { key, .. }) => (Some(key.clone()), "update"),
            Some(Op::Delete { key }) => (Some(key.clone()), "delete"),
            None => (None, "get"),
        };
        let outcome = metrics::of_store(operation, key.as_deref(), self.store.txn(txn)).await;
        let outcome = outcome.map_err(|error| refusal(&error))?;
        let (Outcome::Committed { revision } | Outcome::Conflict { revision, .. }) = &outcome;
        if let Err(status) = self.reach(*revision).await {
            tracing::warn!(revision, "the caches are behind what was written: {}", status.message);
        }
        Ok(outcome)
    }

    /// Whether nobody else writes: then the caches have whatever anyone was told of.
    pub fn is_alone(&self) -> bool {
        self.store.settled_revision().is_some_and(|settled| settled <= self.caches.revision())
    }

    /// Waits until the caches have whatever anyone was told of before.
    ///
    /// # Errors
    /// The store does not answer, or does not tell the caches in time.
    pub async fn freshen(&self) -> Result<(), Status> {
        let asked = metrics::of_store("get", None, self.store.current_revision());
        let revision = asked.await.map_err(|error| refusal(&error))?;
        self.reach(revision).await
    }

    /// Waits until the caches have every change up to a revision.
    ///
    /// # Errors
    /// They do not come to it in time.
    pub async fn reach(&self, revision: Revision) -> Result<(), Status> {
        if self.caches.revision() >= revision || timeout(PATIENCE, self.caches.reach(revision)).await.is_ok() {
            return Ok(());
        }
        let late = || cache::too_large(revision, self.caches.revision());
        let hastened = async {
            let _one_at_a_time = self.hastening.lock().await;
            if self.caches.revision() < revision
                && let Err(error) = self.store.hasten().await
            {
                return Err(refusal(&error));
            }
            self.caches.reach(revision).await;
            Ok(())
        };
        timeout(CATCH_UP, hastened).await.unwrap_or_else(|_| Err(late()))
    }

    /// Serves kinds that are not built in from now on, each resource in the versions given and in no others. Watches of
    /// those that were served before end.
    ///
    /// # Errors
    /// What is stored of them cannot be read; then none of them is served anew.
    pub async fn add_kinds(&self, kinds: Vec<Arc<Kind>>) -> Stored<()> {
        for kind in &kinds {
            self.caches.add(&*self.store, kind).await?;
        }
        self.kinds.insert(kinds);
        Ok(())
    }

    /// Serves a resource no more, in no version; its watches end. What is stored of it stays.
    pub fn remove_kind(&self, group: &str, plural: &str) {
        let kinds = self.kinds.snapshot();
        self.kinds.remove(group, plural);
        for kind in kinds.kinds().iter().filter(|kind| kind.group == group && kind.plural == plural) {
            self.caches.remove(kind);
        }
    }
}

/// A core kind by its plural; these are always there.
pub(crate) fn core(plural: &str) -> &'static Arc<Kind> {
    kinds::by_resource("", "v1", plural).expect("a core kind is in the table")
}

/// The key of an object below its storage prefix.
pub(crate) fn key(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// The key of an object in the store.
pub(crate) fn store_key(kind: &Kind, namespace: Option<&str>, name: &str) -> Arc<str> {
    format!("{ROOT}{}/{}", kind.storage_prefix, key(namespace, name)).into()
}

/// What a client is told when the store refuses.
pub(crate) fn refusal(error: &Error) -> Status {
    match error {
        Error::DiskFull { .. } | Error::NoSpace(_) => Status::new(507, "InsufficientStorage", error.to_string()),
        Error::TooLarge(_) => Status::too_large(error.to_string()),
        Error::Compacted { .. } => Status::expired(error.to_string()),
        // As upstream: nobody knows whether it was done.
        Error::Unknown(_) => Status::timeout(error.to_string(), 0),
        Error::Unavailable(_) => Status::new(503, "ServiceUnavailable", error.to_string()),
        _ => Status::internal(error),
    }
}
