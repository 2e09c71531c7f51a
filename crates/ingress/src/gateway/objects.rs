//! The objects of the Gateway API as they come: followed once their definitions are there, most of them once a Gateway
//! of ours is.

use std::collections::{BTreeMap, BTreeSet};
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
use super::{CONTROLLER, Objects, our_classes};

/// The kinds that are followed, and the version of each that is read.
const KINDS: [(&str, &str); 6] = [
    ("gatewayclasses", "v1"),
    ("gateways", "v1"),
    ("httproutes", "v1"),
    ("grpcroutes", "v1"),
    ("tlsroutes", "v1"),
    ("referencegrants", "v1beta1"),
];

/// The definitions that there are, by name.
#[derive(Default)]
struct Definitions {
    known: Mutex<BTreeMap<String, Known>>,
    /// Those that were there when this process began were told.
    began: AtomicBool,
    changed: Arc<Notify>,
}

/// What is known of a definition.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    uid: String,
    /// The versions that are served.
    served: BTreeSet<String>,
}

/// A definition: its name and versions are read.
#[derive(Deserialize)]
struct Definition {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    uid: String,
    resource_version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Version {
    name: String,
    served: bool,
}

impl Definition {
    fn named(self) -> (String, Known) {
        let served = self.spec.versions.into_iter().filter(|version| version.served).map(|version| version.name);
        (self.metadata.name, Known { uid: self.metadata.uid, served: served.collect() })
    }
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
    fn take(&self, change: impl FnOnce(&mut BTreeMap<String, Known>)) {
        let mut known = self.known.lock();
        let before = known.clone();
        change(&mut known);
        if *known != before {
            // Once for each change, and not for each look.
            for (plural, version) in KINDS {
                let of = |all: &BTreeMap<String, Known>| all.get(&format!("{plural}.{GROUP}")).cloned();
                let now = of(&known);
                if now != of(&before) && now.is_some_and(|now| !now.served.contains(version)) {
                    tracing::warn!("the definition of {plural} does not serve {version}: they are left out");
                }
            }
            self.changed.notify_one();
        }
    }

    /// Whether objects of a kind are served in the version in which they are read.
    fn serves(&self, plural: &str) -> bool {
        let known = self.known.lock();
        let version = KINDS.iter().find(|(own, _)| *own == plural).map(|(_, version)| *version);
        known.get(&format!("{plural}.{GROUP}")).zip(version).is_some_and(|(own, version)| own.served.contains(version))
    }
}

fn is_ours(name: &str) -> bool {
    name.split_once('.').is_some_and(|(_, group)| group == GROUP)
}

impl Follower for Definitions {
    type Object = Definition;

    fn replace(&self, objects: Vec<Definition>) {
        let ours = objects.into_iter().filter(|object| is_ours(&object.metadata.name)).map(Definition::named);
        self.take(|known| *known = ours.collect());
        if !self.began.swap(true, Ordering::AcqRel) {
            self.changed.notify_one();
        }
    }

    fn put(&self, object: Definition) {
        if is_ours(&object.metadata.name) {
            let (name, own) = object.named();
            self.take(|known| drop(known.insert(name, own)));
        }
    }

    fn remove(&self, object: Definition) {
        self.take(|known| drop(known.remove(&object.metadata.name)));
    }
}

/// What is followed.
pub struct Follow {
    client: Client,
    changed: Arc<Notify>,
    definitions: Arc<Definitions>,
    task: AbortHandle,
    kinds: Mutex<Kinds>,
    /// Whether no route says any more that it belongs to a Gateway, while there is none.
    is_clean: AtomicBool,
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
    /// Follows the definitions, of which it reads names and versions alone; `changed` is told of everything.
    pub fn new(client: Client, changed: Arc<Notify>) -> Follow {
        let definitions = Arc::new(Definitions { changed: changed.clone(), ..Definitions::default() });
        let source = Source {
            client: client.clone(),
            url: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".into(),
            labels: None,
            fields: None,
            // Versions are no metadata.
            metadata_only: false,
        };
        let follower = definitions.clone();
        let task = tokio::spawn(async move { follow(&source, &*follower).await }).abort_handle();
        Follow { client, changed, definitions, task, kinds: Mutex::default(), is_clean: AtomicBool::new(false) }
    }

    /// Whether there are the definitions of Gateways and their classes.
    pub fn is_installed(&self) -> bool {
        ["gatewayclasses", "gateways"].iter().all(|plural| self.definitions.serves(plural))
    }

    /// The unique name of the definition of classes, for each of which a class is made once.
    pub fn definition_of_classes(&self) -> Option<String> {
        let known = self.definitions.known.lock();
        known.get(&format!("gatewayclasses.{GROUP}")).filter(|own| own.served.contains("v1")).map(|own| own.uid.clone())
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
        let has = |plural: &str| is_installed && self.definitions.serves(plural);
        let mut kinds = self.kinds.lock();
        self.keep(&mut kinds.classes, is_installed);
        self.keep(&mut kinds.gateways, is_installed);
        let (classes, gateways) = (list(&kinds.classes)?, list(&kinds.gateways)?);
        let ours = our_classes(&classes);
        let has_gateway = gateways.iter().any(|gateway| ours.contains(&gateway.spec.gateway_class_name));
        // What was told of routes is taken back when the last Gateway has gone, also if that was while nobody looked.
        if has_gateway {
            self.is_clean.store(false, Ordering::Release);
        }
        let has_routes = has_gateway || !self.is_clean.load(Ordering::Acquire);
        self.keep(&mut kinds.http, has_routes && has("httproutes"));
        self.keep(&mut kinds.grpc, has_routes && has("grpcroutes"));
        self.keep(&mut kinds.tls, has_routes && has("tlsroutes"));
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
        let is_told = |(_, route): &(_, AnyRoute)| {
            route.status["parents"].as_array().into_iter().flatten().any(|own| own["controllerName"] == CONTROLLER)
        };
        if !has_gateway && has_routes && is_installed && !routes.iter().any(is_told) {
            self.is_clean.store(true, Ordering::Release);
            (kinds.http, kinds.grpc, kinds.tls) = (None, None, None);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(plural: &str, versions: &[(&str, bool)]) -> Definition {
        let versions: Vec<_> =
            versions.iter().map(|(name, served)| json!({"name": name, "served": served, "storage": true})).collect();
        let text = json!({"metadata": {"name": format!("{plural}.{GROUP}"), "uid": "u", "resourceVersion": "1"},
            "spec": {"group": GROUP, "versions": versions}});
        Definition::read(&text.to_string()).unwrap()
    }

    #[test]
    fn a_kind_that_is_served_in_another_version_alone_is_left_out() {
        let definitions = Definitions::default();
        definitions.replace(vec![
            definition("gateways", &[("v1beta1", true), ("v1", true)]),
            definition("tlsroutes", &[("v1alpha2", true), ("v1", false)]),
        ]);
        assert!(
            definitions.serves("gateways") && !definitions.serves("tlsroutes") && !definitions.serves("httproutes")
        );
        definitions.put(definition("tlsroutes", &[("v1alpha2", true), ("v1", true)]));
        assert!(definitions.serves("tlsroutes"));
        definitions.remove(definition("tlsroutes", &[]));
        assert!(!definitions.serves("tlsroutes"));
    }
}
