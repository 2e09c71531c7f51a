//! The ways to pods of other nodes: a route to each node's range, by the node itself where it is on a network of ours, and
//! else through a VXLAN link, whose other ends are known from the nodes' objects alone, so that nothing is flooded or learned.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coracle_files::{Durability, replace};
use coracle_values::addresses::{Ranges, alone, overlap};
use ipnet::IpNet;

use crate::host::{allow_ipv6, delete_table, hardware_address};
use crate::netlink::overlay::{self, End, Vxlan};
use crate::netlink::{Socket, route};
use crate::nft::{self, Batch, Expr, Family, Hook, InPackets, octets};

/// The VXLAN network's number and port, as flannel has them on Linux.
const ID: u32 = 1;
pub(crate) const PORT: u16 = 8472;
/// Lets nobody but other nodes send through VXLAN; there while that is.
const TABLE: &str = "coracle-overlay";
const NODES: &str = "nodes";
const ESRCH: i32 = 3;
const ENOENT: i32 = 2;

/// What VXLAN puts around a packet that goes by an address, in bytes.
fn around(local: IpAddr) -> u32 {
    if local.is_ipv4() { 50 } else { 70 }
}

/// Another node, as its object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its addresses, one of a family.
    pub addresses: Vec<IpAddr>,
    /// Addresses of its pods.
    pub ranges: Vec<IpNet>,
}

/// This node, as far as ways lead from it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// One of a family. To nodes on other networks packets go by the first.
    pub addresses: Vec<IpAddr>,
    pub pod_cidr: Ranges,
    pub cluster_cidr: Ranges,
    /// The name of the VXLAN link.
    pub overlay: String,
    /// Further ranges in which nobody is reached.
    pub unreachable: Vec<IpNet>,
}

impl Origin {
    /// Ranges in which nobody is reached but whom there is a way to.
    fn nobody(&self) -> impl Iterator<Item = IpNet> {
        self.cluster_cidr.iter().chain(self.unreachable.iter().copied())
    }

    /// The one by which packets to nodes on other networks go.
    fn address(&self) -> Result<IpAddr> {
        self.addresses.first().copied().context("the node has an address")
    }
}

/// The first address of a family.
fn of_family(addresses: &[IpAddr], family: Family) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| Family::of(*address) == family)
}

/// Links and networks of this node's addresses, by family.
type Here = BTreeMap<Family, (u32, IpNet)>;

/// How packets come to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Straight to it.
    Direct(IpAddr),
    /// In a packet to it; the other end of VXLAN there has this hardware address.
    Overlay(IpAddr, [u8; 6]),
}

impl Way {
    fn node(self) -> IpAddr {
        let (Way::Direct(node) | Way::Overlay(node, _)) = self;
        node
    }
}

type Ways = BTreeMap<IpNet, Way>;

/// The ways that the kernel has.
pub(crate) struct Routes {
    origin: Origin,
    /// The ranges that there may be routes to, for the next process and for who removes the node.
    file: PathBuf,
    ways: Ways,
    /// Ranges that an earlier process had routes to, until they are looked at.
    left: BTreeSet<IpNet>,
    /// The VXLAN link, while there is one.
    overlay: Option<u32>,
}

impl Routes {
    /// Takes over what an earlier process had. What leads to no node is unreachable, instead of going to the world.
    pub fn open(socket: &mut Socket, origin: Origin, file: PathBuf) -> Result<Routes> {
        let nobody: Vec<IpNet> = origin.nobody().collect();
        let mut left = read(&file)?;
        for range in &nobody {
            left.remove(range);
        }
        for range in &left {
            gone(socket.request(route::delete_unreachable(*range)))?;
        }
        let routes = Routes { origin, file, ways: Ways::new(), left, overlay: None };
        routes.remember([])?;
        for range in nobody {
            socket
                .request(route::unreachable(range))
                .with_context(|| format!("failed to make a route for the unused addresses of {range}"))?;
        }
        Ok(routes)
    }

    /// Has ways to these nodes and no others. Answers with the addresses of those that are reached straight, and whether all
    /// was done; what was not, the next call tries again.
    pub fn set(&mut self, sockets: (&mut Socket, &mut Socket), peers: &[Peer]) -> (BTreeSet<IpAddr>, Result<()>) {
        let result = self.lead(sockets, peers);
        let direct = self.ways.values().filter(|way| matches!(way, Way::Direct(_)));
        (direct.map(|way| way.node()).collect(), result)
    }

    fn lead(&mut self, (routes, netfilter): (&mut Socket, &mut Socket), peers: &[Peer]) -> Result<()> {
        let mut here = Here::new();
        for address in &self.origin.addresses {
            let found = route::connected(routes, *address)?;
            // Without that of one family, nodes are not reached straight by that.
            match found {
                Some(found) => drop(here.insert(Family::of(*address), found)),
                None => tracing::warn!(%address, "no link has this address of the node"),
            }
        }
        if here.is_empty() {
            bail!("no link has the node's addresses {:?}", self.origin.addresses);
        }
        let wanted = ways(&self.origin, &here, peers);
        if wanted == self.ways && self.left.is_empty() {
            return Ok(());
        }
        self.remember(wanted.keys().copied())?;
        let result = self.change(routes, netfilter, &here, &wanted);
        self.remember([])?;
        result
    }

    /// Does all of it that can be done: what one node says keeps nobody from the others.
    fn change(&mut self, routes: &mut Socket, netfilter: &mut Socket, here: &Here, wanted: &Ways) -> Result<()> {
        let mut failed = Ok(());
        let far: BTreeSet<IpAddr> =
            wanted.values().filter(|way| matches!(way, Way::Overlay(..))).map(|way| way.node()).collect();
        let mut overlay = Ok(());
        if !far.is_empty() {
            // Before the link is there, so that there is no moment without.
            overlay = self.origin.address().and_then(|own| {
                filter(netfilter, own, &far).context("failed to make the rules of VXLAN")?;
                self.make_overlay(routes, here, own)
            });
        }
        let has_overlay = overlay.is_ok();
        note(&mut failed, overlay);
        let before: BTreeSet<IpNet> = self.left.iter().chain(self.ways.keys()).copied().collect();
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
            if is_there || matches!(way, Way::Overlay(..)) && !has_overlay {
                continue;
            }
            let made = self
                .make_way(routes, here, *range, *way)
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
    fn keep_if(&mut self, unsure: bool, range: IpNet) {
        if unsure {
            self.left.insert(range);
        } else {
            self.left.remove(&range);
        }
    }

    fn make_way(&self, socket: &mut Socket, here: &Here, range: IpNet, way: Way) -> io::Result<()> {
        match (way, self.overlay) {
            (Way::Overlay(remote, hardware), Some(overlay)) => {
                let end = End { address: range.network(), hardware, remote };
                let mut messages = overlay::know(overlay, &end);
                messages.push(route::route_by(overlay, range, end.address));
                socket.batch(messages)
            }
            (Way::Direct(node) | Way::Overlay(node, _), _) => {
                let (link, _) = here.get(&Family::of(node)).ok_or(io::ErrorKind::AddrNotAvailable)?;
                socket.request(route::route_by(*link, range, node))?;
                self.forget_end(socket, range)
            }
        }
    }

    fn forget_end(&self, socket: &mut Socket, range: IpNet) -> io::Result<()> {
        let Some(overlay) = self.overlay else { return Ok(()) };
        let own = match self.ways.get(&range) {
            Some(Way::Overlay(_, hardware)) => *hardware,
            _ => end_of(range),
        };
        let [at, is] = overlay::forget(overlay, range.network(), own);
        // A node's pods of the other family may still be reached by the same end: the entry is to say where that is.
        let others = self.ways.iter().filter(|(other, _)| **other != range);
        let remote = others.map(|(_, way)| *way).find_map(|way| match way {
            Way::Overlay(remote, hardware) if hardware == own => Some(remote),
            _ => None,
        });
        let at = remote.map_or(at, |remote| overlay::is_at(overlay, own, remote));
        [at, is].into_iter().try_for_each(|message| gone(socket.request(message)))
    }

    /// Has the VXLAN link be there as it should.
    fn make_overlay(&mut self, socket: &mut Socket, here: &Here, local: IpAddr) -> Result<()> {
        let name = self.origin.overlay.as_str();
        let (link, _) = *here.get(&Family::of(local)).context("the node's address is on a link")?;
        let wanted = Vxlan { id: ID, port: PORT, link, local };
        let own: Vec<IpNet> = self.origin.pod_cidr.iter().map(|range| alone(range.network())).collect();
        let found = overlay::find(socket, name)?;
        let index = match found {
            Some((index, vxlan)) if vxlan == wanted => index,
            found => {
                if found.is_some() {
                    route::delete(socket, name)?;
                }
                let mtu = route::mtu(socket, link)?.unwrap_or(1500).saturating_sub(around(local));
                overlay::add(socket, name, end_of(self.origin.pod_cidr.primary()), mtu, &wanted)
                    .with_context(|| format!("failed to make the VXLAN link {name}"))?;
                // With the link went what led through it.
                self.ways.retain(|_, way| matches!(way, Way::Direct(_)));
                route::index_of(socket, name)?
            }
        };
        if self.overlay != Some(index) {
            if self.origin.pod_cidr.of(Family::V6).is_some() {
                allow_ipv6(name)?;
                socket.request(route::without_own_address(index))?;
            }
            let addresses = own.iter().map(|address| route::address(index, *address));
            socket.batch(addresses.chain([route::up(index)]).collect())?;
            self.overlay = Some(index);
        }
        Ok(())
    }

    fn remove_overlay(&mut self, socket: &mut Socket) -> Result<()> {
        self.overlay = None;
        route::delete(socket, &self.origin.overlay)?;
        delete_table(TABLE)
    }

    fn remember(&self, more: impl IntoIterator<Item = IpNet>) -> Result<()> {
        let all: BTreeSet<IpNet> = self.left.iter().chain(self.ways.keys()).copied().chain(more).collect();
        let text: String = self.origin.nobody().chain(all).map(|range| format!("{range}\n")).collect();
        let failed = || format!("failed to write {}", self.file.display());
        replace(&self.file, text.as_bytes(), 0o600, Durability::Process).with_context(failed)
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
fn read(file: &Path) -> Result<BTreeSet<IpNet>> {
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
fn is_nodes(origin: &Origin, here: &Here, address: IpAddr) -> bool {
    let is_an_end = here.get(&Family::of(address)).is_some_and(|(_, network)| {
        address.is_ipv4() && network.prefix_len() < 31 && [network.network(), network.broadcast()].contains(&address)
    });
    let reserved = match address {
        IpAddr::V4(address) => u32::from(address) >> 28 == 0xf || address.octets()[0] == 0,
        IpAddr::V6(address) => address.is_unspecified() || address.is_unicast_link_local(),
    };
    !(is_an_end
        || reserved
        || address.is_loopback()
        || address.is_multicast()
        || origin.cluster_cidr.contains(address)
        || origin.addresses.contains(&address))
}

/// The way to each node's pods, the elders first: who claims addresses that another one has, or that are no pods', gets none
/// for either family, nor who would be the same end of VXLAN as another one or this node.
/// A node is reached straight by its address of the pods' family, if it is on a network of ours, and else by its address of
/// the family of our first.
fn ways(origin: &Origin, here: &Here, peers: &[Peer]) -> Ways {
    let mut ways = Ways::new();
    let mut taken: Vec<IpNet> = origin.pod_cidr.iter().collect();
    let mut ends = BTreeSet::from([end_of(origin.pod_cidr.primary())]);
    for peer in peers {
        // One range a family.
        let of = |family| peer.ranges.iter().map(IpNet::trunc).find(|range| Family::of_range(*range) == family);
        let ranges: Vec<IpNet> = origin.pod_cidr.families().filter_map(of).collect();
        // What an end is called follows from the node's primary range, which is the first of them.
        let Some(end) = peer.ranges.first().map(|range| end_of(*range)) else { continue };
        let is_free = |range: &IpNet| {
            let cluster = origin.cluster_cidr.of(Family::of_range(*range));
            cluster.is_some_and(|cluster| cluster.contains(range)) && !taken.iter().any(|other| overlap(*other, *range))
        };
        if let Some(range) = ranges.iter().find(|range| !is_free(range)) {
            tracing::warn!(node = peer.name, %range, "the node's range of pod addresses is another's, or no pods'");
            continue;
        }
        if !ends.insert(end) {
            tracing::warn!(node = peer.name, "the node's first range gives it the hardware address of another one");
            continue;
        }
        taken.extend(&ranges);
        ways.extend(ranges.into_iter().filter_map(|range| Some((range, way(origin, here, peer, (range, end))?))));
    }
    ways
}

/// The hardware address of the node with a primary range, as an end of VXLAN.
fn end_of(primary: IpNet) -> [u8; 6] {
    hardware_address(primary.network())
}

/// The way to a range of a node, which is that end of VXLAN; none if the node has no address for it.
fn way(origin: &Origin, here: &Here, peer: &Peer, (range, end): (IpNet, [u8; 6])) -> Option<Way> {
    let family = Family::of_range(range);
    let far = origin.addresses.first().map(|own| Family::of(*own));
    let near = of_family(&peer.addresses, family)
        .filter(|address| here.get(&family).is_some_and(|(_, network)| network.contains(address)));
    let way = near.map(Way::Direct);
    let way = way.or_else(|| of_family(&peer.addresses, far?).map(|node| Way::Overlay(node, end)));
    let Some(way) = way else {
        tracing::warn!(node = peer.name, "the node has no address of the family of this one's first");
        return None;
    };
    let address = way.node();
    if !is_nodes(origin, here, address) {
        tracing::warn!(node = peer.name, %address, "the node's address is none that a node can have, or this one's");
        return None;
    }
    Some(way)
}

/// Drops what others than these nodes send to the VXLAN port, and what a service sends there in a node's name.
fn filter(socket: &mut Socket, own: IpAddr, nodes: &BTreeSet<IpAddr>) -> io::Result<()> {
    let family = Family::of(own);
    let mut batch = Batch::of(family);
    batch.renew_table(TABLE);
    batch.set(TABLE, NODES, family.address(), None);
    batch.add_set_elements(TABLE, NODES, &nodes.iter().map(|node| octets(*node)).collect::<Vec<_>>());
    batch.base_chain(TABLE, "input", "filter", Hook::Input, nft::PRIORITY_FILTER);
    let known = [
        Expr::datagram_to(PORT),
        Expr::destination_in(alone(own)),
        Expr::destination_as_sent(),
        vec![family.source(0), Expr::InSet(NODES.into()), Expr::Accept],
    ];
    batch.rule(TABLE, "input", &known.concat());
    batch.rule(TABLE, "input", &[Expr::datagram_to(PORT), vec![Expr::Drop]].concat());
    batch.commit(socket)
}

#[cfg(test)]
mod tests;
