//! Policies made up from a seed, of namespaces and of administrators, across two nodes and in both families: pods reach each
//! other where an interpreter of the documented rules says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use coracle_e2e::*;
use coracle_testing::policies::{
    Connection, Dice, Labels, PODS, PORTS, World, connections, definitions, forget, is_allowed,
};
use serde_json::{Value, json};

const SEED: u64 = 20_261_130;
const ADMIN: &str = "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies";
const BASELINE: &str = "/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies";

/// The objects of a world's policies, by path.
fn policies(world: &World) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for ((namespace, name), object) in &world.policies {
        if let Some(object) = object {
            let collection = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
            out.insert(format!("{collection}/{name}"), object.clone());
        }
    }
    for (name, spec) in &world.admin {
        if let Some(spec) = spec {
            out.insert(format!("{ADMIN}/{name}"), of_administrator("AdminNetworkPolicy", name, spec));
        }
    }
    if let Some(spec) = &world.baseline {
        let object = of_administrator("BaselineAdminNetworkPolicy", "default", spec);
        out.insert(format!("{BASELINE}/default"), object);
    }
    out
}

fn of_administrator(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Has the cluster have these policies and no others.
fn bring_up_to(api: &Api, before: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) {
    for (path, object) in now {
        if before.get(path) == Some(object) {
            continue;
        }
        if before.contains_key(path) {
            let mut new = api.get(path).ok();
            new["spec"] = object["spec"].clone();
            api.put(path, &new).ok();
        } else {
            api.post(path.rsplit_once('/').unwrap().0, object).ok();
        }
    }
    for path in before.keys().filter(|path| !now.contains_key(*path)) {
        api.delete(path, &json!({})).ok();
    }
}

/// A pod that asks all others, on a node.
fn meeting(world: &World, pod: usize, node: &str) -> Value {
    let mut object = world.pods[pod].clone();
    let names = (0..PODS).map(|other| format!("{}.pods.{}.svc", world.name_of(other), world.namespace_of(other)));
    let ports = PORTS.map(|port| port.to_string()).join(",");
    let command: Vec<String> = ["meet".to_owned(), ports, "2".to_owned()].into_iter().chain(names).collect();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    for (at, mut runs) in [container("meets", &command), container("waits", &["sleep", "3600"])].into_iter().enumerate()
    {
        runs["ports"] = object["spec"]["containers"][at]["ports"].clone();
        object["spec"]["containers"][at] = runs;
    }
    object["apiVersion"] = "v1".into();
    object["kind"] = "Pod".into();
    object["metadata"]["labels"]["meets"] = "yes".into();
    for (field, value) in [
        ("nodeName", json!(node)),
        ("hostname", json!(world.name_of(pod))),
        ("subdomain", json!("pods")),
        ("terminationGracePeriodSeconds", json!(0)),
    ] {
        object["spec"][field] = value;
    }
    object.as_object_mut().unwrap().remove("status");
    object
}

/// What pods have to say of whom they reach, by client, when they have these addresses.
fn expected(world: &World, addresses: [&[IpAddr]; 2]) -> Vec<BTreeSet<String>> {
    let mut out = vec![BTreeSet::new(); PODS];
    for addresses in addresses {
        let world = world.at(addresses);
        for connection in connections() {
            let Connection { client, server, protocol, port } = connection;
            let name = match protocol {
                6 => "TCP",
                17 => "UDP",
                _ => continue,
            };
            if is_allowed(&world, connection) {
                out[client].insert(format!("{}/{name}/{port}", addresses[server]));
            }
        }
    }
    out
}

/// The last rounds of a pod.
fn rounds(namespace: &Namespace<'_>, pod: &str) -> Vec<BTreeSet<String>> {
    let path = namespace.path(&format!("pods/{pod}/log?container=meets&tailLines=2"));
    let read = |line: &str| line.split_whitespace().skip(1).map(str::to_owned).collect();
    namespace.api.get_as(&path, "*/*").text.lines().map(read).collect()
}

#[test]
fn policies_hold_across_nodes_and_in_both_families_as_the_documented_rules_say() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("matrix");
    cluster.ok("up", &["--nodes", "2", "--ip-family", "dual", "--wait", "60s"]);
    define(cluster.api(), &definitions());
    cluster.load_image(&["test:1"]);
    let api = cluster.api();
    let nodes = [cluster.name.clone(), format!("{}-2", cluster.name)];
    let mut dice = Dice(SEED);
    let mut world = World::new(&mut dice, vec![IpAddr::from([10, 244, 0, 2]); PODS], false);
    let namespace = |(name, labels): (&String, &Labels)| {
        let namespace = cluster.namespace(name);
        api.patch(&format!("/api/v1/namespaces/{name}"), MERGE, &json!({"metadata": {"labels": labels}})).ok();
        let spec = json!({"clusterIP": "None", "selector": {"meets": "yes"}, "ipFamilyPolicy": "RequireDualStack",
            "publishNotReadyAddresses": true, "ports": [{"port": 80}]});
        namespace.create("services", &json!({"metadata": {"name": "pods"}, "spec": spec}));
        (name.clone(), namespace)
    };
    let namespaces: BTreeMap<String, Namespace<'_>> = world.namespaces.iter().map(namespace).collect();
    for pod in 0..PODS {
        namespaces[world.namespace_of(pod)].create("pods", &meeting(&world, pod, &nodes[pod % 2]));
    }
    let (mut primary, mut secondary) = (Vec::new(), Vec::new());
    for pod in 0..PODS {
        let object = namespaces[world.namespace_of(pod)].pod_ready(world.name_of(pod));
        let address = |at: usize| object["status"]["podIPs"][at]["ip"].as_str().unwrap().parse::<IpAddr>().unwrap();
        primary.push(address(0));
        secondary.push(address(1));
    }
    world.addresses = [primary.clone(), secondary.clone()].concat();
    let mut before = BTreeMap::new();
    let (mut reached_at_all, mut kept_out) = (0, 0);
    for round in 0..8 {
        match round {
            0 => {}
            // In the end all are gone.
            7 => {
                world.policies.clear();
                world.admin.clear();
                world.baseline = None;
            }
            _ => {
                forget(&mut dice, &mut world.policies);
                (0..3).for_each(|_| world.add_policy(&mut dice));
            }
        }
        if (3..7).contains(&round) {
            forget(&mut dice, &mut world.admin);
            (0..2).for_each(|_| world.add_admin(&mut dice));
            world.add_baseline(&mut dice);
        }
        let now = policies(&world);
        bring_up_to(api, &before, &now);
        let expected = expected(&world, [&primary, &secondary]);
        if (1..7).contains(&round) {
            let reached: usize = expected.iter().map(BTreeSet::len).sum();
            reached_at_all += reached;
            kept_out += 2 * 2 * PODS * PODS * PORTS.len() - reached;
        }
        for (pod, expected) in expected.iter().enumerate() {
            let (namespace, name) = (world.namespace_of(pod), world.name_of(pod));
            eventually(&format!("round {round}: {namespace}/{name} reaches whom it may, twice in a row"), || {
                let found = rounds(&namespaces[namespace], name);
                if found.len() == 2 && found.iter().all(|found| found == expected) {
                    return Ok(());
                }
                let difference = |found: &BTreeSet<String>| {
                    let (missing, stray) = (expected.difference(found), found.difference(expected));
                    format!("missing: {:?}, stray: {:?}", missing.collect::<Vec<_>>(), stray.collect::<Vec<_>>())
                };
                Err(format!("{:?} {now:#?}", found.iter().map(difference).collect::<Vec<_>>()))
            });
        }
        before = now;
    }
    assert!(reached_at_all > 500 && kept_out > 500, "{reached_at_all} were to be reached, {kept_out} not");
}
