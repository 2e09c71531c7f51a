//! The objects of the Gateway API as they come: followed once their definitions are there, most of them once a Gateway
//! of ours is.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coracle_client::{Followed, Follower, Informer, ObjectKey, Source, follow};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::routes::{AnyRoute, Rules};
use super::types::{GROUP, GRPCRoute, Gateway, GatewayClass, HTTPRoute, ReferenceGrant, TLSRoute};
use super::{Objects, our_classes};

/// The name of the definition of classes.
const CLASSES: &str = "gatewayclasses.gateway.networking.k8s.io";

/// The definitions that there are, by name.
#[derive(Default)]
struct Definitions {
    known: Mutex<BTreeSet<String>>,
    /// Those that were there when this process began were told.
    began: AtomicBool,
    /// The definition of classes came since.
    came: AtomicBool,
    changed: Arc<Notify>,
}

/// A definition: nothing but its name is read.
#[derive(Deserialize)]
struct Definition {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    resource_version: Option<String>,
}

impl Followed for Definition {
    fn read(text: &str) -> serde_json::Result<Definition> {
        serde_json::from_str(text)
    }

    fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

impl Definitions {
    fn take(&self, change: impl FnOnce(&mut BTreeSet<String>)) {
        let mut known = self.known.lock();
        let before = known.clone();
        change(&mut known);
        if known.contains(CLASSES) && !before.contains(CLASSES) && self.began.load(Ordering::Acquire) {
            self.came.store(true, Ordering::Release);
        }
        if *known != before {
            self.changed.notify_one();
        }
    }
}

fn is_ours(name: &str) -> bool {
    name.split_once('.').is_some_and(|(_, group)| group == GROUP)
}

impl Follower for Definitions {
    type Object = Definition;

    fn replace(&self, objects: Vec<Definition>) {
        let names = objects.into_iter().map(|object| object.metadata.name).filter(|name| is_ours(name));
        self.take(|known| *known = names.collect());
        if !self.began.swap(true, Ordering::AcqRel) {
            self.changed.notify_one();
        }
    }

    fn put(&self, object: Definition) {
        if is_ours(&object.metadata.name) {
            self.take(|known| {
                known.insert(object.metadata.name);
            });
        }
    }

    fn remove(&self, object: Definition) {
        self.take(|known| {
            known.remove(&object.metadata.name);
        });
    }
}

/// What is followed.
pub struct Follow {
    client: Client,
    changed: Arc<Notify>,
    definitions: Arc<Definitions>,
    task: AbortHandle,
    kinds: Mutex<Kinds>,
}

/// The informers that there are.
#[derive(Default)]
struct Kinds {
    classes: Option<Informer<GatewayClass>>,
    gateways: Option<Informer<Gateway>>,
    http: Option<Informer<HTTPRoute>>,
    grpc: Option<Informer<GRPCRoute>>,
    tls: Option<Informer<TLSRoute>>,
    grants: Option<Informer<ReferenceGrant>>,
    namespaces: Option<Informer<Namespace>>,
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follow {
    /// Follows the definitions, of which it reads the names alone; `changed` is told of everything.
    pub fn new(client: Client, changed: Arc<Notify>) -> Follow {
        let definitions = Arc::new(Definitions { changed: changed.clone(), ..Definitions::default() });
        let source = Source {
            client: client.clone(),
            url: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".into(),
            labels: None,
            fields: None,
            metadata_only: true,
        };
        let follower = definitions.clone();
        let task = tokio::spawn(async move { follow(&source, &*follower).await }).abort_handle();
        Follow { client, changed, definitions, task, kinds: Mutex::default() }
    }

    /// Whether there are the definitions of Gateways and their classes.
    pub fn is_installed(&self) -> bool {
        let known = self.definitions.known.lock();
        ["gatewayclasses", "gateways"].iter().all(|plural| known.contains(&format!("{plural}.{GROUP}")))
    }

    /// Whether a class is to be made, as the definition of classes has come.
    pub fn wants_class(&self) -> bool {
        self.definitions.came.load(Ordering::Acquire)
    }

    /// It was made.
    pub fn class_is_made(&self) {
        self.definitions.came.store(false, Ordering::Release);
    }

    fn keep<K>(&self, place: &mut Option<Informer<K>>, is_wanted: bool)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        match (&place, is_wanted) {
            (None, true) => {
                let informer = Informer::new(Api::all(self.client.clone()));
                let changed = self.changed.clone();
                informer.subscribe(move |_| changed.notify_one());
                informer.start();
                let (changed, synced) = (self.changed.clone(), informer.clone());
                tokio::spawn(async move {
                    synced.synced().await;
                    changed.notify_one();
                });
                *place = Some(informer);
            }
            (Some(_), false) => *place = None,
            _ => {}
        }
    }

    /// Follows what there is to follow, and answers with what there is; `None` while that is not all known. Without a
    /// Gateway of ours there are no routes in it.
    pub fn objects(&self) -> Option<Objects> {
        if !self.definitions.began.load(Ordering::Acquire) {
            return None;
        }
        let is_installed = self.is_installed();
        let has = |plural: &str| is_installed && self.definitions.known.lock().contains(&format!("{plural}.{GROUP}"));
        let mut kinds = self.kinds.lock();
        self.keep(&mut kinds.classes, is_installed);
        self.keep(&mut kinds.gateways, is_installed);
        let (classes, gateways) = (list(&kinds.classes)?, list(&kinds.gateways)?);
        let ours = our_classes(&classes);
        let has_gateway = gateways.iter().any(|gateway| ours.contains(&gateway.spec.gateway_class_name));
        self.keep(&mut kinds.http, has_gateway && has("httproutes"));
        self.keep(&mut kinds.grpc, has_gateway && has("grpcroutes"));
        self.keep(&mut kinds.tls, has_gateway && has("tlsroutes"));
        self.keep(&mut kinds.grants, has_gateway && has("referencegrants"));
        self.keep(&mut kinds.namespaces, has_gateway);
        list(&kinds.grants)?;
        list(&kinds.namespaces)?;
        let mut routes: Vec<(Option<Timestamp>, AnyRoute)> = Vec::new();
        for route in list(&kinds.http)? {
            let spec = route.spec.clone();
            let any = any(&*route, &route.status, ("v1", "httproutes"), Rules::Http(spec.rules));
            routes.push((created(&*route), AnyRoute { parents: spec.parent_refs, hostnames: spec.hostnames, ..any }));
        }
        for route in list(&kinds.grpc)? {
            let spec = route.spec.clone();
            let any = any(&*route, &route.status, ("v1", "grpcroutes"), Rules::Grpc(spec.rules));
            routes.push((created(&*route), AnyRoute { parents: spec.parent_refs, hostnames: spec.hostnames, ..any }));
        }
        for route in list(&kinds.tls)? {
            let spec = route.spec.clone();
            let any = any(&*route, &route.status, ("v1", "tlsroutes"), Rules::Tls(spec.rules));
            routes.push((created(&*route), AnyRoute { parents: spec.parent_refs, hostnames: spec.hostnames, ..any }));
        }
        routes.sort_by(|(one_time, one), (other_time, other)| {
            (one_time, &one.key.namespace, &one.key.name).cmp(&(other_time, &other.key.namespace, &other.key.name))
        });
        Some(Objects { classes, gateways, routes: routes.into_iter().map(|(_, route)| route).collect() })
    }

    /// The grants that there are.
    pub fn grants(&self) -> Vec<Arc<ReferenceGrant>> {
        list(&self.kinds.lock().grants).unwrap_or_default()
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.kinds.lock().namespaces.as_ref()?.store().get("", name)
    }
}

/// What an informer has: nothing where there is none, `None` before it has all.
fn list<K>(informer: &Option<Informer<K>>) -> Option<Vec<Arc<K>>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    match informer {
        None => Some(Vec::new()),
        Some(informer) => informer.has_synced().then(|| informer.store().list()),
    }
}

fn created<K: Resource>(object: &K) -> Option<Timestamp> {
    object.meta().creation_timestamp.as_ref().map(|time| time.0)
}

fn any<K: Resource<DynamicType = ()>>(
    object: &K,
    status: &serde_json::Value,
    at: (&'static str, &'static str),
    rules: Rules,
) -> AnyRoute {
    let kind = match rules {
        Rules::Http(_) => "HTTPRoute",
        Rules::Grpc(_) => "GRPCRoute",
        Rules::Tls(_) => "TLSRoute",
    };
    AnyRoute {
        kind,
        at,
        key: ObjectKey::of(object),
        generation: object.meta().generation.unwrap_or_default(),
        parents: Vec::new(),
        hostnames: Vec::new(),
        rules,
        status: status.clone(),
        version: object.resource_version(),
    }
}
