//! What feeds the graph: an informer where there is one, a metadata-only watch of every other resource.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Backoff, Cached, Event, Follower, Informer, Source, follow};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Resource;
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::Collector;
use super::graph::{Identity, Type};
use super::metadata::{Facts, Seen};
use crate::common::{Context, namespace_of};
use crate::discovery::{Deletable, deletable};

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
    K: Cached,
{
    shared.insert((K::group(&()).into_owned(), K::plural(&()).into_owned()));
    let of = Arc::new(Type { api_version: K::api_version(&()).into_owned(), kind: K::kind(&()).into_owned() });
    let identity = move |object: &K| Identity {
        of: of.clone(),
        namespace: namespace_of(object).to_owned(),
        name: object.meta().name.clone().unwrap_or_default(),
    };
    let collector = collector.clone();
    informer.subscribe(move |event| match event {
        Event::Added(object) => collector.observe(identity(object), object.meta().into()),
        Event::Updated { old, new } => {
            if old.meta().uid != new.meta().uid {
                collector.forget(old.meta().uid.as_deref().unwrap_or_default());
            }
            collector.observe(identity(new), new.meta().into());
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
        let kinds = discovered.resources.iter().map(|found| (Type::of(&found.resource), found.clone()));
        let kinds: HashMap<_, _> = kinds.collect();
        let wanted: HashSet<&Deletable> = discovered.resources.iter().filter(|found| self.is_watched(found)).collect();
        if !failed {
            self.running.retain(|resource, _| wanted.contains(resource));
        }
        self.collector.kinds.write().extend(kinds);
        for resource in wanted {
            if !self.running.contains_key(resource) {
                let (sender, synced) = watch::channel(false);
                let feed = Feed::new(self.collector.clone(), &resource.resource, sender, self.changed.clone());
                let task = tokio::spawn(feed.run(resource.resource.clone())).abort_handle();
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

/// Follows the metadata of one resource's objects.
struct Feed {
    collector: Collector,
    of: Arc<Type>,
    synced: watch::Sender<bool>,
    changed: Arc<Notify>,
    /// Whether the resource brings other resources about.
    defines: bool,
}

impl Feed {
    fn new(collector: Collector, resource: &ApiResource, synced: watch::Sender<bool>, changed: Arc<Notify>) -> Feed {
        let defines = resource.kind == CustomResourceDefinition::kind(&())
            && resource.group == CustomResourceDefinition::group(&());
        Feed { collector, of: Arc::new(Type::of(resource)), synced, changed, defines }
    }

    /// Never ends.
    async fn run(self, resource: ApiResource) {
        let client = self.collector.client.clone();
        let url = Api::<DynamicObject>::all_with(client.clone(), &resource).resource_url().to_owned();
        follow(&Source { client, url, labels: None, fields: None, metadata_only: true }, &self).await;
    }

    fn tell(&self) {
        if self.defines {
            self.changed.notify_one();
        }
    }
}

impl Follower for Feed {
    type Object = Seen;

    fn replace(&self, objects: Vec<Seen>) {
        let live: HashSet<&str> = objects.iter().map(|seen| seen.metadata.uid.as_str()).collect();
        let missing = self.collector.graph.lock().missing(&self.of, &live);
        missing.iter().for_each(|uid| self.collector.forget(uid));
        if !missing.is_empty() {
            self.tell();
        }
        objects.into_iter().for_each(|seen| self.put(seen));
        self.synced.send_replace(true);
    }

    fn put(&self, Seen { mut metadata }: Seen) {
        let id = Identity {
            of: self.of.clone(),
            namespace: metadata.namespace.take().unwrap_or_default(),
            name: std::mem::take(&mut metadata.name),
        };
        self.collector.observe(id, Facts::from(&metadata));
        self.tell();
    }

    fn remove(&self, seen: Seen) {
        self.collector.forget(&seen.metadata.uid);
        self.tell();
    }
}
