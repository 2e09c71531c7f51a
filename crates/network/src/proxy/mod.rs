//! The service proxy: services as nftables maps, constant time however many there are.
//!
//! One verdict map leads from (address, protocol, port) to a chain a service port, another from node ports;
//! a chain picks one endpoint at random. A change of one service is computed alone, and replaces its chains and map
//! elements in one transaction. <https://kubernetes.io/docs/reference/networking/virtual-ips/>
//!
//! [`wanted`] says what a service asks of the node, [`rules`] how that stands in nftables, and [`state`] keeps both. They
//! run on a thread of their own: computing takes a while where there is much, and netlink answers when the kernel is done.
//! What an earlier process left stays until everything is known, and is replaced in one transaction.

mod endpoints;
mod health;
mod rules;
mod stale;
mod state;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use coracle_client::{Event, Informer, ObjectKey, Store};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use tokio::sync::{oneshot, watch};

use crate::mailbox::{CloseOnDrop, Mailbox};
use crate::netlink::Socket;
use health::Checks;
pub(crate) use state::State;

pub(crate) use rules::TABLE;

const ZONE: &str = "topology.kubernetes.io/zone";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// How the proxy is set up.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// The node it works for.
    pub node_name: String,
    /// Addresses of all pods.
    pub cluster_cidr: Ipv4Net,
    /// Addresses of all services.
    pub service_cidr: Ipv4Net,
    /// Addresses that the node answers at by itself, whatever the services say.
    pub own_addresses: Vec<Ipv4Addr>,
    /// The node's addresses at which node ports are served; all when there are none here.
    pub node_port_addresses: Vec<Ipv4Net>,
}

/// What changed since the thread last looked.
#[derive(Default)]
struct Inbox {
    services: HashSet<ObjectKey>,
    slices: HashSet<ObjectKey>,
    node: bool,
}

/// Follows services and endpoints until the future is dropped.
pub async fn run(
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
    config: ProxyConfig,
    ready: impl FnOnce() + Send + 'static,
) -> Result<()> {
    let mailbox = Arc::new(Mailbox::<Inbox>::new());
    let own = mailbox.clone();
    services.subscribe(move |event| {
        let key = key_of(event);
        own.tell(|inbox| drop(inbox.services.replace(key)));
    });
    let own = mailbox.clone();
    slices.subscribe(move |event| {
        let key = key_of(event);
        own.tell(|inbox| drop(inbox.slices.replace(key)));
    });
    let (own, name) = (mailbox.clone(), config.node_name.clone());
    nodes.subscribe(move |event| {
        if key_of(event).name == name {
            own.tell(|inbox| inbox.node = true);
        }
    });
    services.synced().await;
    slices.synced().await;
    nodes.synced().await;
    let (checks, receiver) = watch::channel(Arc::new(Checks::new()));
    let addresses = config.node_port_addresses.clone();
    let objects = Objects { services: services.store(), slices: slices.store(), nodes: nodes.store() };
    let proxy = Proxy { socket: Socket::netfilter()?, state: State::new(config), objects, checks };
    let (sender, ended) = oneshot::channel();
    let _close = CloseOnDrop(mailbox.clone());
    std::thread::Builder::new()
        .name("service-proxy".into())
        .spawn(move || drop(sender.send(proxy.work(&mailbox, ready))))?;
    tokio::select! {
        result = ended => result?,
        () = health::serve(receiver, addresses) => anyhow::bail!("the health checks of services ended"),
    }
}

fn key_of<K: kube::Resource>(event: &Event<K>) -> ObjectKey {
    let (Event::Added(object) | Event::Updated { new: object, .. } | Event::Deleted(object)) = event;
    ObjectKey::of(&**object)
}

/// What the API has.
struct Objects {
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    nodes: Store<Node>,
}

/// What the thread has.
struct Proxy {
    socket: Socket,
    state: State,
    objects: Objects,
    checks: watch::Sender<Arc<Checks>>,
}

impl Proxy {
    fn work(mut self, mailbox: &Mailbox<Inbox>, ready: impl FnOnce()) -> Result<()> {
        let mut ready = Some(ready);
        // The first look is at everything, which is what was told first.
        while let Some(inbox) = mailbox.next(None) {
            self.take_in(inbox)?;
            if let Some(ready) = ready.take() {
                ready();
            }
        }
        Ok(())
    }

    fn take_in(&mut self, inbox: Inbox) -> Result<()> {
        if inbox.node {
            let node = self.objects.nodes.get("", self.state.node_name());
            self.state.set_zone(node.and_then(|node| node.labels().get(ZONE).cloned()));
        }
        for key in inbox.slices {
            let slice = self.objects.slices.get_key(&key);
            self.state.set_slice(key, slice);
        }
        for key in inbox.services {
            let service = self.objects.services.get_key(&key);
            self.state.set_service(key, service);
        }
        self.state.commit(&mut self.socket).context("failed to make the nftables rules of services")?;
        let checks = self.state.health_checks();
        self.checks.send_if_modified(|current| {
            let changed = **current != checks;
            if changed {
                *current = Arc::new(checks);
            }
            changed
        });
        Ok(())
    }
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The addresses of networks as intervals of a set.
fn intervals(networks: &[Ipv4Net]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let behind = |network: &Ipv4Net| u32::from(network.broadcast()).checked_add(1);
    let key = |address: u32| address.to_be_bytes().to_vec();
    let joined = Ipv4Net::aggregate(&networks.to_vec());
    joined.iter().map(|network| (network.network().octets().to_vec(), behind(network).map(key))).collect()
}
