//! Services use ports of the nodes and load balancers.

use coracle_api::meta::{list, text};
use serde_json::Value;

use super::usage::whole;
use crate::amounts::Amounts;

pub(super) fn is_tracked(name: &str) -> bool {
    matches!(name, "services" | "services.nodeports" | "services.loadbalancers")
}

pub(super) fn usage(service: &Value) -> Amounts {
    let ports = list(service, &["spec", "ports"]);
    let all = i64::try_from(ports.len()).unwrap_or(i64::MAX);
    let given = ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count();
    let (node_ports, load_balancers) = match text(service, &["spec", "type"]) {
        "NodePort" => (all, 0),
        // Without ports of the nodes, unless the service names some.
        "LoadBalancer" if service["spec"]["allocateLoadBalancerNodePorts"] == false => {
            (i64::try_from(given).unwrap_or(i64::MAX), 1)
        }
        "LoadBalancer" => (all, 1),
        _ => (0, 0),
    };
    let mut used = Amounts::default();
    used.set("services", whole(1));
    used.set("services.nodeports", whole(node_ports));
    used.set("services.loadbalancers", whole(load_balancers));
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_type_says_what_a_service_uses() {
        let used = |spec: Value| {
            let used = usage(&json!({"spec": spec}));
            ["services.nodeports", "services.loadbalancers"].map(|name| used.get(name).map_or(-1, |used| used.value()))
        };
        let ports = json!([{"port": 1, "nodePort": 30000}, {"port": 2}]);
        assert_eq!(used(json!({"type": "ClusterIP", "ports": ports})), [0, 0]);
        assert_eq!(used(json!({"type": "NodePort", "ports": ports})), [2, 0]);
        assert_eq!(used(json!({"type": "LoadBalancer", "ports": ports})), [2, 1]);
        let without = json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false});
        assert_eq!(used(without), [1, 1]);
    }
}
