//! Tells the neighbours that an address is here from now on, so that they do not go on asking who had it before: a gratuitous ARP
//! ([RFC 5227](https://www.rfc-editor.org/rfc/rfc5227), section 3) or an unsolicited Neighbor Advertisement
//! ([RFC 4861](https://www.rfc-editor.org/rfc/rfc4861), section 7.2.6).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Result;

use crate::netlink::{Socket, route};
use crate::wire::Wire;

/// How often they are told, as some may be lost, and how long apart: the kernel takes no change in the second after another.
pub const TIMES: usize = 5;
pub const APART: Duration = Duration::from_millis(1100);

const EVERYBODY: [u8; 6] = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Tells the neighbours on a link, on which the node has the address `own`.
///
/// # Errors
/// The link is gone, or down.
pub fn tell(link: u32, own: IpAddr, addresses: &BTreeSet<IpAddr>) -> Result<()> {
    let Some(hardware) = route::hardware(&mut Socket::route()?, link)? else { return Ok(()) };
    let wire = Wire::open(link)?;
    for address in addresses {
        for frame in frames(hardware, own, *address) {
            wire.send(&frame)?;
        }
    }
    Ok(())
}

fn frames(hardware: [u8; 6], own: IpAddr, address: IpAddr) -> Vec<Vec<u8>> {
    match (address, own) {
        // Some take over what is asked, and others only what is answered.
        (IpAddr::V4(address), _) => [1, 2].map(|operation| arp(hardware, address, operation)).into(),
        (IpAddr::V6(address), IpAddr::V6(own)) => vec![advertisement(hardware, own, address)],
        (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    }
}

fn arp(hardware: [u8; 6], address: Ipv4Addr, operation: u8) -> Vec<u8> {
    let ethernet = [&EVERYBODY[..], &hardware, &[8, 6]].concat();
    let target = if operation == 1 { [0; 6] } else { EVERYBODY };
    let address = address.octets();
    [&ethernet[..], &[0, 1, 8, 0, 6, 4, 0, operation], &hardware, &address, &target, &address].concat()
}

fn advertisement(hardware: [u8; 6], own: Ipv6Addr, address: Ipv6Addr) -> Vec<u8> {
    /// Takes the place of what was known.
    const OVERRIDE: u8 = 0x20;
    let mut message = [&[136, 0, 0, 0, OVERRIDE, 0, 0, 0][..], &address.octets(), &[2, 1], &hardware].concat();
    let length = message.len() as u8;
    let pseudo = [&own.octets()[..], &ALL_NODES.octets(), &[0, 0, 0, length, 0, 0, 0, 58], &message].concat();
    let sum: u32 = pseudo.chunks(2).map(|pair| pair.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let ethernet = [&[0x33, 0x33, 0, 0, 0, 1][..], &hardware, &[0x86, 0xdd]].concat();
    let header = [&[0x60, 0, 0, 0, 0, length, 58, 255][..], &own.octets(), &ALL_NODES.octets()].concat();
    [ethernet, header, message].concat()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;

    use super::*;
    use crate::host::{attach_node, create_bridge, set_sysctl};
    use crate::testing::{Namespace, host_of_both, is_root};

    /// What a namespace knows of its neighbours.
    fn hardware_of(address: &str) -> String {
        let shown = Command::new("ip").args(["neigh", "show", address]).output().expect("ip runs");
        String::from_utf8_lossy(&shown.stdout).into_owned()
    }

    #[test]
    fn neighbours_send_to_who_took_an_address_over() {
        if !is_root() {
            return;
        }
        if Command::new("ip").arg("-V").output().is_err() {
            return coracle_testing::skip(coracle_testing::Lacks::Tool("ip is not there"));
        }
        Namespace::new().run(|| {
            let neighbour = Namespace::new();
            create_bridge("lan", &["10.9.2.1/24".parse().unwrap(), "fd00:9:2::1/64".parse().unwrap()]).unwrap();
            let links = host_of_both("10.9.2.2", "10.9.2.1");
            attach_node("lan", "vlan", neighbour.fd().as_fd(), &links).unwrap();
            let link = route::index_of(&mut Socket::route().unwrap(), "lan").unwrap();
            let own = route::hardware(&mut Socket::route().unwrap(), link).unwrap().unwrap();
            let own = own.map(|byte| format!("{byte:02x}")).join(":");
            neighbour.run(|| {
                for (address, device) in [("10.9.2.200", "eth0"), ("fd00:9:2::200", "eth0")] {
                    let words =
                        ["neigh", "replace", address, "lladdr", "02:00:00:00:00:07", "nud", "stale", "dev", device];
                    assert!(Command::new("ip").args(words).status().unwrap().success());
                }
                set_sysctl("net/ipv4/neigh/eth0/locktime", "0").unwrap();
            });
            for (node, address) in [("10.9.2.1", "10.9.2.200"), ("fd00:9:2::1", "fd00:9:2::200")] {
                let shown = || neighbour.run(|| hardware_of(address));
                assert!(!shown().contains(&own));
                // The neighbour's own address of IPv6 may still be looked into.
                let told = (0..50).any(|_| {
                    tell(link, node.parse().unwrap(), &BTreeSet::from([address.parse().unwrap()])).unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                    shown().contains(&own)
                });
                assert!(told, "{address}: {}", shown());
            }
        });
    }
}
