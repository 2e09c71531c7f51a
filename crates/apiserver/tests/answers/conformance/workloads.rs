//! Objects of workloads, of the nodes that carry them, and of what they may ask for. Those of jobs are with the controllers'
//! tests (`reconciling/conformance.rs`).

use serde_json::{Value, json};

use super::lifecycle::Kind;
use crate::Api;

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}})
}

#[tokio::test]
async fn should_get_and_update_a_replicationcontroller_scale() {
    let api = Api::new().await;
    let mut template = template();
    template["spec"]["restartPolicy"] = "Always".into();
    let path = "/api/v1/namespaces/default/replicationcontrollers";
    let kind = Kind { path, spec: || json!({"spec": {"replicas": 1, "selector": {"app": "a"}, "template": template}}) };
    kind.make(&api, "one").await;
    let scale = kind.one("one/scale");
    let read = api.get(&scale).await.ok();
    assert_eq!((&read["kind"], &read["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    let updated = api.replace(&scale, |scale| scale["spec"]["replicas"] = 2.into()).await;
    assert_eq!(updated["spec"]["replicas"], 2);
    assert_eq!(api.get(&kind.one("one")).await.ok()["spec"]["replicas"], 2);
}

#[tokio::test]
async fn should_run_through_the_lifecycle_of_a_node() {
    let api = Api::new().await;
    Kind { path: "/api/v1/nodes", spec: || json!({}) }.lives(&api).await;
}

#[tokio::test]
async fn should_replace_a_pod_template() {
    let api = Api::new().await;
    let path = "/api/v1/namespaces/default/podtemplates";
    let kind = Kind { path, spec: || json!({"template": template()}) };
    kind.make(&api, "one").await;
    let annotate = |object: &mut Value| object["metadata"]["annotations"] = json!({"updated": "true"});
    api.replace(&kind.one("one"), annotate).await;
    assert_eq!(api.get(&kind.one("one")).await.ok()["metadata"]["annotations"]["updated"], "true");
}

#[tokio::test]
async fn should_list_patch_and_delete_a_limitrange_by_collection() {
    let api = Api::new().await;
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await.ok();
    let limit =
        |min: &str| json!({"type": "Container", "min": {"cpu": min}, "max": {"cpu": "2"}, "default": {"cpu": "1"}});
    let spec = || json!({"spec": {"limits": [limit("50m")]}});
    let here = Kind { path: "/api/v1/namespaces/default/limitranges", spec };
    let there = Kind { path: "/api/v1/namespaces/other/limitranges", spec };
    here.make(&api, "one").await;
    there.make(&api, "one").await;
    let everywhere = "/api/v1/limitranges?labelSelector=test%3Dlifecycle";
    assert_eq!(api.get(everywhere).await.ok()["items"].as_array().map(Vec::len), Some(2));
    let patch = json!({"metadata": {"labels": {"one": "patched"}}, "spec": {"limits": [limit("40m")]}});
    let patched = api.patch("merge-patch", &here.one("one"), &patch).await.ok();
    assert_eq!(patched["spec"]["limits"][0]["min"]["cpu"], "40m");
    here.delete_all(&api, "one=patched").await;
    let left = api.get(everywhere).await.ok();
    assert_eq!(left["items"][0]["metadata"]["namespace"], "other");
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const CLASSES: &str = "/apis/node.k8s.io/v1/runtimeclasses";

fn of_class(name: &str) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"runtimeClassName": name, "containers": [{"name": "c", "image": "i:1"}]}})
}

#[tokio::test]
async fn should_reject_a_pod_requesting_a_non_existent_runtimeclass() {
    let api = Api::new().await;
    let answer = api.post(PODS, &of_class("none")).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains("RuntimeClass \\\"none\\\" not found"), "{}", answer.text);
}

#[tokio::test]
async fn should_reject_a_pod_requesting_a_deleted_runtimeclass() {
    let api = Api::new().await;
    let kind = Kind { path: CLASSES, spec: || json!({"handler": "h"}) };
    kind.make(&api, "was").await;
    kind.delete(&api, "was").await;
    assert_eq!(api.post(PODS, &of_class("was")).await.status, 403);
}
