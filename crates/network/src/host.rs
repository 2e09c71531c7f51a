//! What a local cluster needs on the host: a bridge, the node's link, and a way to the world.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};
use ipnet::Ipv4Net;

use crate::netlink::{Socket, in_namespace, route};
use crate::nft::{self, Batch, Expr, Hook};

/// The size of packets on the node's link, in bytes: the largest, since no wire carries them. On the way to the world
/// connections are told to use what fits there.
const MTU: u32 = 65_535;
const ETHERNET: u32 = 1500;
const EEXIST: i32 = 17;

/// Makes a bridge with an address, and lets the host forward. A bridge that is there is kept.
pub fn create_bridge(name: &str, address: Ipv4Net) -> Result<()> {
    let mut socket = Socket::route()?;
    match route::add_bridge(&mut socket, name, hardware_address(address.addr())) {
        Err(error) if error.raw_os_error() == Some(EEXIST) => {}
        other => other.with_context(|| format!("failed to make the bridge {name}"))?,
    }
    let index = route::index_of(&mut socket, name)?;
    socket
        .batch(vec![route::address(index, address), route::up(index)])
        .with_context(|| format!("failed to give {name} the address {address}"))?;
    forward_packets()
}

/// Lets this namespace's kernel pass packets on.
pub fn forward_packets() -> Result<()> {
    set_sysctl("net/ipv4/ip_forward", "1")
}

/// Sets a kernel parameter of this namespace unless it has the value already.
pub fn set_sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    if fs::read_to_string(&path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).with_context(|| format!("failed to set {} to {value}", name.replace('/', ".")))
}

/// Makes the link between a bridge and a node's namespace, with address and default route in there.
pub fn attach_node(bridge: &str, link: &str, netns: BorrowedFd<'_>, address: Ipv4Net, gateway: Ipv4Addr) -> Result<()> {
    let mut socket = Socket::route()?;
    let index = route::index_of(&mut socket, bridge)?;
    let pair = route::Pair { name: link, bridge: index, peer: "eth0", hardware: None, netns, mtu: MTU };
    route::add_veth(&mut socket, &pair).with_context(|| format!("failed to make the link {link}"))?;
    in_namespace(netns, || {
        let mut socket = Socket::route()?;
        let lo = route::index_of(&mut socket, "lo")?;
        let eth0 = route::index_of(&mut socket, "eth0")?;
        socket
            .batch(vec![
                route::up(lo),
                route::address(eth0, address),
                route::up(eth0),
                route::default_route(eth0, gateway),
            ])
            .context("failed to set up the node's link")
    })
}

/// The names of a bridge's ports; none when there is no bridge.
pub fn ports(bridge: &str) -> Result<Vec<String>> {
    let mut socket = Socket::route()?;
    let Ok(index) = route::index_of(&mut socket, bridge) else { return Ok(Vec::new()) };
    Ok(route::ports(&mut socket, index)?)
}

/// Removes a link; that it is not there is no error.
pub fn delete_link(name: &str) -> Result<()> {
    Ok(route::delete(&mut Socket::route()?, name)?)
}

/// The size of packets on the link that has an address, in bytes; 1500 when there is none.
pub fn mtu_of(address: IpAddr) -> Result<u32> {
    let IpAddr::V4(address) = address else { return Ok(ETHERNET) };
    let mut socket = Socket::route()?;
    let Some(link) = route::with_address(&mut socket, address)? else { return Ok(ETHERNET) };
    Ok(route::mtu(&mut socket, link)?.unwrap_or(ETHERNET))
}

/// Makes packets of a bridge's network that leave the host carry the host's address, and lets nobody but the host begin
/// anything with that network, unless a rule of the host's owner sends it there.
pub fn masquerade(table: &str, bridge: &str, network: Ipv4Net) -> Result<()> {
    let mut batch = Batch::new();
    batch.renew_table(table);
    batch.base_chain(table, "postrouting", "nat", Hook::Postrouting, nft::PRIORITY_SOURCE_NAT);
    // With br_netfilter, what goes from node to node comes here too, and pods' packets are to arrive as they were sent.
    let leaves = Expr::link_is(bridge, true, false);
    let from = [Expr::source_in(network), Expr::destination_not_in(network), leaves, vec![Expr::Masquerade]].concat();
    batch.rule(table, "postrouting", &from);
    batch.base_chain(table, "forward", "filter", Hook::Forward, nft::PRIORITY_FILTER);
    let begins = [
        Expr::link_is(bridge, true, true),
        Expr::link_is(bridge, false, false),
        Expr::unanswered(),
        Expr::destination_as_sent(),
        vec![Expr::Drop],
    ];
    batch.rule(table, "forward", &begins.concat());
    batch.rule(table, "forward", &Expr::fit_segments());
    batch.commit(&mut Socket::netfilter()?).context("failed to make an nftables table")
}

/// Where firewalls, Docker's among them, drop what the host forwards.
const FIREWALL: (&str, &str) = ("filter", "FORWARD");

/// Lets what comes from a bridge, and what goes to it, through a firewall that drops what it does not know.
pub fn open_firewall(bridge: &str) -> Result<()> {
    let (table, chain) = FIREWALL;
    let mut socket = Socket::netfilter()?;
    close_firewall(bridge)?;
    if nft::drops(&mut socket, table, chain)? {
        let mut batch = Batch::new();
        for leaving in [true, false] {
            batch.first_rule(table, chain, &Expr::let_through(bridge, leaving), &comment(bridge));
        }
        batch.commit(&mut socket).with_context(|| format!("failed to add rules to {table} {chain}"))?;
    }
    Ok(())
}

/// Takes back what [`open_firewall`] did.
pub fn close_firewall(bridge: &str) -> Result<()> {
    let (table, chain) = FIREWALL;
    let mut socket = Socket::netfilter()?;
    let mut batch = Batch::new();
    for handle in nft::rules(&mut socket, table, chain, &comment(bridge))? {
        batch.delete_rule(table, chain, handle);
    }
    batch.commit(&mut socket).with_context(|| format!("failed to remove rules from {table} {chain}"))
}

fn comment(bridge: &str) -> String {
    format!("coracle {bridge}")
}

/// Removes a table; that it is not there is no error.
pub fn delete_table(table: &str) -> Result<()> {
    const ENOENT: i32 = 2;
    let mut batch = Batch::new();
    batch.delete_table(table);
    match batch.commit(&mut Socket::netfilter()?) {
        Err(error) if error.raw_os_error() == Some(ENOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether the kernel has nftables: an empty table of our own can be made and removed.
pub fn nftables_works() -> bool {
    let probe = || -> io::Result<()> {
        let mut socket = Socket::netfilter().map_err(io::Error::other)?;
        let table = format!("coracle-probe-{}", std::process::id());
        let mut batch = Batch::new();
        batch.renew_table(&table);
        batch.delete_table(&table);
        batch.commit(&mut socket)
    };
    probe().is_ok()
}

/// A locally administered address made of an IP address.
pub(crate) fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Namespace, is_root, tcp_answer, tcp_server};
    use std::os::fd::AsFd;

    #[test]
    fn the_table_of_a_cluster_is_made_and_removed() {
        if !is_root() {
            return;
        }
        Namespace::new().run(|| {
            for _ in 0..2 {
                masquerade("t", "b", "10.9.0.0/16".parse().unwrap()).unwrap();
            }
            delete_table("t").unwrap();
            delete_table("t").unwrap();
        });
    }

    #[test]
    fn a_node_reaches_the_world_through_a_firewall_that_drops() {
        if !is_root() {
            return;
        }
        Namespace::new().run(|| {
            let (node, world) = (Namespace::new(), Namespace::new());
            for (link, netns, subnet) in [("cbnode", &node, 1), ("cbworld", &world, 2)] {
                let address = |host: u8| Ipv4Net::new(Ipv4Addr::new(10, 9, subnet, host), 24).unwrap();
                create_bridge(link, address(1)).unwrap();
                let port = link.replace("cb", "cv");
                attach_node(link, &port, netns.fd().as_fd(), address(2), address(1).addr()).unwrap();
            }
            masquerade("t", "cbnode", "10.9.1.0/24".parse().unwrap()).unwrap();
            world.run(|| tcp_server(80, 7));
            let reaches = || node.run(|| tcp_answer(Ipv4Addr::new(10, 9, 2, 2), 80));
            assert_eq!(reaches(), Some(7), "without a firewall");
            open_firewall("cbnode").unwrap();

            let mut socket = Socket::netfilter().unwrap();
            let mut batch = Batch::new();
            batch.renew_table("filter");
            batch.base_chain("filter", "FORWARD", "filter", Hook::Forward, nft::PRIORITY_FILTER);
            batch.policy_drop("filter", "FORWARD");
            batch.commit(&mut socket).unwrap();
            assert_eq!(reaches(), None, "the firewall works");
            for _ in 0..2 {
                open_firewall("cbnode").unwrap();
                assert_eq!(reaches(), Some(7), "through the firewall");
                assert_eq!(nft::rules(&mut socket, "filter", "FORWARD", "coracle cbnode").unwrap().len(), 2);
            }
            close_firewall("cbnode").unwrap();
            assert_eq!(reaches(), None, "closed again");
            close_firewall("cbnode").unwrap();
        });
    }
}
