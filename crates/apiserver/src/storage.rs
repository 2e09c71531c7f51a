//! Where objects are: the store, the watch caches that are fed from it, and the kinds that are served.

use std::sync::Arc;
use std::time::SystemTime;

use coracle_api::status::Status;
use coracle_api::{Kind, kinds};
use coracle_store::{Error, Outcome, Result as Stored, Store, Txn};

use crate::auth::service_account::Exists;
use crate::cache::{Cache, Caches};
use crate::kinds::Kinds;
use crate::request::key;
use crate::unreadable::ROOT;

/// What is stored, and of which kinds.
pub(crate) struct Storage {
    pub store: Arc<dyn Store>,
    pub kinds: Kinds,
    pub caches: Arc<Caches>,
}

impl Storage {
    /// Follows a store with the built-in kinds.
    pub fn follow(store: Arc<dyn Store>) -> Storage {
        let kinds = kinds::built_in().clone();
        let caches = Caches::follow(&*store, &kinds);
        Storage { store, kinds: Kinds::new(kinds), caches }
    }

    /// Where the objects of a kind are read; an error once it is served no more.
    pub fn cache(&self, kind: &Kind) -> Result<Arc<Cache>, Status> {
        self.caches.of(kind).ok_or_else(Status::path_not_found)
    }

    /// Makes changes if compares hold.
    pub async fn commit(&self, txn: Txn) -> Result<Outcome, Status> {
        self.store.txn(txn).await.map_err(|error| refusal(&error))
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

/// The key of an object in the store.
pub(crate) fn store_key(kind: &Kind, namespace: Option<&str>, name: &str) -> Arc<str> {
    format!("{ROOT}{}/{}", kind.storage_prefix, key(namespace, name)).into()
}

/// When an object that is written now is forgotten.
pub(crate) fn expires(kind: &Kind) -> Option<SystemTime> {
    kind.strategy.ttl().and_then(|ttl| SystemTime::now().checked_add(ttl))
}

/// What a client is told when the store refuses.
pub(crate) fn refusal(error: &Error) -> Status {
    match error {
        Error::DiskFull { .. } => Status::new(507, "InsufficientStorage", error.to_string()),
        Error::TooLarge { .. } => Status::too_large(error.to_string()),
        Error::Compacted { .. } => Status::expired(error.to_string()),
        _ => Status::internal(error),
    }
}

/// Tells the token verifier which objects exist.
pub(crate) fn exists_check(caches: Arc<Caches>) -> Exists {
    Box::new(move |kind, namespace, name, uid| {
        let (plural, namespace) = match kind {
            "serviceaccount" => ("serviceaccounts", Some(namespace)),
            "pod" => ("pods", Some(namespace)),
            "secret" => ("secrets", Some(namespace)),
            _ => ("nodes", None),
        };
        let object = caches.of(core(plural)).and_then(|cache| cache.get(&key(namespace, name)).ok().flatten());
        object.is_some_and(|object| *object.uid() == *uid)
    })
}
