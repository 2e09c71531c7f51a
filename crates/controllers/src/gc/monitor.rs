//! What feeds the graph: an informer where there is one, a metadata-only watch of every other resource.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Backoff, Event, Informer, is_gone};
use futures::TryStreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Resource;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::{ApiResource, DynamicObject};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::Collector;
use super::graph::{Identity, shrink};
use crate::common::{Context, namespace_of};
use crate::discovery::{Deletable, deletable};

const PAGE_SIZE: u32 = 500;
/// Work begins when all resources were listed, or after this: one broken API must not stop the collector.
const PATIENCE: Duration = Duration::from_secs(30);
/// Many definitions may come at once.
const SETTLE: Duration = Duration::from_millis(100);

/// Starts to watch everything. The future it returns keeps the set of watches up to date for ever.
pub(super) async fn start(
    context: &Context,
    collector: &Collector,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let changed = Arc::new(Notify::new());
    let mut shared = HashSet::new();
    feed_from(&context.pods(), collector, &mut shared);
    feed_from(&context.replica_sets(), collector, &mut shared);
    feed_from(&context.deployments(), collector, &mut shared);
    feed_from(&context.services(), collector, &mut shared);
    feed_from(&context.nodes(), collector, &mut shared);
    feed_from(&context.namespaces(), collector, &mut shared);
    feed_from(&crate::endpoints::writer::informer(context), collector, &mut shared);
    feed_from(&context.informers.all::<k8s_openapi::api::core::v1::Endpoints>(), collector, &mut shared);
    feed_from(&context.informers.all::<k8s_openapi::api::core::v1::ReplicationController>(), collector, &mut shared);
    let mut monitors =
        Monitors { collector: collector.clone(), shared, running: HashMap::new(), changed: changed.clone() };
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    while let Err(error) = monitors.refresh().await {
        tracing::debug!(%error, "discovery failed, trying again");
        backoff.sleep().await;
    }
    let synced = async {
        context.pods().synced().await;
        context.replica_sets().synced().await;
        for monitor in monitors.running.values() {
            let _ = monitor.synced.clone().wait_for(|synced| *synced).await;
        }
    };
    if tokio::time::timeout(PATIENCE, synced).await.is_err() {
        tracing::warn!("some resources could not be listed in time; garbage collection begins without them");
    }
    async move {
        loop {
            changed.notified().await;
            tokio::time::sleep(SETTLE).await;
            if let Err(error) = monitors.refresh().await {
                tracing::warn!(%error, "discovery failed, trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                changed.notify_one();
            }
        }
    }
}

/// Feeds the graph from an informer that exists anyway.
fn feed_from<K>(informer: &Informer<K>, collector: &Collector, shared: &mut HashSet<(String, String)>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    shared.insert((K::group(&()).into_owned(), K::plural(&()).into_owned()));
    let identity = |object: &K| Identity {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        namespace: namespace_of(object).to_owned(),
        name: object.meta().name.clone().unwrap_or_default(),
    };
    let collector = collector.clone();
    informer.subscribe(move |event| match event {
        Event::Added(object) => collector.observe(identity(object), object.meta()),
        Event::Updated { old, new } => {
            if old.meta().uid != new.meta().uid {
                collector.forget(old.meta().uid.as_deref().unwrap_or_default());
            }
            collector.observe(identity(new), new.meta());
        }
        Event::Deleted(object) => collector.forget(object.meta().uid.as_deref().unwrap_or_default()),
    });
}

struct Running {
    task: AbortHandle,
    synced: watch::Receiver<bool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Monitors {
    collector: Collector,
    /// Group and plural of what informers feed.
    shared: HashSet<(String, String)>,
    running: HashMap<Deletable, Running>,
    changed: Arc<Notify>,
}

impl Monitors {
    /// Asks what there is, and starts and stops watches accordingly.
    async fn refresh(&mut self) -> kube::Result<()> {
        let discovered = deletable(&self.collector.client).await?;
        let failed = !discovered.failures.is_empty();
        let kinds = discovered
            .resources
            .iter()
            .map(|found| ((found.resource.api_version.clone(), found.resource.kind.clone()), found.clone()));
        let kinds: HashMap<_, _> = kinds.collect();
        let wanted: HashSet<&Deletable> = discovered.resources.iter().filter(|found| self.is_watched(found)).collect();
        if !failed {
            self.running.retain(|resource, _| wanted.contains(resource));
        }
        self.collector.kinds.write().extend(kinds);
        for resource in wanted {
            if !self.running.contains_key(resource) {
                let (sender, synced) = watch::channel(false);
                let feed = feed(self.collector.clone(), resource.resource.clone(), sender, self.changed.clone());
                let task = tokio::spawn(feed).abort_handle();
                self.running.insert(resource.clone(), Running { task, synced });
            }
        }
        Ok(())
    }

    /// Events come in masses and own nothing.
    fn is_watched(&self, found: &Deletable) -> bool {
        let (group, plural) = (&found.resource.group, &found.resource.plural);
        found.watchable && plural != "events" && !self.shared.contains(&(group.clone(), plural.clone()))
    }
}

/// The UIDs of a resource's objects, by namespace and name.
type Known = HashMap<(String, String), String>;

/// Lists and watches one resource for ever.
async fn feed(collector: Collector, resource: ApiResource, synced: watch::Sender<bool>, changed: Arc<Notify>) {
    let api: Api<DynamicObject> = Api::all_with(collector.client.clone(), &resource);
    let mut feed = Feed {
        defines: resource.kind == CustomResourceDefinition::kind(&())
            && resource.group == CustomResourceDefinition::group(&()),
        collector,
        resource,
        known: Known::new(),
        changed,
    };
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    loop {
        match feed.list(&api).await {
            Ok(version) => {
                synced.send_replace(true);
                backoff.reset();
                feed.watch(&api, version, &mut backoff).await;
            }
            Err(error) => {
                tracing::debug!(resource = %feed.resource.plural, %error, "metadata list failed, trying again");
                backoff.sleep().await;
            }
        }
    }
}

struct Feed {
    collector: Collector,
    resource: ApiResource,
    known: Known,
    changed: Arc<Notify>,
    /// Whether the resource brings other resources about.
    defines: bool,
}

type Meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

impl Feed {
    fn seen(&mut self, meta: &Meta) {
        let key = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let uid = meta.uid.clone().unwrap_or_default();
        if let Some(old) = self.known.insert(key.clone(), uid.clone())
            && old != uid
        {
            self.collector.forget(&old);
        }
        let id = Identity {
            api_version: self.resource.api_version.clone(),
            kind: self.resource.kind.clone(),
            namespace: key.0,
            name: key.1,
        };
        self.collector.observe(id, meta);
        if self.defines {
            self.changed.notify_one();
        }
    }

    fn gone(&mut self, meta: &Meta) {
        self.known.remove(&(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default()));
        shrink(&mut self.known);
        self.collector.forget(meta.uid.as_deref().unwrap_or_default());
        if self.defines {
            self.changed.notify_one();
        }
    }

    async fn list(&mut self, api: &Api<DynamicObject>) -> kube::Result<String> {
        let mut params = ListParams::default().limit(PAGE_SIZE);
        let mut found = Vec::new();
        let version = loop {
            let page = match api.list_metadata(&params).await {
                // The revision of the first page was compacted: only one big page is sure to be consistent.
                Err(error) if is_gone(&error) && params.continue_token.is_some() => {
                    found.clear();
                    params = ListParams::default();
                    continue;
                }
                other => other?,
            };
            found.extend(page.items.into_iter().map(|item| item.metadata));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break page.metadata.resource_version.unwrap_or_default(),
            }
        };
        let live: HashSet<&str> = found.iter().filter_map(|meta| meta.uid.as_deref()).collect();
        let gone: Vec<String> = self.known.values().filter(|uid| !live.contains(uid.as_str())).cloned().collect();
        self.known.retain(|_, uid| live.contains(uid.as_str()));
        gone.iter().for_each(|uid| self.collector.forget(uid));
        found.iter().for_each(|meta| self.seen(meta));
        Ok(version)
    }

    /// Watches, resuming after breaks; returns when only a new list can help.
    async fn watch(&mut self, api: &Api<DynamicObject>, mut version: String, backoff: &mut Backoff) {
        loop {
            let params = WatchParams::default();
            let outcome = async {
                let mut events = std::pin::pin!(api.watch_metadata(&params, &version).await?);
                while let Some(event) = events.try_next().await? {
                    backoff.reset();
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                            if let Some(new) = &object.metadata.resource_version {
                                version.clone_from(new);
                            }
                            self.seen(&object.metadata);
                        }
                        WatchEvent::Deleted(object) => {
                            if let Some(new) = &object.metadata.resource_version {
                                version.clone_from(new);
                            }
                            self.gone(&object.metadata);
                        }
                        WatchEvent::Bookmark(bookmark) => version.clone_from(&bookmark.metadata.resource_version),
                        WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
                    }
                }
                Ok(())
            }
            .await;
            match outcome {
                Err(error) if is_gone(&error) || coracle_client::is_not_found(&error) => {
                    backoff.sleep().await;
                    return;
                }
                Err(error) => tracing::debug!(resource = %self.resource.plural, %error, "watch failed, resuming"),
                Ok(()) => {}
            }
            backoff.sleep().await;
        }
    }
}
