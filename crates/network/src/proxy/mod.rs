//! The service proxy: services as nftables maps, constant time however many there are.
//!
//! Each family of addresses has a table of its own, of one form. One verdict map leads from (address, protocol, port) to a chain a service port, another from node ports;
//! a chain picks one endpoint at random. A change of one service is computed alone, and replaces its chains and map
//! elements in one transaction. <https://kubernetes.io/docs/reference/networking/virtual-ips/>
//!
//! [`wanted`] says what a service asks of the node, [`rules`] how that stands in nftables, and [`state`] keeps both. They
//! run on a thread of their own: computing takes a while where there is much, and netlink answers when the kernel is done.
//! What an earlier process left stays until everything is known, and is replaced in one transaction.

mod costs;
mod endpoints;
mod health;
mod rules;
mod stale;
mod state;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use coracle_client::{Event, Informer, ObjectKey, Store};
use coracle_values::addresses::{Family, Ranges};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::mailbox::{CloseOnDrop, Mailbox};
use crate::netlink::Socket;
use crate::nft::octets;
use health::Checks;
pub(crate) use state::State;

pub(crate) use rules::TABLE;

const ZONE: &str = "topology.kubernetes.io/zone";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The bit of a packet's mark by which who connects says that it dials endpoints, and no addresses of services: a connection
/// that a rule translates, of whatever table, is refused. For those who are told by others where to connect.
pub const MARK_AS_SENT: u32 = 0x1000;
/// The bit by which they say that they dial no address of this machine: such a connection is refused, whichever link has the
/// address, and since whenever.
pub const MARK_ELSEWHERE: u32 = 0x800;
/// The bit by which they say that they dial the address of a load balancer on the network, and not whom this node would choose for
/// it: another node answers for it there, which is to see to which address it was.
pub const MARK_TO_NETWORK: u32 = 0x2000;

/// How the proxy is set up.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// The node it works for.
    pub node_name: String,
    /// Addresses of all pods, of each family that is served.
    pub cluster_cidr: Ranges,
    /// Addresses of all services.
    pub service_cidr: Ranges,
    /// Addresses that the node answers at by itself, whatever the services say.
    pub own_addresses: Vec<IpAddr>,
    /// The node's addresses at which node ports are served; all of a family when there are none of it here.
    pub node_port_addresses: Vec<IpNet>,
}

/// The same for one family of addresses.
#[derive(Clone, Debug)]
pub(crate) struct FamilyConfig {
    pub family: Family,
    pub node_name: String,
    pub cluster_cidr: IpNet,
    pub service_cidr: Option<IpNet>,
    pub own_addresses: Vec<IpAddr>,
    pub node_port_addresses: Vec<IpNet>,
}

impl ProxyConfig {
    /// One for each family of pods.
    pub(crate) fn of_families(&self) -> Vec<FamilyConfig> {
        let of = |cluster_cidr: IpNet| {
            let family = Family::of_range(cluster_cidr);
            let ranges = self.node_port_addresses.iter().copied();
            FamilyConfig {
                family,
                node_name: self.node_name.clone(),
                cluster_cidr,
                service_cidr: self.service_cidr.of(family),
                own_addresses: self.own_addresses.clone(),
                node_port_addresses: ranges.filter(|range| Family::of_range(*range) == family).collect(),
            }
        };
        self.cluster_cidr.iter().map(of).collect()
    }
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
    let objects = Objects { services: services.store(), slices: slices.store(), nodes: nodes.store() };
    let (mut families, mut served) = (Vec::new(), JoinSet::new());
    for own in config.of_families() {
        let (checks, receiver) = watch::channel(Arc::new(Checks::new()));
        served.spawn(health::serve(receiver, own.family, own.node_port_addresses.clone()));
        families.push(OfFamily { state: State::new(own), checks });
    }
    let proxy = Proxy { socket: Socket::netfilter()?, node: config.node_name, families, objects };
    let (sender, ended) = oneshot::channel();
    let _close = CloseOnDrop(mailbox.clone());
    std::thread::Builder::new()
        .name("service-proxy".into())
        .spawn(move || drop(sender.send(proxy.work(&mailbox, ready))))?;
    tokio::select! {
        result = ended => result?,
        _ = served.join_next() => anyhow::bail!("the health checks of services ended"),
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
    node: String,
    families: Vec<OfFamily>,
    objects: Objects,
}

struct OfFamily {
    state: State,
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
        for OfFamily { state, checks } in &mut self.families {
            if inbox.node {
                let node = self.objects.nodes.get("", &self.node);
                state.set_zone(node.and_then(|node| node.labels().get(ZONE).cloned()));
            }
            for key in &inbox.slices {
                state.set_slice(key.clone(), self.objects.slices.get_key(key));
            }
            for key in &inbox.services {
                state.set_service(key.clone(), self.objects.services.get_key(key));
            }
            state.commit(&mut self.socket).context("failed to make the nftables rules of services")?;
            let now = state.health_checks();
            checks.send_if_modified(|current| {
                let changed = **current != now;
                if changed {
                    *current = Arc::new(now);
                }
                changed
            });
        }
        Ok(())
    }
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The addresses of networks of one family as intervals of a set.
fn intervals(networks: &[IpNet]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let behind = |network: &IpNet| match network.broadcast() {
        IpAddr::V4(last) => u32::from(last).checked_add(1).map(|behind| IpAddr::V4(behind.into())),
        IpAddr::V6(last) => u128::from(last).checked_add(1).map(|behind| IpAddr::V6(behind.into())),
    };
    let joined = IpNet::aggregate(&networks.to_vec());
    joined.iter().map(|network| (octets(network.network()), behind(network).map(octets))).collect()
}
