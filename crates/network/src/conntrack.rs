//! Connection tracking: flows of datagrams outlive the endpoint that they were sent to, unless they are forgotten.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::{DUMP, Message, Socket, attributes};
use crate::nft::{Family, InPackets};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const HEADER: usize = 4;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ENOENT: i32 = 2;

/// Who began a flow, where it was sent, and who answers it: another one when the destination was translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The number of the transport protocol.
    pub protocol: u8,
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
    pub answered_by: (IpAddr, u16),
}

/// Forgets flows; the next packet of each is treated as the first one of a new flow.
///
/// # Errors
/// The kernel has no connection tracking that can be asked, or refuses.
pub fn forget(socket: &mut Socket, family: Family, stale: impl Fn(&Flow) -> bool) -> io::Result<()> {
    let message = |kind: u16, flags: u16| Message::new(SUBSYSTEM << 8 | kind, flags, &[family.number(), 0, 0, 0]);
    let mut found = Vec::new();
    socket.dump(message(GET, DUMP), |entry| {
        let list = entry.get(HEADER..).unwrap_or_default();
        let (Some(original), Some(reply)) = (attribute(list, ORIGINAL), attribute(list, REPLY)) else { return };
        let flow = tuple(original).zip(tuple(reply)).map(|(original, reply)| Flow {
            protocol: original.protocol,
            source: original.source,
            destination: original.destination,
            answered_by: reply.source,
        });
        if flow.is_some_and(|flow| stale(&flow)) {
            found.push(original.to_vec());
        }
    })?;
    for original in found {
        match socket.request(message(DELETE, 0).nest(ORIGINAL, |inner| inner.raw(&original))) {
            Err(error) if error.raw_os_error() == Some(ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

struct Tuple {
    protocol: u8,
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
}

fn attribute(list: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(list).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

/// Protocols without ports have zeroes for them.
fn tuple(list: &[u8]) -> Option<Tuple> {
    let (addresses, ports) = (attribute(list, 1)?, attribute(list, 2)?);
    let address = |kind: u16| {
        let v4 = || Some(Ipv4Addr::from(<[u8; 4]>::try_from(attribute(addresses, kind)?).ok()?).into());
        let v6 = || Some(Ipv6Addr::from(<[u8; 16]>::try_from(attribute(addresses, kind + 2)?).ok()?).into());
        v4().or_else(v6)
    };
    let port = |kind| attribute(ports, kind).and_then(|port| Some(u16::from_be_bytes(port.try_into().ok()?)));
    let port = |kind| port(kind).unwrap_or_default();
    let protocol = *attribute(ports, 1)?.first()?;
    Some(Tuple { protocol, source: (address(1)?, port(2)), destination: (address(2)?, port(3)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_tuples_are_none() {
        for list in [&[][..], &[4, 0, 1, 0], &[8, 0, 1, 0, 1, 2, 3, 4], &[255, 255, 2, 0]] {
            assert!(tuple(list).is_none());
        }
    }
}
