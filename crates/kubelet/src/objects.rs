//! ConfigMaps and Secrets, watched one by one for as long as a pod of the node needs them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coracle_client::{Cached, Informer, ObjectKey};
use k8s_openapi::NamespaceResourceScope;
use kube::Client;
use kube::api::Api;
use parking_lot::Mutex;

/// How long a pod waits for an object before its start is tried again later.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

struct Watched<K> {
    informer: Informer<K>,
    users: Arc<Mutex<HashSet<String>>>,
    /// Set once the first list was given out: from then on users are told of changes.
    given: Arc<AtomicBool>,
}

/// A watch an object, shared by the pods that use it, ended with the last of them.
pub struct Objects<K> {
    client: Client,
    changed: Arc<dyn Fn(&str) + Send + Sync>,
    watched: Mutex<HashMap<ObjectKey, Watched<K>>>,
}

impl<K> Objects<K>
where
    K: Cached<Scope = NamespaceResourceScope>,
{
    /// `changed` is called with the UID of every pod that uses a changed object; it must not block.
    pub fn new(client: Client, changed: Arc<dyn Fn(&str) + Send + Sync>) -> Objects<K> {
        Objects { client, changed, watched: Mutex::new(HashMap::new()) }
    }

    /// The object as of now, `None` when it does not exist; watches it for the pod `uid` from now on.
    ///
    /// # Errors
    /// When the API server does not answer in time.
    pub async fn get(&self, uid: &str, namespace: &str, name: &str) -> Result<Option<Arc<K>>, String> {
        let (informer, given) = self.watch(uid, ObjectKey::new(namespace, name));
        if tokio::time::timeout(SYNC_TIMEOUT, informer.synced()).await.is_err() {
            let kind = K::kind(&()).to_lowercase();
            return Err(format!("failed to sync {kind} cache: timed out waiting for the condition"));
        }
        given.store(true, Ordering::Release);
        Ok(informer.store().get(namespace, name))
    }

    fn watch(&self, uid: &str, key: ObjectKey) -> (Informer<K>, Arc<AtomicBool>) {
        let mut watched = self.watched.lock();
        if let Some(entry) = watched.get(&key) {
            entry.users.lock().insert(uid.to_owned());
            return (entry.informer.clone(), entry.given.clone());
        }
        let api = Api::namespaced(self.client.clone(), &key.namespace);
        let selector = format!("metadata.name={}", key.name);
        let informer = Informer::with_selectors(api, None, Some(selector), Vec::new());
        let users = Arc::new(Mutex::new(HashSet::from([uid.to_owned()])));
        let given = Arc::new(AtomicBool::new(false));
        let (told, changed, live) = (users.clone(), self.changed.clone(), given.clone());
        informer.subscribe(move |_event| {
            if live.load(Ordering::Acquire) {
                told.lock().iter().for_each(|uid| changed(uid));
            }
        });
        informer.start();
        watched.insert(key, Watched { informer: informer.clone(), users, given: given.clone() });
        (informer, given)
    }

    /// Ends the watches that only the pod `uid` used.
    pub fn release(&self, uid: &str) {
        self.watched.lock().retain(|_, entry| {
            let mut users = entry.users.lock();
            users.remove(uid);
            !users.is_empty()
        });
    }
}
