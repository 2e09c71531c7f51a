//! Replicas that follow what their pods use, by metrics that nobody installed.

use coracle_e2e::*;
use serde_json::json;

#[test]
fn replicas_follow_the_load() {
    let cluster = cluster!();
    let namespace = cluster.namespace("autoscaling");
    let kubectl = kubectl!(cluster, namespace);
    let mut busy = container("main", &["spin", "3600"]);
    busy["resources"] = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "150m"}});
    let template = json!({"metadata": {"labels": {"app": "busy"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [busy]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "busy"}}, "template": template});
    let deployments = namespace.path_in("apps/v1", "deployments");
    namespace.api.post(&deployments, &json!({"metadata": {"name": "busy"}, "spec": spec})).ok();
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]);
    let spec = json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
        "minReplicas": 1, "maxReplicas": 3, "metrics": metrics, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}});
    let path = namespace.path_in("autoscaling/v2", "horizontalpodautoscalers");
    namespace.api.post(&path, &json!({"metadata": {"name": "busy"}, "spec": spec})).ok();
    namespace.event("busy", "SuccessfulRescale", "cpu resource utilization (percentage of request) above target");
    let wants = |count: i64| {
        let deployment = namespace.api.get(&format!("{deployments}/busy")).ok();
        let autoscaler = || namespace.api.get(&format!("{path}/busy")).ok()["status"].to_string();
        if deployment["spec"]["replicas"] == count { Ok(()) } else { Err(autoscaler()) }
    };
    eventually("more pods come", || wants(3).or_else(|_| wants(2)));
    let shown = kubectl.ok("top pods --no-headers");
    assert!(shown.lines().any(|line| line.starts_with("busy-") && line.contains("Mi")), "{shown}");
    assert!(kubectl.ok("top nodes --no-headers").contains('%'));
    let target = json!({"type": "Utilization", "averageUtilization": 1200});
    let spec = json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]});
    namespace.api.patch(&format!("{path}/busy"), MERGE, &json!({"spec": spec})).ok();
    eventually("most go when that is little", || wants(1));
}
