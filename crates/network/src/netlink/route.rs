//! Links, addresses and routes (rtnetlink(7)).

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;

use crate::nft::{Family, InPackets, octets};

use super::{CREATE, DUMP, EXCL, Message, REPLACE, Socket, attributes};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
pub(super) const NEWNEIGH: u16 = 28;
pub(super) const DELNEIGH: u16 = 29;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
pub(super) const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
pub(super) const INFO_KIND: u16 = 1;
pub(super) const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const UP: u32 = 1;
const SCOPE_LINK: u8 = 253;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const UNICAST: u8 = 1;

pub(super) fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// The size of packets on a link, in bytes; `None` when there is no such link.
pub fn mtu(socket: &mut Socket, index: u32) -> io::Result<Option<u32>> {
    Ok(of_link(socket, index, IFLA_MTU)?.map(u32::from_ne_bytes))
}

/// The hardware address of a link; `None` when there is no such link, or it has none as Ethernet has.
pub fn hardware(socket: &mut Socket, index: u32) -> io::Result<Option<[u8; 6]>> {
    of_link(socket, index, IFLA_ADDRESS)
}

fn of_link<const SIZE: usize>(socket: &mut Socket, index: u32, wanted: u16) -> io::Result<Option<[u8; SIZE]>> {
    let mut found = None;
    socket.dump(Message::new(GETLINK, DUMP, &link_header(0, 0, 0)), |payload| {
        if payload.get(4..8) == Some(&index.to_ne_bytes()) {
            let mut list = attributes(payload.get(16..).unwrap_or_default());
            let value = list.find_map(|(kind, value)| (kind == wanted).then_some(value));
            found = value.and_then(|value| value.try_into().ok());
        }
    })?;
    Ok(found)
}

/// The addresses of all links.
pub fn addresses(socket: &mut Socket) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    socket.dump(Message::new(GETADDR, DUMP, &[0; 8]), |payload| found.extend(read_address(payload)))?;
    Ok(found.into_iter().map(|(_, network)| network.addr()).collect())
}

/// The link that has an address, and the address with the length of its network's prefix.
fn place_of(socket: &mut Socket, address: IpAddr) -> io::Result<Option<(u32, IpNet)>> {
    let mut found = None;
    socket.dump(Message::new(GETADDR, DUMP, &[Family::of(address).number(), 0, 0, 0, 0, 0, 0, 0]), |payload| {
        found = read_address(payload).filter(|(_, network)| network.addr() == address).or(found);
    })?;
    Ok(found)
}

/// Links of IPv6 have no peers, whose addresses are told in place of the own.
fn read_address(payload: &[u8]) -> Option<(u32, IpNet)> {
    let list = payload.get(8..)?;
    let find = |wanted| attributes(list).find_map(|(kind, value)| (kind == wanted).then_some(value));
    let address = read_octets(find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?)?;
    let link = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
    Some((link, IpNet::new(address, *payload.get(1)?).ok()?))
}

/// An address of either family.
pub(super) fn read_octets(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(value).ok().map(IpAddr::from))
}

/// The index of the link that has an address.
pub fn with_address(socket: &mut Socket, address: IpAddr) -> io::Result<Option<u32>> {
    Ok(place_of(socket, address)?.map(|(link, _)| link))
}

/// An address that stays of the network of the link that has an address of IPv6, if that one does not stay: neither temporary
/// nor no longer to be used.
pub fn stable(socket: &mut Socket, address: IpAddr) -> io::Result<Option<IpAddr>> {
    const IFA_FLAGS: u16 = 8;
    /// `IFA_F_TEMPORARY`, `IFA_F_DADFAILED`, `IFA_F_DEPRECATED`, `IFA_F_TENTATIVE`.
    const PASSING: u32 = 0x01 | 0x08 | 0x20 | 0x40;
    let mut own = None;
    let mut stable = Vec::new();
    socket.dump(Message::new(GETADDR, DUMP, &[Family::of(address).number(), 0, 0, 0, 0, 0, 0, 0]), |payload| {
        let Some((link, network)) = read_address(payload) else { return };
        let list = payload.get(8..).unwrap_or_default();
        let flags = find(list, IFA_FLAGS).and_then(|flags| flags.try_into().ok()).map(u32::from_ne_bytes);
        let passes = flags.unwrap_or_default() & PASSING != 0;
        if network.addr() == address {
            own = Some((link, network, passes));
        } else if !passes {
            stable.push((link, network));
        }
    })?;
    let Some((link, network, true)) = own else { return Ok(None) };
    let is_beside = |(other, address): &&(u32, IpNet)| *other == link && network.contains(&address.addr());
    Ok(stable.iter().find(is_beside).map(|(_, address)| address.addr()))
}

/// The link that has an address, and the network that it is in there.
pub fn connected(socket: &mut Socket, address: IpAddr) -> io::Result<Option<(u32, IpNet)>> {
    Ok(place_of(socket, address)?.map(|(link, network)| (link, network.trunc())))
}

/// The names of a bridge's ports.
pub fn ports(socket: &mut Socket, bridge: u32) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    socket.dump(Message::new(GETLINK, DUMP, &link_header(0, 0, 0)), |payload| {
        let list = payload.get(16..).unwrap_or_default();
        let find = |wanted| attributes(list).find_map(|(kind, value)| (kind == wanted).then_some(value));
        if find(IFLA_MASTER) == Some(&bridge.to_ne_bytes()) {
            let name = find(IFLA_IFNAME).and_then(|name| std::str::from_utf8(name.strip_suffix(&[0])?).ok());
            names.extend(name.map(str::to_owned));
        }
    })?;
    Ok(names)
}

fn find(list: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(list).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

/// `RTPROT_RA`.
const PROTOCOL_ADVERTISED: u8 = 9;

/// The names of links with routes that routers advertised, without bridges, ports of bridges and virtual pairs.
pub fn advertised_links(socket: &mut Socket) -> io::Result<BTreeSet<String>> {
    const GETROUTE: u16 = 26;
    const INFO_SLAVE_KIND: u16 = 4;
    let mut links = BTreeSet::new();
    let header = [Family::V6.number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    socket.dump(Message::new(GETROUTE, DUMP, &header), |payload| {
        if payload.get(5) == Some(&PROTOCOL_ADVERTISED) {
            links.extend(find(payload.get(12..).unwrap_or_default(), RTA_OIF).map(<[u8]>::to_vec));
        }
    })?;
    let mut names = BTreeSet::new();
    socket.dump(Message::new(GETLINK, DUMP, &link_header(0, 0, 0)), |payload| {
        let list = payload.get(16..).unwrap_or_default();
        let info = find(list, IFLA_LINKINFO).unwrap_or_default();
        let is = |wanted, kind: &[u8]| find(info, wanted).is_some_and(|found| found.strip_suffix(&[0]) == Some(kind));
        let of_containers = is(INFO_KIND, b"bridge") || is(INFO_KIND, b"veth") || is(INFO_SLAVE_KIND, b"bridge");
        if payload.get(4..8).is_some_and(|index| links.contains(index)) && !of_containers {
            let name = find(list, IFLA_IFNAME).and_then(|name| std::str::from_utf8(name.strip_suffix(&[0])?).ok());
            names.extend(name.map(str::to_owned));
        }
    })?;
    Ok(names)
}

/// A route as one that a router advertised.
#[cfg(test)]
pub fn advertised_route(index: u32, network: IpNet) -> Message {
    let mut header = route_header(network, 0);
    header[5] = PROTOCOL_ADVERTISED;
    Message::new(NEWROUTE, CREATE, &header).bytes(RTA_DST, &octets(network.network())).native(RTA_OIF, index)
}

/// The index of a link that must be there.
pub fn index_of(socket: &mut Socket, name: &str) -> io::Result<u32> {
    rustix::net::netdevice::name_to_index(&socket.fd, name)
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("link {name}: {error}")))
}

/// The name of a link.
pub fn name_of(socket: &Socket, index: u32) -> io::Result<String> {
    Ok(rustix::net::netdevice::index_to_name(&socket.fd, index)?)
}

/// Makes a bridge with a fixed hardware address, so that it does not change as ports come and go.
pub fn add_bridge(socket: &mut Socket, name: &str, hardware: [u8; 6]) -> io::Result<()> {
    let message = Message::new(NEWLINK, CREATE | EXCL, &link_header(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .bytes(IFLA_ADDRESS, &hardware)
        .nest(IFLA_LINKINFO, |info| info.text(INFO_KIND, "bridge"));
    socket.request(message)
}

/// A pair of links: one here, on a bridge and down, and its peer at once in another namespace. Moving the peer there later
/// would take twenty times as long.
pub struct Pair<'a> {
    pub name: &'a str,
    pub bridge: u32,
    pub peer: &'a str,
    /// The peer's hardware address; any when it is `None`.
    pub hardware: Option<[u8; 6]>,
    pub netns: BorrowedFd<'a>,
    /// In bytes.
    pub mtu: u32,
}

/// Makes a pair of links.
pub fn add_veth(socket: &mut Socket, pair: &Pair<'_>) -> io::Result<()> {
    let peer = |inner: Message| {
        let inner = inner.raw(&link_header(0, 0, 0)).text(IFLA_IFNAME, pair.peer).native(IFLA_MTU, pair.mtu);
        let inner = inner.native(IFLA_NET_NS_FD, pair.netns.as_raw_fd() as u32);
        pair.hardware.iter().fold(inner, |inner, hardware| inner.bytes(IFLA_ADDRESS, hardware))
    };
    let message = Message::new(NEWLINK, CREATE | EXCL, &link_header(0, 0, 0))
        .text(IFLA_IFNAME, pair.name)
        .native(IFLA_MTU, pair.mtu)
        .native(IFLA_MASTER, pair.bridge)
        .nest(IFLA_LINKINFO, |info| info.text(INFO_KIND, "veth").nest(INFO_DATA, |data| data.nest(VETH_PEER, peer)));
    socket.request(message)
}

/// Sets up a pod's port of a bridge, whose peer has the one hardware address for good: the bridge learns no other from
/// the port, and sends nothing to it that it does not know to be there. What bridges say to each other is forwarded, that
/// is filtered, as any frame: the kernel would hand it, whatever it carries, to the port's own IP layer.
///
/// Packets may go back by the port they came from: with the kernel's br_netfilter services are translated while packets
/// cross the bridge, and a pod that is its own endpoint would not be reached. For the same reason ports can only be
/// `isolated` from each other without it.
pub fn set_port(socket: &mut Socket, port: u32, hardware: [u8; 6], isolated: bool) -> io::Result<()> {
    const NOARP: u16 = 0x40;
    const MASTER: u8 = 4;
    const BRPORT_GROUP_FWD_MASK: u16 = 31;
    /// A bit for each of the groups 01:80:c2:00:00:00 to :0f. Those of :01 are dropped anyway.
    const ALL_BUT_PAUSE: u16 = 0xfffd;
    let mut known = [AF_BRIDGE, 0, 0, 0, 0, 0, 0, 0, 0, 0, MASTER, 0];
    known[4..8].copy_from_slice(&port.to_ne_bytes());
    known[8..10].copy_from_slice(&NOARP.to_ne_bytes());
    let flags = [(BRPORT_MODE, true), (BRPORT_LEARNING, false), (BRPORT_UNICAST_FLOOD, false)];
    socket.batch(vec![
        port_message(port, &flags),
        Message::new(NEWNEIGH, CREATE | REPLACE, &known).bytes(NDA_LLADDR, &hardware),
        port_message(port, &[(BRPORT_ISOLATED, isolated)]),
        port_change(port, |info| info.bytes(BRPORT_GROUP_FWD_MASK, &ALL_BUT_PAUSE.to_ne_bytes())),
    ])
}

/// Has a bridge's port reach no other port that is isolated, or any.
pub fn isolate(socket: &mut Socket, port: u32, isolated: bool) -> io::Result<()> {
    socket.request(port_message(port, &[(BRPORT_ISOLATED, isolated)]))
}

const AF_BRIDGE: u8 = 7;
const BRPORT_MODE: u16 = 4;
const BRPORT_LEARNING: u16 = 8;
const BRPORT_UNICAST_FLOOD: u16 = 9;
const BRPORT_ISOLATED: u16 = 33;

fn port_message(port: u32, flags: &[(u16, bool)]) -> Message {
    port_change(port, |info| flags.iter().fold(info, |info, (flag, on)| info.bytes(*flag, &[u8::from(*on)])))
}

fn port_change(port: u32, fill: impl FnOnce(Message) -> Message) -> Message {
    const SETLINK: u16 = 19;
    const IFLA_PROTINFO: u16 = 12;
    let mut header = link_header(port, 0, 0);
    header[0] = AF_BRIDGE;
    Message::new(SETLINK, 0, &header).nest(IFLA_PROTINFO, fill)
}

/// Removes a link; that it is not there is no error.
pub fn delete(socket: &mut Socket, name: &str) -> io::Result<()> {
    const ENODEV: i32 = 19;
    match socket.request(Message::new(DELLINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, name)) {
        Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(()),
        other => other,
    }
}

/// Brings a link up.
pub fn up(index: u32) -> Message {
    Message::new(NEWLINK, 0, &link_header(index, UP, UP))
}

/// Has a link look for no neighbour: who is there, it is told.
pub fn without_neighbours(index: u32) -> Message {
    const NOARP: u32 = 0x80;
    Message::new(NEWLINK, 0, &link_header(index, NOARP, NOARP))
}

fn address_header(index: u32, address: IpNet) -> [u8; 8] {
    let mut header = [Family::of_range(address).number(), address.prefix_len(), 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

/// Gives a link an address. Whether another machine has it, which IPv6 would ask for a second, is for who gives it to know;
/// and one that is a network of its own needs no route to that.
pub fn address(index: u32, address: IpNet) -> Message {
    let is_alone = address.prefix_len() == address.max_prefix_len();
    match Family::of_range(address) {
        Family::V4 => address_message(index, address),
        Family::V6 if is_alone => address_message(index, address).native(IFA_FLAGS, NODAD | NOPREFIXROUTE),
        Family::V6 => address_message(index, address).native(IFA_FLAGS, NODAD),
    }
}

/// Gives a link an address, and no route to the rest of its network: what is there has routes of its own.
pub fn address_without_route(index: u32, address: IpNet) -> Message {
    address_message(index, address).native(IFA_FLAGS, NODAD | NOPREFIXROUTE)
}

const IFA_FLAGS: u16 = 8;
const NODAD: u32 = 2;
const NOPREFIXROUTE: u32 = 0x200;

fn address_message(index: u32, address: IpNet) -> Message {
    let value = octets(address.addr());
    let message = Message::new(NEWADDR, CREATE | REPLACE, &address_header(index, address));
    message.bytes(IFA_LOCAL, &value).bytes(IFA_ADDRESS, &value)
}

/// Gives a link an address that is no longer to be used.
#[cfg(test)]
pub fn deprecated_address(index: u32, address: IpNet) -> Message {
    const IFA_CACHEINFO: u16 = 6;
    // Preferred for no time, and valid for ever.
    let times = [0, u32::MAX, 0, 0].map(u32::to_ne_bytes).concat();
    self::address(index, address).bytes(IFA_CACHEINFO, &times)
}

/// Takes an address from a link.
pub fn delete_address(index: u32, address: IpNet) -> Message {
    const DELADDR: u16 = 21;
    Message::new(DELADDR, 0, &address_header(index, address)).bytes(IFA_LOCAL, &octets(address.addr()))
}

/// Has a link make itself no address of its own when it comes up, as IPv6 does.
pub fn without_own_address(index: u32) -> Message {
    const IFLA_AF_SPEC: u16 = 26;
    const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
    const NONE: u8 = 1;
    let family = u16::from(Family::V6.number());
    Message::new(NEWLINK, 0, &link_header(index, 0, 0))
        .nest(IFLA_AF_SPEC, |families| families.nest(family, |own| own.bytes(IFLA_INET6_ADDR_GEN_MODE, &[NONE])))
}

fn neighbour_header(index: u32, address: IpAddr) -> [u8; 12] {
    const PERMANENT: u16 = 0x80;
    let mut header = [Family::of(address).number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&PERMANENT.to_ne_bytes());
    header
}

/// Has a link know the hardware address of another machine for good, so that nobody is asked for it.
pub fn neighbour(index: u32, address: IpAddr, hardware: [u8; 6]) -> Message {
    Message::new(NEWNEIGH, CREATE | REPLACE, &neighbour_header(index, address))
        .bytes(NDA_DST, &octets(address))
        .bytes(NDA_LLADDR, &hardware)
}

/// Has it forget that.
pub fn delete_neighbour(index: u32, address: IpAddr) -> Message {
    Message::new(DELNEIGH, 0, &neighbour_header(index, address)).bytes(NDA_DST, &octets(address))
}

fn route_header(network: IpNet, scope: u8) -> [u8; 12] {
    let family = Family::of_range(network).number();
    [family, network.prefix_len(), 0, 0, TABLE_MAIN, PROTOCOL_STATIC, scope, UNICAST, 0, 0, 0, 0]
}

/// A route to a network that is reached on a link itself.
pub fn link_route(index: u32, network: IpNet) -> Message {
    Message::new(NEWROUTE, CREATE | REPLACE, &route_header(network, SCOPE_LINK))
        .bytes(RTA_DST, &octets(network.network()))
        .native(RTA_OIF, index)
}

/// Removes such a route.
pub fn delete_link_route(index: u32, network: IpNet) -> Message {
    Message::new(DELROUTE, 0, &route_header(network, SCOPE_LINK))
        .bytes(RTA_DST, &octets(network.network()))
        .native(RTA_OIF, index)
}

/// Removes the route to the network of a link's address, which the kernel made with that.
pub fn delete_address_route(index: u32, network: IpNet) -> Message {
    let mut header = route_header(network, SCOPE_LINK);
    // Whoever made it.
    header[5] = 0;
    Message::new(DELROUTE, 0, &header).bytes(RTA_DST, &octets(network.network())).native(RTA_OIF, index)
}

/// How many neighbours there are in the tables of this namespace.
#[cfg(test)]
pub fn count_neighbours(socket: &mut Socket, family: Family) -> usize {
    const GETNEIGH: u16 = 30;
    let mut count = 0;
    let header = [family.number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    socket.dump(Message::new(GETNEIGH, DUMP, &header), |_| count += 1).unwrap();
    count
}

/// How many of them the kernel looks for, or has found so.
#[cfg(test)]
pub fn count_searched(socket: &mut Socket, family: Family) -> usize {
    const GETNEIGH: u16 = 30;
    const NO_ARP_OR_PERMANENT: u16 = 0xc0;
    let mut count = 0;
    let header = [family.number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let count_it = |payload: &[u8]| {
        let state = payload.get(8..10).and_then(|state| state.try_into().ok()).map(u16::from_ne_bytes);
        count += usize::from(state.is_some_and(|state| state & NO_ARP_OR_PERMANENT == 0));
    };
    socket.dump(Message::new(GETNEIGH, DUMP, &header), count_it).unwrap();
    count
}

/// Whose routes are ours: no routing daemon's, and not those that somebody made by hand.
const PROTOCOL_CORACLE: u8 = 107;

/// A route to a network behind another machine, which is on the link even where its address does not say so.
pub fn route_by(index: u32, network: IpNet, gateway: IpAddr) -> Message {
    const ON_LINK: u32 = 4;
    let mut header = route_header(network, 0);
    header[5] = PROTOCOL_CORACLE;
    header[8..12].copy_from_slice(&ON_LINK.to_ne_bytes());
    Message::new(NEWROUTE, CREATE | REPLACE, &header)
        .bytes(RTA_DST, &octets(network.network()))
        .bytes(RTA_GATEWAY, &octets(gateway))
        .native(RTA_OIF, index)
}

/// Has packets to what has no other route in a network end here, and their senders told.
pub fn unreachable(network: IpNet) -> Message {
    Message::new(NEWROUTE, CREATE | REPLACE, &unreachable_header(network))
        .bytes(RTA_DST, &octets(network.network()))
        .native(RTA_PRIORITY, LAST)
}

/// Removes that again.
pub fn delete_unreachable(network: IpNet) -> Message {
    Message::new(DELROUTE, 0, &unreachable_header(network))
        .bytes(RTA_DST, &octets(network.network()))
        .native(RTA_PRIORITY, LAST)
}

const RTA_PRIORITY: u16 = 6;
/// Behind any other route to the same network.
const LAST: u32 = 4_000_000_000;

fn unreachable_header(network: IpNet) -> [u8; 12] {
    const UNREACHABLE: u8 = 7;
    let mut header = route_header(network, 0);
    (header[5], header[7]) = (PROTOCOL_CORACLE, UNREACHABLE);
    header
}

/// Removes a route that [`route_by`] made.
pub fn delete_route(network: IpNet) -> Message {
    let mut header = route_header(network, 0);
    header[5] = PROTOCOL_CORACLE;
    Message::new(DELROUTE, 0, &header).bytes(RTA_DST, &octets(network.network()))
}

/// The default route.
pub fn default_route(index: u32, gateway: IpAddr) -> Message {
    let everything = [Family::of(gateway).number(), 0, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, 0, UNICAST, 0, 0, 0, 0];
    Message::new(NEWROUTE, CREATE | REPLACE, &everything).bytes(RTA_GATEWAY, &octets(gateway)).native(RTA_OIF, index)
}

/// The name and network of a route of another link than `own` that leads into one of the networks.
pub fn foreign_route(socket: &mut Socket, own: Option<u32>, networks: &[IpNet]) -> io::Result<Option<(String, IpNet)>> {
    const GETROUTE: u16 = 26;
    let mut found = None;
    let is_foreign = |(link, to): &(u32, IpNet)| Some(*link) != own && networks.iter().any(|net| net.contains(to));
    for family in Family::ALL {
        let header = [family.number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        socket.dump(Message::new(GETROUTE, DUMP, &header), |payload| {
            found = found.or(read_route(payload).filter(is_foreign));
        })?;
    }
    let Some((link, network)) = found else { return Ok(None) };
    let name = rustix::net::netdevice::index_to_name(&socket.fd, link).unwrap_or_else(|_| format!("number {link}"));
    Ok(Some((name, network)))
}

/// The link and destination of a route of the main table that leads somewhere.
fn read_route(payload: &[u8]) -> Option<(u32, IpNet)> {
    let (prefix, table, kind) = (*payload.get(1)?, *payload.get(4)?, *payload.get(7)?);
    let list = payload.get(12..)?;
    let find = |wanted| attributes(list).find_map(|(kind, value)| (kind == wanted).then_some(value));
    let link = u32::from_ne_bytes(find(RTA_OIF)?.try_into().ok()?);
    let to = read_octets(find(RTA_DST)?)?;
    ((table, kind) == (TABLE_MAIN, UNICAST)).then_some(())?;
    Some((link, IpNet::new(to, prefix).ok()?))
}
