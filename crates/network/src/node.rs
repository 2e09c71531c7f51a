//! The pod network of one node.
//!
//! Every pod has one address with a full-length prefix, and reaches everything by way of the bridge's
//! address. So every packet between pods passes the node's IP layer, where services are translated, and
//! bridges need no netfilter of their own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use parking_lot::Mutex;

use crate::conntrack;
use crate::frames;
use crate::host::{close_firewall, delete_table, forward_packets, hardware_address, open_firewall, set_sysctl};
use crate::ipam::Ipam;
use crate::netlink::{Socket, in_namespace, route};
use crate::nft::{self, Batch, Data, Expr, Hook, Nat, Type};
use crate::peers::{self, Origin, Peer, Routes};

const TABLE: &str = "coracle-pods";
/// Pods that talk to themselves by way of a service.
const SELF: &str = "self";
const HOST_PORTS: &str = "host-ports";
/// Nodes that are reached straight.
const PEERS: &str = "peers";
/// Host ports of one of the node's addresses.
const ADDRESS_PORTS: &str = "address-ports";
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
const EADDRNOTAVAIL: i32 = 99;

/// How a node's network is set up.
#[derive(Clone, Debug)]
pub struct NodeNetworkConfig {
    /// The name of the pods' bridge.
    pub bridge: String,
    /// Where addresses are written down.
    pub state: PathBuf,
    /// Addresses of this node's pods.
    pub pod_cidr: Ipv4Net,
    /// Addresses of all pods.
    pub cluster_cidr: Ipv4Net,
    /// Addresses of all services.
    pub service_cidr: Ipv4Net,
    /// Further addresses that this node answers at: that of the cluster's DNS.
    pub service_addresses: Vec<Ipv4Addr>,
    /// The address of this node, which others send packets to.
    pub address: IpAddr,
    /// The name of the link to nodes on other networks, which is made when there are some.
    pub overlay: String,
    /// The size of packets between pods, in bytes. Those to nodes on other networks are smaller, which their senders are told.
    pub mtu: u32,
    /// The network namespace is the host's, where others live too: neighbours of the host come by its links, and
    /// kernel parameters are not ours alone. A local node has one of its own, which only its host reaches.
    pub on_host: bool,
}

/// A port of the node that leads into a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The pod's port.
    pub container_port: u16,
    /// The node's port.
    pub host_port: u16,
    /// The node's address, empty for all.
    pub host_ip: String,
}

/// The built-in pod network: a bridge, a veth pair a pod, and addresses.
pub struct NodeNetwork {
    config: NodeNetworkConfig,
    state: Mutex<State>,
}

struct State {
    ipam: Ipam,
    routes: Routes,
    /// The nodes that are in the set of those reached straight.
    peers: BTreeSet<Ipv4Addr>,
    route: Socket,
    netfilter: Socket,
    bridge: u32,
    /// The kernel filters frames of bridges.
    frames: bool,
    /// Ports are isolated from each other.
    isolated: bool,
}

impl NodeNetwork {
    /// Makes the bridge and the rules that pods need, or takes over what an earlier process made.
    pub fn new(config: NodeNetworkConfig) -> Result<Arc<NodeNetwork>> {
        let ipam = Ipam::open(config.state.clone(), config.pod_cidr)?;
        let mut route = Socket::route()?;
        let gateway = ipam.gateway();
        let name = config.bridge.as_str();
        refuse_taken(&mut route, &config)?;
        match route::add_bridge(&mut route, name, hardware_address(gateway)) {
            Err(error) if error.raw_os_error() == Some(EEXIST) => {}
            other => other.with_context(|| format!("failed to make the bridge {name}"))?,
        }
        let bridge = route::index_of(&mut route, name)?;
        let lo = route::index_of(&mut route, "lo")?;
        let mut changes = vec![
            route::address(bridge, Ipv4Net::new(gateway, config.pod_cidr.prefix_len())?),
            route::up(bridge),
            route::up(lo),
            // A node without a default route reaches services too: the route only has to let the packet come as
            // far as the rule that translates it.
            route::link_route(bridge, config.service_cidr),
        ];
        for address in &config.service_addresses {
            changes.push(route::address(lo, Ipv4Net::new(*address, 32)?));
        }
        route.batch(changes).context("failed to set up the pod bridge")?;
        forward_packets()?;
        if let Err(error) = open_firewall(name) {
            tracing::warn!(error = format!("{error:#}"), "a firewall may keep pods from each other and the world");
        }
        // Packets leave by the bridge they came from; pods must not be told to go there directly.
        set_sysctl(&format!("net/ipv4/conf/{name}/send_redirects"), "0")?;
        set_sysctl("net/ipv4/conf/all/send_redirects", "0")?;
        // The node's own loopback address leads to host ports and node ports too; a rule keeps pods from it.
        set_sysctl(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
        let mut netfilter = Socket::netfilter()?;
        base_rules(&config).commit(&mut netfilter).context("failed to make the nftables rules of the pod network")?;
        let frames = frames::renew(&mut netfilter, &ipam.addresses());
        if let Err(error) = &frames {
            tracing::warn!(
                %error,
                "pods can send in each other's name: the kernel has no nftables for bridges (CONFIG_NF_TABLES_BRIDGE)"
            );
        }
        let isolated = can_isolate(config.on_host);
        let IpAddr::V4(address) = config.address else { bail!("the node's address {} is not IPv4", config.address) };
        let (pod_cidr, cluster_cidr, overlay) = (config.pod_cidr, config.cluster_cidr, config.overlay.clone());
        let origin = Origin { address, pod_cidr, cluster_cidr, overlay };
        let routes = Routes::open(&mut route, origin, routes_file(&config.state))?;
        let (frames, peers) = (frames.is_ok(), BTreeSet::new());
        let state = State { ipam, routes, peers, route, netfilter, bridge, frames, isolated };
        Ok(Arc::new(NodeNetwork { config, state: Mutex::new(state) }))
    }

    /// The addresses of this node's pods.
    pub fn pod_cidr(&self) -> Ipv4Net {
        self.config.pod_cidr
    }

    /// Has ways to the pods of these nodes, the elders first, and of no others.
    ///
    /// # Errors
    /// The kernel refuses; the next call makes what is missing.
    pub async fn set_peers(self: &Arc<Self>, peers: Vec<Peer>) -> Result<()> {
        let network = self.clone();
        tokio::task::spawn_blocking(move || network.set_peers_blocking(&peers)).await?
    }

    pub(crate) fn set_peers_blocking(&self, peers: &[Peer]) -> Result<()> {
        let State { routes, peers: known, route, netfilter, .. } = &mut *self.state.lock();
        let (near, result) = routes.set((route, netfilter), peers);
        let keys =
            |nodes: &mut dyn Iterator<Item = &Ipv4Addr>| nodes.map(|node| node.octets().to_vec()).collect::<Vec<_>>();
        let mut batch = Batch::new();
        batch.delete_elements(TABLE, PEERS, &keys(&mut known.difference(&near)));
        batch.add_set_elements(TABLE, PEERS, &keys(&mut near.difference(known)));
        batch.commit(netfilter).context("failed to let other nodes in")?;
        *known = near;
        result
    }

    /// Removes what [`NodeNetwork::new`], the service proxy and pods made; `state` is where addresses are written down. Nothing
    /// of it needs to exist.
    pub fn remove(bridge: &str, overlay: &str, service_addresses: &[Ipv4Addr], state: &Path) -> Result<()> {
        let mut route = Socket::route()?;
        peers::remove(&mut route, overlay, &routes_file(state))?;
        if let Ok(index) = route::index_of(&mut route, bridge) {
            for port in route::ports(&mut route, index).context("failed to list the links of pods")? {
                route::delete(&mut route, &port).with_context(|| format!("failed to remove the link {port}"))?;
            }
        }
        route::delete(&mut route, bridge).with_context(|| format!("failed to remove the bridge {bridge}"))?;
        close_firewall(bridge)?;
        for table in [TABLE, crate::proxy::TABLE] {
            delete_table(table).with_context(|| format!("failed to remove the nftables table {table}"))?;
        }
        crate::announce::remove(&mut route).context("failed to give up the addresses of load balancers")?;
        crate::policies::remove(&mut Socket::netfilter()?)
            .with_context(|| format!("failed to remove the nftables table {}", crate::policies::TABLE))?;
        let removed = frames::remove(&mut Socket::netfilter()?);
        removed.with_context(|| format!("failed to remove the nftables table bridge {}", frames::TABLE))?;
        let lo = route::index_of(&mut route, "lo")?;
        for address in service_addresses {
            match route.batch(vec![route::delete_address(lo, Ipv4Net::new(*address, 32)?)]) {
                Err(error) if error.raw_os_error() != Some(EADDRNOTAVAIL) => {
                    return Err(error).with_context(|| format!("failed to remove the address {address}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Connects a namespace; answers with its address. Again for the same sandbox: the same address.
    pub async fn attach(
        self: &Arc<Self>,
        sandbox: &str,
        netns: BorrowedFd<'_>,
        ports: &[HostPort],
    ) -> Result<Vec<IpAddr>> {
        let netns = netns.try_clone_to_owned()?;
        let (network, sandbox, ports) = (self.clone(), sandbox.to_owned(), ports.to_vec());
        tokio::task::spawn_blocking(move || {
            use std::os::fd::AsFd;
            network.attach_blocking(&sandbox, netns.as_fd(), &ports).map(|address| vec![IpAddr::V4(address)])
        })
        .await?
    }

    pub(crate) fn attach_blocking(&self, sandbox: &str, netns: BorrowedFd<'_>, ports: &[HostPort]) -> Result<Ipv4Addr> {
        let (address, gateway) = {
            let mut state = self.state.lock();
            let address = state.ipam.allocate(sandbox, ports)?;
            if let Err(error) = state.add_rules(address).and_then(|()| state.connect(address, netns, &self.config)) {
                state.remove_rules(address);
                state.ipam.release(sandbox);
                return Err(error);
            }
            (address, state.ipam.gateway())
        };
        let inside = in_namespace(netns, || {
            let mut socket = Socket::route()?;
            let lo = route::index_of(&mut socket, "lo")?;
            let eth0 = route::index_of(&mut socket, "eth0")?;
            let changes = vec![
                route::up(lo),
                route::address(eth0, Ipv4Net::new(address, 32)?),
                route::up(eth0),
                route::link_route(eth0, Ipv4Net::new(gateway, 32)?),
                route::default_route(eth0, gateway),
            ];
            socket.batch(changes).context("failed to set up the pod's link")
        });
        if let Err(error) = inside {
            self.detach_blocking(sandbox);
            return Err(error);
        }
        Ok(address)
    }

    /// Gives the address back. The links go with the pod's namespace: removing them here would take 18 ms.
    /// Answers with it.
    pub async fn detach(self: &Arc<Self>, sandbox: &str) -> Result<Vec<IpAddr>> {
        let (network, sandbox) = (self.clone(), sandbox.to_owned());
        Ok(tokio::task::spawn_blocking(move || network.detach_blocking(&sandbox)).await?)
    }

    pub(crate) fn detach_blocking(&self, sandbox: &str) -> Vec<IpAddr> {
        let mut state = self.state.lock();
        let address = state.ipam.find(sandbox);
        if let Some(address) = address {
            state.remove_rules(address);
            state.ipam.release(sandbox);
        }
        address.map(IpAddr::V4).into_iter().collect()
    }

    /// Gives back what sandboxes held that are no longer there, and renews the rules of those that are; answers with their
    /// addresses.
    pub async fn retain(self: &Arc<Self>, live: &[String]) -> Result<Vec<IpAddr>> {
        let (network, live) = (self.clone(), live.to_vec());
        tokio::task::spawn_blocking(move || network.retain_blocking(&live)).await?
    }

    pub(crate) fn retain_blocking(&self, live: &[String]) -> Result<Vec<IpAddr>> {
        let mut kept = Vec::new();
        let sandboxes = self.state.lock().ipam.sandboxes();
        for sandbox in sandboxes {
            if live.contains(&sandbox) {
                let mut state = self.state.lock();
                if let Some(address) = state.ipam.find(&sandbox) {
                    state.add_rules(address)?;
                    kept.push(IpAddr::V4(address));
                }
            } else {
                self.detach_blocking(&sandbox);
            }
        }
        Ok(kept)
    }
}

/// Where the ranges of other nodes are written down: beside the addresses.
fn routes_file(state: &Path) -> PathBuf {
    state.with_file_name("routes")
}

fn base_rules(config: &NodeNetworkConfig) -> Batch {
    let mut batch = Batch::new();
    batch.renew_table(TABLE);
    batch.set(TABLE, PEERS, Type::Address, None);
    refuse_forged(&mut batch, config);
    batch.base_chain(TABLE, "forward", "filter", Hook::Forward, nft::PRIORITY_FILTER);
    // Packets of pods leave in the name of their node, and nodes trust each other's VXLAN. Nor does a service lead there.
    for way in [Expr::link_is(&config.bridge, false, true), Expr::destination_chosen()] {
        let to_overlay = [way, Expr::datagram_to(peers::PORT), Expr::destination_not_in(config.cluster_cidr)];
        batch.rule(TABLE, "forward", &[to_overlay.concat(), vec![Expr::Drop]].concat());
    }
    // Where a part of the way takes smaller packets than the pods' links do.
    batch.rule(TABLE, "forward", &[Expr::source_in(config.cluster_cidr), Expr::fit_segments()].concat());
    batch.rule(TABLE, "forward", &[Expr::destination_in(config.cluster_cidr), Expr::fit_segments()].concat());
    if config.on_host {
        keep_strangers_out(&mut batch, config);
    }
    batch.set(TABLE, SELF, Type::AddressPair, None);
    batch.set(TABLE, HOST_PORTS, Type::ProtocolPort, Some(Type::AddressPort));
    batch.set(TABLE, ADDRESS_PORTS, Type::AddressProtocolPort, Some(Type::AddressPort));
    batch.base_chain(TABLE, "postrouting", "nat", Hook::Postrouting, nft::PRIORITY_SOURCE_NAT);
    let pair = vec![
        Expr::IpHeader { offset: 12, length: 4, into: 0 },
        Expr::IpHeader { offset: 16, length: 4, into: 1 },
        Expr::InSet(SELF.into()),
        Expr::Masquerade,
    ];
    batch.rule(TABLE, "postrouting", &pair);
    let outside =
        [Expr::source_in(config.cluster_cidr), Expr::destination_not_in(config.cluster_cidr), vec![Expr::Masquerade]]
            .concat();
    batch.rule(TABLE, "postrouting", &outside);
    let from_loopback =
        [Expr::source_in(LOOPBACK), Expr::destination_not_in(LOOPBACK), vec![Expr::Masquerade]].concat();
    batch.rule(TABLE, "postrouting", &from_loopback);
    // What listens on the loopback only is not for the network, unless it answers.
    batch.base_chain(TABLE, "input", "filter", Hook::Input, nft::PRIORITY_FILTER);
    let stray =
        [Expr::not_from_loopback(), Expr::destination_in(LOOPBACK), Expr::unanswered(), vec![Expr::Drop]].concat();
    batch.rule(TABLE, "input", &stray);
    for (chain, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        batch.base_chain(TABLE, chain, "nat", hook, nft::PRIORITY_DESTINATION_NAT);
        let to_address =
            [Expr::destination_key(), vec![Expr::Map(ADDRESS_PORTS.into()), Expr::Nat(Nat::DestinationAndPort)]]
                .concat();
        batch.rule(TABLE, chain, &to_address);
        let to_port = [
            Expr::to_this_machine(),
            Expr::protocol_port(),
            vec![Expr::Map(HOST_PORTS.into()), Expr::Nat(Nat::DestinationAndPort)],
        ]
        .concat();
        batch.rule(TABLE, chain, &to_port);
    }
    batch
}

/// From other machines come packets of pods only by the way that leads to the pods' node. What this node's pods send, the
/// table of frames looks at.
fn refuse_forged(batch: &mut Batch, config: &NodeNetworkConfig) {
    batch.base_chain(TABLE, "forged", "filter", Hook::Prerouting, nft::PRIORITY_UNTRANSLATED - 1);
    let forged = [
        Expr::not_from_loopback(),
        Expr::link_is(&config.bridge, false, false),
        Expr::source_in(config.cluster_cidr),
        Expr::source_is_elsewhere(),
        vec![Expr::Drop],
    ];
    batch.rule(TABLE, "forged", &forged.concat());
}

/// Nobody but the host and the pods begins anything with addresses of pods and services: neighbours of the host, who can
/// route them here, reach what has a port of the node.
fn keep_strangers_out(batch: &mut Batch, config: &NodeNetworkConfig) {
    batch.base_chain(TABLE, "strangers", "filter", Hook::Prerouting, nft::PRIORITY_UNTRANSLATED);
    // Other nodes and their pods are none.
    let peers = vec![Expr::source(0), Expr::InSet(PEERS.into())];
    for known in [Expr::source_in(config.cluster_cidr), peers] {
        let accept = [known, Expr::destination_in(config.cluster_cidr), vec![Expr::Accept]].concat();
        batch.rule(TABLE, "strangers", &accept);
    }
    for network in [config.cluster_cidr, config.service_cidr] {
        let begins = [
            Expr::not_from_loopback(),
            Expr::link_is(&config.bridge, false, false),
            Expr::destination_in(network),
            Expr::unanswered(),
            vec![Expr::Drop],
        ];
        batch.rule(TABLE, "strangers", &begins.concat());
    }
}

/// Where a host port is written down.
fn map_and_key(port: &HostPort) -> (&'static str, Vec<u8>) {
    let key = port_key(&port.protocol, port.host_port);
    match port.host_ip.parse::<Ipv4Addr>() {
        Ok(address) if !address.is_unspecified() => (ADDRESS_PORTS, [&address.octets()[..], &key].concat()),
        _ => (HOST_PORTS, key),
    }
}

/// The name of the link that leads to a pod.
pub(crate) fn port_name(address: Ipv4Addr) -> String {
    format!("veth{:08x}", u32::from(address))
}

/// Whether ports can be isolated from each other. br_netfilter hands what it translates from one to the other, so that
/// no pod would reach a service on its own node; nobody but the host has use for it.
fn can_isolate(on_host: bool) -> bool {
    const FILTER: &str = "net/bridge/bridge-nf-call-iptables";
    let path = format!("/proc/sys/{FILTER}");
    if !on_host && std::fs::exists(&path).unwrap_or(false) && set_sysctl(FILTER, "0").is_err() {
        tracing::debug!("the node's bridge uses br_netfilter");
    }
    std::fs::read_to_string(&path).map_or(true, |value| value.trim() == "0")
}

/// Fails when packets to pods or services go elsewhere already: two servers on one host would take each other's.
fn refuse_taken(socket: &mut Socket, config: &NodeNetworkConfig) -> Result<()> {
    let own = route::index_of(socket, &config.bridge).ok();
    let found = route::foreign_route(socket, own, &[config.pod_cidr, config.service_cidr])?;
    let Some((link, network)) = found else { return Ok(()) };
    bail!(
        "the link {link} has a route to {network}, but pods need {} and services {}: another cluster or network uses \
         them on this host. Remove it, or make a local cluster (coracle up), which has a network of its own",
        config.pod_cidr,
        config.service_cidr
    )
}

fn pair_key(address: Ipv4Addr) -> Vec<u8> {
    [address.octets(), address.octets()].concat()
}

/// Protocol and port as a set has them.
pub(crate) fn port_key(protocol: &str, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![protocol_number(protocol), 0, 0, 0, high, low, 0, 0]
}

/// Address and port as a map has them.
pub(crate) fn address_port(address: Ipv4Addr, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [&address.octets()[..], &[high, low, 0, 0]].concat()
}

pub(crate) fn protocol_number(protocol: &str) -> u8 {
    match protocol {
        "UDP" => 17,
        "SCTP" => 132,
        _ => 6,
    }
}

impl State {
    fn connect(&mut self, address: Ipv4Addr, netns: BorrowedFd<'_>, config: &NodeNetworkConfig) -> Result<()> {
        self.isolate_ports(can_isolate(config.on_host))?;
        let (name, hardware) = (port_name(address), hardware_address(address));
        let (bridge, mtu) = (self.bridge, config.mtu);
        let pair = route::Pair { name: &name, bridge, peer: "eth0", hardware: Some(hardware), netns, mtu };
        match route::add_veth(&mut self.route, &pair) {
            // Left behind by a namespace that is still being taken down.
            Err(error) if error.raw_os_error() == Some(EEXIST) => {
                route::delete(&mut self.route, &name)?;
                route::add_veth(&mut self.route, &pair)
            }
            other => other,
        }
        .with_context(|| format!("failed to make the link {name}"))?;
        let port = route::index_of(&mut self.route, &name)?;
        route::set_port(&mut self.route, port, hardware, self.isolated)
            .with_context(|| format!("failed to set up the bridge port of {name}"))
    }

    /// Follows the kernel: br_netfilter may be loaded while pods run.
    fn isolate_ports(&mut self, isolated: bool) -> Result<()> {
        if self.isolated != isolated {
            for name in self.ipam.addresses().into_iter().map(port_name) {
                if let Ok(port) = route::index_of(&mut self.route, &name) {
                    route::isolate(&mut self.route, port, isolated)
                        .with_context(|| format!("failed to set up the bridge port of {name}"))?;
                }
            }
            self.isolated = isolated;
        }
        Ok(())
    }

    fn add_rules(&mut self, address: Ipv4Addr) -> Result<()> {
        if self.frames {
            frames::allow(&mut self.netfilter, address).context("failed to let a pod send")?;
        }
        let mut batch = Batch::new();
        batch.add_set_elements(TABLE, SELF, &[pair_key(address)]);
        let ports = self.ipam.ports(address);
        for port in ports {
            let (map, key) = map_and_key(port);
            let to = Data::Bytes(address_port(address, port.container_port));
            batch.add_map_elements(TABLE, map, &[(key, to)]);
        }
        batch.commit(&mut self.netfilter).context("failed to add nftables rules of a pod")?;
        let of_datagrams = |port: &&HostPort| port.protocol != "TCP";
        if ports.iter().any(|port| of_datagrams(&port)) {
            let forgotten = conntrack::forget(&mut self.netfilter, nft::Family::V4, |flow| {
                ports.iter().filter(of_datagrams).any(|port| {
                    protocol_number(&port.protocol) == flow.protocol
                        && port.host_port == flow.destination.1
                        && (IpAddr::V4(address), port.container_port) != flow.answered_by
                })
            });
            if let Err(error) = forgotten {
                tracing::warn!(%error, %address, "failed to forget flows to an earlier pod's port");
            }
        }
        Ok(())
    }

    fn remove_rules(&mut self, address: Ipv4Addr) {
        if self.frames
            && let Err(error) = frames::deny(&mut self.netfilter, address)
            && error.raw_os_error() != Some(ENOENT)
        {
            tracing::warn!(%error, %address, "failed to remove what a pod may send");
        }
        let mut batch = Batch::new();
        batch.delete_elements(TABLE, SELF, &[pair_key(address)]);
        for (map, key) in self.ipam.ports(address).iter().map(map_and_key) {
            batch.delete_elements(TABLE, map, &[key]);
        }
        match batch.commit(&mut self.netfilter) {
            Err(error) if error.raw_os_error() != Some(ENOENT) => {
                tracing::warn!(%error, %address, "failed to remove nftables rules of a pod")
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{attach_node, create_bridge, masquerade};
    use crate::testing::{Namespace, is_root, node_config, tcp_answer, tcp_server};
    use std::os::fd::AsFd;

    const LAN: Ipv4Addr = Ipv4Addr::new(10, 9, 2, 1);
    const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 9, 2, 2);

    /// A neighbour of the host, which is the current namespace, that routes everything there.
    fn neighbour() -> Namespace {
        let neighbour = Namespace::new();
        create_bridge("lan", Ipv4Net::new(LAN, 24).unwrap()).unwrap();
        attach_node("lan", "vlan", neighbour.fd().as_fd(), Ipv4Net::new(NEIGHBOUR, 24).unwrap(), LAN).unwrap();
        neighbour
    }

    fn remove(bridge: &str, dir: &Path) -> Result<()> {
        NodeNetwork::remove(bridge, "vx", &[Ipv4Addr::new(10, 96, 0, 10)], &dir.join("addresses"))
    }

    fn on_a_host(test: impl FnOnce(&std::path::Path) + Send) {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        Namespace::new().run(|| test(dir.path()));
    }

    #[test]
    fn neighbours_of_a_host_reach_its_ports_and_no_address_of_pods_or_services() {
        on_a_host(|dir| {
            let network = NodeNetwork::new(node_config("coracle0", dir, true)).unwrap();
            let (neighbour, pod) = (neighbour(), Namespace::new());
            let ports =
                [HostPort { protocol: "TCP".into(), container_port: 8080, host_port: 9090, host_ip: String::new() }];
            let address = network.attach_blocking("pod", pod.fd().as_fd(), &ports).unwrap();
            pod.run(|| tcp_server(8080, 1));
            tcp_server(53, 2);
            neighbour.run(|| tcp_server(80, 3));
            let (dns, gateway) = (Ipv4Addr::new(10, 96, 0, 10), Ipv4Addr::new(10, 244, 0, 1));
            let reached = |to: Ipv4Addr, port: u16| neighbour.run(|| tcp_answer(to, port));
            assert_eq!(reached(LAN, 9090), Some(1), "a host port");
            assert_eq!(reached(LAN, 53), Some(2), "what the host itself offers there");
            for (to, port) in [(address, 8080), (dns, 53), (gateway, 53), (gateway, 9090)] {
                assert_eq!(reached(to, port), None, "{to}:{port}");
            }
            assert_eq!(tcp_answer(address, 8080), Some(1), "the host itself");
            assert_eq!(pod.run(|| tcp_answer(NEIGHBOUR, 80)), Some(3), "answers come back");
            assert_eq!(pod.run(|| tcp_answer(dns, 53)), Some(2), "pods ask the node");
        });
    }

    #[test]
    fn a_range_that_another_link_has_is_refused_by_the_name_of_the_link() {
        on_a_host(|dir| {
            NodeNetwork::new(node_config("first", &dir.join("1"), true)).unwrap();
            let again = NodeNetwork::new(node_config("second", &dir.join("2"), true)).err().unwrap().to_string();
            assert!(again.contains("the link first has a route to 10."), "{again}");
            NodeNetwork::new(node_config("first", &dir.join("1"), true)).unwrap();
            remove("first", &dir.join("1")).unwrap();
            NodeNetwork::new(node_config("second", &dir.join("2"), true)).unwrap();
        });
    }

    #[test]
    fn a_node_that_is_removed_leaves_nothing() {
        on_a_host(|dir| {
            let seen = || {
                let links = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
                let links = links.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
                let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
                let addresses = std::fs::read_to_string("/proc/thread-self/net/fib_trie").unwrap();
                let tables = nft::tables(&mut Socket::netfilter().unwrap()).unwrap();
                (links.collect::<BTreeSet<_>>(), routes, addresses, tables)
            };
            let lo = route::index_of(&mut Socket::route().unwrap(), "lo").unwrap();
            Socket::route().unwrap().request(route::up(lo)).unwrap();
            let before = seen();
            let network = NodeNetwork::new(node_config("coracle0", dir, true)).unwrap();
            let pod = Namespace::new();
            network.attach_blocking("pod", pod.fd().as_fd(), &[]).unwrap();
            let made = seen();
            assert!(made.0.len() == before.0.len() + 2 && !made.3.is_empty(), "{made:?}");
            remove("coracle0", dir).unwrap();
            assert_eq!(seen(), before);
            remove("coracle0", dir).unwrap();
        });
    }

    #[test]
    fn neighbours_of_a_host_do_not_reach_its_local_clusters_unless_the_host_sends_them_there() {
        on_a_host(|_| {
            let (neighbour, node) = (neighbour(), Namespace::new());
            let address = Ipv4Addr::new(10, 9, 1, 2);
            let gateway = Ipv4Addr::new(10, 9, 1, 1);
            create_bridge("cb", Ipv4Net::new(gateway, 24).unwrap()).unwrap();
            attach_node("cb", "cv", node.fd().as_fd(), Ipv4Net::new(address, 24).unwrap(), gateway).unwrap();
            masquerade("cluster", "cb", "10.9.1.0/24".parse().unwrap()).unwrap();
            node.run(|| tcp_server(6443, 1));
            neighbour.run(|| tcp_server(80, 3));
            assert_eq!(tcp_answer(address, 6443), Some(1), "the host");
            assert_eq!(node.run(|| tcp_answer(NEIGHBOUR, 80)), Some(3), "answers come back");
            assert_eq!(neighbour.run(|| tcp_answer(address, 6443)), None, "a neighbour");

            let mut batch = Batch::new();
            batch.renew_table("own");
            batch.base_chain("own", "prerouting", "nat", Hook::Prerouting, nft::PRIORITY_DESTINATION_NAT);
            let [high, low] = 6443_u16.to_be_bytes();
            let send = [
                Expr::protocol_is(6),
                vec![
                    Expr::DestinationPort { into: 0 },
                    Expr::Compare { register: 0, equal: true, value: 8443_u16.to_be_bytes().into() },
                    Expr::Load { into: 0, value: address.octets() },
                    Expr::Load { into: 1, value: [high, low, 0, 0] },
                    Expr::Nat(Nat::DestinationAndPort),
                ],
            ];
            batch.rule("own", "prerouting", &send.concat());
            batch.commit(&mut Socket::netfilter().unwrap()).unwrap();
            assert_eq!(neighbour.run(|| tcp_answer(LAN, 8443)), Some(1), "by a rule of the host's owner");
        });
    }
}
