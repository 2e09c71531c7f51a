//! Policies of administrators, read: AdminNetworkPolicy and BaselineAdminNetworkPolicy.
//! <https://network-policy-api.sigs.k8s.io/api-overview/>
//!
//! A definition of another version may know peers and ports that are not known here. As documented, a rule with one of
//! these fails closed: if it allows it is about nothing, otherwise it forbids everything.

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::policy::{Action, CONDITIONS, Labelled, Namespaces, Peer, Pods, Policy, Port, Rule, Tier, conditions};
use super::policy::{different, merged};
use crate::node::protocol_number;

/// The group of these kinds, and the version in which they are read.
pub(crate) const GROUP: &str = "policy.networking.k8s.io";
pub(crate) const VERSION: &str = "v1alpha1";

/// What either kind has.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    /// Only of an AdminNetworkPolicy.
    priority: Option<u16>,
    subject: Subject,
    #[serde(default)]
    ingress: Option<Vec<RuleObject>>,
    #[serde(default)]
    egress: Option<Vec<RuleObject>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Subject {
    namespaces: Option<LabelSelector>,
    pods: Option<NamespacedPods>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamespacedPods {
    namespace_selector: LabelSelector,
    pod_selector: LabelSelector,
}

#[derive(Clone, Debug, Deserialize)]
struct RuleObject {
    action: Action,
    #[serde(alias = "from", default)]
    to: Vec<PeerObject>,
    #[serde(default)]
    ports: Option<Vec<PortObject>>,
}

#[derive(Clone, Debug, Deserialize)]
struct PeerObject {
    namespaces: Option<LabelSelector>,
    pods: Option<NamespacedPods>,
    nodes: Option<LabelSelector>,
    networks: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortObject {
    port_number: Option<PortNumber>,
    port_range: Option<PortRange>,
    named_port: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct PortNumber {
    #[serde(default = "tcp")]
    protocol: String,
    port: u16,
}

#[derive(Clone, Debug, Deserialize)]
struct PortRange {
    #[serde(default = "tcp")]
    protocol: String,
    start: u16,
    end: u16,
}

fn tcp() -> String {
    "TCP".into()
}

impl Spec {
    /// What an AdminNetworkPolicy says. `name` is for who reads the log.
    pub fn admin(&self, name: &str) -> Policy {
        self.policy(Tier::Admin(self.priority.unwrap_or_default()), &format!("AdminNetworkPolicy {name}"))
    }

    /// What the BaselineAdminNetworkPolicy says.
    pub fn baseline(&self) -> Policy {
        self.policy(Tier::Baseline, "BaselineAdminNetworkPolicy")
    }

    fn policy(&self, tier: Tier, name: &str) -> Policy {
        let rules = |rules: &Option<Vec<RuleObject>>| {
            let rules: Vec<Rule> = rules.iter().flatten().filter_map(|rule| rule.read(name)).collect();
            // One without rules for a direction is not about it.
            (!rules.is_empty()).then(|| bounded(rules, name))
        };
        let Some(subjects) = self.subject.pods() else {
            tracing::warn!("{name} is about pods that it names in a way that is not known here: it is left out");
            let nobody = Pods { namespaces: Namespaces::One(String::new()), labels: Labelled::everything() };
            return Policy { tier, subjects: nobody, ingress: None, egress: None };
        };
        Policy { tier, subjects, ingress: rules(&self.ingress), egress: rules(&self.egress) }
    }
}

impl Subject {
    fn pods(&self) -> Option<Pods> {
        let of_namespaces = || Some(pods(self.namespaces.as_ref()?, &LabelSelector::default()));
        let of_pods = || self.pods.as_ref().map(NamespacedPods::pods);
        of_namespaces().or_else(of_pods).filter(is_readable)
    }
}

impl NamespacedPods {
    fn pods(&self) -> Pods {
        pods(&self.namespace_selector, &self.pod_selector)
    }
}

fn pods(namespaces: &LabelSelector, labels: &LabelSelector) -> Pods {
    Pods { namespaces: Namespaces::Labelled(Labelled::by(namespaces)), labels: Labelled::by(labels) }
}

impl RuleObject {
    /// `None` for one that is about nothing.
    fn read(&self, policy: &str) -> Option<Rule> {
        let peers: Option<Vec<Peer>> = self.to.iter().map(PeerObject::read).collect();
        let ports: Option<Option<Vec<Port>>> = match self.ports.as_deref() {
            None | Some([]) => Some(None),
            Some(ports) => ports.iter().map(PortObject::read).collect::<Option<_>>().map(Some),
        };
        match (peers.filter(|peers| !peers.is_empty()), ports) {
            (Some(peers), Some(ports)) => {
                Some(Rule { action: self.action, peers: Some(different(peers.into_iter())), ports: ports.map(merged) })
            }
            _ if self.action == Action::Allow => {
                tracing::warn!("a rule of {policy} allows what is not known here: it allows nothing");
                None
            }
            _ => {
                tracing::warn!("a rule of {policy} is about what is not known here: it forbids everything");
                Some(Rule { action: Action::Deny, peers: None, ports: None })
            }
        }
    }
}

impl PeerObject {
    /// `None` for what is not known here.
    fn read(&self) -> Option<Peer> {
        match self {
            PeerObject { namespaces: Some(namespaces), .. } => {
                Some(pods(namespaces, &LabelSelector::default())).filter(is_readable).map(Peer::Pods)
            }
            PeerObject { pods: Some(pods), .. } => Some(pods.pods()).filter(is_readable).map(Peer::Pods),
            PeerObject { nodes: Some(labels), .. } => {
                Some(Labelled::by(labels)).filter(Labelled::is_readable).map(Peer::Nodes)
            }
            PeerObject { networks: Some(networks), .. } => {
                let range = |text: &String| {
                    let network: IpNet = text.parse().ok()?;
                    Some((network.network(), network.broadcast()))
                };
                networks.iter().map(range).collect::<Option<_>>().map(Peer::Addresses)
            }
            _ => None,
        }
    }
}

fn is_readable(pods: &Pods) -> bool {
    let namespaces = match &pods.namespaces {
        Namespaces::Labelled(labels) => labels.is_readable(),
        Namespaces::One(_) => true,
    };
    namespaces && pods.labels.is_readable()
}

impl PortObject {
    /// `None` for what is not known here.
    fn read(&self) -> Option<Port> {
        let numbers = |protocol: &str, first, last| {
            let is_known = matches!(protocol, "TCP" | "UDP" | "SCTP") && first <= last;
            is_known.then(|| Port::Numbers { protocol: protocol_number(protocol), first, last })
        };
        match self {
            PortObject { port_number: Some(PortNumber { protocol, port }), .. } => numbers(protocol, *port, *port),
            PortObject { port_range: Some(PortRange { protocol, start, end }), .. } => numbers(protocol, *start, *end),
            PortObject { named_port: Some(name), .. } => Some(Port::Named { protocol: None, name: name.clone() }),
            _ => None,
        }
    }
}

fn bounded(rules: Vec<Rule>, policy: &str) -> Vec<Rule> {
    let count = conditions(&rules);
    if count <= CONDITIONS {
        return rules;
    }
    tracing::warn!("{policy} has {count} different peers and ports, more than {CONDITIONS}: it forbids everything");
    vec![Rule { action: Action::Deny, peers: None, ports: None }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rules(rule: Value) -> Option<Vec<Rule>> {
        let spec = json!({"priority": 5, "subject": {"namespaces": {}}, "egress": [rule]});
        let policy = serde_json::from_value::<Spec>(spec).unwrap().admin("p");
        assert_eq!((policy.tier, policy.ingress), (Tier::Admin(5), None));
        policy.egress
    }

    #[test]
    fn a_rule_is_its_action_peers_and_ports() {
        let labels = json!({"matchLabels": {"a": "b"}});
        let peers = json!([{"nodes": labels}, {"networks": ["10.0.0.0/31", "fd00::/128"]}, {"namespaces": {}},
            {"pods": {"namespaceSelector": labels, "podSelector": {}}}]);
        let ports = json!([{"portNumber": {"port": 80}}, {"portRange": {"protocol": "UDP", "start": 5, "end": 9}},
            {"namedPort": "web"}]);
        let rule = rules(json!({"action": "Pass", "to": peers, "ports": ports})).unwrap().remove(0);
        assert_eq!((rule.action, rule.conditions()), (Action::Pass, (4, 3)));
        let ports = rule.ports.unwrap();
        assert!(ports.contains(&Port::Named { protocol: None, name: "web".into() }), "{ports:?}");
        assert!(ports.contains(&Port::Numbers { protocol: 17, first: 5, last: 9 }), "{ports:?}");
    }

    #[test]
    fn what_is_not_known_fails_closed() {
        let everything = vec![Rule { action: Action::Deny, peers: None, ports: None }];
        let unknown_selector = json!({"matchExpressions": [{"key": "a", "operator": "Like", "values": ["b"]}]});
        for (peer, port) in [
            (json!({"domainNames": ["example.com"]}), json!({"portNumber": {"port": 80}})),
            (json!({"networks": ["10.0.0.0/33"]}), json!({"portNumber": {"port": 80}})),
            (json!({"nodes": unknown_selector}), json!({"portNumber": {"port": 80}})),
            (json!({"namespaces": {}}), json!({"portNumber": {"port": 80, "protocol": "QUIC"}})),
            (json!({"namespaces": {}}), json!({"portRange": {"start": 9, "end": 8}})),
            (json!({"namespaces": {}}), json!({"service": "web"})),
        ] {
            let of = |action: &str| rules(json!({"action": action, "to": [peer], "ports": [port]}));
            assert_eq!(of("Allow"), None, "{peer} {port}");
            assert_eq!([of("Deny"), of("Pass")], [Some(everything.clone()), Some(everything.clone())], "{peer} {port}");
        }
    }

    #[test]
    fn a_policy_of_more_conditions_than_the_kernel_is_to_look_at_forbids_everything() {
        let rule = |peers: usize| {
            let peers: Vec<_> = (0..peers).map(|n| json!({"nodes": {"matchLabels": {"n": n.to_string()}}})).collect();
            rules(json!({"action": "Allow", "to": peers})).unwrap().remove(0).action
        };
        assert_eq!([rule(1999), rule(2000)], [Action::Allow, Action::Deny]);
    }

    #[test]
    fn a_policy_for_pods_that_are_named_in_an_unknown_way_is_for_none() {
        let subject = json!({"serviceAccounts": {}});
        let spec = json!({"subject": subject, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]});
        let policy = serde_json::from_value::<Spec>(spec).unwrap().baseline();
        assert_eq!((policy.ingress, policy.egress), (None, None));
    }
}
