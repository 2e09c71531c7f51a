//! How service ports stand in nftables: what the table begins with, and what a port adds.
//!
//! A port without extras adds no rules: a map knows by address, protocol and port how many endpoints there are and the
//! number of their list, another which chain picks one of so many, and a third the endpoint at each place of each list.
//! So its changes are elements of maps of plain data, which the kernel takes over without looking at anything else; sets and
//! chains of each port would be searched in order whenever one is named. What has affinity or a shortcut has a chain.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::endpoints::{At, Endpoints};
use super::wanted::{PortRules, Target};
use super::{FamilyConfig, MARK_AS_SENT, MARK_ELSEWHERE, MARK_TO_NETWORK};
use coracle_values::addresses::alone;
use ipnet::IpNet;

use crate::nft::{self, Batch, Data, Expr, Family, Hook, InPackets, Nat, Part, Rule, Type, Verdict, octets};
use crate::node::{address_port, port_key, protocol_number};

pub(crate) const TABLE: &str = "coracle-services";
/// From place and list to an endpoint.
pub(super) const ENDPOINTS: &str = "endpoints";
/// From address, protocol and port to the chain of a port.
const CHAINS: &str = "chains";
/// From protocol and port of the node.
const NODE_CHAINS: &str = "node-chains";
/// What nobody serves: clients are told so, or try again.
const REFUSED: &str = "refused";
const REFUSED_PORTS: &str = "refused-ports";
const DROPPED: &str = "dropped";
const DROPPED_PORTS: &str = "dropped-ports";
/// Those that not everybody may use.
const FENCED: &str = "fenced";
/// The chain for what comes to an address at which node ports are served.
pub(super) const NODE_ADDRESSES: &str = "node-addresses";
/// The bit of a packet's mark that asks for masquerading, the same as kube-proxy's.
const MASQUERADE: u32 = 0x4000;

/// How traffic comes to a port without extras.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Way {
    /// By the address within the cluster.
    Internal,
    /// By one for outsiders.
    External,
    /// By a port of the node.
    Node,
}

impl Way {
    const ALL: [Way; 3] = [Way::Internal, Way::External, Way::Node];

    /// From address, protocol and port to the number of endpoints and their list.
    const fn counts(self) -> &'static str {
        match self {
            Way::Internal => "internal",
            Way::External => "external",
            Way::Node => "node",
        }
    }

    /// From a number of endpoints to the chain that picks one of them.
    pub const fn picks(self) -> &'static str {
        match self {
            Way::Internal => "pick-internal",
            Way::External => "pick-external",
            Way::Node => "pick-node",
        }
    }

    fn key(self, family: Family) -> Vec<Expr> {
        match self {
            Way::Internal | Way::External => family.destination_key(),
            Way::Node => Expr::protocol_port(),
        }
    }
}

/// The sets to which the base chains refer.
pub(super) fn base_sets(family: Family) -> [(&'static str, Type, Option<Type>); 14] {
    let (at, key) = (family.address_port(), family.address_protocol_port());
    [
        (ENDPOINTS, Type::NumberPair, Some(at)),
        (CHAINS, key, Some(Type::Verdict)),
        (NODE_CHAINS, Type::ProtocolPort, Some(Type::Verdict)),
        (REFUSED, key, None),
        (REFUSED_PORTS, Type::ProtocolPort, None),
        (DROPPED, key, None),
        (DROPPED_PORTS, Type::ProtocolPort, None),
        (FENCED, key, Some(Type::Verdict)),
        (Way::Internal.counts(), key, Some(Type::Numbers)),
        (Way::External.counts(), key, Some(Type::Numbers)),
        (Way::Node.counts(), Type::ProtocolPort, Some(Type::Numbers)),
        (Way::Internal.picks(), Type::Number, Some(Type::Verdict)),
        (Way::External.picks(), Type::Number, Some(Type::Verdict)),
        (Way::Node.picks(), Type::Number, Some(Type::Verdict)),
    ]
}

/// The base chains.
pub(super) fn base(family: Family, batch: &mut Batch) {
    let counted = |way: Way| {
        let lookups = vec![Expr::Map(way.counts().into()), Expr::VerdictBy { map: way.picks().into(), by: 2 }];
        [way.key(family), lookups].concat()
    };
    let to_network = || [Expr::marked(MARK_TO_NETWORK), vec![Expr::Accept]].concat();
    let own_chain = |key: Vec<Expr>, map: &str| [key, vec![Expr::VerdictMap(map.into())]].concat();
    // A rule may refer to a chain that is made before it.
    batch.chain(TABLE, NODE_ADDRESSES);
    batch.chain(TABLE, "node-port");
    batch.rule(TABLE, "node-port", &own_chain(Expr::protocol_port(), NODE_CHAINS));
    batch.rule(TABLE, "node-port", &counted(Way::Node));
    for (chain, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        batch.base_chain(TABLE, chain, "nat", hook, nft::PRIORITY_DESTINATION_NAT);
        if hook == Hook::Output {
            batch.rule(TABLE, chain, &to_network());
        }
        batch.rule(TABLE, chain, &own_chain(family.destination_key(), CHAINS));
        batch.rule(TABLE, chain, &counted(Way::Internal));
        batch.rule(TABLE, chain, &counted(Way::External));
        let to_node = [Expr::to_node_port(family), vec![Expr::Jump(NODE_ADDRESSES.into())]];
        batch.rule(TABLE, chain, &to_node.concat());
    }
    batch.base_chain(TABLE, "postrouting", "nat", Hook::Postrouting, nft::PRIORITY_SOURCE_NAT);
    batch.rule(TABLE, "postrouting", &[Expr::marked(MASQUERADE), vec![Expr::Masquerade]].concat());
    batch.chain(TABLE, "refuse");
    batch.rule(TABLE, "refuse", &[Expr::protocol_is(6), vec![Expr::RejectTcp]].concat());
    batch.rule(TABLE, "refuse", &[Expr::RejectUnreachable(family)]);
    // Whoever may not use an address is turned away before it is translated.
    for (chain, hook) in [("fence-prerouting", Hook::Prerouting), ("fence-output", Hook::Output)] {
        batch.base_chain(TABLE, chain, "filter", hook, nft::PRIORITY_DESTINATION_NAT - 10);
        batch.rule(TABLE, chain, &[Expr::unanswered(), own_chain(family.destination_key(), FENCED)].concat());
    }
    // A service without endpoints refuses at once instead of letting clients wait.
    let refuse = || Expr::Verdict(Verdict("refuse".into()));
    for (chain, hook) in
        [("filter-input", Hook::Input), ("filter-forward", Hook::Forward), ("filter-output", Hook::Output)]
    {
        batch.base_chain(TABLE, chain, "filter", hook, nft::PRIORITY_FILTER);
        batch.rule(TABLE, chain, &[Expr::answered(), vec![Expr::Accept]].concat());
        if hook == Hook::Output {
            batch.rule(TABLE, chain, &to_network());
            let translated = [Expr::marked(MARK_AS_SENT), Expr::destination_chosen(), vec![refuse()]];
            let here = [Expr::marked(MARK_ELSEWHERE), Expr::to_this_machine(), vec![refuse()]];
            [translated, here].iter().for_each(|rule| batch.rule(TABLE, chain, &rule.concat()));
        }
        for (set, end) in [(REFUSED, refuse()), (DROPPED, Expr::Drop)] {
            batch.rule(TABLE, chain, &[family.destination_key(), vec![Expr::InSet(set.into()), end]].concat());
        }
        if hook == Hook::Input {
            for (set, end) in [(REFUSED_PORTS, refuse()), (DROPPED_PORTS, Expr::Drop)] {
                let listed = [Expr::protocol_port(), vec![Expr::InSet(set.into()), end]].concat();
                batch.rule(TABLE, chain, &[Expr::to_node_port(family), listed].concat());
            }
        }
    }
}

/// The chain that lets through what is for an address at which node ports are served.
pub(super) fn node_addresses(config: &FamilyConfig) -> Vec<Rule> {
    let ranges = &config.node_port_addresses;
    let to = Part::Do(Expr::Verdict(Verdict("node-port".into())));
    if ranges.is_empty() {
        return vec![vec![to]];
    }
    let load = Part::Do(config.family.destination(0));
    vec![vec![load, Part::Within(config.family.address(), super::intervals(ranges)), to]]
}

/// The name and the rules of the chain that picks one of so many endpoints.
pub(super) fn pick(way: Way, count: u32, config: &FamilyConfig) -> (String, Vec<Rule>) {
    let mark = match way {
        // The answer to a client outside the cluster must come back through this node.
        Way::Internal => [Expr::source_not_in(config.cluster_cidr), Expr::mark(MASQUERADE)].concat(),
        Way::External | Way::Node => Expr::mark(MASQUERADE),
    };
    // The place comes beside the list.
    let list = [way.key(config.family), vec![Expr::Map(way.counts().into())]].concat();
    let nat = Expr::Nat(Nat::DestinationAndPort(config.family));
    let place = vec![Expr::Random { modulus: count }, Expr::Map(ENDPOINTS.into()), nat];
    let rules = [mark, [list, place].concat()];
    (format!("{}-{count}", way.picks()), rules.map(|rule| rule.into_iter().map(Part::Do).collect()).into())
}

/// A place of a list, as the map of endpoints has it.
pub(super) fn place_key(place: u32, list: u32) -> Vec<u8> {
    [place.to_ne_bytes(), list.to_ne_bytes()].concat()
}

/// A list and how many endpoints it has. For `nft`, what a map gives is in the first register and has no length, and it aborts where
/// such is looked up. So there is nothing in that.
fn counted(count: u32, list: u32) -> Vec<u8> {
    [0, list, count].map(u32::to_ne_bytes).concat()
}

/// The lists of endpoints of a port, each once, and which of them is for what.
pub(super) struct Lists {
    pub lists: Vec<Endpoints>,
    internal: u32,
    external: u32,
    shortcut: u32,
}

/// How many lists a port may have.
pub(super) const LISTS: u32 = 4;

impl Lists {
    pub fn of(rules: &PortRules) -> Lists {
        let mut lists: Vec<Endpoints> = Vec::new();
        let mut number = |of: &Endpoints| {
            let known = lists.iter().position(|list| list == of);
            known.unwrap_or_else(|| {
                lists.push(of.clone());
                lists.len() - 1
            }) as u32
        };
        let none = Endpoints::from([]);
        let of = |target: &Target| if let Target::To(list) = target { list.clone() } else { none.clone() };
        let (internal, external) = (number(&of(&rules.internal)), number(&of(&rules.external)));
        let shortcut = number(rules.shortcut.as_ref().unwrap_or(&none));
        Lists { lists, internal, external, shortcut }
    }
}

pub(super) fn service_key(address: IpAddr, rules: &PortRules) -> Vec<u8> {
    let [high, low] = rules.port.to_be_bytes();
    [&octets(address)[..], &[protocol_number(&rules.protocol), 0, 0, 0, high, low, 0, 0]].concat()
}

/// An element of a set or map.
pub(super) struct Entry {
    pub set: &'static str,
    pub key: Vec<u8>,
    pub value: Option<Data>,
}

/// What a port puts into the sets to which others may want to put the same keys. `first` is the number of its first list.
pub(super) fn entries(name: &str, rules: &PortRules, first: u32) -> Vec<Entry> {
    let lists = Lists::of(rules);
    let mut entries = Vec::new();
    let mut add = |way: Way, key: Vec<u8>, target: &Target, list: u32, chain: Option<String>| {
        let sets = match way {
            Way::Node => (NODE_CHAINS, REFUSED_PORTS, DROPPED_PORTS),
            Way::Internal | Way::External => (CHAINS, REFUSED, DROPPED),
        };
        let (set, value) = match (target, chain) {
            (Target::Refuse, _) => (sets.1, None),
            (Target::Drop, _) => (sets.2, None),
            (Target::To(_), Some(chain)) => (sets.0, Some(Data::Verdict(Verdict(chain)))),
            (Target::To(endpoints), None) => {
                (way.counts(), Some(Data::Bytes(counted(endpoints.len() as u32, first.wrapping_add(list)))))
            }
        };
        entries.push(Entry { set, key, value });
    };
    let internal_chain = rules.affinity.map(|_| internal_chain(name));
    let key = service_key(rules.cluster_ip, rules);
    add(Way::Internal, key, &rules.internal, lists.internal, internal_chain);
    let external = effective_external(rules);
    let has_chain = rules.affinity.is_some() || rules.shortcut.is_some();
    let chain = || has_chain.then(|| external_chain(name));
    for address in &rules.external_addresses {
        add(Way::External, service_key(*address, rules), &external, lists.external, chain());
    }
    if let Some(port) = rules.node_port {
        add(Way::Node, port_key(&rules.protocol, port), &external, lists.external, chain());
    }
    for address in rules.fence.iter().flat_map(|fence| &fence.addresses) {
        let value = Some(Data::Verdict(Verdict(fence_chain(name))));
        entries.push(Entry { set: FENCED, key: service_key(*address, rules), value });
    }
    entries
}

/// The chains that pick endpoints for a port.
pub(super) fn picks(rules: &PortRules) -> Vec<(Way, u32)> {
    let (plain, external) = (rules.affinity.is_none(), effective_external(rules));
    let count = |target: &Target| target.endpoints().len() as u32;
    let by_address = !rules.external_addresses.is_empty();
    let ways = Way::ALL.into_iter().filter_map(|way| match way {
        Way::Internal => plain.then(|| (way, count(&rules.internal))),
        Way::External => (plain && rules.shortcut.is_none() && by_address).then(|| (way, count(&external))),
        Way::Node => (plain && rules.shortcut.is_none() && rules.node_port.is_some()).then(|| (way, count(&external))),
    });
    ways.filter(|(_, count)| *count > 0).collect()
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

/// The chains of a port that has extras.
pub(super) fn chains(name: &str, rules: &PortRules, first: u32, config: &FamilyConfig) -> Vec<(String, Vec<Rule>)> {
    let (mut chains, lists) = (Vec::new(), Lists::of(rules));
    let memory = memory(name, rules);
    if let (Target::To(endpoints), Some(_)) = (&rules.internal, rules.affinity) {
        let from_outside = [Expr::source_not_in(config.cluster_cidr), Expr::mark(MASQUERADE)].concat();
        let mut chain = vec![from_outside.into_iter().map(Part::Do).collect()];
        let list = List { endpoints, number: first.wrapping_add(lists.internal) };
        balance(config.family, &mut chain, &[], list, memory.as_deref());
        chains.push((internal_chain(name), chain));
    }
    let is_external = rules.node_port.is_some() || !rules.external_addresses.is_empty();
    let has_chain = rules.affinity.is_some() || rules.shortcut.is_some();
    if is_external && has_chain && matches!(effective_external(rules), Target::To(_)) {
        let chain = external(rules, [lists.external, lists.shortcut].map(|list| first.wrapping_add(list)), config);
        chains.push((external_chain(name), chain(memory.as_deref())));
    }
    if let Some(fence) = &rules.fence {
        chains.push((fence_chain(name), self::fence(config.family, &fence.addresses, &fence.sources)));
    }
    chains
}

/// The chain of what comes from outside; `numbers` are those of the lists for outsiders and of the shortcut.
fn external<'a>(
    rules: &'a PortRules,
    numbers: [u32; 2],
    config: &'a FamilyConfig,
) -> impl FnOnce(Option<&str>) -> Vec<Rule> + 'a {
    move |memory| {
        let mut chain = Vec::new();
        let steps = |expressions: Vec<Expr>| expressions.into_iter().map(Part::Do).collect::<Rule>();
        let outsiders = List { endpoints: rules.external.endpoints(), number: numbers[0] };
        let Some(shortcut) = &rules.shortcut else {
            chain.push(steps(Expr::mark(MASQUERADE)));
            balance(config.family, &mut chain, &[], outsiders, memory);
            return chain;
        };
        let shortcut = List { endpoints: shortcut, number: numbers[1] };
        balance(config.family, &mut chain, &Expr::source_in(config.cluster_cidr), shortcut, memory);
        chain.push(steps([Expr::from_this_machine(), Expr::mark(MASQUERADE)].concat()));
        balance(config.family, &mut chain, &Expr::from_this_machine(), shortcut, memory);
        balance(config.family, &mut chain, &[], outsiders, memory);
        if outsiders.endpoints.is_empty() {
            chain.push(steps(vec![Expr::Drop]));
        }
        chain
    }
}

/// Lets through who may, and the addresses themselves, by which the node may come; drops the others.
fn fence(family: Family, addresses: &BTreeSet<IpAddr>, sources: &[IpNet]) -> Vec<Rule> {
    let own = addresses.iter().map(|address| alone(*address));
    let all: Vec<IpNet> = sources.iter().copied().chain(own).collect();
    let may = vec![
        Part::Do(family.source(0)),
        Part::Within(family.address(), super::intervals(&all)),
        Part::Do(Expr::Accept),
    ];
    vec![may, vec![Part::Do(Expr::Drop)]]
}

/// Endpoints, and the number of their list.
#[derive(Clone, Copy)]
struct List<'a> {
    endpoints: &'a [At],
    number: u32,
}

/// The rules that send a new connection that fits to one of the endpoints: the one that the memory has for the client, or
/// any.
fn balance(family: Family, chain: &mut Vec<Rule>, condition: &[Expr], list: List<'_>, memory: Option<&str>) {
    // The registers of the client's address are behind those of an endpoint.
    let by = family.registers() + 1;
    if list.endpoints.is_empty() {
        return;
    }
    let mut add = |parts: Vec<Part>| {
        let condition = condition.iter().cloned().map(Part::Do);
        chain.push(condition.chain(parts).collect());
    };
    let nat = Expr::Nat(Nat::DestinationAndPort(family));
    let any = [
        Expr::Load { into: 1, value: list.number.to_ne_bytes() },
        Expr::Random { modulus: list.endpoints.len() as u32 },
        Expr::Map(ENDPOINTS.into()),
    ];
    if let Some(memory) = memory {
        let map = memory.to_owned();
        let (recall, remember, forget) =
            (Expr::Recall { map: map.clone(), by }, Expr::Remember { map: map.clone(), by }, Expr::Forget { map, by });
        let client = family.source(by);
        let all = list.endpoints.iter().flat_map(|(address, port)| address_port(*address, *port)).collect();
        let known = Part::OneOf(family.address_port(), all);
        let found = [client.clone(), recall].map(Part::Do).into_iter().chain([known]);
        add(found.chain([remember.clone(), nat.clone()].map(Part::Do)).collect());
        // The endpoint that the client had may be gone.
        let new = any.clone().into_iter().chain([client, forget, remember, nat.clone()]);
        add(new.map(Part::Do).collect());
    }
    add(any.into_iter().chain([nat]).map(Part::Do).collect());
}
