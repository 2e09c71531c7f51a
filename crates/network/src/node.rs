//! The pod network of one node.
//!
//! Every pod has one address of each family with a full-length prefix, and reaches everything by way of the bridge's
//! address; the bridge's network has no route, each pod has one, so that nobody is asked for addresses that no pod has.
//! So every packet between pods passes the node's IP layer, where services are translated, and
//! bridges need no netfilter of their own. In IPv6 pod and node know each other's hardware address for good: what somebody
//! says of his neighbours is believed by nobody.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use coracle_files::{Durability, replace};
use coracle_values::addresses::{Family, Ranges, alone, nth};
use coracle_values::hollow;
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::conntrack;
use crate::frames;
use crate::host::{
    allow_ipv6, close_firewall, delete_table, folded, forward_packets, hardware_address, ignore_advertisements,
    open_firewall, set_sysctl,
};
use crate::ipam::Ipam;
use crate::netlink::{Socket, in_namespace, route};
use crate::nft::{self, Batch, Data, octets};
use crate::peers::{self, Origin, Peer, Routes};

pub(crate) const TABLE: &str = "coracle-pods";
/// Pods that talk to themselves by way of a service.
pub(crate) const SELF: &str = "self";
const HOST_PORTS: &str = "host-ports";
/// Nodes that are reached straight.
const PEERS: &str = "peers";
/// Host ports of one of the node's addresses.
const ADDRESS_PORTS: &str = "address-ports";
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EADDRNOTAVAIL: i32 = 99;

/// How a node's network is set up.
#[derive(Clone, Debug)]
pub struct NodeNetworkConfig {
    /// The name of the pods' bridge.
    pub bridge: String,
    /// Where addresses are written down.
    pub state: PathBuf,
    /// Addresses of this node's pods, of each family that these have.
    pub pod_cidr: Ranges,
    /// Addresses of all pods.
    pub cluster_cidr: Ranges,
    /// Addresses of all services.
    pub service_cidr: Ranges,
    /// Further addresses that this node answers at: that of the cluster's DNS.
    pub service_addresses: Vec<IpAddr>,
    /// The addresses of this node, which others send packets to: one of a family, by the first of which it is reached from
    /// other networks.
    pub addresses: Vec<IpAddr>,
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
    /// Of each family, the primary one first.
    ipams: Vec<Ipam>,
    routes: Routes,
    /// The nodes that are in the set of those reached straight.
    peers: BTreeSet<IpAddr>,
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
        let open = |range| Ipam::open(config.state.clone(), range);
        let ipams: Vec<Ipam> = config.pod_cidr.iter().map(open).collect::<Result<_>>()?;
        let families: Vec<Family> = config.pod_cidr.families().collect();
        let mut route = Socket::route()?;
        let name = config.bridge.as_str();
        refuse_taken(&mut route, &config)?;
        let hardware = hardware_address(nth(config.pod_cidr.primary(), 1));
        match route::add_bridge(&mut route, name, hardware) {
            Err(error) if error.raw_os_error() == Some(EEXIST) => {}
            other => other.with_context(|| format!("failed to make the bridge {name}"))?,
        }
        let bridge = route::index_of(&mut route, name)?;
        let lo = route::index_of(&mut route, "lo")?;
        let mut changes = Vec::new();
        if families.contains(&Family::V6) {
            have_ipv6(&config)?;
            changes.push(route::without_own_address(bridge));
        }
        ignore_advertisements(name)?;
        for ipam in &ipams {
            changes.push(route::address_without_route(bridge, IpNet::new(ipam.gateway(), ipam.range().prefix_len())?));
        }
        changes.extend([route::up(bridge), route::up(lo)]);
        // Each pod has a route, and the bridge's own address one by which others see that its range is taken.
        let pods: Vec<Vec<IpAddr>> = sandboxes(&ipams).iter().map(|sandbox| addresses(&ipams, sandbox)).collect();
        let known = ipams.iter().map(Ipam::gateway).chain(pods.iter().flatten().copied());
        changes.extend(known.map(|address| route::link_route(bridge, alone(address))));
        // A node without a default route reaches services too: the route only has to let the packet come as
        // far as the rule that translates it.
        changes.extend(config.service_cidr.iter().map(|range| route::link_route(bridge, range)));
        route.batch(changes).context("failed to set up the pod bridge")?;
        answer_at(&mut route, lo, &config.service_addresses, &config.state)?;
        for ipam in &ipams {
            // Of a bridge that an earlier version made.
            let removed = route.request(route::delete_address_route(bridge, ipam.range().trunc()));
            absent(removed).context("failed to remove the route to all addresses of pods")?;
        }
        families.iter().try_for_each(|family| forward_packets(*family))?;
        if let Err(error) = open_firewall(name) {
            tracing::warn!(error = format!("{error:#}"), "a firewall may keep pods from each other and the world");
        }
        if families.contains(&Family::V4) {
            // Packets leave by the bridge they came from; pods must not be told to go there directly.
            set_sysctl(&format!("net/ipv4/conf/{name}/send_redirects"), "0")?;
            set_sysctl("net/ipv4/conf/all/send_redirects", "0")?;
            // The node's own loopback address leads to host ports and node ports too; a rule keeps pods from it.
            set_sysctl(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
        }
        delete_table(crate::foreign::TABLE)?;
        let mut netfilter = Socket::netfilter()?;
        for family in Family::ALL {
            let batch = match families.contains(&family) {
                true => rules::base(&config, family),
                // Of a node that had the family before.
                false if nft::table_exists(&mut netfilter, family, TABLE)? => {
                    let mut batch = Batch::of(family);
                    batch.delete_table(TABLE);
                    batch
                }
                false => continue,
            };
            batch.commit(&mut netfilter).context("failed to make the nftables rules of the pod network")?;
        }
        let frames = frames::renew(&mut netfilter, &pods);
        if let Err(error) = &frames {
            tracing::warn!(
                %error,
                "pods can send in each other's name: the kernel has no nftables for bridges (CONFIG_NF_TABLES_BRIDGE)"
            );
        }
        let isolated = can_isolate(config.on_host);
        let origin = Origin {
            addresses: config.addresses.clone(),
            pod_cidr: config.pod_cidr,
            cluster_cidr: config.cluster_cidr,
            overlay: config.overlay.clone(),
            // On a host, this is for its owner to say.
            unreachable: match config.on_host {
                true => Vec::new(),
                false => config.cluster_cidr.families().map(hollow::pods).collect(),
            },
        };
        let routes = Routes::open(&mut route, origin, routes_file(&config.state))?;
        let (frames, peers) = (frames.is_ok(), BTreeSet::new());
        let state = State { ipams, routes, peers, route, netfilter, bridge, frames, isolated };
        Ok(Arc::new(NodeNetwork { config, state: Mutex::new(state) }))
    }

    /// The addresses of this node's pods.
    pub fn pod_cidr(&self) -> Ranges {
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
        for family in self.config.pod_cidr.families() {
            let keys = |nodes: &mut dyn Iterator<Item = &IpAddr>| -> Vec<Vec<u8>> {
                nodes.filter(|node| Family::of(**node) == family).map(|node| octets(*node)).collect()
            };
            let mut batch = Batch::of(family);
            batch.delete_elements(TABLE, PEERS, &keys(&mut known.difference(&near)));
            batch.add_set_elements(TABLE, PEERS, &keys(&mut near.difference(known)));
            batch.commit(netfilter).context("failed to let other nodes in")?;
        }
        *known = near;
        result
    }

    /// Removes what [`NodeNetwork::new`], the service proxy and pods made; `state` is where addresses are written down, and
    /// `answered` those at which the node answered unless it wrote them down. Nothing of it needs to exist.
    pub fn remove(bridge: &str, overlay: &str, answered: &[IpAddr], state: &Path) -> Result<()> {
        let mut route = Socket::route()?;
        peers::remove(&mut route, overlay, &routes_file(state))?;
        if let Ok(index) = route::index_of(&mut route, bridge) {
            for port in route::ports(&mut route, index).context("failed to list the links of pods")? {
                route::delete(&mut route, &port).with_context(|| format!("failed to remove the link {port}"))?;
            }
        }
        route::delete(&mut route, bridge).with_context(|| format!("failed to remove the bridge {bridge}"))?;
        close_firewall(bridge)?;
        for table in [TABLE, crate::foreign::TABLE, crate::proxy::TABLE] {
            delete_table(table).with_context(|| format!("failed to remove the nftables table {table}"))?;
        }
        crate::announce::remove(&mut route).context("failed to give up the addresses of load balancers")?;
        crate::policies::remove(&mut Socket::netfilter()?)
            .with_context(|| format!("failed to remove the nftables table {}", crate::policies::TABLE))?;
        let removed = frames::remove(&mut Socket::netfilter()?);
        removed.with_context(|| format!("failed to remove the nftables table bridge {}", frames::TABLE))?;
        let lo = route::index_of(&mut route, "lo")?;
        let written = std::fs::read_to_string(answered_file(state)).unwrap_or_default();
        let written: Vec<IpAddr> = written.lines().filter_map(|line| line.parse().ok()).collect();
        for address in if written.is_empty() { answered } else { &written } {
            match route.batch(vec![route::delete_address(lo, alone(*address))]) {
                Err(error) if error.raw_os_error() != Some(EADDRNOTAVAIL) => {
                    return Err(error).with_context(|| format!("failed to remove the address {address}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Connects a namespace; answers with its addresses. Again for the same sandbox: the same addresses.
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
            network.attach_blocking(&sandbox, netns.as_fd(), &ports)
        })
        .await?
    }

    pub(crate) fn attach_blocking(
        &self,
        sandbox: &str,
        netns: BorrowedFd<'_>,
        ports: &[HostPort],
    ) -> Result<Vec<IpAddr>> {
        let (addresses, gateways) = {
            let mut state = self.state.lock();
            let addresses = state.allocate(sandbox, ports)?;
            let made = state.add_rules(&addresses).and_then(|()| state.connect(&addresses, netns, &self.config));
            if let Err(error) = made {
                state.remove_rules(&addresses);
                state.release(sandbox);
                return Err(error);
            }
            (addresses, state.ipams.iter().map(Ipam::gateway).collect::<Vec<_>>())
        };
        let hardware = gateways.first().map(|gateway| hardware_address(*gateway)).unwrap_or_default();
        let inside = in_namespace(netns, || {
            let mut socket = Socket::route()?;
            let lo = route::index_of(&mut socket, "lo")?;
            let eth0 = route::index_of(&mut socket, "eth0")?;
            // A program may say by which link it sends, and then every address is a neighbour to the kernel, whatever the
            // routes are. First, as those that are known are forgotten with it.
            let mut changes = vec![route::up(lo), route::without_neighbours(eth0)];
            if addresses.iter().any(IpAddr::is_ipv6) {
                ["all", "eth0"].into_iter().try_for_each(allow_ipv6)?;
                set_sysctl("net/ipv6/conf/eth0/accept_redirects", "0")?;
                changes.push(route::without_own_address(eth0));
            }
            changes.extend(addresses.iter().map(|address| route::address(eth0, alone(*address))));
            changes.push(route::up(eth0));
            for gateway in gateways {
                changes.push(route::link_route(eth0, alone(gateway)));
                changes.push(route::neighbour(eth0, gateway, hardware));
                changes.push(route::default_route(eth0, gateway));
            }
            socket.batch(changes).context("failed to set up the pod's link")
        });
        if let Err(error) = inside {
            self.detach_blocking(sandbox);
            return Err(error);
        }
        Ok(addresses)
    }

    /// Gives the addresses back. The links go with the pod's namespace: removing them here would take 18 ms.
    /// Answers with them.
    pub async fn detach(self: &Arc<Self>, sandbox: &str) -> Result<Vec<IpAddr>> {
        let (network, sandbox) = (self.clone(), sandbox.to_owned());
        Ok(tokio::task::spawn_blocking(move || network.detach_blocking(&sandbox)).await?)
    }

    pub(crate) fn detach_blocking(&self, sandbox: &str) -> Vec<IpAddr> {
        let mut state = self.state.lock();
        let addresses = addresses(&state.ipams, sandbox);
        if !addresses.is_empty() {
            state.remove_rules(&addresses);
            state.release(sandbox);
        }
        addresses
    }

    /// Gives back what sandboxes held that are no longer there, and renews the rules of those that are; answers with their
    /// addresses.
    pub async fn retain(self: &Arc<Self>, live: &[String]) -> Result<Vec<IpAddr>> {
        let (network, live) = (self.clone(), live.to_vec());
        tokio::task::spawn_blocking(move || network.retain_blocking(&live)).await?
    }

    pub(crate) fn retain_blocking(&self, live: &[String]) -> Result<Vec<IpAddr>> {
        let mut kept = Vec::new();
        let sandboxes = sandboxes(&self.state.lock().ipams);
        for sandbox in sandboxes {
            if live.contains(&sandbox) {
                let mut state = self.state.lock();
                let addresses = addresses(&state.ipams, &sandbox);
                state.add_rules(&addresses)?;
                kept.extend(addresses);
            } else {
                self.detach_blocking(&sandbox);
            }
        }
        Ok(kept)
    }
}

/// A route that is not there is as good as removed.
fn absent(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.raw_os_error() == Some(ESRCH) => Ok(()),
        other => other,
    }
}

/// The addresses of a sandbox, that of the primary family first.
fn addresses(ipams: &[Ipam], sandbox: &str) -> Vec<IpAddr> {
    ipams.iter().filter_map(|ipam| ipam.find(sandbox)).collect()
}

/// Those that have addresses.
fn sandboxes(ipams: &[Ipam]) -> BTreeSet<String> {
    ipams.iter().flat_map(Ipam::sandboxes).collect()
}

/// Lets the links of this machine have addresses of IPv6.
fn have_ipv6(config: &NodeNetworkConfig) -> Result<()> {
    const OFF: &str = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";
    allow_ipv6(&config.bridge)?;
    if !config.on_host {
        return allow_ipv6("all");
    }
    // Whether the host itself has it is for its owner to say.
    if std::fs::read_to_string(OFF).is_ok_and(|value| value.trim() == "1") {
        bail!(
            "IPv6 is switched off on this host: set net.ipv6.conf.lo.disable_ipv6 to 0, or leave the ranges of IPv6 \
             addresses out"
        );
    }
    Ok(())
}

/// Has the node answer at further addresses, and writes them down for who removes them.
pub(crate) fn answer_at(socket: &mut Socket, lo: u32, addresses: &[IpAddr], state: &Path) -> Result<()> {
    let answered = addresses.iter().map(|address| format!("{address}\n")).collect::<String>();
    let file = answered_file(state);
    replace(&file, answered.as_bytes(), 0o600, Durability::Process)
        .with_context(|| format!("failed to write {}", file.display()))?;
    let changes = addresses.iter().map(|address| route::address(lo, alone(*address))).collect();
    socket.batch(changes).context("failed to have the node answer at the addresses of its services")
}

/// Where it is written down at which further addresses the node answers: beside the addresses.
fn answered_file(state: &Path) -> PathBuf {
    state.with_file_name("answered")
}

/// Where the ranges of other nodes are written down: beside the addresses.
fn routes_file(state: &Path) -> PathBuf {
    state.with_file_name("routes")
}

/// Where a host port of a family is written down; nowhere if it is one of an address of the other.
fn map_and_key(port: &HostPort, family: Family) -> Option<(&'static str, Vec<u8>)> {
    let key = port_key(&port.protocol, port.host_port);
    match port.host_ip.parse::<IpAddr>() {
        Ok(address) if Family::of(address) != family => None,
        Ok(address) if !address.is_unspecified() => Some((ADDRESS_PORTS, [&octets(address)[..], &key].concat())),
        _ => Some((HOST_PORTS, key)),
    }
}

/// The name of the link that leads to a pod.
pub(crate) fn port_name(address: IpAddr) -> String {
    format!("veth{:08x}", folded(address))
}

/// Whether ports can be isolated from each other. br_netfilter hands what it translates from one to the other, so that
/// no pod would reach a service on its own node; nobody but the host has use for it.
fn can_isolate(on_host: bool) -> bool {
    // Of IPv4, and of IPv6.
    const FILTERS: [&str; 2] = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];
    FILTERS.into_iter().all(|filter| {
        let path = format!("/proc/sys/{filter}");
        if !on_host && std::fs::exists(&path).unwrap_or(false) && set_sysctl(filter, "0").is_err() {
            tracing::debug!("the node's bridge uses br_netfilter");
        }
        std::fs::read_to_string(&path).map_or(true, |value| value.trim() == "0")
    })
}

/// Fails when packets to pods or services go elsewhere already: two servers on one host would take each other's.
fn refuse_taken(socket: &mut Socket, config: &NodeNetworkConfig) -> Result<()> {
    let own = route::index_of(socket, &config.bridge).ok();
    let ranges: Vec<IpNet> = config.pod_cidr.iter().chain(config.service_cidr.iter()).collect();
    let found = route::foreign_route(socket, own, &ranges)?;
    let Some((link, network)) = found else { return Ok(()) };
    bail!(
        "the link {link} has a route to {network}, but pods need {} and services {}: another cluster or network uses \
         them on this host. Remove it, or make a local cluster (coracle up), which has a network of its own",
        config.pod_cidr,
        config.service_cidr
    )
}

pub(crate) fn pair_key(address: IpAddr) -> Vec<u8> {
    [octets(address), octets(address)].concat()
}

/// Protocol and port as a set has them.
pub(crate) fn port_key(protocol: &str, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![protocol_number(protocol), 0, 0, 0, high, low, 0, 0]
}

/// Address and port as a map has them.
pub(crate) fn address_port(address: IpAddr, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [&octets(address)[..], &[high, low, 0, 0]].concat()
}

pub(crate) fn protocol_number(protocol: &str) -> u8 {
    match protocol {
        "UDP" => 17,
        "SCTP" => 132,
        _ => 6,
    }
}

impl State {
    /// An address of each family, or none of any.
    fn allocate(&mut self, sandbox: &str, ports: &[HostPort]) -> Result<Vec<IpAddr>> {
        let given: Result<Vec<IpAddr>> = self.ipams.iter_mut().map(|ipam| ipam.allocate(sandbox, ports)).collect();
        if given.is_err() {
            self.release(sandbox);
        }
        given
    }

    fn release(&mut self, sandbox: &str) {
        for ipam in &mut self.ipams {
            ipam.release(sandbox);
        }
    }

    /// The host ports that lead to an address.
    fn ports(&self, address: IpAddr) -> &[HostPort] {
        self.ipams.iter().map(|ipam| ipam.ports(address)).find(|ports| !ports.is_empty()).unwrap_or_default()
    }

    /// Link and hardware address follow from the first of the addresses.
    fn connect(&mut self, addresses: &[IpAddr], netns: BorrowedFd<'_>, config: &NodeNetworkConfig) -> Result<()> {
        self.isolate_ports(can_isolate(config.on_host))?;
        let first = *addresses.first().context("a pod has an address")?;
        let (name, hardware) = (port_name(first), hardware_address(first));
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
        let own = addresses.iter().any(IpAddr::is_ipv6).then(|| route::without_own_address(port));
        let changes = own.into_iter().chain([route::up(port)]);
        self.route.batch(changes.collect()).with_context(|| format!("failed to bring {name} up"))?;
        route::set_port(&mut self.route, port, hardware, self.isolated)
            .with_context(|| format!("failed to set up the bridge port of {name}"))
    }

    /// Follows the kernel: br_netfilter may be loaded while pods run.
    fn isolate_ports(&mut self, isolated: bool) -> Result<()> {
        if self.isolated != isolated {
            let sandboxes = sandboxes(&self.ipams);
            let firsts = sandboxes.iter().filter_map(|sandbox| addresses(&self.ipams, sandbox).first().copied());
            for name in firsts.map(port_name).collect::<Vec<_>>() {
                if let Ok(port) = route::index_of(&mut self.route, &name) {
                    route::isolate(&mut self.route, port, isolated)
                        .with_context(|| format!("failed to set up the bridge port of {name}"))?;
                }
            }
            self.isolated = isolated;
        }
        Ok(())
    }

    fn add_rules(&mut self, addresses: &[IpAddr]) -> Result<()> {
        if self.frames {
            frames::allow(&mut self.netfilter, addresses).context("failed to let a pod send")?;
        }
        let Some(first) = addresses.first() else { return Ok(()) };
        let neighbours =
            addresses.iter().map(|address| route::neighbour(self.bridge, *address, hardware_address(*first)));
        let routes = addresses.iter().map(|address| route::link_route(self.bridge, alone(*address)));
        self.route
            .batch(neighbours.chain(routes).collect())
            .context("failed to have the node know the way to a pod")?;
        addresses.iter().try_for_each(|address| self.add_rules_of(*address))
    }

    fn add_rules_of(&mut self, address: IpAddr) -> Result<()> {
        let family = Family::of(address);
        let mut batch = Batch::of(family);
        batch.add_set_elements(TABLE, SELF, &[pair_key(address)]);
        let ports = self.ports(address).to_vec();
        for port in &ports {
            let Some((map, key)) = map_and_key(port, family) else { continue };
            let to = Data::Bytes(address_port(address, port.container_port));
            batch.add_map_elements(TABLE, map, &[(key, to)]);
        }
        batch.commit(&mut self.netfilter).context("failed to add nftables rules of a pod")?;
        let of_datagrams = |port: &&HostPort| port.protocol != "TCP";
        if ports.iter().any(|port| of_datagrams(&port)) {
            let forgotten = conntrack::forget(&mut self.netfilter, family, |flow| {
                ports.iter().filter(of_datagrams).any(|port| {
                    protocol_number(&port.protocol) == flow.protocol
                        && port.host_port == flow.destination.1
                        && (address, port.container_port) != flow.answered_by
                })
            });
            if let Err(error) = forgotten {
                tracing::warn!(%error, %address, "failed to forget flows to an earlier pod's port");
            }
        }
        Ok(())
    }

    fn remove_rules(&mut self, addresses: &[IpAddr]) {
        if self.frames
            && let Err(error) = frames::deny(&mut self.netfilter, addresses)
            && error.raw_os_error() != Some(ENOENT)
        {
            tracing::warn!(%error, ?addresses, "failed to remove what a pod may send");
        }
        for address in addresses {
            let family = Family::of(*address);
            // One that is not there is as good as removed.
            let _ = self.route.request(route::delete_neighbour(self.bridge, *address));
            if let Err(error) = absent(self.route.request(route::delete_link_route(self.bridge, alone(*address)))) {
                tracing::warn!(%error, %address, "failed to remove the route to a pod");
            }
            let mut batch = Batch::of(family);
            batch.delete_elements(TABLE, SELF, &[pair_key(*address)]);
            for (map, key) in self.ports(*address).iter().filter_map(|port| map_and_key(port, family)) {
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
}

mod limits;
mod rules;
#[cfg(test)]
mod unused;

pub use limits::TrafficLimits;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{attach_node, create_bridge, masquerade};
    use crate::nft::{Expr, Hook, Nat};
    use crate::testing::{Namespace, attach, host_of_both, is_root, net, node_config, of, tcp_answer, tcp_server};
    use std::os::fd::AsFd;

    const LAN: &str = "10.9.2.1";
    const NEIGHBOUR: &str = "10.9.2.2";

    /// A neighbour of the host, which is the current namespace, that routes everything there.
    fn neighbour() -> Namespace {
        let neighbour = Namespace::new();
        create_bridge("lan", &Family::ALL.map(|family| net(family, "10.9.2.1/24"))).unwrap();
        attach_node("lan", "vlan", neighbour.fd().as_fd(), &host_of_both("10.9.2.2", "10.9.2.1")).unwrap();
        neighbour
    }

    fn remove(bridge: &str, dir: &Path) -> Result<()> {
        NodeNetwork::remove(bridge, "vx", &[], &dir.join("addresses"))
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
            let addresses = attach(&network, "pod", &pod, &ports);
            pod.run(|| tcp_server(8080, 1));
            tcp_server(53, 2);
            neighbour.run(|| tcp_server(80, 3));
            for family in Family::ALL {
                let (dns, gateway, lan) = (of(family, "10.96.0.10"), of(family, "10.244.0.1"), of(family, LAN));
                let address = addresses[family as usize];
                let reached = |to: IpAddr, port: u16| neighbour.run(|| tcp_answer(to, port));
                assert_eq!(reached(lan, 9090), Some(1), "a host port");
                assert_eq!(reached(lan, 53), Some(2), "what the host itself offers there");
                for (to, port) in [(address, 8080), (dns, 53), (gateway, 53), (gateway, 9090)] {
                    assert_eq!(reached(to, port), None, "{to}:{port}");
                }
                assert_eq!(tcp_answer(address, 8080), Some(1), "the host itself");
                assert_eq!(pod.run(|| tcp_answer(of(family, NEIGHBOUR), 80)), Some(3), "answers come back");
                assert_eq!(pod.run(|| tcp_answer(gateway, 53)), Some(2), "pods ask the node");
            }
            assert_eq!(pod.run(|| tcp_answer(of(Family::V4, "10.96.0.10"), 53)), Some(2), "at the address of DNS, too");
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
                let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
                let routes = ["route", "ipv6_route"].map(read).map(|text| text.lines().count());
                let addresses = ["fib_trie", "if_inet6"].map(read);
                let tables = nft::tables(&mut Socket::netfilter().unwrap()).unwrap();
                (links.collect::<BTreeSet<_>>(), routes, addresses, tables)
            };
            let lo = route::index_of(&mut Socket::route().unwrap(), "lo").unwrap();
            Socket::route().unwrap().request(route::up(lo)).unwrap();
            let before = seen();
            let network = NodeNetwork::new(node_config("coracle0", dir, true)).unwrap();
            let pod = Namespace::new();
            attach(&network, "pod", &pod, &[]);
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
            let gateways = Family::ALL.map(|family| net(family, "10.9.1.1/24"));
            create_bridge("cb", &gateways).unwrap();
            attach_node("cb", "cv", node.fd().as_fd(), &host_of_both("10.9.1.2", "10.9.1.1")).unwrap();
            masquerade("cluster", "cb", &gateways.map(|network| network.trunc())).unwrap();
            node.run(|| tcp_server(6443, 1));
            neighbour.run(|| tcp_server(80, 3));
            for family in Family::ALL {
                let address = of(family, "10.9.1.2");
                assert_eq!(tcp_answer(address, 6443), Some(1), "the host");
                assert_eq!(node.run(|| tcp_answer(of(family, NEIGHBOUR), 80)), Some(3), "answers come back");
                assert_eq!(neighbour.run(|| tcp_answer(address, 6443)), None, "a neighbour");
            }

            let mut batch = Batch::of(Family::V4);
            batch.renew_table("own");
            batch.base_chain("own", "prerouting", "nat", Hook::Prerouting, nft::PRIORITY_DESTINATION_NAT);
            let [high, low] = 6443_u16.to_be_bytes();
            let send = [
                Expr::protocol_is(6),
                vec![
                    Expr::DestinationPort { into: 0 },
                    Expr::Compare { register: 0, equal: true, value: 8443_u16.to_be_bytes().into() },
                    Expr::Load { into: 0, value: [10, 9, 1, 2] },
                    Expr::Load { into: 1, value: [high, low, 0, 0] },
                    Expr::Nat(Nat::DestinationAndPort(Family::V4)),
                ],
            ];
            batch.rule("own", "prerouting", &send.concat());
            batch.commit(&mut Socket::netfilter().unwrap()).unwrap();
            let reached = neighbour.run(|| tcp_answer(of(Family::V4, LAN), 8443));
            assert_eq!(reached, Some(1), "by a rule of the host's owner");
        });
    }
}
