//! The node's part: what objects say becomes tables, and there is a socket while they say something.

use std::collections::{BTreeSet, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use coracle_client::{Event, Informer, ObjectKey};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::{Api, Client};
use parking_lot::Mutex;
use rustls::sign::CertifiedKey;
use tokio::sync::{Notify, watch};

use crate::backend::{Backends, Forbidden, service_of};
use crate::entrance::{Door, Tables};
use crate::ingress::{self, Means, class};
use crate::metrics::METRICS;
use crate::proxy::{self, Listening, Shared};
use crate::secrets::Secrets;
use crate::{Config, slice};

/// The namespace of what is made for Ingresses.
pub const NAMESPACE: &str = "kube-system";
/// The name of the service of all Ingresses.
pub const SERVICE: &str = "coracle-ingress";
/// How soon tables are made anew at most.
const PAUSE: Duration = Duration::from_millis(20);
/// How soon what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What is served, for who tells of it in objects.
#[derive(Clone, Default)]
pub struct Outcome {
    /// The Ingresses that are ours.
    pub ingresses: Vec<Arc<Ingress>>,
    /// What is wrong with them.
    pub faults: Vec<(Arc<Ingress>, String)>,
}

/// What the node's part has.
pub struct Engine {
    config: Config,
    client: Client,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
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
        config: Config,
    ) -> Arc<Engine> {
        let changed = Arc::new(Notify::new());
        let forbidden = Forbidden { services: Some(config.service_cidr), node: None };
        Arc::new(Engine {
            ingresses: Informer::new(Api::all(client.clone())),
            classes: Informer::new(Api::all(client.clone())),
            secrets: Secrets::new(client.clone(), changed.clone()),
            backends: Arc::new(Backends::new(services.store(), slices.store(), forbidden)),
            shared: Arc::default(),
            follows: AtomicBool::new(false),
            default_certificate: Mutex::new(None),
            outcome: watch::Sender::new(Arc::default()),
            config,
            client,
            services,
            slices,
            changed,
        })
    }

    /// The services that there are.
    pub fn services(&self) -> &Informer<Service> {
        &self.services
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
        loop {
            let ours = self.ours();
            let done = if ours.is_empty() {
                self.rest(&mut listening).await
            } else {
                self.clone().serve(ours, &mut listening).await
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
    async fn rest(&self, listening: &mut Option<Listening>) -> Result<()> {
        self.shared.tables.store(Arc::default());
        self.secrets.follow(&BTreeSet::new());
        self.backends.retain_used();
        METRICS.forget_routes(&HashSet::new());
        self.outcome.send_replace(Arc::default());
        if listening.is_some() {
            slice::remove(&self.client, NAMESPACE, SERVICE, &self.config).await?;
            *listening = None;
        }
        Ok(())
    }

    async fn serve(self: Arc<Engine>, ours: Vec<Arc<Ingress>>, listening: &mut Option<Listening>) -> Result<()> {
        self.follow().await;
        let engine = self.clone();
        // Thousands of routes take a while, and certificates are parsed.
        tokio::task::spawn_blocking(move || engine.build(ours)).await??;
        let port = match listening {
            Some(listening) => listening.port,
            None => {
                let made = proxy::listen(&self.shared, self.config.node_ip, self.config.port, None)?;
                self.backends.forbid(self.config.node_ip, made.port);
                listening.insert(made).port
            }
        };
        let Some(service) = self.services.store().get(NAMESPACE, SERVICE) else { return Ok(()) };
        slice::ensure(&self.client, &service, &self.slices.store(), &self.config, port).await
    }

    /// Hears of services and their endpoints from here on.
    async fn follow(self: &Arc<Engine>) {
        if self.follows.swap(true, Ordering::AcqRel) {
            return;
        }
        self.services.start();
        self.slices.start();
        let (engine, changed) = (Arc::downgrade(self), self.changed.clone());
        self.services.subscribe(move |event| {
            let (Event::Added(service) | Event::Updated { new: service, .. } | Event::Deleted(service)) = event;
            let key = ObjectKey::of(&**service);
            let is_used = engine.upgrade().is_some_and(|engine| engine.backends.changed(&key));
            // Addresses of our own lead to doors, and what is missing is told.
            if is_used || key == ObjectKey::new(NAMESPACE, SERVICE) {
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
            if service == ObjectKey::new(NAMESPACE, SERVICE) {
                changed.notify_one();
            }
        });
        self.services.synced().await;
        self.slices.synced().await;
    }

    fn build(&self, ours: Vec<Arc<Ingress>>) -> Result<()> {
        let fallback = {
            let mut known = self.default_certificate.lock();
            match &*known {
                Some(certificate) => certificate.clone(),
                None => known.insert(proxy::self_signed()?).clone(),
            }
        };
        let means = Means { backends: &self.backends, secrets: &|key| self.secrets.get(key), fallback };
        let built = ingress::build(ours.clone(), &means);
        self.secrets.follow(&built.secrets);
        let mut tables = Tables::default();
        tables.entrances.extend(built.entrances);
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
        METRICS.forget_routes(&ours.iter().map(|ingress| ObjectKey::of(&**ingress).to_string()).collect());
        self.outcome.send_replace(Arc::new(Outcome { ingresses: ours, faults: built.faults }));
        Ok(())
    }
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
