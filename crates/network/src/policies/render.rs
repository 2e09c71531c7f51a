//! How policies stand in nftables: the table's base, keys of its sets, and rules.
//!
//! Two base chains see what is forwarded, as all packets of pods are: `egress` looks up the sender, `ingress` the receiver.
//! A pod that no policy is about is in neither map. The others are of a group, that of all pods with the same policies. Its
//! chain jumps to one for each of them: first to those of administrators, which accept or drop what they have a rule for, then
//! to network policies, where what is allowed is accepted, and drops the rest; without any, to the baseline. Addresses lead to
//! groups and these to chains, as the kernel walks all chains to which a map leads whenever that changes.
//!
//! A rule that passes sets a bit of the packet's mark and ends its policy's chain; the group's chain clears it at once, and
//! goes on behind the policies of administrators.
//!
//! Two more base chains see what pods send to their own node. There, network policies have no say, those of administrators do.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use super::policy::{Action, Direction, Labelled, Peer, Pods, Port, Rule, next};
use crate::nft::{self, Batch, Expr, Family, Hook, InPackets, Part, Type, Verdict};

pub(crate) use crate::nft::octets as address_key;

pub(crate) const TABLE: &str = "coracle-policies";
/// Addresses that a sandbox has, and of which it is not known yet whose they are.
pub(crate) const HELD: &str = "held";
/// Pods that some policy is about.
pub(crate) const ISOLATED: &str = "isolated";
/// Those as pairs: a pod always reaches itself.
pub(crate) const SELF: &str = "self";

/// Pods for which some policy decides what they send to their own node.
pub(crate) const GOVERNED: &str = "governed";
/// Where the node answers whatever policies say: names of the cluster.
pub(crate) const ALWAYS: &str = "always";
/// The map from groups to their chains for what is sent to the node itself.
pub(crate) const NODE_CHAINS: &str = "node-groups";
/// The bit of the mark that says that a policy passed. No packet leaves the group's chain with it.
const PASSED: u32 = 0x400;

/// The sets to which the base chains refer.
pub(crate) fn base_sets(family: Family) -> [(&'static str, Type, Option<Type>); 10] {
    let (address, number, verdict) = (family.address(), Some(Type::Number), Some(Type::Verdict));
    [
        (HELD, address, None),
        (ISOLATED, address, None),
        (SELF, family.address_pair(), None),
        (Direction::Egress.name(), address, number),
        (Direction::Ingress.name(), address, number),
        (GOVERNED, address, None),
        (ALWAYS, family.address_protocol_port(), None),
        (NODE_CHAINS, Type::Number, verdict),
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
    // What pods and their own node send each other. No connection that is forbidden begins in the middle, from either side.
    let (to, from) = ("to-node", "from-node");
    batch.base_chain(TABLE, to, "filter", Hook::Input, nft::PRIORITY_FILTER);
    batch.base_chain(TABLE, from, "filter", Hook::Output, nft::PRIORITY_FILTER);
    for (chain, load) in [(to, &source), (from, &destination)] {
        let middle = [sets(load, GOVERNED), Expr::unanswered(), Expr::not_first_of_tcp(), vec![Expr::Drop]];
        batch.rule(TABLE, chain, &middle.concat());
    }
    batch.rule(TABLE, to, &[family.destination_key(), vec![Expr::InSet(ALWAYS.into()), Expr::Accept]].concat());
    let to_group = vec![source, Expr::Map(Direction::Egress.name().into()), Expr::VerdictMap(NODE_CHAINS.into())];
    batch.rule(TABLE, to, &[sets(&family.source(0), GOVERNED), Expr::unanswered(), to_group].concat());
}

/// Address, protocol and port as sets have them.
pub(crate) fn port_key(address: IpAddr, protocol: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [&address_key(address)[..], &[protocol, 0, 0, 0, high, low, 0, 0]].concat()
}

/// The names of sets that rules refer to.
pub(crate) trait Names {
    fn of_pods(&self, pods: &Pods) -> Option<String>;
    fn of_nodes(&self, nodes: &Labelled) -> Option<String>;
    fn of_ports(&self, protocol: Option<u8>, name: &str) -> Option<String>;
}

/// The chains of the policies of a group, in the order in which they are asked.
#[derive(Default)]
pub(crate) struct Group {
    pub admin: Vec<String>,
    pub network: Vec<String>,
    /// Only without network policies.
    pub baseline: Option<String>,
}

impl Group {
    /// The group's chain, and one of the name `rest` for what policies of administrators leave to others, if there are such.
    pub fn chains(&self, name: &str, rest: &str) -> Vec<(String, Vec<nft::Rule>)> {
        let mut last: Vec<nft::Rule> = self.network.iter().map(|chain| jump(chain)).collect();
        last.extend((!last.is_empty()).then(|| vec![Part::Do(Expr::Drop)]));
        last.extend(self.baseline.iter().map(|chain| jump(chain)));
        self.with_admin(name, rest, last)
    }

    /// As [`Group::chains`], for what is sent to the node itself, where network policies allow everything.
    pub fn node_chains(&self, name: &str, rest: &str) -> Vec<(String, Vec<nft::Rule>)> {
        self.with_admin(name, rest, self.baseline.iter().map(|chain| jump(chain)).collect())
    }

    /// Whether it has a say in what is sent to the node itself.
    pub fn governs(&self) -> bool {
        !self.admin.is_empty() || self.baseline.is_some()
    }

    fn with_admin(&self, name: &str, rest: &str, last: Vec<nft::Rule>) -> Vec<(String, Vec<nft::Rule>)> {
        if self.admin.is_empty() {
            return vec![(name.to_owned(), last)];
        }
        let unmark = || Expr::unmark(PASSED).into_iter().map(Part::Do);
        let to_rest = || Part::Do(Expr::Verdict(Verdict(rest.to_owned())));
        // Whoever else set the bit meant something else.
        let mut main = vec![unmark().collect()];
        for chain in &self.admin {
            main.push(jump(chain));
            let passed = Expr::marked(PASSED).into_iter().map(Part::Do);
            main.push(passed.chain(unmark()).chain([to_rest()]).collect());
        }
        main.push(vec![to_rest()]);
        vec![(rest.to_owned(), last), (name.to_owned(), main)]
    }
}

fn jump(chain: &str) -> nft::Rule {
    vec![Part::Do(Expr::Jump(chain.to_owned()))]
}

/// What a rule does with a connection that it is about.
fn done(action: Action) -> nft::Rule {
    let steps = match action {
        Action::Allow => vec![Expr::Accept],
        Action::Deny => vec![Expr::Drop],
        Action::Pass => [Expr::mark(PASSED), vec![Expr::Return]].concat(),
    };
    steps.into_iter().map(Part::Do).collect()
}

/// The chains of a policy for one direction, that of its name first; the rules are in their order. A rule of many peers and many ports has one of its own
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
        let ends = ports.into_iter().map(|port| [port, done(rule.action)].concat());
        if is_wide(rule) {
            let chain = ports_chain(name, number);
            main.extend(peers.into_iter().map(|peer| [peer, jump(&chain)].concat()));
            chains.push((chain, ends.collect()));
            if rule.action == Action::Pass {
                // From the chain of the ports it came back here.
                main.push(end_if_passed());
            }
        } else {
            for end in ends {
                main.extend(peers.iter().map(|peer| [&peer[..], &end].concat()));
            }
        }
    }
    let mut seen = HashSet::new();
    main.retain(|rule| seen.insert(rule.clone()) || *rule == end_if_passed());
    [(name.to_owned(), main)].into_iter().chain(chains).collect()
}

fn end_if_passed() -> nft::Rule {
    Expr::marked(PASSED).into_iter().chain([Expr::Return]).map(Part::Do).collect()
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
    let in_set = |set: String| vec![Part::Do(load.clone()), Part::Do(Expr::InSet(set))];
    let (mut conditions, mut ranges) = (Vec::new(), Vec::new());
    for peer in peers {
        match peer {
            Peer::Pods(pods) => conditions.extend(names.of_pods(pods).map(in_set)),
            Peer::Nodes(nodes) => conditions.extend(names.of_nodes(nodes).map(in_set)),
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
