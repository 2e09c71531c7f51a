//! Nine pods in three namespaces, and policies of which any may be, also those of administrators.

use std::collections::BTreeMap;
use std::net::IpAddr;

use coracle_values::addresses::Family;
use ipnet::IpNet;
use serde_json::{Value, json};

/// How many pods there are.
pub const PODS: usize = 9;
const NAMESPACES: [&str; 3] = ["a", "b", "c"];

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The same numbers for the same seed.
pub struct Dice(pub u64);

impl Dice {
    /// A number below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn some(&mut self, limit: usize, mut make: impl FnMut(&mut Dice) -> Value) -> Value {
        let count = self.below(limit + 1);
        (0..count).map(|_| make(self)).collect()
    }
}

/// What there is, as objects of the API.
#[derive(Clone, Debug)]
pub struct World {
    /// Their labels, by name.
    pub namespaces: BTreeMap<String, Labels>,
    /// Each with one address.
    pub pods: Vec<Value>,
    /// NetworkPolicies by namespace and name, and those that are gone.
    pub policies: BTreeMap<(String, String), Option<Value>>,
    /// Specifications of AdminNetworkPolicies by name, and those that are gone.
    pub admin: BTreeMap<String, Option<Value>>,
    /// That of the BaselineAdminNetworkPolicy.
    pub baseline: Option<Value>,
    /// Those whose addresses some pods have, so that what is sent there is forwarded.
    pub nodes: BTreeMap<String, Value>,
    /// Whether administrators have policies.
    is_administered: bool,
    /// Those that policies name.
    pub addresses: Vec<IpAddr>,
}

impl World {
    /// Pods with these addresses; with policies of administrators, if there are to be such, also nodes.
    pub fn new(dice: &mut Dice, addresses: Vec<IpAddr>, is_administered: bool) -> World {
        let namespaces = NAMESPACES.iter().map(|name| (name.to_string(), labels(dice, name))).collect();
        let mut world = World {
            namespaces,
            pods: Vec::new(),
            policies: BTreeMap::new(),
            admin: BTreeMap::new(),
            baseline: None,
            nodes: BTreeMap::new(),
            is_administered,
            addresses,
        };
        world.pods = (0..PODS).map(|pod| world.pod(dice, pod)).collect();
        if is_administered {
            world.nodes = ["m", "n"].into_iter().map(|name| (name.to_owned(), world.node(dice, name))).collect();
        }
        world
    }

    fn node(&self, dice: &mut Dice, name: &str) -> Value {
        let address = |address: &IpAddr| json!({"type": "InternalIP", "address": address.to_string()});
        let mut addresses = vec![json!({"type": "Hostname", "address": name})];
        addresses.extend((0..2).map(|_| address(dice.one(&self.addresses))));
        json!({"metadata": {"name": name, "labels": labels(dice, name)}, "status": {"addresses": addresses}})
    }

    fn pod(&self, dice: &mut Dice, pod: usize) -> Value {
        let name = self.name_of(pod);
        let port = |name: &str, number: u16, protocol: &str| json!({"name": name, "containerPort": number, "protocol": protocol});
        // In one container names of ports are unique.
        let first = [port("web", 80, "TCP"), port("dns", 80, "UDP"), port("sig", 81, "SCTP")];
        let first: Vec<_> = first.into_iter().filter(|_| dice.below(2) == 0).collect();
        let second = (dice.below(2) == 0).then(|| port("web", 81, "TCP"));
        let second: Vec<_> = second.into_iter().collect();
        json!({"metadata": {"name": name, "namespace": NAMESPACES[pod / 3], "labels": labels(dice, name)},
            "spec": {"containers": [{"ports": first}, {"ports": second}]},
            "status": {"phase": "Running", "podIP": self.addresses[pod].to_string()}})
    }

    /// Something happens.
    pub fn change(&mut self, dice: &mut Dice) {
        if self.is_administered && dice.below(2) == 0 {
            self.change_of_administrator(dice);
            return;
        }
        match dice.below(10) {
            0 => {
                let name = dice.one(&NAMESPACES).to_string();
                let labels = labels(dice, &name);
                self.namespaces.insert(name, labels);
            }
            1 | 2 => {
                let pod = dice.below(PODS);
                self.pods[pod] = self.pod(dice, pod);
            }
            3 => {
                let pod = dice.below(PODS);
                let phase = *dice.one(&["Running", "Succeeded"]);
                self.pods[pod]["status"]["phase"] = phase.into();
            }
            4 | 5 => forget(dice, &mut self.policies),
            _ => self.add_policy(dice),
        }
    }

    fn change_of_administrator(&mut self, dice: &mut Dice) {
        match dice.below(8) {
            0 => {
                let name = dice.one(&["m", "n"]).to_string();
                let node = self.node(dice, &name);
                self.nodes.insert(name, node);
            }
            1 => forget(dice, &mut self.admin),
            2 => self.baseline = None,
            3 => self.add_baseline(dice),
            _ => self.add_admin(dice),
        }
    }

    /// Makes or replaces one of four AdminNetworkPolicies.
    pub fn add_admin(&mut self, dice: &mut Dice) {
        let number = dice.below(4);
        let mut spec = self.spec(dice, &["Allow", "Deny", "Pass"]);
        // No two have the same: of these either may come first.
        spec["priority"] = json!(4 * dice.below(250) + number);
        self.admin.insert(format!("a{number}"), Some(spec));
    }

    /// Makes or replaces the baseline.
    pub fn add_baseline(&mut self, dice: &mut Dice) {
        self.baseline = Some(self.spec(dice, &["Allow", "Deny"]));
    }

    /// The same world with other addresses of its pods.
    pub fn at(&self, addresses: &[IpAddr]) -> World {
        let mut world = self.clone();
        for (pod, address) in world.pods.iter_mut().zip(addresses) {
            pod["status"]["podIP"] = address.to_string().into();
        }
        world
    }

    /// What an AdminNetworkPolicy and its baseline have in common.
    fn spec(&self, dice: &mut Dice, actions: &[&str]) -> Value {
        let subject = match dice.below(2) {
            0 => json!({"namespaces": selector(dice)}),
            _ => json!({"pods": {"namespaceSelector": selector(dice), "podSelector": selector(dice)}}),
        };
        let rule = |dice: &mut Dice, peers: &str| {
            // Enough that some rules have chains of their own for ports.
            let count = 1 + dice.below(3);
            let list: Vec<Value> = (0..count).map(|_| self.admin_peer(dice, peers == "to")).collect();
            let of_pods = list.iter().all(|peer| peer["nodes"].is_null() && peer["networks"].is_null());
            let mut rule = json!({"action": dice.one(actions)});
            rule[peers] = list.into();
            let ports = dice.some(3, |dice| admin_port(dice, of_pods));
            if ports.as_array().is_some_and(|ports| !ports.is_empty()) {
                rule["ports"] = ports;
            }
            rule
        };
        let ingress = dice.some(3, |dice| rule(dice, "from"));
        let egress = dice.some(3, |dice| rule(dice, "to"));
        json!({"subject": subject, "ingress": ingress, "egress": egress})
    }

    fn admin_peer(&self, dice: &mut Dice, egress: bool) -> Value {
        match dice.below(if egress { 4 } else { 2 }) {
            0 => json!({"namespaces": selector(dice)}),
            1 => json!({"pods": {"namespaceSelector": selector(dice), "podSelector": selector(dice)}}),
            2 => json!({"nodes": selector(dice)}),
            _ => {
                let address = *dice.one(&self.addresses);
                let bits = Family::of(address).bits() - *dice.one(&[0, 1, 2, 3]);
                json!({"networks": [IpNet::new(address, bits).unwrap().trunc()]})
            }
        }
    }

    /// Makes or replaces one of four NetworkPolicies of a namespace.
    pub fn add_policy(&mut self, dice: &mut Dice) {
        let namespace = *dice.one(&NAMESPACES);
        let name = format!("p{}", dice.below(4));
        let mut spec = json!({"podSelector": selector(dice)});
        let types: &[Value] = &[
            json!(["Ingress"]),
            json!(["Egress"]),
            json!(["Ingress", "Egress"]),
            json!(["Ingress", "Egress"]),
            Value::Null,
        ];
        let types = dice.one(types).clone();
        if !types.is_null() {
            spec["policyTypes"] = types;
        }
        spec["ingress"] = dice.some(2, |dice| self.rule(dice, "from"));
        spec["egress"] = dice.some(2, |dice| self.rule(dice, "to"));
        let object = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
        self.policies.insert((namespace.to_owned(), name), Some(object));
    }

    fn rule(&self, dice: &mut Dice, peers: &str) -> Value {
        let mut rule = json!({});
        rule[peers] = dice.some(2, |dice| self.peer(dice));
        rule["ports"] = dice.some(2, port);
        rule
    }

    fn peer(&self, dice: &mut Dice) -> Value {
        match dice.below(4) {
            0 => json!({"podSelector": selector(dice)}),
            1 => json!({"namespaceSelector": selector(dice)}),
            2 => json!({"podSelector": selector(dice), "namespaceSelector": selector(dice)}),
            _ => {
                let address = *dice.one(&self.addresses);
                // How many of the last bits differ.
                let block = |bits: u8| IpNet::new(address, Family::of(address).bits() - bits).unwrap().trunc();
                let except: Vec<_> = [block(0), block(1)].into_iter().filter(|_| dice.below(2) == 0).collect();
                let all = Family::of(address).bits();
                json!({"ipBlock": {"cidr": block(*dice.one(&[all, 16, 3, 2])), "except": except}})
            }
        }
    }

    /// The namespace of a pod.
    pub fn namespace_of(&self, pod: usize) -> &str {
        NAMESPACES[pod / 3]
    }

    /// The name of a pod, which is that of no other in its namespace.
    pub fn name_of(&self, pod: usize) -> &str {
        ["x", "y", "z"][pod % 3]
    }

    /// `None` for one that has ended.
    pub fn address(&self, pod: usize) -> Option<IpAddr> {
        let status = &self.pods[pod]["status"];
        status["podIP"].as_str().filter(|_| status["phase"] == "Running").and_then(|address| address.parse().ok())
    }
}

/// One of these is gone, if there is any.
pub fn forget<K>(dice: &mut Dice, policies: &mut BTreeMap<K, Option<Value>>) {
    let gone = policies.len().checked_sub(1).map(|last| dice.below(last + 1));
    if let Some(policy) = gone.and_then(|gone| policies.values_mut().nth(gone)) {
        *policy = None;
    }
}

fn labels(dice: &mut Dice, name: &str) -> Labels {
    let mut labels = Labels::from([("name".to_owned(), name.to_owned())]);
    for (key, values) in [("app", ["web", "db"]), ("team", ["red", "blue"])] {
        if dice.below(4) > 0 {
            labels.insert(key.into(), dice.one(&values).to_string());
        }
    }
    labels
}

fn selector(dice: &mut Dice) -> Value {
    let one = |key: &str, operator: &str, values: &[&str]| match values {
        [] => json!({"matchExpressions": [{"key": key, "operator": operator}]}),
        _ => json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
    };
    match dice.below(8) {
        0 | 1 => json!({}),
        2 => json!({"matchLabels": {"app": dice.one(&["web", "db"])}}),
        3 => json!({"matchLabels": {"team": dice.one(&["red", "blue"])}}),
        4 => one("name", "In", &["x", "y", "a"]),
        5 => one("team", "NotIn", &["red"]),
        6 => one("app", "Exists", &[]),
        _ => one("team", "DoesNotExist", &[]),
    }
}

fn port(dice: &mut Dice) -> Value {
    let protocol = *dice.one(&["TCP", "UDP", "SCTP"]);
    match dice.below(6) {
        0 => json!({"protocol": protocol}),
        1 => json!({"protocol": protocol, "port": 80}),
        2 => json!({"protocol": protocol, "port": 81}),
        3 => json!({"protocol": protocol, "port": 70, "endPort": dice.one(&[80, 200])}),
        4 => json!({"port": "web"}),
        _ => json!({"protocol": protocol, "port": dice.one(&["web", "dns", "sig"])}),
    }
}

/// Ports of a name are those of pods alone.
fn admin_port(dice: &mut Dice, of_pods: bool) -> Value {
    let protocol = *dice.one(&["TCP", "UDP", "SCTP"]);
    match dice.below(if of_pods { 5 } else { 3 }) {
        0 => json!({"portNumber": {"protocol": protocol, "port": 80}}),
        1 => json!({"portNumber": {"protocol": protocol, "port": 81}}),
        2 => json!({"portRange": {"protocol": protocol, "start": 70, "end": dice.one(&[80, 200])}}),
        _ => json!({"namedPort": dice.one(&["web", "dns", "sig"])}),
    }
}
