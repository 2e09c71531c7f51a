//! RuntimeClass: pods of a class are scheduled, whatever becomes of them on the node.

use coracle_e2e::*;
use serde_json::{Value, json};

/// Makes a class of a handler that no node has and a pod of it; answers the pod once it was scheduled.
fn scheduled(cluster: &Cluster, name: &str, more: Value) -> Value {
    let namespace = cluster.namespace(name);
    let mut class = json!({"metadata": {"name": name}, "handler": "test-handler"});
    for (key, value) in more.as_object().expect("a map") {
        class[key] = value.clone();
    }
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    cluster.api().post(classes, &class).ok();
    let mut object = pod("p", &["sleep", "1000"]);
    object["spec"]["runtimeClassName"] = name.into();
    namespace.create("pods", &object);
    let pod = namespace.pod_until("p", "is scheduled", |pod| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "PodScheduled" && one["status"] == "True"))
    });
    cluster.api().delete(&format!("{classes}/{name}"), &json!({})).ok();
    pod
}

#[test]
fn should_schedule_a_pod_requesting_a_runtimeclass_without_podoverhead() {
    let cluster = cluster!();
    let pod = scheduled(cluster, "class-plain", json!({}));
    assert!(pod["spec"]["nodeName"].is_string() && pod["spec"]["overhead"].is_null(), "{pod}");
}

#[test]
fn should_schedule_a_pod_requesting_a_runtimeclass_and_initialize_its_overhead() {
    let cluster = cluster!();
    let overhead = json!({"cpu": "10m", "memory": "1Mi"});
    let pod = scheduled(cluster, "class-overhead", json!({"overhead": {"podFixed": overhead}}));
    assert_eq!(pod["spec"]["overhead"], overhead);
}
