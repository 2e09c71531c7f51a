//! The objects of the Gateway API as they come: followed once their definitions are there, most of them once a Gateway
//! of ours is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coracle_client::{Cached, Definitions, Informer, ObjectKey};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::Notify;

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

/// What is followed.
pub struct Follow {
    client: Client,
    changed: Arc<Notify>,
    definitions: Definitions,
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

impl Follow {
    /// Follows the definitions; `changed` is told of everything.
    pub fn new(client: Client, changed: Arc<Notify>) -> Follow {
        let wake = changed.clone();
        let definitions = Definitions::follow(client.clone(), GROUP, &KINDS, move || wake.notify_one());
        Follow { client, changed, definitions, kinds: Mutex::default(), is_clean: AtomicBool::new(false) }
    }

    /// Whether there are the definitions of Gateways and their classes.
    pub fn is_installed(&self) -> bool {
        ["gatewayclasses", "gateways"].iter().all(|plural| self.definitions.serves(plural))
    }

    /// The unique name of the definition of classes, for each of which a class is made once.
    pub fn definition_of_classes(&self) -> Option<String> {
        self.definitions.uid("gatewayclasses")
    }

    fn keep<K>(&self, place: &mut Option<Informer<K>>, is_wanted: bool)
    where
        K: Cached,
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
        if !self.definitions.are_known() {
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
    K: Cached,
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
