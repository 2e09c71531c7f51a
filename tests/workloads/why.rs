//! `coracle why`.

use std::process::Command;

use coracle_e2e::*;
use serde_json::json;

fn why(cluster: &Cluster, subject: &str) -> String {
    let mut command = Command::new(built("coracle"));
    command.args(["why", subject, "--namespace", "why"]).env("KUBECONFIG", &cluster.kubeconfig);
    let output = command.output().expect("coracle runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn what_keeps_pods_and_services_from_being_well_is_told() {
    let cluster = cluster!();
    let namespace = cluster.namespace("why");
    let mut large = pod("large", &["sleep", "1000"]);
    large["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1000"}});
    namespace.create("pods", &large);
    let mut absent = pod("absent", &["sleep", "1000"]);
    absent["spec"]["containers"][0]["image"] = "localhost:9/absent:1".into();
    namespace.create("pods", &absent);
    namespace.create("pods", &pod("well", &["sleep", "1000"]));
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "well", "tier": "x"},
        "ports": [{"port": 80}]}});
    namespace.create("services", &service);
    namespace.event("large", "FailedScheduling", "Insufficient cpu");
    namespace.event("absent", "Failed", "");
    namespace.pod_ready("well");
    let node = format!("{}  too little cpu: it asks for 1000", cluster.name);
    has(&why(cluster, "pod/large"), &["is pending: it has no node", "1 Insufficient cpu", &node, "What would help:"]);
    has(&why(cluster, "pod/absent"), &["The image localhost:9/absent:1 of the container main is not there"]);
    has(&why(cluster, "pod/well"), &["runs on", "and is ready"]);
    has(&why(cluster, "svc/web"), &["selects 0 pods", "The pod well lacks tier=x."]);
}
