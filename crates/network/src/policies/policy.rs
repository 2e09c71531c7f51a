//! Policies of any kind, read: whom they are about, and what becomes of which connections. Those of namespaces are read here,
//! those of administrators in [`admin`](super::admin).
//! <https://kubernetes.io/docs/concepts/services-networking/network-policies/>

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use coracle_client::ObjectKey;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;

use super::objects::Labels;
use crate::node::protocol_number;

/// How many conditions a policy may have for one direction. One with more allows nothing there: the kernel looks at all of
/// them, on every node, whenever one changes.
pub(crate) const CONDITIONS: usize = 2000;

/// Seen from the pods that a policy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];

    pub fn name(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }
}

/// Which policy it is. Those of administrators come first, so that those of a namespace are one range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PolicyKey {
    Admin(String),
    Baseline,
    Network(ObjectKey),
}

impl PolicyKey {
    /// The first of a namespace.
    pub fn first_of(namespace: &str) -> PolicyKey {
        PolicyKey::Network(ObjectKey::new(namespace, ""))
    }

    pub fn is_of(&self, namespace: &str) -> bool {
        matches!(self, PolicyKey::Network(key) if key.namespace == namespace)
    }
}

/// When a policy is asked, before or after others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tier {
    /// By priority, the lowest number first. Its first rule that is about a connection decides.
    Admin(u16),
    /// All together: what none of them allows is forbidden.
    Network,
    /// Where there is no network policy. Its first rule that is about a connection decides.
    Baseline,
}

/// What a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub tier: Tier,
    /// The pods that it is about.
    pub subjects: Pods,
    /// What may come to them; `None` when it is not about that.
    pub ingress: Option<Vec<Rule>>,
    /// What they may send.
    pub egress: Option<Vec<Rule>>,
}

impl Policy {
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// How many conditions and intervals of addresses it has.
    pub fn weight(&self) -> usize {
        let rules = self.ingress.iter().chain(&self.egress);
        let intervals = |peer: &Peer| if let Peer::Addresses(ranges) = peer { ranges.len() } else { 0 };
        rules
            .map(|rules| {
                let peers = rules.iter().flat_map(|rule| rule.peers.iter().flatten());
                conditions(rules).saturating_add(peers.map(intervals).sum())
            })
            .sum()
    }
}

/// What becomes of a connection that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub(crate) enum Action {
    Allow,
    Deny,
    /// Policies of administrators have no more to say about it; those behind them have.
    Pass,
}

/// What a policy says of connections with these peers, at these ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub action: Action,
    /// `None` for whomever.
    pub peers: Option<Vec<Peer>>,
    /// `None` for whatever protocol and port.
    pub ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    Pods(Pods),
    /// The addresses of the nodes with these labels.
    Nodes(Labelled),
    /// Addresses from the first to the last.
    Addresses(Vec<(IpAddr, IpAddr)>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Port {
    Numbers {
        protocol: u8,
        first: u16,
        last: u16,
    },
    /// Of one protocol, or of any.
    Named {
        protocol: Option<u8>,
        name: String,
    },
}

/// Pods by namespace and labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pods {
    pub namespaces: Namespaces,
    pub labels: Labelled,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Namespaces {
    One(String),
    Labelled(Labelled),
}

/// A label selector, compared by a text that no other one has, whatever is in it: that of definitions, nobody checks for commas and
/// brackets. One that cannot be read selects nothing.
#[derive(Clone, Debug)]
pub(crate) struct Labelled {
    text: String,
    selector: Option<Selector>,
}

impl Labelled {
    pub fn by(selector: &LabelSelector) -> Labelled {
        let selector: Option<Selector> = selector.clone().try_into().ok();
        Labelled { text: selector.as_ref().map_or_else(|| "!".into(), |selector| format!("{selector:?}")), selector }
    }

    pub fn everything() -> Labelled {
        Labelled::by(&LabelSelector::default())
    }

    /// Whether it is a selector that can be read.
    pub fn is_readable(&self) -> bool {
        self.selector.is_some()
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

impl PartialEq for Labelled {
    fn eq(&self, other: &Labelled) -> bool {
        self.text == other.text
    }
}

impl Eq for Labelled {}

impl PartialOrd for Labelled {
    fn partial_cmp(&self, other: &Labelled) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labelled {
    fn cmp(&self, other: &Labelled) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Labelled {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Policy {
    /// Reads a policy of a namespace.
    pub fn read(object: &NetworkPolicy) -> Policy {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let empty = NetworkPolicySpec::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        let labels = spec.pod_selector.as_ref().map_or_else(Labelled::everything, Labelled::by);
        let subjects = Pods { namespaces: Namespaces::One(namespace.to_owned()), labels };
        let about = |name: &str| match spec.policy_types.as_deref() {
            None | Some([]) => name == "Ingress" || spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
            Some(types) => types.iter().any(|one| one == name),
        };
        let ingress = about("Ingress").then(|| {
            let rules = spec.ingress.iter().flatten();
            rules.map(|rule| Rule::read(namespace, rule.from.as_deref(), rule.ports.as_deref())).collect()
        });
        let egress = about("Egress").then(|| {
            let rules = spec.egress.iter().flatten();
            rules.map(|rule| Rule::read(namespace, rule.to.as_deref(), rule.ports.as_deref())).collect()
        });
        let bounded = |rules: Option<Vec<Rule>>| rules.map(|rules| bounded(object, rules));
        Policy { tier: Tier::Network, subjects, ingress: bounded(ingress), egress: bounded(egress) }
    }
}

fn bounded(object: &NetworkPolicy, rules: Vec<Rule>) -> Vec<Rule> {
    let count = conditions(&rules);
    if count <= CONDITIONS {
        return rules;
    }
    let (namespace, name) = (object.metadata.namespace.as_deref(), object.metadata.name.as_deref());
    tracing::warn!(
        namespace,
        name,
        "the network policy has {count} different peers and ports, more than {CONDITIONS}: it allows nothing"
    );
    Vec::new()
}

/// How many conditions rules have together.
pub(crate) fn conditions(rules: &[Rule]) -> usize {
    let of = |rule: &Rule| {
        let (peers, ports) = rule.conditions();
        peers + ports
    };
    rules.iter().map(of).sum()
}

impl Rule {
    /// How many conditions its peers are at most, and how many its ports: all addresses are one, and all numbers of a
    /// protocol.
    pub fn conditions(&self) -> (usize, usize) {
        let peers = self.peers.as_ref().map_or(1, |peers| {
            let sets = peers.iter().filter(|peer| !matches!(peer, Peer::Addresses(_))).count();
            sets + usize::from(sets < peers.len())
        });
        let ports = self.ports.as_ref().map_or(1, |ports| {
            let number = |port: &Port| match port {
                Port::Numbers { protocol, .. } => Some(*protocol),
                Port::Named { .. } => None,
            };
            let named = ports.iter().filter(|port| number(port).is_none()).count();
            named + ports.iter().filter_map(number).collect::<BTreeSet<_>>().len()
        });
        (peers.max(1), ports.max(1))
    }

    fn read(namespace: &str, peers: Option<&[NetworkPolicyPeer]>, ports: Option<&[NetworkPolicyPort]>) -> Rule {
        let peers = peers.filter(|peers| !peers.is_empty());
        let ports = ports.filter(|ports| !ports.is_empty());
        Rule {
            action: Action::Allow,
            peers: peers.map(|peers| different(peers.iter().filter_map(|peer| self::peer(namespace, peer)))),
            ports: ports.map(|ports| merged(ports.iter().filter_map(port).collect())),
        }
    }
}

/// Peers without those that are named again.
pub(crate) fn different(peers: impl Iterator<Item = Peer>) -> Vec<Peer> {
    let mut seen = HashSet::new();
    peers.filter(|peer| seen.insert(peer.clone())).collect()
}

fn peer(namespace: &str, peer: &NetworkPolicyPeer) -> Option<Peer> {
    if let Some(block) = &peer.ip_block {
        return Some(Peer::Addresses(addresses(block)));
    }
    let namespaces = match &peer.namespace_selector {
        Some(selector) => Namespaces::Labelled(Labelled::by(selector)),
        None => {
            peer.pod_selector.as_ref()?;
            Namespaces::One(namespace.to_owned())
        }
    };
    let labels = peer.pod_selector.as_ref().map_or_else(Labelled::everything, Labelled::by);
    Some(Peer::Pods(Pods { namespaces, labels }))
}

/// The addresses of a block without its exceptions.
fn addresses(block: &IPBlock) -> Vec<(IpAddr, IpAddr)> {
    let Ok(whole) = block.cidr.parse::<IpNet>() else { return Vec::new() };
    let parsed = block.except.iter().flatten().filter_map(|text| text.parse::<IpNet>().ok());
    let inside = parsed.filter(|except| whole.contains(except) || except.contains(&whole));
    let mut out: Vec<(IpAddr, IpAddr)> = inside.map(|except| (except.network(), except.broadcast())).collect();
    out.sort_unstable();
    let (mut left, mut from) = (Vec::new(), Some(whole.network()));
    for (first, last) in out {
        let Some(start) = from else { break };
        if let Some(end) = previous(first).filter(|_| start < first) {
            left.push((start, end));
        }
        from = next(last).map(|behind| behind.max(start));
    }
    left.extend(from.filter(|start| *start <= whole.broadcast()).map(|start| (start, whole.broadcast())));
    left
}

/// The address behind another.
pub(crate) fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => Some(IpAddr::V4(u32::from(address).checked_add(1)?.into())),
        IpAddr::V6(address) => Some(IpAddr::V6(u128::from(address).checked_add(1)?.into())),
    }
}

fn previous(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => Some(IpAddr::V4(u32::from(address).checked_sub(1)?.into())),
        IpAddr::V6(address) => Some(IpAddr::V6(u128::from(address).checked_sub(1)?.into())),
    }
}

fn port(port: &NetworkPolicyPort) -> Option<Port> {
    let protocol = protocol_number(port.protocol.as_deref().unwrap_or("TCP"));
    match &port.port {
        None => Some(Port::Numbers { protocol, first: 0, last: u16::MAX }),
        Some(IntOrString::String(name)) => Some(Port::Named { protocol: Some(protocol), name: name.clone() }),
        Some(IntOrString::Int(number)) => {
            let first = u16::try_from(*number).ok()?;
            let last = port.end_port.map_or(Some(first), |end| u16::try_from(end).ok())?;
            Some(Port::Numbers { protocol, first, last })
        }
    }
}

/// Ports without those that others contain, in order.
pub(crate) fn merged(ports: Vec<Port>) -> Vec<Port> {
    let mut ranges: BTreeMap<u8, Vec<(u16, u16)>> = BTreeMap::new();
    let mut out = Vec::new();
    for port in ports {
        match port {
            Port::Numbers { protocol, first, last } => ranges.entry(protocol).or_default().push((first, last)),
            named => out.push(named),
        }
    }
    for (protocol, mut ranges) in ranges {
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        out.extend(joined.into_iter().map(|(first, last)| Port::Numbers { protocol, first, last }));
    }
    out.sort();
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(spec: Value) -> Policy {
        let object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        Policy::read(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_policy_is_about_what_it_has_rules_for_unless_it_says_otherwise() {
        let about = |spec: Value| {
            let policy = policy(spec);
            (policy.ingress.is_some(), policy.egress.is_some())
        };
        assert_eq!(about(json!({"podSelector": {}})), (true, false));
        assert_eq!(about(json!({"podSelector": {}, "egress": [{}]})), (true, true));
        assert_eq!(about(json!({"podSelector": {}, "egress": [{}], "policyTypes": ["Egress"]})), (false, true));
        assert_eq!(about(json!({"podSelector": {}, "policyTypes": ["Egress", "Ingress"]})), (true, true));
    }

    #[test]
    fn selectors_are_one_only_if_they_select_the_same() {
        let by = |labels: Value| Labelled::by(&serde_json::from_value(json!({"matchLabels": labels})).unwrap());
        assert_eq!(by(json!({"a": "b", "c": "d"})), by(json!({"c": "d", "a": "b"})));
        assert_ne!(by(json!({"a": "b", "c": "d"})), by(json!({"a": "b,c=d"})));
        assert_ne!(by(json!({"a": "b"})), Labelled::everything());
    }

    #[test]
    fn exceptions_are_cut_out_of_a_block() {
        let block = |cidr: &str, except: &[&str]| {
            let except = Some(except.iter().map(ToString::to_string).collect());
            let found = addresses(&IPBlock { cidr: cidr.into(), except });
            found.iter().map(|(from, to)| format!("{from}-{to}")).collect::<Vec<_>>()
        };
        assert_eq!(block("10.0.0.0/24", &[]), ["10.0.0.0-10.0.0.255"]);
        let two = block("10.0.0.0/24", &["10.0.0.64/26", "10.0.0.128/25"]);
        assert_eq!(two, ["10.0.0.0-10.0.0.63"]);
        assert_eq!(block("10.0.0.0/24", &["10.0.0.8/32"]), ["10.0.0.0-10.0.0.7", "10.0.0.9-10.0.0.255"]);
        assert!(block("10.0.0.0/24", &["10.0.0.0/24"]).is_empty());
        assert_eq!(block("0.0.0.0/0", &["0.0.0.0/1"]), ["128.0.0.0-255.255.255.255"]);
        assert_eq!(block("fd00::/127", &["fd00::/128", "10.0.0.0/8"]), ["fd00::1-fd00::1"]);
    }

    #[test]
    fn a_policy_of_more_conditions_than_the_kernel_is_to_look_at_allows_nothing() {
        let rules = |peers: usize, ports: usize| {
            let peers: Vec<_> =
                (0..peers).map(|n| json!({"podSelector": {"matchLabels": {"n": n.to_string()}}})).collect();
            let ports: Vec<_> = (0..ports).map(|n| json!({"port": format!("p{n}")})).collect();
            let policy = policy(json!({"podSelector": {}, "ingress": [{"from": peers, "ports": ports}]}));
            policy.ingress.unwrap().len()
        };
        assert_eq!([rules(1000, 1000), rules(1001, 1000)], [1, 0]);
        let blocks: Vec<_> =
            (0..5000).map(|n| json!({"ipBlock": {"cidr": format!("10.{}.{}.0/24", n / 256, n % 256)}})).collect();
        let policy = policy(json!({"podSelector": {}, "ingress": [{"from": blocks}]}));
        assert_eq!(policy.ingress.unwrap().len(), 1, "addresses are one condition");
    }

    #[test]
    fn ports_are_joined() {
        let ports = |list: Value| {
            let policy = policy(json!({"podSelector": {}, "ingress": [{"ports": list}]}));
            policy.ingress.unwrap().remove(0).ports
        };
        assert_eq!(ports(json!([])), None);
        let numbers = |first, last| Port::Numbers { protocol: 6, first, last };
        let joined =
            ports(json!([{"port": 81}, {"port": 80}, {"port": 90, "endPort": 99}, {"port": 95, "endPort": 120}]));
        assert_eq!(joined, Some(vec![numbers(80, 81), numbers(90, 120)]));
        let all = ports(json!([{"protocol": "UDP"}, {"protocol": "UDP", "port": 5}, {"port": "web"}]));
        let named = Port::Named { protocol: Some(6), name: "web".into() };
        assert_eq!(all, Some(vec![Port::Numbers { protocol: 17, first: 0, last: u16::MAX }, named]));
    }
}
