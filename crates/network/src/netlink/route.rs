//! Links, addresses and routes (rtnetlink(7)).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::Ipv4Net;

use super::{CREATE, DUMP, EXCL, Message, REPLACE, Socket, attributes};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const UP: u32 = 1;
const INET: u8 = 2;
const SCOPE_LINK: u8 = 253;

fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// The size of packets on a link, in bytes; `None` when there is no such link.
pub fn mtu(socket: &mut Socket, index: u32) -> io::Result<Option<u32>> {
    let mut found = None;
    socket.dump(Message::new(GETLINK, DUMP, &link_header(0, 0, 0)), |payload| {
        if payload.get(4..8) == Some(&index.to_ne_bytes()) {
            let mut list = attributes(payload.get(16..).unwrap_or_default());
            let mtu = list.find_map(|(kind, value)| (kind == IFLA_MTU).then_some(value));
            found = mtu.and_then(|value| value.try_into().ok()).map(u32::from_ne_bytes);
        }
    })?;
    Ok(found)
}

/// The index of the link that has an address.
pub fn with_address(socket: &mut Socket, address: Ipv4Addr) -> io::Result<Option<u32>> {
    let mut found = None;
    socket.dump(Message::new(GETADDR, DUMP, &[INET, 0, 0, 0, 0, 0, 0, 0]), |payload| {
        let mut list = attributes(payload.get(8..).unwrap_or_default());
        if list.any(|(kind, value)| kind == IFA_LOCAL && value == address.octets()) {
            found = payload.get(4..8).and_then(|index| index.try_into().ok()).map(u32::from_ne_bytes);
        }
    })?;
    Ok(found)
}

/// The index of a link that must be there.
pub fn index_of(socket: &mut Socket, name: &str) -> io::Result<u32> {
    rustix::net::netdevice::name_to_index(&socket.fd, name)
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("link {name}: {error}")))
}

/// Makes a bridge with a fixed hardware address, so that it does not change as ports come and go.
pub fn add_bridge(socket: &mut Socket, name: &str, hardware: [u8; 6]) -> io::Result<()> {
    let message = Message::new(NEWLINK, CREATE | EXCL, &link_header(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .bytes(IFLA_ADDRESS, &hardware)
        .nest(IFLA_LINKINFO, |info| info.text(INFO_KIND, "bridge"));
    socket.request(message)
}

/// Makes a pair of links: one here, on a bridge, and its peer at once in another namespace. Moving the peer
/// there later would take twenty times as long.
pub fn add_veth(
    socket: &mut Socket,
    name: &str,
    bridge: u32,
    peer: &str,
    netns: BorrowedFd<'_>,
    mtu: u32,
) -> io::Result<()> {
    let message = Message::new(NEWLINK, CREATE | EXCL, &link_header(0, UP, UP))
        .text(IFLA_IFNAME, name)
        .native(IFLA_MTU, mtu)
        .native(IFLA_MASTER, bridge)
        .nest(IFLA_LINKINFO, |info| {
            info.text(INFO_KIND, "veth").nest(INFO_DATA, |data| {
                data.nest(VETH_PEER, |inner| {
                    inner
                        .raw(&link_header(0, 0, 0))
                        .text(IFLA_IFNAME, peer)
                        .native(IFLA_MTU, mtu)
                        .native(IFLA_NET_NS_FD, netns.as_raw_fd() as u32)
                })
            })
        });
    socket.request(message)
}

/// Lets a bridge send a packet back by the port it came from. With the kernel's br_netfilter services are
/// translated while packets cross the bridge, and a pod that is its own endpoint would not be reached.
pub fn hairpin(socket: &mut Socket, port: u32) -> io::Result<()> {
    const SETLINK: u16 = 19;
    const AF_BRIDGE: u8 = 7;
    const IFLA_PROTINFO: u16 = 12;
    const BRPORT_MODE: u16 = 4;
    let mut header = link_header(port, 0, 0);
    header[0] = AF_BRIDGE;
    socket.request(Message::new(SETLINK, 0, &header).nest(IFLA_PROTINFO, |info| info.bytes(BRPORT_MODE, &[1])))
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

/// Gives a link an address.
pub fn address(index: u32, address: Ipv4Net) -> Message {
    let mut header = [INET, address.prefix_len(), 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let octets = address.addr().octets();
    Message::new(NEWADDR, CREATE | REPLACE, &header).bytes(IFA_LOCAL, &octets).bytes(IFA_ADDRESS, &octets)
}

/// Takes an address from a link.
pub fn delete_address(index: u32, address: Ipv4Net) -> Message {
    const DELADDR: u16 = 21;
    let mut header = [INET, address.prefix_len(), 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    Message::new(DELADDR, 0, &header).bytes(IFA_LOCAL, &address.addr().octets())
}

fn route_header(prefix: u8, scope: u8) -> [u8; 12] {
    const TABLE_MAIN: u8 = 254;
    const PROTOCOL_STATIC: u8 = 4;
    const UNICAST: u8 = 1;
    [INET, prefix, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, scope, UNICAST, 0, 0, 0, 0]
}

/// A route to a network that is reached on a link itself.
pub fn link_route(index: u32, network: Ipv4Net) -> Message {
    Message::new(NEWROUTE, CREATE | REPLACE, &route_header(network.prefix_len(), SCOPE_LINK))
        .bytes(RTA_DST, &network.network().octets())
        .native(RTA_OIF, index)
}

/// The default route.
pub fn default_route(index: u32, gateway: Ipv4Addr) -> Message {
    Message::new(NEWROUTE, CREATE | REPLACE, &route_header(0, 0))
        .bytes(RTA_GATEWAY, &gateway.octets())
        .native(RTA_OIF, index)
}
