//! What a local cluster needs on the host: a bridge, the node's link, and a way to the world.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;

use crate::neighbours;
use crate::netlink::{Socket, in_namespace, route};
use crate::nft::{self, Batch, Expr, Family, Hook};

/// The size of packets on the node's link, in bytes: the largest, since no wire carries them. On the way to the world
/// connections are told to use what fits there.
const MTU: u32 = 65_535;
const ETHERNET: u32 = 1500;
const EEXIST: i32 = 17;

/// Makes a bridge with an address, and lets the host forward. A bridge that is there is kept.
pub fn create_bridge(name: &str, addresses: &[IpNet]) -> Result<()> {
    let mut socket = Socket::route()?;
    let first = addresses.first().context("a bridge has an address")?;
    match route::add_bridge(&mut socket, name, hardware_address(first.addr())) {
        Err(error) if error.raw_os_error() == Some(EEXIST) => {}
        other => other.with_context(|| format!("failed to make the bridge {name}"))?,
    }
    let index = route::index_of(&mut socket, name)?;
    if addresses.iter().any(|address| address.addr().is_ipv6()) {
        allow_ipv6(name)?;
    }
    ignore_advertisements(name)?;
    let messages = addresses.iter().map(|address| route::address(index, *address));
    socket
        .batch(messages.chain([route::up(index)]).collect())
        .with_context(|| format!("failed to give {name} the addresses {addresses:?}"))?;
    addresses.iter().try_for_each(|address| forward_packets(Family::of_range(*address)))
}

/// Lets this namespace's kernel pass packets of a family on.
pub fn forward_packets(family: Family) -> Result<()> {
    set_sysctl(forwarding(family), "1")
}

/// The kernel parameter by which packets of a family are passed on.
pub fn forwarding(family: Family) -> &'static str {
    match family {
        Family::V4 => "net/ipv4/ip_forward",
        Family::V6 => "net/ipv6/conf/all/forwarding",
    }
}

/// Lets a link of this namespace have addresses of IPv6, and take none, nor routes, that somebody advertises.
///
/// # Errors
/// The kernel has no IPv6.
pub fn allow_ipv6(link: &str) -> Result<()> {
    if !fs::exists("/proc/sys/net/ipv6/conf").unwrap_or(false) {
        bail!("this kernel has no IPv6: it was started with ipv6.disable=1, or made without (CONFIG_IPV6)");
    }
    for (parameter, value) in [("disable_ipv6", "0"), ("accept_ra", "0"), ("accept_dad", "0")] {
        set_sysctl(&format!("net/ipv6/conf/{link}/{parameter}"), value)?;
    }
    Ok(())
}

/// Has a link take no addresses or routes that somebody advertises, if the kernel has IPv6.
///
/// # Errors
/// The kernel refuses.
pub fn ignore_advertisements(link: &str) -> Result<()> {
    let parameter = format!("net/ipv6/conf/{link}/accept_ra");
    if !fs::exists(format!("/proc/sys/{parameter}"))? {
        return Ok(());
    }
    set_sysctl(&parameter, "0")
}

/// The names of this host's links to the world that have routes which routers advertised: no bridges, their ports or
/// pairs, on which containers could say that they were routers.
///
/// # Errors
/// The kernel does not tell.
pub fn advertised_links() -> Result<BTreeSet<String>> {
    Ok(route::advertised_links(&mut Socket::route()?)?)
}

/// Sets a kernel parameter of this namespace unless it has the value already.
pub fn set_sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    if fs::read_to_string(&path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).with_context(|| format!("failed to set {} to {value}", name.replace('/', ".")))
}

/// Makes the link between a bridge and a node's namespace, with addresses and default routes, each by a gateway, in there.
pub fn attach_node(bridge: &str, link: &str, netns: BorrowedFd<'_>, addresses: &[(IpNet, IpAddr)]) -> Result<()> {
    let mut socket = Socket::route()?;
    let index = route::index_of(&mut socket, bridge)?;
    let pair = route::Pair { name: link, bridge: index, peer: "eth0", hardware: None, netns, mtu: MTU };
    route::add_veth(&mut socket, &pair).with_context(|| format!("failed to make the link {link}"))?;
    let port = route::index_of(&mut socket, link)?;
    socket.request(route::up(port)).with_context(|| format!("failed to bring {link} up"))?;
    in_namespace(netns, || {
        let mut socket = Socket::route()?;
        let lo = route::index_of(&mut socket, "lo")?;
        let eth0 = route::index_of(&mut socket, "eth0")?;
        if addresses.iter().any(|(address, _)| address.addr().is_ipv6()) {
            ["all", "eth0"].into_iter().try_for_each(allow_ipv6)?;
        }
        let own = addresses.iter().map(|(address, _)| route::address(eth0, *address));
        let routes = addresses.iter().map(|(_, gateway)| route::default_route(eth0, *gateway));
        let changes = [route::up(lo)].into_iter().chain(own).chain([route::up(eth0)]).chain(routes);
        socket.batch(changes.collect()).context("failed to set up the node's link")
    })
}

/// The names of a bridge's ports; none when there is no bridge.
pub fn ports(bridge: &str) -> Result<Vec<String>> {
    let mut socket = Socket::route()?;
    let Ok(index) = route::index_of(&mut socket, bridge) else { return Ok(Vec::new()) };
    Ok(route::ports(&mut socket, index)?)
}

/// An address beside one of this host that does not stay, as temporary ones do not (RFC 8981); none if that one stays or is alone.
///
/// # Errors
/// The kernel does not tell.
pub fn stable_address(address: IpAddr) -> Result<Option<IpAddr>> {
    Ok(route::stable(&mut Socket::route()?, address)?)
}

/// Removes a link; that it is not there is no error.
pub fn delete_link(name: &str) -> Result<()> {
    Ok(route::delete(&mut Socket::route()?, name)?)
}

/// The size of packets on the link that has an address, in bytes; 1500 when there is none.
pub fn mtu_of(address: IpAddr) -> Result<u32> {
    let mut socket = Socket::route()?;
    let Some(link) = route::with_address(&mut socket, address)? else { return Ok(ETHERNET) };
    Ok(route::mtu(&mut socket, link)?.unwrap_or(ETHERNET))
}

/// Makes packets of a bridge's networks that leave the host carry the host's address, and lets nobody but the host begin
/// anything with those networks, unless a rule of the host's owner sends it there.
pub fn masquerade(table: &str, bridge: &str, networks: &[IpNet]) -> Result<()> {
    networks.iter().try_for_each(|network| masquerade_one(table, bridge, *network))
}

fn masquerade_one(table: &str, bridge: &str, network: IpNet) -> Result<()> {
    let (mut socket, family) = (Socket::netfilter()?, Family::of_range(network));
    let mut batch = Batch::of(family);
    // Whoever closes a socket that removed something waits until no packet is under way any more.
    match nft::table_exists(&mut socket, family, table)? {
        true => batch.renew_table(table),
        false => batch.table(table),
    }
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
    neighbours::bound(&mut batch, table, Family::of_range(network), bridge, &[Expr::destination_in(network)]);
    batch.commit(&mut socket).context("failed to make an nftables table")
}

/// Where firewalls, Docker's among them, drop what the host forwards.
const FIREWALL: (&str, &str) = ("filter", "FORWARD");

/// Lets what comes from a bridge, and what goes to it, through a firewall that drops what it does not know.
pub fn open_firewall(bridge: &str) -> Result<()> {
    let (table, chain) = FIREWALL;
    let mut socket = Socket::netfilter()?;
    close_firewall(bridge)?;
    for family in Family::ALL {
        if nft::drops(&mut socket, family, table, chain)? {
            let mut batch = Batch::of(family);
            for leaving in [true, false] {
                batch.first_rule(table, chain, &Expr::let_through(bridge, leaving), &comment(bridge));
            }
            batch.commit(&mut socket).with_context(|| format!("failed to add rules to {table} {chain}"))?;
        }
    }
    Ok(())
}

/// Takes back what [`open_firewall`] did.
pub fn close_firewall(bridge: &str) -> Result<()> {
    let (table, chain) = FIREWALL;
    let mut socket = Socket::netfilter()?;
    for family in Family::ALL {
        let mut batch = Batch::of(family);
        for handle in nft::rules(&mut socket, family, table, chain, &comment(bridge))? {
            batch.delete_rule(table, chain, handle);
        }
        batch.commit(&mut socket).with_context(|| format!("failed to remove rules from {table} {chain}"))?;
    }
    Ok(())
}

fn comment(bridge: &str) -> String {
    format!("coracle {bridge}")
}

/// Removes a table of either family; that it is not there is no error.
pub fn delete_table(table: &str) -> Result<()> {
    const ENOENT: i32 = 2;
    let mut socket = Socket::netfilter()?;
    for family in Family::ALL {
        // A transaction that fails waits until no packet is under way any more, ten milliseconds or so.
        if !nft::table_exists(&mut socket, family, table)? {
            continue;
        }
        let mut batch = Batch::of(family);
        batch.delete_table(table);
        match batch.commit(&mut socket) {
            Err(error) if error.raw_os_error() != Some(ENOENT) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the kernel has nftables: it lists its tables.
pub fn nftables_works() -> bool {
    Socket::netfilter().is_ok_and(|mut socket| nft::table_exists(&mut socket, Family::V4, "any").is_ok())
}

/// A locally administered address made of an IP address. Those of IPv6 in a range of pods differ in it as well: they differ
/// in no more bits than it has, which come to lie beside each other.
pub(crate) fn hardware_address(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = folded(address).to_be_bytes();
    [0x0a, 0x58, a, b, c, d]
}

/// An address in 32 bits.
pub(crate) fn folded(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => u32::from(address),
        IpAddr::V6(address) => {
            let words = u128::from(address);
            [0, 32, 64, 96].into_iter().fold(0, |folded, shift| folded ^ (words >> shift) as u32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::overlay::{self, Vxlan};
    use crate::testing::{Namespace, is_root, tcp_answer, tcp_server};
    use std::os::fd::AsFd;

    /// A host of a network, by an address of each family.
    fn addresses(subnet: u8, host: u8) -> [IpNet; 2] {
        [format!("10.9.{subnet}.{host}/24"), format!("fd00:9:{subnet}::{host}/64")].map(|text| text.parse().unwrap())
    }

    #[test]
    fn the_table_of_a_cluster_is_made_and_removed() {
        if !is_root() {
            return;
        }
        Namespace::new().run(|| {
            for _ in 0..2 {
                masquerade("t", "b", &["10.9.0.0/16", "fd00:9::/64"].map(|net| net.parse().unwrap())).unwrap();
            }
            delete_table("t").unwrap();
            delete_table("t").unwrap();
        });
    }

    #[test]
    fn only_links_to_the_world_are_ones_whose_routers_are_listened_to() {
        if !is_root() {
            return;
        }
        Namespace::new().run(|| {
            let (node, other) = (Namespace::new(), Namespace::new());
            create_bridge("cb", &["10.9.1.1/24".parse().unwrap()]).unwrap();
            let read = fs::read_to_string("/proc/sys/net/ipv6/conf/cb/accept_ra").unwrap();
            assert_eq!(read.trim(), "0", "the bridge of a cluster without IPv6");
            let links = addresses(1, 2).into_iter().zip(addresses(1, 1).map(|address| address.addr()));
            attach_node("cb", "port", node.fd().as_fd(), &links.collect::<Vec<_>>()).unwrap();
            let mut socket = Socket::route().unwrap();
            let pair = route::Pair {
                name: "pair",
                bridge: 0,
                peer: "eth0",
                hardware: None,
                netns: other.fd().as_fd(),
                mtu: 1500,
            };
            route::add_veth(&mut socket, &pair).unwrap();
            let link = route::index_of(&mut socket, "cb").unwrap();
            let wire = Vxlan { id: 5, port: 9999, link, local: "10.9.1.1".parse().unwrap() };
            overlay::add(&mut socket, "up0", hardware_address(wire.local), 1400, &wire).unwrap();
            for link in ["cb", "port", "pair", "up0"] {
                let index = route::index_of(&mut socket, link).unwrap();
                socket
                    .batch(vec![route::up(index), route::advertised_route(index, "fd00:77::/64".parse().unwrap())])
                    .unwrap();
            }
            assert_eq!(advertised_links().unwrap(), BTreeSet::from(["up0".to_owned()]));
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
                let [first, second] = [1, 2].map(|host| addresses(subnet, host));
                create_bridge(link, &first).unwrap();
                let port = link.replace("cb", "cv");
                let own: Vec<_> = second.into_iter().zip(first.map(|address| address.addr())).collect();
                attach_node(link, &port, netns.fd().as_fd(), &own).unwrap();
            }
            masquerade("t", "cbnode", &addresses(1, 0)).unwrap();
            world.run(|| tcp_server(80, 7));
            let world = addresses(2, 2).map(|address| address.addr());
            let reaches = || world.map(|world| node.run(|| tcp_answer(world, 80)));
            assert_eq!(reaches(), [Some(7); 2], "without a firewall");
            open_firewall("cbnode").unwrap();

            let mut socket = Socket::netfilter().unwrap();
            for family in Family::ALL {
                let mut batch = Batch::of(family);
                batch.renew_table("filter");
                batch.base_chain("filter", "FORWARD", "filter", Hook::Forward, nft::PRIORITY_FILTER);
                batch.policy_drop("filter", "FORWARD");
                batch.commit(&mut socket).unwrap();
            }
            assert_eq!(reaches(), [None; 2], "the firewall works");
            for _ in 0..2 {
                open_firewall("cbnode").unwrap();
                assert_eq!(reaches(), [Some(7); 2], "through the firewall");
                for family in Family::ALL {
                    let rules = nft::rules(&mut socket, family, "filter", "FORWARD", "coracle cbnode").unwrap();
                    assert_eq!(rules.len(), 2);
                }
            }
            close_firewall("cbnode").unwrap();
            assert_eq!(reaches(), [None; 2], "closed again");
            close_firewall("cbnode").unwrap();
        });
    }
}
