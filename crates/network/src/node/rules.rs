//! The rules of the table of pods that stand there for good: what is forwarded, translated and refused, whatever pods there are.

use std::net::Ipv4Addr;

use coracle_values::addresses::Family;
use ipnet::{IpNet, Ipv4Net};

use super::{ADDRESS_PORTS, HOST_PORTS, NodeNetworkConfig, PEERS, SELF, TABLE};
use crate::neighbours;
use crate::nft::{self, Batch, Expr, Hook, InPackets, Nat, Type};
use crate::peers;

const LOOPBACK: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));

/// The table with its chains and sets, which are still empty.
pub(super) fn base(config: &NodeNetworkConfig, family: Family) -> Batch {
    let mut batch = Batch::of(family);
    batch.renew_table(TABLE);
    batch.set(TABLE, PEERS, family.address(), None);
    let Some(cluster) = config.cluster_cidr.of(family) else { return batch };
    refuse_forged(&mut batch, config, cluster);
    batch.base_chain(TABLE, "forward", "filter", Hook::Forward, nft::PRIORITY_FILTER);
    // Packets of pods leave in the name of their node, and nodes trust each other's VXLAN. Nor does a service lead there.
    for way in [Expr::link_is(&config.bridge, false, true), Expr::destination_chosen()] {
        let to_overlay = [way, Expr::datagram_to(peers::PORT), Expr::destination_not_in(cluster)];
        batch.rule(TABLE, "forward", &[to_overlay.concat(), vec![Expr::Drop]].concat());
    }
    // Where a part of the way takes smaller packets than the pods' links do.
    batch.rule(TABLE, "forward", &[Expr::source_in(cluster), Expr::fit_segments()].concat());
    batch.rule(TABLE, "forward", &[Expr::destination_in(cluster), Expr::fit_segments()].concat());
    if let Some(services) = config.service_cidr.of(family) {
        refuse_unserved(&mut batch, config, services);
    }
    let nodes = vec![family.destination(0), Expr::InSet(PEERS.into())];
    neighbours::bound(&mut batch, TABLE, family, &config.bridge, &[Expr::destination_in(cluster), nodes]);
    if config.on_host {
        keep_strangers_out(&mut batch, config, cluster);
    }
    batch.set(TABLE, SELF, family.address_pair(), None);
    batch.set(TABLE, HOST_PORTS, Type::ProtocolPort, Some(family.address_port()));
    batch.set(TABLE, ADDRESS_PORTS, family.address_protocol_port(), Some(family.address_port()));
    batch.base_chain(TABLE, "postrouting", "nat", Hook::Postrouting, nft::PRIORITY_SOURCE_NAT);
    let pair = [family.source(0), family.destination(family.registers()), Expr::InSet(SELF.into()), Expr::Masquerade];
    batch.rule(TABLE, "postrouting", &pair);
    let outside = [Expr::source_in(cluster), Expr::destination_not_in(cluster), vec![Expr::Masquerade]].concat();
    batch.rule(TABLE, "postrouting", &outside);
    if family == Family::V4 {
        guard_loopback(&mut batch);
    }
    for (chain, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        batch.base_chain(TABLE, chain, "nat", hook, nft::PRIORITY_DESTINATION_NAT);
        let nat = Expr::Nat(Nat::DestinationAndPort(family));
        let to_address = [family.destination_key(), vec![Expr::Map(ADDRESS_PORTS.into()), nat.clone()]].concat();
        batch.rule(TABLE, chain, &to_address);
        let to_port =
            [Expr::to_node_port(family), Expr::protocol_port(), vec![Expr::Map(HOST_PORTS.into()), nat]].concat();
        batch.rule(TABLE, chain, &to_port);
    }
    batch
}

/// The loopback address leads to pods where the kernel routes it, which it does for IPv4 only.
fn guard_loopback(batch: &mut Batch) {
    let from_loopback =
        [Expr::source_in(LOOPBACK), Expr::destination_not_in(LOOPBACK), vec![Expr::Masquerade]].concat();
    batch.rule(TABLE, "postrouting", &from_loopback);
    // What listens on the loopback only is not for the network, unless it answers.
    batch.base_chain(TABLE, "input", "filter", Hook::Input, nft::PRIORITY_FILTER);
    let stray =
        [Expr::not_from_loopback(), Expr::destination_in(LOOPBACK), Expr::unanswered(), vec![Expr::Drop]].concat();
    batch.rule(TABLE, "input", &stray);
}

/// From other machines come packets of pods only by the way that leads to the pods' node. What this node's pods send, the
/// table of frames looks at.
fn refuse_forged(batch: &mut Batch, config: &NodeNetworkConfig, cluster: IpNet) {
    batch.base_chain(TABLE, "forged", "filter", Hook::Prerouting, nft::PRIORITY_UNTRANSLATED - 1);
    let forged = [
        Expr::not_from_loopback(),
        Expr::link_is(&config.bridge, false, false),
        Expr::source_in(cluster),
        Expr::source_is_elsewhere(),
        vec![Expr::Drop],
    ];
    batch.rule(TABLE, "forged", &forged.concat());
}

/// What no service translated ends here, before the kernel asks for a neighbour of that address: the table of neighbours
/// is one for all namespaces, and the range may be larger than it. The service proxy has its say first.
fn refuse_unserved(batch: &mut Batch, config: &NodeNetworkConfig, services: IpNet) {
    for (chain, hook) in [("unserved-forward", Hook::Forward), ("unserved-output", Hook::Output)] {
        batch.base_chain(TABLE, chain, "filter", hook, nft::PRIORITY_FILTER + 10);
        let refuse = vec![Expr::RejectUnreachable(Family::of_range(services))];
        let by_bridge = Expr::link_is(&config.bridge, true, true);
        batch.rule(TABLE, chain, &[by_bridge, Expr::destination_in(services), refuse].concat());
    }
}

/// Nobody but the host and the pods begins anything with addresses of pods and services: neighbours of the host, who can
/// route them here, reach what has a port of the node.
fn keep_strangers_out(batch: &mut Batch, config: &NodeNetworkConfig, cluster: IpNet) {
    let family = Family::of_range(cluster);
    batch.base_chain(TABLE, "strangers", "filter", Hook::Prerouting, nft::PRIORITY_UNTRANSLATED);
    // Other nodes and their pods are none.
    let peers = vec![family.source(0), Expr::InSet(PEERS.into())];
    for known in [Expr::source_in(cluster), peers] {
        let accept = [known, Expr::destination_in(cluster), vec![Expr::Accept]].concat();
        batch.rule(TABLE, "strangers", &accept);
    }
    for network in [Some(cluster), config.service_cidr.of(family)].into_iter().flatten() {
        let begins = [
            Expr::not_from_loopback(),
            Expr::link_is(&config.bridge, false, false),
            Expr::destination_in(network),
            Expr::unanswered(),
            vec![Expr::Drop],
        ];
        batch.rule(TABLE, "strangers", &begins.concat());
    }
}
