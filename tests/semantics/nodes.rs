//! What others tell of a node, and what becomes of it.

use coracle_e2e::*;
use serde_json::json;

#[test]
fn resources_that_a_client_adds_to_a_node_can_be_used() {
    let cluster = cluster!();
    let namespace = cluster.namespace("dongles");
    let nodes = namespace.api.get("/api/v1/nodes").ok();
    // Other tests make nodes that nobody runs.
    let is_ready = |node: &&serde_json::Value| {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let node = nodes["items"].as_array().and_then(|all| all.iter().find(is_ready)).expect("a node that runs");
    let node = node["metadata"]["name"].as_str().expect("a name").to_owned();
    let status = format!("/api/v1/nodes/{node}/status");
    let capacity = |amount: serde_json::Value| json!({"status": {"capacity": {"example.com/dongle": amount}}});
    namespace.api.patch(&status, MERGE, &capacity("2".into())).ok();
    let allocatable = |wanted: serde_json::Value| {
        eventually("the kubelet has seen it", || {
            let found = namespace.api.get(&status).ok()["status"]["allocatable"]["example.com/dongle"].clone();
            if found == wanted { Ok(()) } else { Err(found) }
        });
    };
    allocatable("2".into());
    let mut container = container("c", &["sleep", "1000"]);
    container["resources"] = json!({"limits": {"example.com/dongle": "2"}});
    for name in ["a", "b"] {
        let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container]});
        namespace.create("pods", &json!({"metadata": {"name": name}, "spec": spec}));
    }
    // One of them has both, so the other one waits.
    let phases = |wanted: [&str; 2]| {
        eventually(&format!("the pods are {wanted:?}"), || {
            let list = namespace.found("pods")?;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let mut phases: Vec<&str> = items.iter().filter_map(|pod| pod["status"]["phase"].as_str()).collect();
            phases.sort_unstable();
            if phases == wanted { Ok(()) } else { Err(list.to_string()) }
        });
    };
    phases(["Pending", "Running"]);
    namespace.api.patch(&status, MERGE, &capacity(json!(null))).ok();
    allocatable(json!(null));
}
