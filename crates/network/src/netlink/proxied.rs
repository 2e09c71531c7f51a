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
    Message::new(NEWNEIGH, CREATE | REPLACE, &header(link)).bytes(NDA_DST, &address.octets())
}

/// Ends that.
pub fn end(link: u32, address: Ipv4Addr) -> Message {
    Message::new(DELNEIGH, 0, &header(link)).bytes(NDA_DST, &address.octets())
}

/// The addresses for which a link answers.
pub fn answered(socket: &mut Socket, link: u32) -> io::Result<BTreeSet<Ipv4Addr>> {
    let mut found = BTreeSet::new();
    socket.dump(Message::new(GETNEIGH, DUMP, &header(link)), |payload| {
        let is_own = payload.get(4..8) == Some(&link.to_ne_bytes()) && payload.get(10).is_some_and(|f| f & PROXY != 0);
        let list = payload.get(HEADER..).unwrap_or_default();
        let address = attributes(list).find_map(|(kind, value)| (kind == NDA_DST).then_some(value));
        let address = address.and_then(|value| <[u8; 4]>::try_from(value).ok()).map(Ipv4Addr::from);
        found.extend(address.filter(|_| is_own));
    })?;
    Ok(found)
}
