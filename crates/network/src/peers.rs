//! The ways to pods of other nodes: a route to each node's range, by the node itself where it is on a network of ours, and
//! else through a VXLAN link, whose other ends are known from the nodes' objects alone, so that nothing is flooded or learned.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};

use crate::host::{delete_table, hardware_address};
use crate::netlink::overlay::{self, End, Vxlan};
use crate::netlink::{Message, Socket, route};
use crate::nft::{self, Batch, Expr, Hook, Type};

/// The VXLAN network's number and port, as flannel has them on Linux.
const ID: u32 = 1;
pub(crate) const PORT: u16 = 8472;
/// What VXLAN over IPv4 puts around a packet, in bytes.
const AROUND: u32 = 50;
/// Lets nobody but other nodes send through VXLAN; there while that is.
const TABLE: &str = "coracle-overlay";
const NODES: &str = "nodes";
const ESRCH: i32 = 3;
const ENOENT: i32 = 2;

/// Another node, as its object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Addresses of its pods.
    pub ranges: Vec<IpNet>,
}

/// This node, as far as ways lead from it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub address: Ipv4Addr,
    pub pod_cidr: Ipv4Net,
    pub cluster_cidr: Ipv4Net,
    /// The name of the VXLAN link.
    pub overlay: String,
}

/// How packets come to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Straight to it.
    Direct(Ipv4Addr),
    /// In a packet to it.
    Overlay(Ipv4Addr),
}

impl Way {
    fn node(self) -> Ipv4Addr {
        let (Way::Direct(node) | Way::Overlay(node)) = self;
        node
    }
}

type Ways = BTreeMap<Ipv4Net, Way>;

/// The ways that the kernel has.
pub(crate) struct Routes {
    origin: Origin,
    /// The ranges that there may be routes to, for the next process and for who removes the node.
    file: PathBuf,
    ways: Ways,
    /// Ranges that an earlier process had routes to, until they are looked at.
    left: BTreeSet<Ipv4Net>,
    /// The VXLAN link, while there is one.
    overlay: Option<u32>,
}

impl Routes {
    /// Takes over what an earlier process had. What leads to no node is unreachable, instead of going to the world.
    pub fn open(socket: &mut Socket, origin: Origin, file: PathBuf) -> Result<Routes> {
        let cluster = origin.cluster_cidr;
        let mut left = read(&file)?;
        left.remove(&cluster);
        for range in &left {
            gone(socket.request(route::delete_unreachable(*range)))?;
        }
        let routes = Routes { origin, file, ways: Ways::new(), left, overlay: None };
        routes.remember([])?;
        socket
            .request(route::unreachable(cluster))
            .with_context(|| format!("failed to make a route for the unused addresses of {cluster}"))?;
        Ok(routes)
    }

    /// Has ways to these nodes and no others. Answers with the addresses of those that are reached straight, and whether all
    /// was done; what was not, the next call tries again.
    pub fn set(&mut self, sockets: (&mut Socket, &mut Socket), peers: &[Peer]) -> (BTreeSet<Ipv4Addr>, Result<()>) {
        let result = self.lead(sockets, peers);
        let direct = self.ways.values().filter(|way| matches!(way, Way::Direct(_)));
        (direct.map(|way| way.node()).collect(), result)
    }

    fn lead(&mut self, (routes, netfilter): (&mut Socket, &mut Socket), peers: &[Peer]) -> Result<()> {
        let here = route::connected(routes, self.origin.address)?;
        let (link, network) =
            here.with_context(|| format!("no link has the node's address {}", self.origin.address))?;
        let wanted = ways(&self.origin, network, peers);
        if wanted == self.ways && self.left.is_empty() {
            return Ok(());
        }
        self.remember(wanted.keys().copied())?;
        let result = self.change(routes, netfilter, link, &wanted);
        self.remember([])?;
        result
    }

    /// Does all of it that can be done: what one node says keeps nobody from the others.
    fn change(&mut self, routes: &mut Socket, netfilter: &mut Socket, link: u32, wanted: &Ways) -> Result<()> {
        let mut failed = Ok(());
        let far: BTreeSet<Ipv4Addr> =
            wanted.values().filter(|way| matches!(way, Way::Overlay(_))).map(|way| way.node()).collect();
        let mut overlay = Ok(());
        if !far.is_empty() {
            // Before the link is there, so that there is no moment without.
            overlay = filter(netfilter, self.origin.address, &far).context("failed to make the rules of VXLAN");
            overlay = overlay.and_then(|()| self.make_overlay(routes, link));
        }
        let has_overlay = overlay.is_ok();
        note(&mut failed, overlay);
        let before: BTreeSet<Ipv4Net> = self.left.iter().chain(self.ways.keys()).copied().collect();
        for range in before.into_iter().filter(|range| !wanted.contains_key(range)) {
            let removed = gone(routes.request(route::delete_route(range)))
                .and_then(|()| self.forget_end(routes, range))
                .with_context(|| format!("failed to remove the route to {range}"));
            self.ways.remove(&range);
            self.keep_if(removed.is_err(), range);
            note(&mut failed, removed);
        }
        for (range, way) in wanted {
            let is_there = self.ways.get(range) == Some(way);
            if is_there || matches!(way, Way::Overlay(_)) && !has_overlay {
                continue;
            }
            let made = self
                .make_way(routes, link, *range, *way)
                .with_context(|| format!("failed to make the way to {range} by the node {}", way.node()));
            if made.is_ok() {
                self.ways.insert(*range, *way);
            } else {
                self.ways.remove(range);
            }
            self.keep_if(made.is_err(), *range);
            note(&mut failed, made);
        }
        if far.is_empty() {
            note(&mut failed, self.remove_overlay(routes));
        }
        failed
    }

    /// A range to which there may be a route is looked at again.
    fn keep_if(&mut self, unsure: bool, range: Ipv4Net) {
        if unsure {
            self.left.insert(range);
        } else {
            self.left.remove(&range);
        }
    }

    fn make_way(&self, socket: &mut Socket, link: u32, range: Ipv4Net, way: Way) -> io::Result<()> {
        match (way, self.overlay) {
            (Way::Overlay(remote), Some(overlay)) => {
                let end = End { address: range.network(), hardware: hardware_address(range.network()), remote };
                let mut messages = overlay::know(overlay, &end);
                messages.push(route::route_by(overlay, range, end.address));
                socket.batch(messages)
            }
            (Way::Direct(node) | Way::Overlay(node), _) => {
                socket.request(route::route_by(link, range, node))?;
                self.forget_end(socket, range)
            }
        }
    }

    fn forget_end(&self, socket: &mut Socket, range: Ipv4Net) -> io::Result<()> {
        let Some(overlay) = self.overlay else { return Ok(()) };
        let address = range.network();
        overlay::forget(overlay, address, hardware_address(address))
            .into_iter()
            .try_for_each(|message: Message| gone(socket.request(message)))
    }

    /// Has the VXLAN link be there as it should.
    fn make_overlay(&mut self, socket: &mut Socket, link: u32) -> Result<()> {
        let (name, local) = (self.origin.overlay.as_str(), self.origin.address);
        let wanted = Vxlan { id: ID, port: PORT, link, local };
        let own = self.origin.pod_cidr.network();
        let found = overlay::find(socket, name)?;
        let index = match found {
            Some((index, vxlan)) if vxlan == wanted => index,
            found => {
                if found.is_some() {
                    route::delete(socket, name)?;
                }
                let mtu = route::mtu(socket, link)?.unwrap_or(1500).saturating_sub(AROUND);
                overlay::add(socket, name, hardware_address(own), mtu, &wanted)
                    .with_context(|| format!("failed to make the VXLAN link {name}"))?;
                // With the link went what led through it.
                self.ways.retain(|_, way| matches!(way, Way::Direct(_)));
                route::index_of(socket, name)?
            }
        };
        if self.overlay != Some(index) {
            let address = Ipv4Net::new(own, 32)?;
            socket.batch(vec![route::address(index, address), route::up(index)])?;
            self.overlay = Some(index);
        }
        Ok(())
    }

    fn remove_overlay(&mut self, socket: &mut Socket) -> Result<()> {
        self.overlay = None;
        route::delete(socket, &self.origin.overlay)?;
        delete_table(TABLE)
    }

    fn remember(&self, more: impl IntoIterator<Item = Ipv4Net>) -> Result<()> {
        let all: BTreeSet<Ipv4Net> = self.left.iter().chain(self.ways.keys()).copied().chain(more).collect();
        let first = std::iter::once(self.origin.cluster_cidr);
        let text: String = first.chain(all).map(|range| format!("{range}\n")).collect();
        let failed = || format!("failed to write {}", self.file.display());
        let temporary = self.file.with_extension("tmp");
        fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &self.file)).with_context(failed)
    }
}

/// Removes what all processes of a node made.
pub(crate) fn remove(socket: &mut Socket, overlay: &str, file: &Path) -> Result<()> {
    for range in read(file)? {
        for message in [route::delete_route(range), route::delete_unreachable(range)] {
            gone(socket.request(message)).with_context(|| format!("failed to remove the route to {range}"))?;
        }
    }
    route::delete(socket, overlay).with_context(|| format!("failed to remove the link {overlay}"))?;
    delete_table(TABLE)
}

/// The ranges in a file; none if it is not there.
fn read(file: &Path) -> Result<BTreeSet<Ipv4Net>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", file.display())),
    }
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(ESRCH | ENOENT)) => Ok(()),
        other => other,
    }
}

/// Keeps the first error and tells of the others.
fn note(first: &mut Result<()>, result: Result<()>) {
    match (&first, result) {
        (Ok(()), result) => *first = result,
        (Err(_), Err(error)) => tracing::warn!("{error:#}"),
        (Err(_), Ok(())) => {}
    }
}

/// Whether a node can have an address.
fn is_nodes(origin: &Origin, network: Ipv4Net, address: Ipv4Addr) -> bool {
    let is_an_end = network.prefix_len() < 31 && [network.network(), network.broadcast()].contains(&address);
    let reserved = u32::from(address) >> 28 == 0xf || address.octets()[0] == 0;
    !(is_an_end
        || reserved
        || address.is_loopback()
        || address.is_multicast()
        || origin.cluster_cidr.contains(&address)
        || address == origin.address)
}

/// The way to each node, the elders first: who claims addresses that another one has, or that are no pods', gets none.
fn ways(origin: &Origin, network: Ipv4Net, peers: &[Peer]) -> Ways {
    let overlaps = |a: &Ipv4Net, b: &Ipv4Net| a.contains(b) || b.contains(a);
    let mut ways = Ways::new();
    for peer in peers {
        // The other family has ways of its own.
        let IpAddr::V4(address) = peer.address else { continue };
        // One range a family.
        let Some(IpNet::V4(range)) = peer.ranges.iter().find(|range| matches!(range, IpNet::V4(_))) else { continue };
        let range = range.trunc();
        if !is_nodes(origin, network, address) {
            tracing::warn!(node = peer.name, %address, "the node's address is none that a node can have, or this one's");
            continue;
        }
        let is_taken = overlaps(&range, &origin.pod_cidr) || ways.keys().any(|other| overlaps(other, &range));
        if is_taken || !origin.cluster_cidr.contains(&range) {
            tracing::warn!(node = peer.name, %range, "the node's range of pod addresses is another's, or no pods'");
            continue;
        }
        let is_near = network.contains(&address);
        ways.insert(range, if is_near { Way::Direct(address) } else { Way::Overlay(address) });
    }
    ways
}

/// Drops what others than these nodes send to the VXLAN port, and what a service sends there in a node's name.
fn filter(socket: &mut Socket, own: Ipv4Addr, nodes: &BTreeSet<Ipv4Addr>) -> io::Result<()> {
    let mut batch = Batch::new();
    batch.renew_table(TABLE);
    batch.set(TABLE, NODES, Type::Address, None);
    batch.add_set_elements(TABLE, NODES, &nodes.iter().map(|node| node.octets().to_vec()).collect::<Vec<_>>());
    batch.base_chain(TABLE, "input", "filter", Hook::Input, nft::PRIORITY_FILTER);
    let known = [
        Expr::datagram_to(PORT),
        Expr::destination_in(own.into()),
        Expr::destination_as_sent(),
        vec![Expr::source(0), Expr::InSet(NODES.into()), Expr::Accept],
    ];
    batch.rule(TABLE, "input", &known.concat());
    batch.rule(TABLE, "input", &[Expr::datagram_to(PORT), vec![Expr::Drop]].concat());
    batch.commit(socket)
}

#[cfg(test)]
mod tests;
