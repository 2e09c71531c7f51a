//! The documented rules, word for word and with no thought of speed. They share no code with what they judge.

use ipnet::IpNet;
use serde_json::Value;

use super::world::World;

/// A connection, by pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the fields are what they are called")]
pub struct Connection {
    pub client: usize,
    pub server: usize,
    pub protocol: u8,
    pub port: u16,
}

/// Both the egress policies of the client and the ingress policies of the server have to allow a connection; no pod is
/// kept from itself.
pub fn is_allowed(world: &World, connection: Connection) -> bool {
    let Connection { client, server, .. } = connection;
    client == server
        || side_allows(world, connection, client, server, "Egress", "to")
            && side_allows(world, connection, server, client, "Ingress", "from")
}

/// Policies of administrators come first: by priority, the rules of each in order, and the first that is about the connection
/// has it allowed, denied, or passed to network policies. Where none of these selects the pod, the baseline is asked.
fn side_allows(world: &World, connection: Connection, subject: usize, peer: usize, kind: &str, peers: &str) -> bool {
    let first_rule = |spec: &Value| -> Option<String> {
        let rules = list(&spec[kind.to_lowercase()]).iter().filter(|_| is_subject(world, &spec["subject"], subject));
        let mut about = rules.filter(|rule| {
            list(&rule[peers]).iter().any(|one| is_admin_peer(world, one, peer))
                && (rule["ports"].is_null()
                    || list(&rule["ports"]).iter().any(|port| is_admin_port(world, port, connection)))
        });
        about.next().map(|rule| rule["action"].as_str().unwrap().to_owned())
    };
    let mut admin: Vec<&Value> = world.admin.values().flatten().collect();
    admin.sort_by_key(|spec| spec["priority"].as_u64());
    match admin.into_iter().find_map(first_rule).as_deref() {
        Some("Allow") => return true,
        Some("Deny") => return false,
        Some("Pass") | None => {}
        Some(other) => panic!("{other}"),
    }
    network_policies_allow(world, connection, subject, peer, kind, peers)
        .unwrap_or_else(|| world.baseline.as_ref().and_then(first_rule).as_deref() != Some("Deny"))
}

fn is_subject(world: &World, subject: &Value, pod: usize) -> bool {
    match &subject["namespaces"] {
        Value::Null => is_selected(world, &subject["pods"], pod),
        selector => selects(selector, &namespace_labels(world, pod)),
    }
}

fn is_selected(world: &World, pods: &Value, pod: usize) -> bool {
    selects(&pods["namespaceSelector"], &namespace_labels(world, pod))
        && selects(&pods["podSelector"], &world.pods[pod]["metadata"]["labels"])
}

fn namespace_labels(world: &World, pod: usize) -> Value {
    serde_json::to_value(&world.namespaces[world.namespace_of(pod)]).unwrap_or_default()
}

fn is_admin_peer(world: &World, peer: &Value, pod: usize) -> bool {
    let address = world.address(pod).unwrap();
    if !peer["nodes"].is_null() {
        return world.nodes.values().any(|node| {
            let has = list(&node["status"]["addresses"]).iter().any(|one| one["address"] == address.to_string());
            has && selects(&peer["nodes"], &node["metadata"]["labels"])
        });
    }
    if !peer["networks"].is_null() {
        return list(&peer["networks"]).iter().any(|cidr| is_inside(cidr, address));
    }
    is_subject(world, peer, pod)
}

fn is_admin_port(world: &World, port: &Value, connection: Connection) -> bool {
    if let Some(name) = port["namedPort"].as_str() {
        return declares(world, connection, name);
    }
    let number = u64::from(connection.port);
    let (exact, range) = (&port["portNumber"], &port["portRange"]);
    let of = |one: &Value| !one.is_null() && number_of(&one["protocol"]) == connection.protocol;
    of(exact) && exact["port"] == number
        || of(range) && (range["start"].as_u64().unwrap()..=range["end"].as_u64().unwrap()).contains(&number)
}

/// Whether the server has declared the connection's port by a name.
fn declares(world: &World, connection: Connection, name: &str) -> bool {
    let containers = list(&world.pods[connection.server]["spec"]["containers"]);
    containers.iter().flat_map(|container| list(&container["ports"])).any(|one| {
        one["name"] == name
            && number_of(&one["protocol"]) == connection.protocol
            && one["containerPort"] == connection.port
    })
}

fn is_inside(cidr: &Value, address: std::net::IpAddr) -> bool {
    cidr.as_str().unwrap().parse::<IpNet>().unwrap().contains(&address)
}

fn number_of(protocol: &Value) -> u8 {
    match protocol.as_str() {
        Some("UDP") => 17,
        Some("SCTP") => 132,
        _ => 6,
    }
}

/// A pod that no policy of a direction selects is not isolated; otherwise some rule of those that do has to allow it.
fn network_policies_allow(
    world: &World,
    connection: Connection,
    subject: usize,
    peer: usize,
    kind: &str,
    peers: &str,
) -> Option<bool> {
    let (namespace, labels) = (world.namespace_of(subject), &world.pods[subject]["metadata"]["labels"]);
    let applies = |policy: &&Value| {
        policy["metadata"]["namespace"] == namespace
            && has_type(&policy["spec"], kind)
            && selects(&policy["spec"]["podSelector"], labels)
    };
    let applying: Vec<&Value> = world.policies.values().flatten().filter(applies).collect();
    let rules = |policy: &&Value| list(&policy["spec"][kind.to_lowercase()]).to_vec();
    let allows = || {
        applying.iter().flat_map(rules).any(|rule| {
            let peers = list(&rule[peers]);
            (peers.is_empty() || peers.iter().any(|one| is_peer(world, one, peer, namespace)))
                && ports_allow(world, &rule["ports"], connection)
        })
    };
    (!applying.is_empty()).then(allows)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn has_type(spec: &Value, kind: &str) -> bool {
    match list(&spec["policyTypes"]) {
        [] => kind == "Ingress" || !list(&spec["egress"]).is_empty(),
        types => types.iter().any(|one| one == kind),
    }
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value);
    let hold = list(&selector["matchExpressions"]).iter().all(|expression| {
        let value = &labels[expression["key"].as_str().unwrap()];
        let listed = list(&expression["values"]).contains(value);
        match expression["operator"].as_str().unwrap() {
            "In" => listed,
            "NotIn" => value.is_null() || !listed,
            "Exists" => !value.is_null(),
            "DoesNotExist" => value.is_null(),
            other => panic!("{other}"),
        }
    });
    equal && hold
}

fn is_peer(world: &World, peer: &Value, pod: usize, own_namespace: &str) -> bool {
    if !peer["ipBlock"].is_null() {
        let address = world.address(pod).unwrap();
        let inside = |cidr: &Value| is_inside(cidr, address);
        return inside(&peer["ipBlock"]["cidr"]) && !list(&peer["ipBlock"]["except"]).iter().any(inside);
    }
    let namespace = world.namespace_of(pod);
    let right_namespace = if peer["namespaceSelector"].is_null() {
        namespace == own_namespace
    } else {
        selects(&peer["namespaceSelector"], &namespace_labels(world, pod))
    };
    let labels = &world.pods[pod]["metadata"]["labels"];
    right_namespace && (peer["podSelector"].is_null() || selects(&peer["podSelector"], labels))
}

fn ports_allow(world: &World, ports: &Value, connection: Connection) -> bool {
    let ports = list(ports);
    ports.is_empty() || ports.iter().any(|port| is_port(world, port, connection))
}

fn is_port(world: &World, port: &Value, connection: Connection) -> bool {
    if number_of(&port["protocol"]) != connection.protocol {
        return false;
    }
    if let Some(name) = port["port"].as_str() {
        return declares(world, connection, name);
    }
    match port["port"].as_u64() {
        None => true,
        Some(first) => (first..=port["endPort"].as_u64().unwrap_or(first)).contains(&u64::from(connection.port)),
    }
}
