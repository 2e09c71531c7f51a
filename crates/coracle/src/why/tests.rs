//! What is told of clusters that are not well.

use serde_json::{Value, json};

use super::facts::Facts;
use super::{Kind, Subject, explain, subject};

fn facts(lists: Vec<(&'static str, Vec<Value>)>) -> Facts {
    let mut facts = Facts { namespace: "n".into(), lists: lists.into_iter().collect() };
    for objects in facts.lists.values_mut() {
        for object in objects {
            object["metadata"]["namespace"] = "n".into();
        }
    }
    facts
}

fn told(facts: &Facts, text: &str) -> String {
    explain(facts, &subject(text).unwrap()).unwrap().text()
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

fn node(name: &str, cpu: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {}, "status": {
        "allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "10"},
        "conditions": [{"type": "Ready", "status": ready, "message": "Kubelet stopped posting node status."}]}})
}

fn pod(name: &str, status: Value, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name, "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}}}]}, "status": status});
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn event(kind: &str, name: &str, reason: &str, message: &str) -> Value {
    json!({"metadata": {"name": reason}, "involvedObject": {"kind": kind, "name": name}, "reason": reason, "message": message})
}

#[test]
fn subjects_are_named_as_kubectl_names_them() {
    assert_eq!(subject("deploy/web"), Ok(Subject { kind: Kind::Deployment, name: "web".into() }));
    assert!(subject("web").is_err() && subject("pod/").is_err() && subject("secret/x").is_err());
}

#[test]
fn a_pod_that_no_node_takes_is_explained_node_by_node() {
    let mut tainted = node("b", "4", "True");
    tainted["spec"]["taints"] = json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]);
    let message = "0/2 nodes are available: ...";
    let condition = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]);
    let waiting = pod("p", json!({"phase": "Pending", "conditions": condition}), json!({}));
    let text = told(&facts(vec![("pods", vec![waiting]), ("nodes", vec![node("a", "1", "True"), tainted])]), "pod/p");
    has(
        &text,
        &[
            "The pod p is pending: it has no node.",
            message,
            "a  too little cpu: it asks for 2, and 1 of 1 are free",
            "b  has the taint gpu=yes:NoSchedule, which it does not tolerate",
            "Tolerate the taint",
            "a has 1 in all",
        ],
    );
}

#[test]
fn a_gated_pod_and_one_of_another_scheduler_wait_for_others() {
    let gated = pod("g", json!({"phase": "Pending"}), json!({"schedulingGates": [{"name": "example.com/x"}]}));
    let foreign = pod("f", json!({"phase": "Pending"}), json!({"schedulerName": "mine"}));
    let facts = facts(vec![("pods", vec![gated, foreign]), ("nodes", vec![node("a", "4", "True")])]);
    has(&told(&facts, "po/g"), &["scheduling gates example.com/x"]);
    has(&told(&facts, "po/f"), &["scheduler \"mine\"", "a  would take it"]);
}

#[test]
fn a_container_that_breaks_is_explained_by_how_it_ended() {
    let waiting =
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}});
    let last = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let status = json!({"phase": "Running", "containerStatuses":
        [{"name": "c", "image": "i", "restartCount": 4, "state": waiting, "lastState": last, "ready": false}]});
    let broken = pod("p", status, json!({"nodeName": "a"}));
    let text = told(&facts(vec![("pods", vec![broken]), ("nodes", vec![node("a", "4", "True")])]), "pod/p");
    has(&text, &["ends again and again, 4 times so far", "it used more memory than it may", "resources.limits.memory"]);
}

#[test]
fn a_pod_that_is_not_ready_is_explained_by_its_probe_or_its_node() {
    let status = json!({"phase": "Running", "containerStatuses": [{"name": "c", "image": "i", "restartCount": 0,
        "started": true, "ready": false, "state": {"running": {}}}]});
    let pods = vec![pod("p", status.clone(), json!({"nodeName": "a"})), pod("q", status, json!({"nodeName": "b"}))];
    let facts = facts(vec![
        ("pods", pods),
        ("nodes", vec![node("a", "4", "True"), node("b", "4", "Unknown")]),
        (
            "events",
            vec![event("Pod", "p", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500")],
        ),
    ]);
    has(&told(&facts, "pod/p"), &["runs, but is not ready", "statuscode: 500"]);
    has(&told(&facts, "pod/q"), &["The node b is unreachable: Kubelet stopped posting node status."]);
}

#[test]
fn a_service_without_endpoints_is_explained_by_labels_or_pods() {
    let service = |name: &str, selector: Value| json!({"metadata": {"name": name}, "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": "http"}]}});
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let facts = facts(vec![
        (
            "services",
            vec![
                service("mistyped", json!({"app": "web", "tier": "front"})),
                service("unnamed-port", json!({"app": "web"})),
            ],
        ),
        ("pods", vec![pod("p", ready, json!({"nodeName": "a"}))]),
        ("nodes", vec![node("a", "4", "True")]),
    ]);
    has(&told(&facts, "svc/mistyped"), &["selects 0 pods", "The pod p lacks tier=front."]);
    has(
        &told(&facts, "svc/unnamed-port"),
        &["selects 1 pods, of which 1 are ready", "No container of them has a port named http"],
    );
}

#[test]
fn a_claim_without_a_volume_is_explained_by_its_class() {
    let claim = |name: &str, class: Value| {
        json!({"metadata": {"name": name}, "status": {"phase": "Pending"},
            "spec": {"storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let class = json!({"metadata": {"name": "late"}, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer"});
    let facts = facts(vec![
        ("persistentvolumeclaims", vec![claim("a", Value::Null), claim("b", "gone".into()), claim("c", "late".into())]),
        ("storageclasses", vec![class]),
    ]);
    has(&told(&facts, "pvc/a"), &["no class is the default one"]);
    has(&told(&facts, "pvc/b"), &["Its storage class gone does not exist."]);
    has(&told(&facts, "pvc/c"), &["waits until a pod that uses the claim has a node"]);
}

#[test]
fn a_rollout_that_is_stuck_is_explained_by_its_newest_pods() {
    let owned = |mut object: Value, uid: &str| {
        object["metadata"]["ownerReferences"] = json!([{"uid": uid, "controller": true}]);
        object
    };
    let status = json!({"phase": "Pending", "containerStatuses": [{"name": "c", "image": "web:2", "restartCount": 0,
        "ready": false, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}}]});
    let set =
        json!({"metadata": {"name": "web-2", "uid": "rs", "annotations": {"deployment.kubernetes.io/revision": "2"}}});
    let conditions = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
        "message": "ReplicaSet \"web-2\" has timed out progressing."}]);
    let deployment = json!({"metadata": {"name": "web", "uid": "d", "generation": 2}, "spec": {"replicas": 3},
        "status": {"observedGeneration": 2, "readyReplicas": 3, "updatedReplicas": 1, "conditions": conditions}});
    let facts = facts(vec![
        ("deployments", vec![deployment]),
        ("replicasets", vec![owned(set, "d")]),
        ("pods", vec![owned(pod("web-2-x", status, json!({"nodeName": "a"})), "rs")]),
        ("nodes", vec![node("a", "4", "True")]),
        ("events", vec![event("Pod", "web-2-x", "Failed", "failed to pull: unauthorized")]),
    ]);
    has(
        &told(&facts, "deploy/web"),
        &[
            "wants 3 pods; 3 are ready, and 1 are of its newest version",
            "has timed out progressing",
            "The image web:2 of the container c is not there",
            "imagePullSecrets",
        ],
    );
}

#[test]
fn an_evicted_pod_and_one_that_is_gone_are_remembered() {
    let evicted = pod(
        "p",
        json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
        json!({"nodeName": "a"}),
    );
    let facts =
        facts(vec![("pods", vec![evicted]), ("events", vec![event("Pod", "gone", "Killing", "Stopping container c")])]);
    has(&told(&facts, "pod/p"), &["has failed (Evicted): The node was low on resource: memory."]);
    has(&told(&facts, "pod/gone"), &["There is no pod gone any more", "Stopping container c"]);
    assert!(explain(&facts, &subject("pod/never").unwrap()).is_err());
}
