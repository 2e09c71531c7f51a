//! The node's part: what objects say becomes tables, and there is a socket while they say something.

use std::collections::{BTreeSet, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use coracle_client::{Event, Informer, ObjectKey};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use rustls::sign::CertifiedKey;
use tokio::sync::{Notify, watch};

use crate::backend::{Backends, Forbidden, service_of, shares_network};
use crate::entrance::{Door, Tables};
use crate::gateway::objects::Follow;
use crate::gateway::types::Gateway;
use crate::gateway::{self, Needed, Objects, Told};
use crate::ingress::{self, Means, class};
use crate::metrics::METRICS;
use crate::proxy::{self, Dial, Listening, Shared};
use crate::secrets::{Known, Secrets};
use crate::{Config, slice};

/// The namespace of what is made for Ingresses.
pub const NAMESPACE: &str = "kube-system";
/// The name of the service of all Ingresses.
pub const SERVICE: &str = "coracle-ingress";
/// Says that a service was made here, and goes when nobody needs it.
pub const MADE_BY: &str = "app.kubernetes.io/managed-by";
/// What that says.
pub const OURS: &str = "coracle-ingress-controller";
/// How soon tables are made anew at most.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the first tables wait for secrets.
const FIRST: Duration = Duration::from_secs(5);
/// How soon what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What is served, for who tells of it in objects.
#[derive(Clone, Default)]
pub struct Outcome {
    /// Whether anything is known at all.
    pub is_read: bool,
    /// Whether all is known of Gateways.
    pub is_whole: bool,
    /// The Ingresses that are ours.
    pub ingresses: Vec<Arc<Ingress>>,
    /// What is wrong with them.
    pub faults: Vec<(Arc<Ingress>, String)>,
    /// Statuses of objects of the Gateway API that are to be written.
    pub told: Vec<Told>,
    /// The services that Gateways need.
    pub needed: Vec<Needed>,
    /// The definition of classes of Gateways, for each of which ours is made once.
    pub definition: Option<String>,
}

/// What the node's part has.
pub struct Engine {
    config: Config,
    client: Client,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    pods: Informer<Pod>,
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    gateways: Follow,
    secrets: Secrets,
    backends: Arc<Backends>,
    shared: Arc<Shared>,
    changed: Arc<Notify>,
    follows: AtomicBool,
    default_certificate: Mutex<Option<Arc<CertifiedKey>>>,
    /// What comes of it.
    pub outcome: watch::Sender<Arc<Outcome>>,
}

impl Engine {
    /// One that does nothing yet.
    pub fn new(
        client: Client,
        services: Informer<Service>,
        slices: Informer<EndpointSlice>,
        pods: Informer<Pod>,
        config: Config,
    ) -> Arc<Engine> {
        let changed = Arc::new(Notify::new());
        let forbidden = Forbidden {
            services: Some(config.service_cidr),
            node: config.node_ips.clone(),
            bridge: config.bridge_ips.clone(),
            ports: config.ports.clone(),
        };
        Arc::new(Engine {
            ingresses: Informer::new(Api::all(client.clone())),
            classes: Informer::new(Api::all(client.clone())),
            gateways: Follow::new(client.clone(), changed.clone()),
            secrets: Secrets::new(client.clone(), changed.clone()),
            backends: Arc::new(Backends::new(services.store(), slices.store(), pods.store(), forbidden)),
            shared: Arc::new(Shared::new(Dial::new(config.marks, config.node_ips.clone()))),
            follows: AtomicBool::new(false),
            default_certificate: Mutex::new(None),
            outcome: watch::Sender::new(Arc::default()),
            config,
            client,
            services,
            slices,
            pods,
            changed,
        })
    }

    /// The services that there are.
    pub fn services(&self) -> &Informer<Service> {
        &self.services
    }

    /// All Ingresses that there are, of whatever class.
    pub fn all_ingresses(&self) -> Vec<Arc<Ingress>> {
        self.ingresses.store().list()
    }

    /// Serves until the future is dropped.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub async fn run(self: Arc<Engine>) -> Result<()> {
        let (one, other) = (self.changed.clone(), self.changed.clone());
        self.ingresses.subscribe(move |_| one.notify_one());
        self.classes.subscribe(move |_| other.notify_one());
        self.ingresses.start();
        self.classes.start();
        self.ingresses.synced().await;
        self.classes.synced().await;
        let mut listening: Option<Listening> = None;
        let mut known: Option<Arc<Objects>> = None;
        loop {
            let ours = self.ours();
            // While not all is known, what was known before counts.
            if let Some(found) = self.gateways.objects() {
                known = Some(Arc::new(found));
            }
            let (objects, is_whole) = (known.clone().unwrap_or_default(), known.is_some());
            let has_gateway = gateway::has_ours(&objects);
            let done = if ours.is_empty() && !has_gateway {
                self.rest(&objects, is_whole, &mut listening).await
            } else {
                self.clone().serve(ours, objects, is_whole, &mut listening).await
            };
            match done {
                Ok(()) => {
                    tokio::time::sleep(PAUSE).await;
                    self.changed.notified().await;
                }
                Err(error) => {
                    tracing::warn!("the ways in are not as they should be: {error:#}");
                    let _ = tokio::time::timeout(AGAIN, self.changed.notified()).await;
                }
            }
        }
    }

    fn ours(&self) -> Vec<Arc<Ingress>> {
        let classes = class::ours(&self.classes.store().list());
        if classes.is_empty() {
            return Vec::new();
        }
        let all = self.ingresses.store().list();
        let is_ours = |one: &Arc<Ingress>| one.metadata.deletion_timestamp.is_none() && class::has_class(one, &classes);
        all.into_iter().filter(is_ours).collect()
    }

    /// Nothing is served.
    async fn rest(&self, objects: &Objects, is_whole: bool, listening: &mut Option<Listening>) -> Result<()> {
        self.shared.tables.store(Arc::default());
        self.secrets.follow(&BTreeSet::new());
        self.backends.retain_used();
        METRICS.forget_routes(&HashSet::new());
        let definition = self.gateways.definition_of_classes();
        let told = gateway::at_rest(objects);
        self.outcome.send_replace(Arc::new(Outcome {
            is_read: true,
            is_whole,
            told,
            definition,
            ..Outcome::default()
        }));
        if listening.is_some() {
            slice::remove(&self.client, NAMESPACE, SERVICE, &self.config).await?;
            *listening = None;
        }
        Ok(())
    }

    async fn serve(
        self: Arc<Engine>,
        ours: Vec<Arc<Ingress>>,
        objects: Arc<Objects>,
        is_whole: bool,
        listening: &mut Option<Listening>,
    ) -> Result<()> {
        self.follow().await;
        // Thousands of routes take a while, and certificates are parsed.
        let build = |may_wait: bool| {
            let (engine, ours, objects) = (self.clone(), ours.clone(), objects.clone());
            tokio::task::spawn_blocking(move || engine.build(ours, &objects, is_whole, may_wait))
        };
        // Where nothing is served yet, it begins with certificates and passwords.
        let may_wait = self.shared.tables.load().entrances.is_empty();
        if !build(may_wait).await?? {
            let _ = tokio::time::timeout(FIRST, self.secrets.synced()).await;
            build(false).await??;
        }
        if self.shared.tables.load().entrances.is_empty() {
            return Ok(());
        }
        let port = match listening {
            Some(listening) => listening.port,
            None => {
                let made = proxy::listen(&self.shared, self.config.node_ip, self.config.port, None)?;
                listening.insert(made).port
            }
        };
        self.backends.forbid(port);
        for service in self.services.store().list_namespace(NAMESPACE).iter().filter(|service| is_ours(service)) {
            slice::ensure(&self.client, service, &self.slices.store(), &self.config, port).await?;
        }
        Ok(())
    }

    /// Hears of services and their endpoints from here on.
    async fn follow(self: &Arc<Engine>) {
        if self.follows.swap(true, Ordering::AcqRel) {
            return;
        }
        self.services.start();
        self.slices.start();
        self.pods.start();
        let (engine, changed) = (Arc::downgrade(self), self.changed.clone());
        self.services.subscribe(move |event| {
            let (Event::Added(service) | Event::Updated { new: service, .. } | Event::Deleted(service)) = event;
            let key = ObjectKey::of(&**service);
            let is_used = engine.upgrade().is_some_and(|engine| engine.backends.changed(&key));
            // Addresses of our own lead to doors, and what is missing is told.
            if is_used || is_ours(service) {
                changed.notify_one();
            }
        });
        let (engine, changed) = (Arc::downgrade(self), self.changed.clone());
        self.slices.subscribe(move |event| {
            let (Event::Added(slice) | Event::Updated { new: slice, .. } | Event::Deleted(slice)) = event;
            let Some(service) = service_of(slice) else { return };
            if let Some(engine) = engine.upgrade() {
                engine.backends.changed(&service);
            }
            if service.namespace == NAMESPACE
                && slice.labels().get(slice::MANAGED_BY).is_some_and(|by| by == slice::MANAGER)
            {
                changed.notify_one();
            }
        });
        let engine = Arc::downgrade(self);
        self.pods.subscribe(move |event| {
            let (Event::Added(pod) | Event::Updated { new: pod, .. } | Event::Deleted(pod)) = event;
            if let Some(engine) = engine.upgrade().filter(|_| shares_network(pod)) {
                engine.backends.look_at_all();
            }
        });
        self.services.synced().await;
        self.slices.synced().await;
        self.pods.synced().await;
    }

    /// Makes tables of objects. Where a secret is not known yet, its rule alone waits, or all where that may be: then
    /// nothing changes, and the answer is no.
    fn build(&self, ours: Vec<Arc<Ingress>>, objects: &Objects, is_whole: bool, may_wait: bool) -> Result<bool> {
        let is_waiting = AtomicBool::new(false);
        let secrets = |key: &ObjectKey| {
            let known = self.secrets.get(key);
            is_waiting.fetch_or(matches!(known, Known::Unknown), Ordering::Relaxed);
            known
        };

        let fallback = {
            let mut known = self.default_certificate.lock();
            match &*known {
                Some(certificate) => certificate.clone(),
                None => known.insert(proxy::self_signed()?).clone(),
            }
        };
        let before = self.shared.tables.load_full();
        let shown = |door: &Door, host: &str| before.entrances.get(door)?.certificate(host);
        let means = Means { backends: &self.backends, secrets: &secrets, shown: &shown, fallback };
        let built = ingress::build(ours.clone(), &means);
        let service_of = |gateway: &Gateway| {
            self.services.store().get(NAMESPACE, &gateway_service(&gateway.uid().unwrap_or_default()))
        };
        let gateways = gateway::build(
            objects,
            &gateway::Means {
                backends: &self.backends,
                secrets: &secrets,
                shown: &shown,
                grants: &self.gateways.grants(),
                namespaces: &|name| self.gateways.namespace(name),
                addresses: &|gateway| {
                    let given = service_of(gateway).map(|service| given(&service)).unwrap_or_default();
                    given.iter().filter_map(|address| address.parse().ok()).collect()
                },
            },
        );
        self.secrets.follow(&built.secrets.union(&gateways.secrets).cloned().collect());
        if may_wait && is_waiting.into_inner() {
            return Ok(false);
        }
        let mut tables = Tables::default();
        tables.entrances.extend(gateways.entrances);
        tables.awaited = gateways.awaited;
        for needed in &gateways.needed {
            let Some(service) = self.services.store().get(NAMESPACE, &gateway_service(&needed.uid)) else { continue };
            for port in &needed.ports {
                let addresses = addresses(&service, &port_name(*port), self.config.node_ip);
                let door = Door::Gateway(needed.gateway.clone(), *port);
                tables.addresses.extend(addresses.into_iter().map(|address| (address, door.clone())));
            }
        }
        if !ours.is_empty() {
            tables.entrances.extend(built.entrances);
        }
        if let Some(service) = self.services.store().get(NAMESPACE, SERVICE) {
            for (port, door) in [("http", Door::Ingress { tls: false }), ("https", Door::Ingress { tls: true })] {
                let addresses = addresses(&service, port, self.config.node_ip);
                tables.addresses.extend(addresses.into_iter().map(|address| (address, door.clone())));
            }
        }
        self.shared.tables.store(Arc::new(tables));
        METRICS.reloads.inc();
        // Routes that are gone lead to their backends no longer.
        self.backends.retain_used();
        let names = ours.iter().map(|ingress| ObjectKey::of(&**ingress).to_string());
        METRICS.forget_routes(&names.chain(gateways.served).collect());
        self.outcome.send_replace(Arc::new(Outcome {
            is_read: true,
            is_whole,
            ingresses: ours,
            faults: built.faults,
            told: gateways.told,
            needed: gateways.needed,
            definition: self.gateways.definition_of_classes(),
        }));
        Ok(true)
    }
}

/// Whether a service was made for Ingresses or a Gateway, or is in the place of the first.
pub fn is_ours(service: &Service) -> bool {
    let is_made = service.labels().get(MADE_BY).is_some_and(|value| value == OURS);
    service.namespace().as_deref() == Some(NAMESPACE) && (is_made || service.name_any() == SERVICE)
}

/// The name of the service of a Gateway, of its unique name.
pub fn gateway_service(uid: &str) -> String {
    format!("gateway-{uid}")
}

/// The name of a port of such a service.
pub fn port_name(port: u16) -> String {
    format!("port-{port}")
}

/// The addresses and ports at which a port of a service is reached.
pub fn addresses(service: &Service, port: &str, node: Ipv4Addr) -> Vec<SocketAddrV4> {
    let spec = service.spec.clone().unwrap_or_default();
    let Some(port) = spec.ports.iter().flatten().find(|own| own.name.as_deref() == Some(port)) else {
        return Vec::new();
    };
    let number = |port: i32| u16::try_from(port).ok().filter(|port| *port > 0);
    let within = spec.cluster_ip.iter().chain(spec.external_ips.iter().flatten()).cloned();
    let texts = within.chain(given(service));
    let here = texts.filter_map(|text| text.parse::<Ipv4Addr>().ok());
    let at = here.filter_map(|address| Some(SocketAddrV4::new(address, number(port.port)?)));
    let node_port = port.node_port.and_then(number).map(|port| SocketAddrV4::new(node, port));
    at.chain(node_port).collect()
}

/// The addresses that a load balancer gave a service.
pub fn given(service: &Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    status.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten()).filter_map(|one| one.ip.clone()).collect()
}
