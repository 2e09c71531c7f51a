//! Shared informers: one list and watch a kind, one cache, many subscribers.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{Api, ListParams, Request, WatchParams};
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::decode::Decoded;
use crate::patch::is_gone;
use crate::store::Indexer;
use crate::{Backoff, ObjectKey, Store};

const PAGE_SIZE: u32 = 500;

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

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    metadata: ListMeta,
    items: Option<Vec<Box<RawValue>>>,
}

/// One line of a watch.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// The object of a bookmark: nothing but its version is sure.
#[derive(Deserialize)]
struct Bookmark {
    metadata: ListMeta,
}

struct Shared<K> {
    client: Client,
    url: String,
    labels: Option<String>,
    fields: Option<String>,
    store: Store<K>,
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
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
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
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
        let shared = Shared {
            url: api.resource_url().to_owned(),
            client: api.into_client(),
            labels,
            fields,
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
            *task = Some(tokio::spawn(feed(self.shared.clone())).abort_handle());
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

    fn remove(&self, key: &ObjectKey, last: Option<Decoded<K>>) {
        let handlers = self.handlers.lock();
        if let Some(cached) = self.store.remove(key) {
            let event = Event::Deleted(last.and_then(Decoded::object).map(Arc::new).unwrap_or(cached));
            handlers.iter().for_each(|handler| handler(&event));
        }
    }

    /// Takes in one line of a watch; `version` becomes that from which to go on.
    fn follow(&self, line: &str, version: &mut String) -> kube::Result<()>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let line: Line<'_> = read(line)?;
        let text = line.object.get();
        if line.kind == "ERROR" {
            return Err(kube::Error::Api(read(text)?));
        }
        if line.kind == "BOOKMARK" {
            let bookmark: Bookmark = read(text)?;
            bookmark.metadata.resource_version.into_iter().for_each(|new| *version = new);
            return Ok(());
        }
        let object = Decoded::parse(text).map_err(kube::Error::SerdeError)?;
        if let Some(new) = object.version() {
            version.clone_from(new);
        }
        match line.kind {
            "DELETED" => self.remove(&object.key(), Some(object)),
            _ => self.insert(object),
        }
        Ok(())
    }

    fn replace(&self, objects: Vec<Decoded<K>>) {
        let live: HashSet<ObjectKey> = objects.iter().map(Decoded::key).collect();
        for key in self.store.keys() {
            if !live.contains(&key) {
                self.remove(&key, None);
            }
        }
        objects.into_iter().for_each(|object| self.insert(object));
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> kube::Result<T> {
    serde_json::from_str(text).map_err(kube::Error::SerdeError)
}

/// Lists and watches for ever.
async fn feed<K>(shared: Arc<Shared<K>>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(15));
    loop {
        match list(&shared).await {
            Ok((objects, version)) => {
                backoff.reset();
                shared.replace(objects);
                shared.synced.send_replace(true);
                watch_from(&shared, version, &mut backoff).await;
            }
            Err(error) => {
                tracing::debug!(kind = %K::kind(&()), %error, "list failed, trying again");
                backoff.sleep().await;
            }
        }
    }
}

async fn list<K>(shared: &Shared<K>) -> kube::Result<(Vec<Decoded<K>>, String)>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let mut params = ListParams {
        label_selector: shared.labels.clone(),
        field_selector: shared.fields.clone(),
        limit: Some(PAGE_SIZE),
        ..ListParams::default()
    };
    let mut objects = Vec::new();
    loop {
        let request = Request::new(&shared.url).list(&params).map_err(kube::Error::BuildRequest)?;
        let page: Page = match shared.client.request(request).await {
            // The revision of the first page was compacted: only one big page is sure to be consistent.
            Err(error) if is_gone(&error) && params.continue_token.is_some() => {
                objects.clear();
                params.continue_token = None;
                params.limit = None;
                continue;
            }
            other => other?,
        };
        for item in page.items.into_iter().flatten() {
            objects.push(Decoded::parse(item.get()).map_err(kube::Error::SerdeError)?);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok((objects, page.metadata.resource_version.unwrap_or_default())),
        }
    }
}

/// Watches from a revision, resuming after breaks; returns when only a new list can help.
async fn watch_from<K>(shared: &Shared<K>, mut version: String, backoff: &mut Backoff)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let params = WatchParams {
        label_selector: shared.labels.clone(),
        field_selector: shared.fields.clone(),
        bookmarks: true,
        ..WatchParams::default()
    };
    loop {
        let started = Instant::now();
        let mut progress = false;
        let outcome = async {
            let request = Request::new(&shared.url).watch(&params, &version).map_err(kube::Error::BuildRequest)?;
            let mut lines = shared.client.request_stream(request).await?.lines();
            while let Some(line) = lines.try_next().await.map_err(kube::Error::ReadEvents)? {
                shared.follow(&line, &mut version)?;
                progress = true;
            }
            Ok(())
        }
        .await;
        match outcome {
            Err(error) if is_gone(&error) => {
                tracing::debug!(kind = %K::kind(&()), "the watch's revision is gone, listing anew");
                return;
            }
            // Breaks are daily business; an answer that is no list of events is not.
            Err(kube::Error::SerdeError(error)) if !error.is_eof() => {
                tracing::warn!(kind = %K::kind(&()), %error, "a watch's events cannot be read, resuming");
            }
            Err(error) => tracing::debug!(kind = %K::kind(&()), %error, "watch failed, resuming"),
            Ok(()) => {}
        }
        if progress || started.elapsed() > Duration::from_secs(5) {
            backoff.reset();
        }
        backoff.sleep().await;
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
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        self.indexed(Vec::new())
    }

    /// As [`Informers::all`], with indexes. Those that the informer does not have yet are added to it; of one name, the
    /// first stays.
    pub fn indexed<K>(&self, indexes: Vec<(&'static str, Indexer<K>)>) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
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
