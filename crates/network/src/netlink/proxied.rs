//! Addresses that a link answers for although they are nobody's here (proxy ARP), and the routes by which what comes for
//! them is forwarded.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

use super::{CREATE, DUMP, Message, REPLACE, Socket, attributes};

const NEWNEIGH: u16 = 28;
const DELNEIGH: u16 = 29;
const GETNEIGH: u16 = 30;
const INET: u8 = 2;
/// `NTF_PROXY`.
const PROXY: u8 = 8;
const NDA_DST: u16 = 1;
const NDA_PROTOCOL: u16 = 12;
/// By which entries made here are known: no routing daemon's number.
const OWN: u8 = 203;
const HEADER: usize = 12;

fn header(link: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = INET;
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[10] = PROXY;
    header
}

/// Has a link answer for an address that is routed to another one.
pub fn answer(link: u32, address: Ipv4Addr) -> Message {
    let message = Message::new(NEWNEIGH, CREATE | REPLACE, &header(link));
    message.bytes(NDA_DST, &address.octets()).bytes(NDA_PROTOCOL, &[OWN])
}

/// Ends that.
pub fn end(link: u32, address: Ipv4Addr) -> Message {
    Message::new(DELNEIGH, 0, &header(link)).bytes(NDA_DST, &address.octets())
}

/// The addresses for which links answer because of [`answer`], by the numbers of the links.
pub fn answered(socket: &mut Socket) -> io::Result<BTreeSet<(u32, Ipv4Addr)>> {
    let mut found = BTreeSet::new();
    socket.dump(Message::new(GETNEIGH, DUMP, &header(0)), |payload| found.extend(read(payload)))?;
    Ok(found)
}

fn read(payload: &[u8]) -> Option<(u32, Ipv4Addr)> {
    let link = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
    let list = payload.get(HEADER..)?;
    let find = |wanted| attributes(list).find_map(|(kind, value)| (kind == wanted).then_some(value));
    let address = <[u8; 4]>::try_from(find(NDA_DST)?).ok()?;
    let is_own = payload.get(10)? & PROXY != 0 && find(NDA_PROTOCOL)? == [OWN];
    is_own.then(|| (link, address.into()))
}
