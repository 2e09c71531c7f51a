//! Addresses that a link answers for although they are nobody's here (proxied neighbours of ARP and NDP), and the routes by which what comes for
//! them is forwarded.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::route::read_octets;
use super::{CREATE, DUMP, Message, REPLACE, Socket, attributes};
use crate::nft::{Family, InPackets, octets};

const NEWNEIGH: u16 = 28;
const DELNEIGH: u16 = 29;
const GETNEIGH: u16 = 30;
/// `NTF_PROXY`.
const PROXY: u8 = 8;
const NDA_DST: u16 = 1;
const NDA_PROTOCOL: u16 = 12;
/// By which entries made here are known: no routing daemon's number.
const OWN: u8 = 203;
const HEADER: usize = 12;

fn header(family: Family, link: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = family.number();
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[10] = PROXY;
    header
}

/// Has a link answer for an address that is routed to another one.
pub fn answer(link: u32, address: IpAddr) -> Message {
    let message = Message::new(NEWNEIGH, CREATE | REPLACE, &header(Family::of(address), link));
    message.bytes(NDA_DST, &octets(address)).bytes(NDA_PROTOCOL, &[OWN])
}

/// Ends that.
pub fn end(link: u32, address: IpAddr) -> Message {
    Message::new(DELNEIGH, 0, &header(Family::of(address), link)).bytes(NDA_DST, &octets(address))
}

/// The addresses for which links answer because of [`answer`], by the numbers of the links.
pub fn answered(socket: &mut Socket) -> io::Result<BTreeSet<(u32, IpAddr)>> {
    let mut found = BTreeSet::new();
    for family in Family::ALL {
        socket.dump(Message::new(GETNEIGH, DUMP, &header(family, 0)), |payload| found.extend(read(payload)))?;
    }
    Ok(found)
}

fn read(payload: &[u8]) -> Option<(u32, IpAddr)> {
    let link = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
    let list = payload.get(HEADER..)?;
    let find = |wanted| attributes(list).find_map(|(kind, value)| (kind == wanted).then_some(value));
    let address = read_octets(find(NDA_DST)?)?;
    let is_own = payload.get(10)? & PROXY != 0 && find(NDA_PROTOCOL)? == [OWN];
    is_own.then_some((link, address))
}
