//! The documented rules, word for word and with no thought of speed. It shares no code with what it judges.

use ipnet::IpNet;
use serde_json::Value;

use super::world::World;

#[derive(Clone, Copy, Debug)]
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

/// A pod that no policy of a direction selects is not isolated; otherwise some rule of those that do has to allow it.
fn side_allows(world: &World, connection: Connection, subject: usize, peer: usize, kind: &str, peers: &str) -> bool {
    let (namespace, labels) = (world.key(subject).namespace, &world.object(subject)["metadata"]["labels"]);
    let policies: Vec<Value> =
        world.policies.values().flatten().map(|policy| serde_json::to_value(policy).unwrap()).collect();
    let applies = |policy: &&Value| {
        policy["metadata"]["namespace"] == namespace.as_str()
            && has_type(&policy["spec"], kind)
            && selects(&policy["spec"]["podSelector"], labels)
    };
    let applying: Vec<&Value> = policies.iter().filter(applies).collect();
    let rules = |policy: &&Value| list(&policy["spec"][kind.to_lowercase()]).to_vec();
    applying.is_empty()
        || applying.iter().flat_map(rules).any(|rule| {
            let peers = list(&rule[peers]);
            (peers.is_empty() || peers.iter().any(|one| is_peer(world, one, peer, &namespace)))
                && ports_allow(world, &rule["ports"], connection)
        })
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
        let inside = |cidr: &Value| cidr.as_str().unwrap().parse::<IpNet>().unwrap().contains(&address);
        return inside(&peer["ipBlock"]["cidr"]) && !list(&peer["ipBlock"]["except"]).iter().any(inside);
    }
    let namespace = world.key(pod).namespace;
    let right_namespace = if peer["namespaceSelector"].is_null() {
        namespace == own_namespace
    } else {
        let labels = serde_json::to_value(world.namespace_labels(&namespace)).unwrap();
        selects(&peer["namespaceSelector"], &labels)
    };
    let labels = &world.object(pod)["metadata"]["labels"];
    right_namespace && (peer["podSelector"].is_null() || selects(&peer["podSelector"], labels))
}

fn ports_allow(world: &World, ports: &Value, connection: Connection) -> bool {
    let ports = list(ports);
    ports.is_empty() || ports.iter().any(|port| is_port(world, port, connection))
}

fn is_port(world: &World, port: &Value, connection: Connection) -> bool {
    let number = |protocol: &Value| match protocol.as_str() {
        Some("UDP") => 17,
        Some("SCTP") => 132,
        _ => 6,
    };
    if number(&port["protocol"]) != connection.protocol {
        return false;
    }
    if let Some(name) = port["port"].as_str() {
        let declared = list(&world.object(connection.server)["spec"]["containers"][0]["ports"]);
        return declared.iter().any(|one| {
            one["name"] == name
                && number(&one["protocol"]) == connection.protocol
                && one["containerPort"] == connection.port
        });
    }
    match port["port"].as_u64() {
        None => true,
        Some(first) => (first..=port["endPort"].as_u64().unwrap_or(first)).contains(&u64::from(connection.port)),
    }
}
