//! A node is emptied no faster than disruption budgets allow.

use coracle_e2e::*;
use serde_json::json;

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: web, image: "test:1"}
"#;

#[test]
fn a_drain_leaves_what_a_budget_needs_and_ends_once_it_may() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("drain");
    cluster.up();
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("drained");
    let kubectl = kubectl!(&cluster, namespace);
    kubectl.apply(WEB);
    kubectl.ok("rollout status deployment/web --timeout=60s");
    kubectl.ok("create poddisruptionbudget web --selector=app=web --max-unavailable=1");
    eventually("one pod may go", || {
        let allowed = kubectl.ok("get pdb web -o jsonpath={.status.disruptionsAllowed}");
        if allowed == "1" { Ok(()) } else { Err(allowed) }
    });
    let node = kubectl.ok("get nodes -o jsonpath={.items[0].metadata.name}");
    let drain = format!("drain {node} --ignore-daemonsets --pod-selector=app=web --timeout=5s");
    let refused = kubectl.run(&drain.split(' ').collect::<Vec<_>>());
    assert!(refused.code != 0 && refused.err.contains("disruption budget"), "{refused:?}");
    let running = kubectl.ok("get pods -l app=web --field-selector=status.phase=Running -o name");
    assert_eq!(running.lines().count(), 1, "{running}");
    namespace
        .api
        .patch(
            &namespace.path_in("policy/v1", "poddisruptionbudgets/web"),
            MERGE,
            &json!({"spec": {"maxUnavailable": 2}}),
        )
        .ok();
    kubectl.ok(&drain.replace("5s", "60s"));
    let told = |reason: &str| {
        let of = format!("--field-selector=involvedObject.kind=Node,reason={reason}");
        let events = kubectl.ok(&format!("get events --namespace=default {of} -o jsonpath={{.items[*].message}}"));
        let expected = format!("Node {node} status is now: {reason}");
        if events == expected { Ok(()) } else { Err(events) }
    };
    eventually("that no pod may come is told", || told("NodeNotSchedulable"));
    kubectl.ok(&format!("uncordon {node}"));
    eventually("that pods may come is told", || told("NodeSchedulable"));
}
