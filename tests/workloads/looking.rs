//! `get`, `describe`, `events`, `explain`, `api-resources`.

use coracle_e2e::*;
use serde_json::Value;

#[test]
fn objects_are_shown_in_every_form() {
    let cluster = cluster!();
    let namespace = cluster.namespace("forms");
    let kubectl = kubectl!(cluster, namespace);
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    namespace.pod_ready("p");
    let get = kubectl.ok("get pod p");
    let mut lines = get.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    );
    assert_eq!(lines.next().unwrap().split_whitespace().take(4).collect::<Vec<_>>(), ["p", "1/1", "Running", "0"]);
    let wide = kubectl.ok("get pod p -o wide");
    assert!(wide.contains("NOMINATED NODE") && wide.contains(&cluster.name), "{wide}");
    let json: Value = serde_json::from_str(&kubectl.ok("get pod p -o json")).unwrap();
    assert_eq!((json["kind"].as_str(), json["apiVersion"].as_str()), (Some("Pod"), Some("v1")));
    assert!(kubectl.ok("get pod p -o yaml").contains("\n  name: p\n"));
    assert_eq!(kubectl.ok("get pod p -o jsonpath={.status.phase}"), "Running");
    assert_eq!(kubectl.ok("get pods -o custom-columns=N:.metadata.name"), "N\np\n");
    assert_eq!(kubectl.ok("get pods -o name"), "pod/p\n");
    assert!(kubectl.ok("get pods -A --sort-by=.metadata.name").contains("forms"));
    assert!(kubectl.ok("get pods --show-labels").contains("app=p"));
    let none = kubectl.run(&["get", "pods", "-l", "no=such"]);
    assert_eq!((none.code, none.err.as_str()), (0, "No resources found in forms namespace.\n"));
    let missing = kubectl.run(&["get", "pod", "nothing"]);
    assert_eq!(missing.err, "Error from server (NotFound): pods \"nothing\" not found\n");
    let all = kubectl.ok("get all");
    assert!(all.contains("pod/p"), "{all}");
    assert!(kubectl.ok("label pod p colour=blue").contains("pod/p labeled"));
    assert!(kubectl.ok("annotate pod p note=x").contains("pod/p annotate"));
}

#[test]
fn describe_and_events_tell_what_happened() {
    let cluster = cluster!();
    let namespace = cluster.namespace("describe");
    let kubectl = kubectl!(cluster, namespace);
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    namespace.pod_ready("p");
    namespace.event("p", "Started", "");
    let described = kubectl.ok("describe pod p");
    for part in [
        "Name:             p",
        "Status:           Running",
        "Image:         test:1",
        "Successfully assigned describe/p to",
        "Container image \"test:1\" already present on machine",
        "Created container",
        "Started container",
        "kubelet",
        "default-scheduler",
    ] {
        assert!(described.contains(part), "{part:?} is missing:\n{described}");
    }
    let node = kubectl.ok(&format!("describe node {}", cluster.name));
    for part in ["Capacity:", "Allocatable:", "Non-terminated Pods:", "KubeletReady", "PodCIDR:"] {
        assert!(node.contains(part), "{part:?} is missing:\n{node}");
    }
    let events = kubectl.ok("get events --sort-by=.lastTimestamp");
    assert!(events.contains("Scheduled") && events.contains("Started"), "{events}");
    assert!(kubectl.ok("events --for pod/p").contains("Started"));
}

#[test]
fn explain_and_api_resources_know_the_schema() {
    let cluster = cluster!();
    let namespace = cluster.namespace("explain");
    let kubectl = kubectl!(cluster, namespace);
    let explained = kubectl.ok("explain pod.spec.containers.livenessProbe");
    assert!(explained.contains("periodSeconds") && explained.contains("httpGet"), "{explained}");
    let explained = kubectl.ok("explain deployment.spec.replicas");
    assert!(explained.contains("<integer>") && explained.contains("Number of desired pods"), "{explained}");
    let resources = kubectl.ok("api-resources");
    for name in ["pods", "deployments", "ingresses", "cronjobs", "customresourcedefinitions"] {
        assert!(resources.contains(name), "{name} is missing:\n{resources}");
    }
    assert!(kubectl.ok("api-versions").contains("apps/v1\n"));
    assert!(kubectl.ok("version").contains("v1.35"));
    assert_eq!(kubectl.ok("auth can-i create pods"), "yes\n");
    assert!(kubectl.ok("cluster-info").contains("is running at"));
}

#[test]
fn wait_ends_when_the_condition_is_met() {
    let cluster = cluster!();
    let namespace = cluster.namespace("wait");
    let kubectl = kubectl!(cluster, namespace);
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    assert_eq!(kubectl.ok("wait --for=condition=Ready pod/p --timeout=60s"), "pod/p condition met\n");
    let deleting = kubectl.command(&["wait", "--for=delete", "pod/p", "--timeout=60s"]).spawn().unwrap();
    kubectl.ok("delete pod p --wait=false");
    assert!(deleting.wait_with_output().unwrap().status.success());
}
