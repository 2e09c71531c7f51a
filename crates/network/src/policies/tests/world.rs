//! Nine pods in three namespaces, and policies of which any may be.

use std::collections::BTreeMap;
use std::net::IpAddr;

use coracle_client::ObjectKey;
use coracle_values::addresses::Family;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

use super::super::objects::{Labels, Pod, PodObject};
use crate::testing::of;

pub const PODS: usize = 9;
const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const NODE: &str = "here";

/// The same numbers for the same seed.
pub struct Dice(pub u64);

impl Dice {
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

/// What there is.
#[derive(Debug)]
pub struct World {
    namespaces: BTreeMap<String, Labels>,
    pods: Vec<Value>,
    /// Those that are gone as well.
    pub policies: BTreeMap<ObjectKey, Option<NetworkPolicy>>,
    addresses: Vec<IpAddr>,
}

impl World {
    pub fn new(dice: &mut Dice, family: Family) -> World {
        let addresses = (0..PODS).map(|pod| of(family, &format!("10.244.0.{}", 2 + pod))).collect();
        World::with_addresses(dice, addresses)
    }

    pub fn with_addresses(dice: &mut Dice, addresses: Vec<IpAddr>) -> World {
        let namespaces = NAMESPACES.iter().map(|name| (name.to_string(), labels(dice, name))).collect();
        let mut world = World { namespaces, pods: Vec::new(), policies: BTreeMap::new(), addresses };
        world.pods = (0..PODS).map(|pod| world.pod(dice, pod)).collect();
        world
    }

    fn pod(&self, dice: &mut Dice, pod: usize) -> Value {
        let name = ["x", "y", "z"][pod % 3];
        let port = |name: &str, number: u16, protocol: &str| json!({"name": name, "containerPort": number, "protocol": protocol});
        let all = [port("web", 80, "TCP"), port("web", 81, "TCP"), port("dns", 80, "UDP"), port("sig", 81, "SCTP")];
        let ports: Vec<_> = all.into_iter().filter(|_| dice.below(2) == 0).collect();
        json!({"metadata": {"name": name, "namespace": NAMESPACES[pod / 3], "labels": labels(dice, name)},
            "spec": {"nodeName": NODE, "containers": [{"ports": ports}]},
            "status": {"phase": "Running", "podIP": self.addresses[pod].to_string()}})
    }

    pub fn change(&mut self, dice: &mut Dice) {
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
            4 | 5 => {
                let gone = self.policies.len().checked_sub(1).map(|last| dice.below(last + 1));
                if let Some(policy) = gone.and_then(|gone| self.policies.values_mut().nth(gone)) {
                    *policy = None;
                }
            }
            _ => self.add_policy(dice),
        }
    }

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
        self.policies.insert(ObjectKey::new(namespace, name), Some(serde_json::from_value(object).unwrap()));
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

    pub fn namespaces(&self) -> Vec<String> {
        self.namespaces.keys().cloned().collect()
    }

    pub fn namespace_labels(&self, name: &str) -> Option<Labels> {
        self.namespaces.get(name).cloned()
    }

    pub fn key(&self, pod: usize) -> ObjectKey {
        ObjectKey::new(NAMESPACES[pod / 3], ["x", "y", "z"][pod % 3])
    }

    pub fn seen(&self, pod: usize) -> Option<Pod> {
        serde_json::from_value::<PodObject>(self.pods[pod].clone()).unwrap().seen_from(NODE)
    }

    pub fn object(&self, pod: usize) -> &Value {
        &self.pods[pod]
    }

    /// `None` for one that has ended.
    pub fn address(&self, pod: usize) -> Option<IpAddr> {
        (self.pods[pod]["status"]["phase"] == "Running").then(|| self.addresses[pod])
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
