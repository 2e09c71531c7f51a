//! Policies made up from a seed, as an interpreter of the documented rules sees them and as packets do.

mod administered;
mod packets;

use std::net::IpAddr;

use coracle_client::ObjectKey;
use coracle_testing::policies::{Dice, PODS, World, connections, is_allowed};
use coracle_values::addresses::Family;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::Spec;
use super::objects::{Labels, NodeObject, PodObject};
use super::policy::{Policy, PolicyKey};
use super::state::State;
use crate::testing::of;

const SEED: u64 = 20_261_129;
const NODE: &str = "here";

/// Brings the state up to the world, of which something changed.
fn tell(state: &mut State, world: &World) {
    for (namespace, labels) in &world.namespaces {
        state.set_namespace(namespace, Some(labels.clone()));
    }
    for (pod, object) in world.pods.iter().enumerate() {
        let mut object = object.clone();
        object["spec"]["nodeName"] = NODE.into();
        let seen = PodObject::deserialize(&object).unwrap().seen_from(NODE);
        state.set_pod(&ObjectKey::new(world.namespace_of(pod), world.name_of(pod)), seen);
    }
    for ((namespace, name), object) in &world.policies {
        let read = |object: &Value| Policy::read(&Deserialize::deserialize(object).unwrap());
        let key = PolicyKey::Network(ObjectKey::new(namespace.clone(), name.clone()));
        state.set_policy(&key, object.as_ref().map(read));
    }
    for (name, node) in &world.nodes {
        state.set_node(name, Some(NodeObject::deserialize(node).unwrap().seen()));
    }
    let spec = |object: &Value| Spec::deserialize(object).unwrap();
    for (name, object) in &world.admin {
        let policy = object.as_ref().map(|object| spec(object).admin(name));
        state.set_policy(&PolicyKey::Admin(name.clone()), policy);
    }
    state.set_policy(&PolicyKey::Baseline, world.baseline.as_ref().map(|object| spec(object).baseline()));
}

#[test]
fn what_is_allowed_follows_every_change_as_the_documented_rules_say() {
    let mut dice = Dice(SEED);
    for (round, family) in Family::ALL.into_iter().cycle().take(16).enumerate() {
        let addresses: Vec<IpAddr> = (0..PODS).map(|pod| of(family, &format!("10.244.0.{}", 2 + pod))).collect();
        let mut world = World::new(&mut dice, addresses, round >= 8);
        let mut state = State::new(&[family], None);
        state.knows_pods(true);
        for _ in 0..25 {
            world.change(&mut dice);
            tell(&mut state, &world);
            for connection in connections() {
                let (client, server) = (world.address(connection.client), world.address(connection.server));
                let (Some(client), Some(server)) = (client, server) else { continue };
                let expected = is_allowed(&world, connection);
                let found = state.allows(connection.protocol, client, (server, connection.port));
                assert_eq!(found, expected, "{connection:?} of {world:#?}");
            }
        }
    }
}

#[test]
fn a_pod_is_nobodys_peer_before_its_namespace_is_known() {
    let read = |object: Value| PodObject::deserialize(&object).unwrap().seen_from(NODE);
    let pod = |address: &str| read(json!({"metadata": {}, "spec": {"nodeName": NODE}, "status": {"podIP": address}}));
    let [client, server]: [IpAddr; 2] = ["10.244.0.2", "10.244.0.3"].map(|address| address.parse().unwrap());
    let mut state = State::new(&[Family::V4], None);
    state.knows_pods(true);
    state.set_namespace("db", Some(Labels::new()));
    state.set_pod(&ObjectKey::new("db", "server"), pod("10.244.0.3"));
    let others = |operator: &str| json!({"matchExpressions": [{"key": "env", "operator": operator}]});
    let policy = json!({"metadata": {"name": "p", "namespace": "db"}, "spec": {"podSelector": {},
        "ingress": [{"from": [{"namespaceSelector": others("DoesNotExist")}]}]}});
    let key = PolicyKey::Network(ObjectKey::new("db", "p"));
    state.set_policy(&key, Some(Policy::read(&Deserialize::deserialize(&policy).unwrap())));
    let allows = |state: &State| state.allows(6, client, (server, 80));
    let key = ObjectKey::new("test", "client");
    state.attach(client, Some(key.clone()));
    state.set_pod(&key, pod("10.244.0.2"));
    assert!(!allows(&state), "its namespace may have the label");
    state.set_namespace("test", Some([("env".to_owned(), "test".to_owned())].into()));
    assert!(!allows(&state), "it has");
    state.set_namespace("test", Some(Labels::new()));
    assert!(allows(&state));
    state.set_namespace("test", None);
    assert!(!allows(&state), "nor when it is gone");
    state.set_pod(&key, None);
    state.set_namespace("test", Some(Labels::new()));
    assert!(!allows(&state), "nor is a pod remembered that is gone with it");
}
