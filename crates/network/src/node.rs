//! The pod network of one node.
//!
//! Every pod has one address with a full-length prefix, and reaches everything by way of the bridge's
//! address. So every packet between pods passes the node's IP layer, where services are translated, and
//! bridges need no netfilter of their own.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use parking_lot::Mutex;

use crate::conntrack;
use crate::host::{close_firewall, delete_table, forward_packets, hardware_address, open_firewall, set_sysctl};
use crate::ipam::Ipam;
use crate::netlink::{Socket, in_namespace, route};
use crate::nft::{self, Batch, Data, Expr, Hook, Nat, Type};

const TABLE: &str = "coracle-pods";
/// Pods that talk to themselves by way of a service.
const SELF: &str = "self";
const HOST_PORTS: &str = "host-ports";
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
    /// The size of packets between pods, in bytes.
    pub mtu: u32,
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
    route: Socket,
    netfilter: Socket,
    bridge: u32,
}

impl NodeNetwork {
    /// Makes the bridge and the rules that pods need, or takes over what an earlier process made.
    pub fn new(config: NodeNetworkConfig) -> Result<Arc<NodeNetwork>> {
        let ipam = Ipam::open(config.state.clone(), config.pod_cidr)?;
        let mut route = Socket::route()?;
        let gateway = ipam.gateway();
        let name = config.bridge.as_str();
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
        let state = State { ipam, route, netfilter, bridge };
        Ok(Arc::new(NodeNetwork { config, state: Mutex::new(state) }))
    }

    /// Removes what [`NodeNetwork::new`] and the service proxy made. The links of pods go with their namespaces. Nothing
    /// of it needs to exist.
    pub fn remove(bridge: &str, service_addresses: &[Ipv4Addr]) -> Result<()> {
        let mut route = Socket::route()?;
        route::delete(&mut route, bridge).with_context(|| format!("failed to remove the bridge {bridge}"))?;
        close_firewall(bridge)?;
        for table in [TABLE, crate::proxy::TABLE] {
            delete_table(table).with_context(|| format!("failed to remove the nftables table {table}"))?;
        }
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
            if let Err(error) = state.connect(address, netns, self.config.mtu).and_then(|()| state.add_rules(address)) {
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
    pub async fn detach(self: &Arc<Self>, sandbox: &str) -> Result<()> {
        let (network, sandbox) = (self.clone(), sandbox.to_owned());
        Ok(tokio::task::spawn_blocking(move || network.detach_blocking(&sandbox)).await?)
    }

    pub(crate) fn detach_blocking(&self, sandbox: &str) {
        let mut state = self.state.lock();
        if let Some(address) = state.ipam.find(sandbox) {
            state.remove_rules(address);
            state.ipam.release(sandbox);
        }
    }

    /// Gives back what sandboxes held that are no longer there, and renews the rules of those that are.
    pub async fn retain(self: &Arc<Self>, live: &[String]) -> Result<()> {
        let (network, live) = (self.clone(), live.to_vec());
        tokio::task::spawn_blocking(move || network.retain_blocking(&live)).await?
    }

    pub(crate) fn retain_blocking(&self, live: &[String]) -> Result<()> {
        let sandboxes = self.state.lock().ipam.sandboxes();
        for sandbox in sandboxes {
            if live.contains(&sandbox) {
                let mut state = self.state.lock();
                if let Some(address) = state.ipam.find(&sandbox) {
                    state.add_rules(address)?;
                }
            } else {
                self.detach_blocking(&sandbox);
            }
        }
        Ok(())
    }
}

fn base_rules(config: &NodeNetworkConfig) -> Batch {
    let mut batch = Batch::new();
    batch.renew_table(TABLE);
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

/// Where a host port is written down.
fn map_and_key(port: &HostPort) -> (&'static str, Vec<u8>) {
    let key = port_key(&port.protocol, port.host_port);
    match port.host_ip.parse::<Ipv4Addr>() {
        Ok(address) if !address.is_unspecified() => (ADDRESS_PORTS, [&address.octets()[..], &key].concat()),
        _ => (HOST_PORTS, key),
    }
}

fn link_name(address: Ipv4Addr) -> String {
    format!("veth{:08x}", u32::from(address))
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
    fn connect(&mut self, address: Ipv4Addr, netns: BorrowedFd<'_>, mtu: u32) -> Result<()> {
        let name = link_name(address);
        let made = route::add_veth(&mut self.route, &name, self.bridge, "eth0", netns, mtu);
        match made {
            // Left behind by a namespace that is still being taken down.
            Err(error) if error.raw_os_error() == Some(EEXIST) => {
                route::delete(&mut self.route, &name)?;
                route::add_veth(&mut self.route, &name, self.bridge, "eth0", netns, mtu)
            }
            other => other,
        }
        .with_context(|| format!("failed to make the link {name}"))?;
        let port = route::index_of(&mut self.route, &name)?;
        route::hairpin(&mut self.route, port).with_context(|| format!("failed to set up the bridge port of {name}"))
    }

    fn add_rules(&mut self, address: Ipv4Addr) -> Result<()> {
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
            let forgotten = conntrack::forget(&mut self.netfilter, |flow| {
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

    fn remove_rules(&mut self, address: Ipv4Addr) {
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
