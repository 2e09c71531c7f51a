//! Shared informers: one list and watch a kind, one cache, many subscribers.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use kube::api::Api;
use kube::{Client, Resource};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::cached::Cached;
use crate::decode::Decoded;
use crate::follow::{Feed, Follower, Source, keep_fed};
use crate::store::Indexer;
use crate::{ObjectKey, Store};

/// What happened to an object of the cache.
#[derive(Clone, Debug)]
pub enum Event<K> {
    /// It is new, or was there when the subscriber came.
    Added(Arc<K>),
    /// It changed.
    Updated {
        /// The cached object before.
        old: Arc<K>,
        /// The object now.
        new: Arc<K>,
    },
    /// It is gone; the last known state.
    Deleted(Arc<K>),
}

type Handler<K> = Box<dyn Fn(&Event<K>) + Send + Sync>;

struct Shared<K> {
    source: Source,
    store: Store<K>,
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

/// Follows on a task of its own.
fn spawn(source: Source, shared: Arc<dyn Feed>) -> AbortHandle {
    tokio::spawn(async move { keep_fed(&source, &*shared).await }).abort_handle()
}

struct AbortOnDrop(Mutex<Option<AbortHandle>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = self.0.get_mut().take() {
            task.abort();
        }
    }
}

/// Keeps a [`Store`] equal to what the API server has, and tells subscribers of every change.
///
/// # Guarantees
/// The store is changed before subscribers hear of it; each subscriber hears of every object's changes in
/// order. After a break the watch resumes where it ended; when the server forgot that revision, everything is
/// listed anew and subscribers hear the difference. Nothing is repeated on a timer. An object that is not as its
/// type says is left as it was, with a warning.
///
/// The task that feeds it ends with the last clone.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
    task: Arc<AbortOnDrop>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Informer { shared: self.shared.clone(), task: self.task.clone() }
    }
}

impl<K> Informer<K>
where
    K: Cached,
{
    /// An informer over everything `api` reaches. It does nothing before [`Informer::start`].
    pub fn new(api: Api<K>) -> Informer<K> {
        Self::with_selectors(api, None, None, Vec::new())
    }

    /// An informer over the objects that a label selector and a field selector choose, with indexes: each has a
    /// name and a closure from an object to the values under which [`Store::by_index`] finds it.
    pub fn with_selectors(
        api: Api<K>,
        labels: Option<String>,
        fields: Option<String>,
        indexes: Vec<(&'static str, Indexer<K>)>,
    ) -> Informer<K> {
        let url = api.resource_url().to_owned();
        let shared = Shared {
            source: Source { client: api.into_client(), url, labels, fields, metadata_only: false },
            store: Store::new(indexes),
            handlers: Mutex::new(Vec::new()),
            synced: watch::Sender::new(false),
        };
        Informer { shared: Arc::new(shared), task: Arc::new(AbortOnDrop(Mutex::new(None))) }
    }

    /// Starts to list and watch; a second call does nothing. Needs a tokio runtime.
    pub fn start(&self) {
        let mut task = self.task.0.lock();
        if task.is_none() {
            let shared = self.shared.clone();
            let source = shared.source.clone();
            *task = Some(spawn(source, shared));
        }
    }

    /// The cache.
    pub fn store(&self) -> Store<K> {
        self.shared.store.clone()
    }

    /// Calls `handler` for every object there is and for every change from now on. Handlers run one after the
    /// other on the informer's task: they must be quick, must not block, and must not subscribe to the same
    /// informer.
    pub fn subscribe(&self, handler: impl Fn(&Event<K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.lock();
        for object in self.shared.store.list() {
            handler(&Event::Added(object));
        }
        handlers.push(Box::new(handler));
    }

    /// Returns once the first list is in the store and every subscriber heard of it.
    pub async fn synced(&self) {
        // The sender lives in `shared`, so waiting cannot fail.
        let _ = self.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first list is in the store.
    pub fn has_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }
}

impl<K: Resource> Shared<K> {
    fn insert(&self, object: Decoded<K>) {
        let Some(object) = object.object() else { return };
        let new = Arc::new(object);
        let handlers = self.handlers.lock();
        let event = match self.store.insert(new.clone()) {
            None => Event::Added(new),
            Some(old)
                if old.meta().resource_version == new.meta().resource_version
                    && new.meta().resource_version.is_some() =>
            {
                return;
            }
            Some(old) => Event::Updated { old, new },
        };
        handlers.iter().for_each(|handler| handler(&event));
    }

    fn forget(&self, key: &ObjectKey, last: Option<Decoded<K>>) {
        let handlers = self.handlers.lock();
        if let Some(cached) = self.store.remove(key) {
            let event = Event::Deleted(last.and_then(Decoded::object).map(Arc::new).unwrap_or(cached));
            handlers.iter().for_each(|handler| handler(&event));
        }
    }
}

impl<K> Follower for Shared<K>
where
    K: Cached,
{
    type Object = Decoded<K>;

    fn replace(&self, objects: Vec<Decoded<K>>) {
        let live: HashSet<ObjectKey> = objects.iter().map(Decoded::key).collect();
        for key in self.store.keys() {
            if !live.contains(&key) {
                self.forget(&key, None);
            }
        }
        objects.into_iter().for_each(|object| self.insert(object));
        self.synced.send_replace(true);
    }

    fn put(&self, object: Decoded<K>) {
        self.insert(object);
    }

    fn remove(&self, object: Decoded<K>) {
        self.forget(&object.key(), Some(object));
    }
}

/// Hands the same informer to everyone in the process who asks for a kind.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    made: Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>>,
}

impl Informers {
    /// A factory with no informers yet.
    pub fn new(client: Client) -> Informers {
        Informers { client, made: Arc::default() }
    }

    /// The client that the informers use.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The informer over all objects of a kind in all namespaces, started.
    pub fn all<K>(&self) -> Informer<K>
    where
        K: Cached,
    {
        self.indexed(Vec::new())
    }

    /// As [`Informers::all`], with indexes. Those that the informer does not have yet are added to it; of one name, the
    /// first stays.
    pub fn indexed<K>(&self, indexes: Vec<(&'static str, Indexer<K>)>) -> Informer<K>
    where
        K: Cached,
    {
        let mut made = self.made.lock();
        let informer = made
            .entry(TypeId::of::<K>())
            .or_insert_with(|| Box::new(Informer::new(Api::<K>::all(self.client.clone()))))
            .downcast_ref::<Informer<K>>()
            .expect("the map's key is the type of its value")
            .clone();
        drop(made);
        informer.store().add_indexes(indexes);
        informer.start();
        informer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use http::{Request, Response};
    use http_body_util::StreamBody;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::client::Body;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn map(name: &str, version: u32) -> serde_json::Value {
        serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "n", "resourceVersion": version.to_string()}})
    }

    /// Lists a (and later b), answers the first watch with a change and then 410, and leaves the second one open.
    fn server() -> Client {
        let (lists, watches) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        crate::in_process(tower::service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let lines: Vec<serde_json::Value> = if query.contains("watch=true") {
                match watches.fetch_add(1, Ordering::SeqCst) {
                    0 => vec![
                        serde_json::json!({"type": "MODIFIED", "object": map("a", 11)}),
                        serde_json::json!({"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old", "status": "Failure"}}),
                    ],
                    _ => vec![serde_json::json!({"type": "DELETED", "object": map("b", 21)})],
                }
            } else {
                let items =
                    if lists.fetch_add(1, Ordering::SeqCst) == 0 { vec![map("a", 10)] } else { vec![map("b", 20)] };
                vec![
                    serde_json::json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "20"}, "items": items}),
                ]
            };
            let open = query.contains("watch=true") && lines.len() == 1;
            let frames = futures::stream::iter(lines).map(|line| {
                Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes::Bytes::from(format!("{line}\n"))))
            });
            let tail = futures::stream::once(async move {
                if open {
                    futures::future::pending::<()>().await;
                }
                Ok(http_body::Frame::data(bytes::Bytes::new()))
            });
            async move { Ok::<_, std::convert::Infallible>(Response::new(StreamBody::new(frames.chain(tail).boxed()))) }
        }))
    }

    #[tokio::test]
    async fn an_informer_follows_changes_and_lists_anew_after_410() {
        let informers = Informers::new(server());
        let informer = informers.all::<ConfigMap>();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        informer.subscribe(move |event| {
            let text = match event {
                Event::Added(object) => format!("+{}", ObjectKey::of(&**object)),
                Event::Updated { new, .. } => format!("~{}", ObjectKey::of(&**new)),
                Event::Deleted(object) => format!("-{}", ObjectKey::of(&**object)),
            };
            let _ = sender.send(text);
        });
        informer.synced().await;
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.extend(tokio::time::timeout(Duration::from_secs(5), receiver.recv()).await.unwrap());
        }
        assert_eq!(seen, ["+n/a", "~n/a", "-n/a", "+n/b", "-n/b"]);
        assert!(informers.all::<ConfigMap>().store().is_empty());
    }
}
