//! How service ports stand in nftables: what the table begins with, and the chains of a port.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::ProxyConfig;
use super::endpoints::At;
use super::wanted::{PortRules, Target};
use crate::nft::{self, Batch, Expr, Family, Hook, Nat, Part, Rule, Type};
use crate::node::{address_port, port_key, protocol_number};

pub(crate) const TABLE: &str = "coracle-services";
/// From address, protocol and port to the chain of a service port.
pub(super) const SERVICES: &str = "services";
/// From protocol and port of the node.
pub(super) const NODE_PORTS: &str = "node-ports";
/// Those that nobody serves here, to the chain that says how that ends.
pub(super) const UNSERVED: &str = "unserved";
pub(super) const UNSERVED_PORTS: &str = "unserved-ports";
/// Those that not everybody may use.
pub(super) const FENCED: &str = "fenced";
/// The addresses at which node ports are served.
pub(super) const NODE_ADDRESSES: &str = "node-addresses";
/// The bit of a packet's mark that asks for masquerading, the same as kube-proxy's.
const MASQUERADE: u32 = 0x4000;

/// The sets to which the base chains refer.
pub(super) const BASE_SETS: [(&str, Type, Option<Type>); 5] = [
    (SERVICES, Type::AddressProtocolPort, Some(Type::Verdict)),
    (NODE_PORTS, Type::ProtocolPort, Some(Type::Verdict)),
    (UNSERVED, Type::AddressProtocolPort, Some(Type::Verdict)),
    (UNSERVED_PORTS, Type::ProtocolPort, Some(Type::Verdict)),
    (FENCED, Type::AddressProtocolPort, Some(Type::Verdict)),
];

/// The base chains.
pub(super) fn base(_: Family, batch: &mut Batch) {
    let node_port = |map: &str| {
        let to_node = vec![Expr::Jump(NODE_ADDRESSES.into())];
        (to_node, [Expr::protocol_port(), vec![Expr::VerdictMap(map.into())]].concat())
    };
    // A rule may refer to a chain that is made before it.
    batch.chain(TABLE, NODE_ADDRESSES);
    batch.chain(TABLE, "node-port");
    batch.rule(TABLE, "node-port", &node_port(NODE_PORTS).1);
    for (chain, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        batch.base_chain(TABLE, chain, "nat", hook, nft::PRIORITY_DESTINATION_NAT);
        batch.rule(TABLE, chain, &[Expr::destination_key(), vec![Expr::VerdictMap(SERVICES.into())]].concat());
        batch.rule(TABLE, chain, &[Expr::to_this_machine(), node_port(NODE_PORTS).0].concat());
    }
    batch.base_chain(TABLE, "postrouting", "nat", Hook::Postrouting, nft::PRIORITY_SOURCE_NAT);
    batch.rule(TABLE, "postrouting", &[Expr::marked(MASQUERADE), vec![Expr::Masquerade]].concat());
    batch.chain(TABLE, "refuse");
    batch.rule(TABLE, "refuse", &[Expr::protocol_is(6), vec![Expr::RejectTcp]].concat());
    batch.rule(TABLE, "refuse", &[Expr::RejectUnreachable]);
    batch.chain(TABLE, "drop");
    batch.rule(TABLE, "drop", &[Expr::Drop]);
    // Whoever may not use an address is turned away before it is translated.
    for (chain, hook) in [("fence-prerouting", Hook::Prerouting), ("fence-output", Hook::Output)] {
        batch.base_chain(TABLE, chain, "filter", hook, nft::PRIORITY_DESTINATION_NAT - 10);
        let new = [Expr::unanswered(), Expr::destination_key(), vec![Expr::VerdictMap(FENCED.into())]];
        batch.rule(TABLE, chain, &new.concat());
    }
    // A service without endpoints refuses at once instead of letting clients wait.
    for (chain, hook) in
        [("filter-input", Hook::Input), ("filter-forward", Hook::Forward), ("filter-output", Hook::Output)]
    {
        batch.base_chain(TABLE, chain, "filter", hook, nft::PRIORITY_FILTER);
        batch.rule(TABLE, chain, &[Expr::destination_key(), vec![Expr::VerdictMap(UNSERVED.into())]].concat());
        if hook == Hook::Input {
            let ports = [Expr::to_this_machine(), node_port(UNSERVED_PORTS).1].concat();
            batch.rule(TABLE, chain, &ports);
        }
    }
}

/// The chain that lets through what is for an address at which node ports are served.
pub(super) fn node_addresses(config: &ProxyConfig) -> Vec<Rule> {
    let ranges = &config.node_port_addresses;
    let to = Part::Do(Expr::Verdict(nft::Verdict("node-port".into())));
    if ranges.is_empty() {
        return vec![vec![to]];
    }
    let load = Part::Do(Family::V4.destination(0));
    vec![vec![load, Part::Within(Type::Address, super::intervals(ranges)), to]]
}

pub(super) fn service_key(address: Ipv4Addr, rules: &PortRules) -> Vec<u8> {
    let [high, low] = rules.port.to_be_bytes();
    [&address.octets()[..], &[protocol_number(&rules.protocol), 0, 0, 0, high, low, 0, 0]].concat()
}

/// Where a key of a map leads: in this map to this chain.
pub(super) struct Lead {
    pub map: &'static str,
    pub key: Vec<u8>,
    pub chain: String,
}

/// What leads to the chains of a port.
pub(super) fn leads(name: &str, rules: &PortRules) -> Vec<Lead> {
    let lead = |target: &Target, served: &'static str, unserved: &'static str, key: Vec<u8>, chain: String| {
        let (map, chain) = match target {
            Target::To(_) => (served, chain),
            Target::Refuse => (unserved, "refuse".to_owned()),
            Target::Drop => (unserved, "drop".to_owned()),
        };
        Lead { map, key, chain }
    };
    let mut leads =
        vec![lead(&rules.internal, SERVICES, UNSERVED, service_key(rules.cluster_ip, rules), internal_chain(name))];
    let external = effective_external(rules);
    for address in &rules.external_addresses {
        leads.push(lead(&external, SERVICES, UNSERVED, service_key(*address, rules), external_chain(name)));
    }
    if let Some(port) = rules.node_port {
        let key = port_key(&rules.protocol, port);
        leads.push(lead(&external, NODE_PORTS, UNSERVED_PORTS, key, external_chain(name)));
    }
    for address in rules.fence.iter().flat_map(|fence| &fence.addresses) {
        leads.push(Lead { map: FENCED, key: service_key(*address, rules), chain: fence_chain(name) });
    }
    leads
}

/// With a shortcut there is a chain also when outsiders find nobody.
fn effective_external(rules: &PortRules) -> Target {
    match (&rules.external, &rules.shortcut) {
        (Target::Drop, Some(shortcut)) if !shortcut.is_empty() => Target::To(shortcut.clone()),
        (external, _) => external.clone(),
    }
}

pub(super) fn internal_chain(name: &str) -> String {
    format!("service-{name}")
}

fn external_chain(name: &str) -> String {
    format!("external-{name}")
}

fn fence_chain(name: &str) -> String {
    format!("fence-{name}")
}

/// The map in which a port's clients are remembered. It has the time in its name, as a map's cannot be changed.
pub(super) fn memory(name: &str, rules: &PortRules) -> Option<String> {
    rules.affinity.map(|time| format!("affinity-{}-{name}", time.as_secs()))
}

/// The chains of a port.
pub(super) fn chains(name: &str, rules: &PortRules, config: &ProxyConfig) -> Vec<(String, Vec<Rule>)> {
    let mut chains = Vec::new();
    let memory = memory(name, rules);
    if let Target::To(endpoints) = &rules.internal {
        // The answer to a client outside the cluster must come back through this node.
        let from_outside = [Expr::source_not_in(config.cluster_cidr), Expr::mark(MASQUERADE)].concat();
        let mut chain = vec![from_outside.into_iter().map(Part::Do).collect()];
        balance(&mut chain, &[], endpoints, memory.as_deref());
        chains.push((internal_chain(name), chain));
    }
    let is_external = rules.node_port.is_some() || !rules.external_addresses.is_empty();
    if is_external && matches!(effective_external(rules), Target::To(_)) {
        chains.push((external_chain(name), external(rules, config, memory.as_deref())));
    }
    if let Some(fence) = &rules.fence {
        chains.push((fence_chain(name), self::fence(&fence.addresses, &fence.sources)));
    }
    chains
}

fn external(rules: &PortRules, config: &ProxyConfig, memory: Option<&str>) -> Vec<Rule> {
    let mut chain = Vec::new();
    let steps = |expressions: Vec<Expr>| expressions.into_iter().map(Part::Do).collect::<Rule>();
    match &rules.shortcut {
        None => {
            chain.push(steps(Expr::mark(MASQUERADE)));
            balance(&mut chain, &[], rules.external.endpoints(), memory);
        }
        Some(shortcut) => {
            balance(&mut chain, &Expr::source_in(config.cluster_cidr), shortcut, memory);
            chain.push(steps([Expr::from_this_machine(), Expr::mark(MASQUERADE)].concat()));
            balance(&mut chain, &Expr::from_this_machine(), shortcut, memory);
            balance(&mut chain, &[], rules.external.endpoints(), memory);
            if rules.external.endpoints().is_empty() {
                chain.push(steps(vec![Expr::Drop]));
            }
        }
    }
    chain
}

/// Lets through who may, and the addresses themselves, by which the node may come; drops the others.
fn fence(addresses: &BTreeSet<Ipv4Addr>, sources: &[ipnet::Ipv4Net]) -> Vec<Rule> {
    let own = addresses.iter().map(|address| ipnet::Ipv4Net::new_assert(*address, 32));
    let all: Vec<ipnet::Ipv4Net> = sources.iter().copied().chain(own).collect();
    let may = vec![
        Part::Do(Family::V4.source(0)),
        Part::Within(Type::Address, super::intervals(&all)),
        Part::Do(Expr::Accept),
    ];
    vec![may, vec![Part::Do(Expr::Drop)]]
}

/// The rules that send a new connection that fits to one of the endpoints: the one that the memory has for the client, or
/// any.
fn balance(chain: &mut Vec<Rule>, condition: &[Expr], endpoints: &[At], memory: Option<&str>) {
    /// The register of the client's address, behind those of an endpoint.
    const CLIENT: u32 = 2;
    let nat = Part::Do(Expr::Nat(Nat::DestinationAndPort));
    if endpoints.is_empty() {
        return;
    }
    let all: Vec<u8> = endpoints.iter().flat_map(|(address, port)| address_port(*address, *port)).collect();
    let mut add = |parts: Vec<Part>| {
        let condition = condition.iter().cloned().map(Part::Do);
        chain.push(condition.chain(parts).collect());
    };
    let any = Part::Any(Type::AddressPort, all.clone());
    if let Some(memory) = memory {
        let (map, by) = (memory.to_owned(), CLIENT);
        let client = Part::Do(Expr::source(CLIENT));
        let recall = Part::Do(Expr::Recall { map: map.clone(), by });
        let remember = Part::Do(Expr::Remember { map: map.clone(), by });
        let forget = Part::Do(Expr::Forget { map, by });
        let known = Part::OneOf(Type::AddressPort, all);
        add(vec![client.clone(), recall, known, remember.clone(), nat.clone()]);
        // The endpoint that the client had may be gone.
        add(vec![any.clone(), client, forget, remember, nat.clone()]);
    }
    add(vec![any, nat]);
}
