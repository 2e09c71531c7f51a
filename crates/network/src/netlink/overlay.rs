//! VXLAN links (RFC 7348) and the entries that say where each hardware address is: nothing is flooded or learned.

use std::io;
use std::net::IpAddr;

use super::route::{DELNEIGH, INFO_DATA, INFO_KIND, NEWNEIGH, index_of, link_header, read_octets};
use super::{CREATE, DUMP, EXCL, Message, REPLACE, Socket, attributes};
use crate::nft::{Family, InPackets, octets};

const AF_BRIDGE: u8 = 7;
const PERMANENT: u16 = 0x80;
const NO_ARP: u16 = 0x40;
const SELF: u8 = 2;
const DESTINATION: u16 = 1;
const LINK_ADDRESS: u16 = 2;
const VXLAN_ID: u16 = 1;
const VXLAN_LINK: u16 = 3;
const VXLAN_LOCAL: u16 = 4;
const VXLAN_LEARNING: u16 = 7;
const VXLAN_PORT: u16 = 15;
const VXLAN_LOCAL6: u16 = 17;

/// A VXLAN link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The network's number.
    pub id: u32,
    /// The UDP port.
    pub port: u16,
    /// The link that carries it.
    pub link: u32,
    /// The address of this machine there.
    pub local: IpAddr,
}

/// Makes a VXLAN link, which is down.
pub fn add(socket: &mut Socket, name: &str, hardware: [u8; 6], mtu: u32, vxlan: &Vxlan) -> io::Result<()> {
    const IFLA_ADDRESS: u16 = 1;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_MTU: u16 = 4;
    let data = |data: Message| {
        data.native(VXLAN_ID, vxlan.id)
            .native(VXLAN_LINK, vxlan.link)
            .bytes(if vxlan.local.is_ipv4() { VXLAN_LOCAL } else { VXLAN_LOCAL6 }, &octets(vxlan.local))
            .bytes(VXLAN_LEARNING, &[0])
            .bytes(VXLAN_PORT, &vxlan.port.to_be_bytes())
    };
    let message = Message::new(16, CREATE | EXCL, &link_header(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .bytes(IFLA_ADDRESS, &hardware)
        .native(IFLA_MTU, mtu)
        .nest(super::route::IFLA_LINKINFO, |info| info.text(INFO_KIND, "vxlan").nest(INFO_DATA, data));
    socket.request(message)
}

/// The VXLAN link of a name, with its index; `None` when there is none.
pub fn find(socket: &mut Socket, name: &str) -> io::Result<Option<(u32, Vxlan)>> {
    const GETLINK: u16 = 18;
    let Ok(index) = index_of(socket, name) else { return Ok(None) };
    let mut found = None;
    socket.dump(Message::new(GETLINK, DUMP, &link_header(0, 0, 0)), |payload| {
        if payload.get(4..8) == Some(&index.to_ne_bytes()) {
            found = read(payload.get(16..).unwrap_or_default());
        }
    })?;
    Ok(found.map(|vxlan| (index, vxlan)))
}

fn read(list: &[u8]) -> Option<Vxlan> {
    let find = |list, wanted| value(list, wanted);
    let info = find(list, super::route::IFLA_LINKINFO)?;
    if find(info, INFO_KIND)? != b"vxlan\0" {
        return None;
    }
    let data = find(info, INFO_DATA)?;
    let number = |wanted| Some(u32::from_ne_bytes(value(data, wanted)?.try_into().ok()?));
    Some(Vxlan {
        id: number(VXLAN_ID)?,
        port: u16::from_be_bytes(value(data, VXLAN_PORT)?.try_into().ok()?),
        link: number(VXLAN_LINK)?,
        local: read_octets(value(data, VXLAN_LOCAL).or_else(|| value(data, VXLAN_LOCAL6))?)?,
    })
}

fn value(list: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(list).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

fn neighbour(kind: u16, flags: u16, family: u8, link: u32, own: u8) -> Message {
    let mut header = [family, 0, 0, 0, 0, 0, 0, 0, 0, 0, own, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..10].copy_from_slice(&(PERMANENT | NO_ARP).to_ne_bytes());
    Message::new(kind, flags, &header)
}

/// What a VXLAN link knows of another end of it.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Its address within the network.
    pub address: IpAddr,
    /// Its hardware address there.
    pub hardware: [u8; 6],
    /// The address of the machine that it is on.
    pub remote: IpAddr,
}

/// Tells a VXLAN link of another end.
pub fn know(link: u32, end: &End) -> Vec<Message> {
    let is = neighbour(NEWNEIGH, CREATE | REPLACE, Family::of(end.address).number(), link, 0)
        .bytes(DESTINATION, &octets(end.address))
        .bytes(LINK_ADDRESS, &end.hardware);
    vec![is_at(link, end.hardware, end.remote), is]
}

/// Tells it only on which machine a hardware address is.
pub fn is_at(link: u32, hardware: [u8; 6], remote: IpAddr) -> Message {
    neighbour(NEWNEIGH, CREATE | REPLACE, AF_BRIDGE, link, SELF)
        .bytes(LINK_ADDRESS, &hardware)
        .bytes(DESTINATION, &octets(remote))
}

/// Has it forget that end:
/// where the hardware address is, and that the address has it.
pub fn forget(link: u32, address: IpAddr, hardware: [u8; 6]) -> [Message; 2] {
    let at = neighbour(DELNEIGH, 0, AF_BRIDGE, link, SELF).bytes(LINK_ADDRESS, &hardware);
    let is = neighbour(DELNEIGH, 0, Family::of(address).number(), link, 0).bytes(DESTINATION, &octets(address));
    [at, is]
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let link = Message::new(0, 0, &[]).nest(super::super::route::IFLA_LINKINFO, |info| {
                info.text(INFO_KIND, "vxlan").nest(INFO_DATA, |data| data.raw(&bytes))
            });
            let _ = (read(&bytes), read(&link.finish(1)[16..]));
        }
    }
}
