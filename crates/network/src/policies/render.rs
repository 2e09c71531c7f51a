//! How policies stand in nftables: the table's base, keys of its sets, and rules.
//!
//! Two base chains see what is forwarded, as all packets of pods are: `egress` looks up the sender, `ingress` the receiver.
//! A pod that no policy is about is in neither map. The others are of a group, that of all pods with the same policies. Its
//! chain jumps to one for each of them, where what is allowed is accepted, and drops the rest. Addresses lead to groups and
//! these to chains, as the kernel walks all chains to which a map leads whenever that changes.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use super::policy::{Direction, Peer, Port, Rule, next};
use crate::nft::{self, Batch, Expr, Family, Hook, InPackets, Part, Type};

pub(crate) use crate::nft::octets as address_key;

pub(crate) const TABLE: &str = "coracle-policies";
/// Addresses that a sandbox has, and of which it is not known yet whose they are.
pub(crate) const HELD: &str = "held";
/// Pods that some policy is about.
pub(crate) const ISOLATED: &str = "isolated";
/// Those as pairs: a pod always reaches itself.
pub(crate) const SELF: &str = "self";

/// The sets to which the base chains refer.
pub(crate) fn base_sets(family: Family) -> [(&'static str, Type, Option<Type>); 7] {
    let (address, number, verdict) = (family.address(), Some(Type::Number), Some(Type::Verdict));
    [
        (HELD, address, None),
        (ISOLATED, address, None),
        (SELF, family.address_pair(), None),
        (Direction::Egress.name(), address, number),
        (Direction::Ingress.name(), address, number),
        (chains(Direction::Egress), Type::Number, verdict),
        (chains(Direction::Ingress), Type::Number, verdict),
    ]
}

/// The map from groups to their chains.
pub(crate) fn chains(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress-groups",
        Direction::Egress => "egress-groups",
    }
}

/// The base chains. What is answered passes first: policies are asked of the first packet of a connection.
pub(crate) fn base(family: Family, batch: &mut Batch) {
    let (source, destination) = (family.source(0), family.destination(0));
    let sets = |load: &Expr, set: &str| vec![load.clone(), Expr::InSet(set.into())];
    for direction in [Direction::Egress, Direction::Ingress] {
        let chain = direction.name();
        let (load, priority) = match direction {
            Direction::Egress => (&source, nft::PRIORITY_FILTER - 1),
            Direction::Ingress => (&destination, nft::PRIORITY_FILTER),
        };
        batch.base_chain(TABLE, chain, "filter", Hook::Forward, priority);
        batch.rule(TABLE, chain, &[Expr::answered(), vec![Expr::Accept]].concat());
        batch.rule(TABLE, chain, &[sets(load, HELD), vec![Expr::Drop]].concat());
        let pair = vec![family.source(0), family.destination(family.registers()), Expr::InSet(SELF.into())];
        batch.rule(TABLE, chain, &[pair, vec![Expr::Accept]].concat());
        if direction == Direction::Egress {
            // A connection that was forgotten because it is forbidden must not begin in the middle, from the other side.
            for load in [&source, &destination] {
                let rule = [Expr::not_first_of_tcp(), sets(load, ISOLATED), vec![Expr::Drop]];
                batch.rule(TABLE, chain, &rule.concat());
            }
        }
        let to_group = [load.clone(), Expr::Map(chain.into()), Expr::VerdictMap(chains(direction).into())];
        batch.rule(TABLE, chain, &to_group);
    }
}

/// Address, protocol and port as sets have them.
pub(crate) fn port_key(address: IpAddr, protocol: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [&address_key(address)[..], &[protocol, 0, 0, 0, high, low, 0, 0]].concat()
}

/// The names of sets that rules refer to.
pub(crate) trait Names {
    fn of_pods(&self, pods: &super::policy::Pods) -> Option<String>;
    fn of_ports(&self, protocol: u8, name: &str) -> Option<String>;
}

/// The chain of a group: what none of its policies accepts is dropped.
pub(crate) fn group(policies: impl Iterator<Item = String>) -> Vec<nft::Rule> {
    let jumps = policies.map(|chain| vec![Part::Do(Expr::Jump(chain))]);
    jumps.chain([vec![Part::Do(Expr::Drop)]]).collect()
}

/// The chains of a policy for one direction, that of its name first. A rule of many peers and many ports has one of its own
/// for the ports, to which each of the peers leads: else there would be a rule for each pair.
pub(crate) fn policy(
    name: &str,
    family: Family,
    direction: Direction,
    rules: &[Rule],
    names: &impl Names,
) -> Vec<(String, Vec<nft::Rule>)> {
    let mut main = Vec::new();
    let mut chains = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let peers = match &rule.peers {
            None => vec![Vec::new()],
            Some(peers) => self::peers(family, direction, peers, names),
        };
        let ports = match &rule.ports {
            None => vec![Vec::new()],
            Some(ports) => self::ports(family, ports, names),
        };
        let accepts = ports.into_iter().map(|port| [port, vec![Part::Do(Expr::Accept)]].concat());
        if is_wide(rule) {
            let chain = ports_chain(name, number);
            main.extend(peers.into_iter().map(|peer| [peer, vec![Part::Do(Expr::Jump(chain.clone()))]].concat()));
            chains.push((chain, accepts.collect()));
        } else {
            for accept in accepts {
                main.extend(peers.iter().map(|peer| [&peer[..], &accept].concat()));
            }
        }
    }
    let mut seen = HashSet::new();
    main.retain(|rule| seen.insert(rule.clone()));
    [(name.to_owned(), main)].into_iter().chain(chains).collect()
}

/// The names of the chains that [`policy`] makes, whatever the family.
pub(crate) fn policy_chains(name: &str, rules: &[Rule]) -> BTreeSet<String> {
    let wide = rules.iter().enumerate().filter(|(_, rule)| is_wide(rule));
    [name.to_owned()].into_iter().chain(wide.map(|(number, _)| ports_chain(name, number))).collect()
}

fn ports_chain(policy: &str, number: usize) -> String {
    format!("{policy}-ports-{number}")
}

fn is_wide(rule: &Rule) -> bool {
    let (peers, ports) = rule.conditions();
    peers.saturating_mul(ports) > peers + ports
}

/// A condition for each set of peers; all blocks of addresses are one.
fn peers(family: Family, direction: Direction, peers: &[Peer], names: &impl Names) -> Vec<nft::Rule> {
    let load = match direction {
        Direction::Ingress => family.source(0),
        Direction::Egress => family.destination(0),
    };
    let (mut conditions, mut ranges) = (Vec::new(), Vec::new());
    for peer in peers {
        match peer {
            Peer::Pods(pods) => {
                let set = names.of_pods(pods).map(|set| vec![Part::Do(load.clone()), Part::Do(Expr::InSet(set))]);
                conditions.extend(set);
            }
            Peer::Addresses(own) => ranges.extend(own.iter().filter(|(from, _)| Family::of(*from) == family)),
        }
    }
    if !ranges.is_empty() {
        let interval = |(from, to): (IpAddr, IpAddr)| (address_key(from), next(to).map(address_key));
        let intervals = joined(ranges).into_iter().map(interval).collect();
        conditions.push(vec![Part::Do(load), Part::Within(family.address(), intervals)]);
    }
    conditions
}

/// Ranges that neither overlap nor touch.
fn joined(mut ranges: Vec<(IpAddr, IpAddr)>) -> Vec<(IpAddr, IpAddr)> {
    ranges.sort_unstable();
    let mut out: Vec<(IpAddr, IpAddr)> = Vec::new();
    for (from, to) in ranges {
        match out.last_mut() {
            Some(before) if next(before.1).is_none_or(|behind| from <= behind) => before.1 = before.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

/// A condition for each protocol with its numbers, and for each name.
fn ports(family: Family, ports: &[Port], names: &impl Names) -> Vec<nft::Rule> {
    let mut conditions: Vec<nft::Rule> = Vec::new();
    let mut numbers: Vec<(u8, Vec<(u16, u16)>)> = Vec::new();
    for port in ports {
        match port {
            Port::Numbers { protocol, first, last } => match numbers.last_mut() {
                Some((of, ranges)) if of == protocol => ranges.push((*first, *last)),
                _ => numbers.push((*protocol, vec![(*first, *last)])),
            },
            Port::Named { protocol, name } => {
                let Some(set) = names.of_ports(*protocol, name) else { continue };
                let behind = family.registers();
                let steps = [
                    family.destination(0),
                    Expr::Protocol { into: behind },
                    Expr::DestinationPort { into: behind + 1 },
                    Expr::InSet(set),
                ];
                conditions.push(steps.into_iter().map(Part::Do).collect());
            }
        }
    }
    conditions.extend(numbers.into_iter().map(|(protocol, ranges)| numbered(protocol, &ranges)));
    conditions
}

fn numbered(protocol: u8, ranges: &[(u16, u16)]) -> nft::Rule {
    let mut steps: nft::Rule = Expr::protocol_is(protocol).into_iter().map(Part::Do).collect();
    let key = |port: u16| port.to_be_bytes().to_vec();
    let load = Part::Do(Expr::DestinationPort { into: 0 });
    match ranges {
        [(0, u16::MAX)] => {}
        [(first, last)] if first == last => {
            steps.push(load);
            steps.push(Part::Do(Expr::Compare { register: 0, equal: true, value: key(*first) }));
        }
        some => {
            let intervals = some.iter().map(|(first, last)| (key(*first), last.checked_add(1).map(key)));
            steps.push(load);
            steps.push(Part::Within(Type::Port, intervals.collect()));
        }
    }
    steps
}
