//! Ephemeral Containers.

use coracle_e2e::*;
use serde_json::{Value, json};

fn add(namespace: &Namespace<'_>, name: &str) {
    let added = json!({"spec": {"ephemeralContainers": [container(name, &["sleep", "1000"])]}});
    let path = namespace.path("pods/p/ephemeralcontainers");
    namespace.api.patch(&path, STRATEGIC, &added).ok();
}

/// Waits until so many ephemeral containers run.
fn run(namespace: &Namespace<'_>, count: usize) -> Value {
    namespace.pod_until("p", "has ephemeral containers that run", |pod| {
        let list = pod["status"]["ephemeralContainerStatuses"].as_array();
        list.is_some_and(|list| list.iter().filter(|one| one["state"]["running"].is_object()).count() == count)
    })
}

#[test]
fn will_start_an_ephemeral_container_in_an_existing_pod() {
    let cluster = cluster!();
    let namespace = cluster.namespace("ephemeral");
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    namespace.pod_ready("p");
    add(&namespace, "debugger");
    run(&namespace, 1);
}

#[test]
fn should_update_the_ephemeral_containers_in_an_existing_pod() {
    let cluster = cluster!();
    let namespace = cluster.namespace("ephemeral-two");
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    namespace.pod_ready("p");
    for (count, name) in [(1, "debugger"), (2, "debugger2")] {
        add(&namespace, name);
        let pod = run(&namespace, count);
        assert_eq!(pod["spec"]["ephemeralContainers"].as_array().map(Vec::len), Some(count));
    }
}
