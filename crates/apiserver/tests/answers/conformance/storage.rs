//! Objects of storage.

use serde_json::{Value, json};

use super::Resource;
use super::lifecycle::Kind;
use crate::Api;

#[tokio::test]
async fn should_run_through_the_lifecycle_of_a_csidriver() {
    let api = Api::new().await;
    let spec = || json!({"spec": {"volumeLifecycleModes": ["Ephemeral"]}});
    Kind { path: "/apis/storage.k8s.io/v1/csidrivers", spec }.lives(&api).await;
}

#[tokio::test]
async fn should_run_through_the_lifecycle_of_a_csinode() {
    let api = Api::new().await;
    let spec = || json!({"spec": {"drivers": []}});
    Kind { path: "/apis/storage.k8s.io/v1/csinodes", spec }.lives(&api).await;
}

#[tokio::test]
async fn should_run_through_the_lifecycle_of_a_storageclass() {
    let api = Api::new().await;
    let spec = || json!({"provisioner": "e2e-fake-provisioner", "reclaimPolicy": "Delete"});
    Kind { path: "/apis/storage.k8s.io/v1/storageclasses", spec }.lives(&api).await;
}

#[tokio::test]
async fn should_run_through_the_lifecycle_of_a_volumeattachment() {
    let api = Api::new().await;
    Kind { path: ATTACHMENTS, spec: attachment }.lives(&api).await;
}

const ATTACHMENTS: &str = "/apis/storage.k8s.io/v1/volumeattachments";

fn attachment() -> Value {
    json!({"spec": {"attacher": "e2e.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}})
}

#[tokio::test]
async fn should_apply_changes_to_a_volumeattachment_status() {
    let api = Api::new().await;
    let kind = Kind { path: ATTACHMENTS, spec: attachment };
    kind.make(&api, "one").await;
    kind.patch(&api, "one").await;
    let status = kind.one("one/status");
    assert_eq!(api.get(&status).await.ok()["status"]["attached"], false);
    let patched = api.patch("merge-patch", &status, &json!({"status": {"attached": true}})).await.ok();
    assert_eq!(patched["status"]["attached"], true);
    let updated = api.replace(&status, |object| object["status"]["attached"] = false.into()).await;
    assert_eq!(updated["status"]["attached"], false);
    kind.delete(&api, "one").await;
}

#[tokio::test]
async fn should_support_csistoragecapacities_api_operations() {
    let api = Api::new().await;
    let resource =
        Resource { group: "storage.k8s.io", version: "v1", plural: "csistoragecapacities", subresources: &[] };
    resource.is_discovered(&api).await;
    let path = "/apis/storage.k8s.io/v1/namespaces/default/csistoragecapacities";
    let spec =
        || json!({"storageClassName": "fast", "capacity": "1Gi", "nodeTopology": {"matchLabels": {"zone": "a"}}});
    let kind = Kind { path, spec };
    let made = kind.make(&api, "watched").await;
    let version = made["metadata"]["resourceVersion"].as_str().expect("a version");
    kind.patch(&api, "watched").await;
    let watch = format!("{path}?watch=1&resourceVersion={version}");
    let event = api.event(&watch, |event| event["object"]["metadata"]["labels"]["watched"] == "patched").await;
    assert_eq!(event["type"], "MODIFIED");
    let everywhere = "/apis/storage.k8s.io/v1/csistoragecapacities?labelSelector=test%3Dlifecycle";
    assert_eq!(api.get(everywhere).await.ok()["items"].as_array().map(Vec::len), Some(1));
    kind.delete(&api, "watched").await;
    kind.lives(&api).await;
}

#[tokio::test]
async fn should_support_csivolumesource_in_pod_api() {
    let api = Api::new().await;
    let spec = || {
        json!({"spec": {"containers": [{"name": "c", "image": "i:1"}], "volumes": [{"name": "v",
            "csi": {"driver": "e2e.example.com", "readOnly": true, "volumeAttributes": {"a": "b"}}}]}})
    };
    let kind = Kind { path: "/api/v1/namespaces/default/pods", spec };
    let made = kind.make(&api, "one").await;
    let source = &made["spec"]["volumes"][0]["csi"];
    assert_eq!((&source["driver"], &source["volumeAttributes"]), (&json!("e2e.example.com"), &json!({"a": "b"})));
    kind.patch(&api, "one").await;
    kind.found(&api, "test=lifecycle", 1).await;
    kind.delete(&api, "one").await;
}

const VOLUMES: &str = "/api/v1/persistentvolumes";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn volume() -> Value {
    let source = json!({"driver": "e2e.example.com", "volumeHandle": "h"});
    json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "csi": source, "storageClassName": "none"}})
}

fn claim() -> Value {
    json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"}})
}

#[tokio::test]
async fn should_run_through_the_lifecycle_of_a_pv_and_a_pvc() {
    let api = Api::new().await;
    Kind { path: VOLUMES, spec: volume }.lives(&api).await;
    Kind { path: CLAIMS, spec: claim }.lives(&api).await;
}

#[tokio::test]
async fn should_apply_changes_to_a_pv_pvc_status() {
    let api = Api::new().await;
    let (volumes, claims) = (Kind { path: VOLUMES, spec: volume }, Kind { path: CLAIMS, spec: claim });
    volumes.make(&api, "v").await;
    claims.make(&api, "c").await;
    volumes.found(&api, "test=lifecycle", 1).await;
    claims.found(&api, "test=lifecycle", 1).await;
    let (of_volume, of_claim) = (volumes.one("v/status"), claims.one("c/status"));
    for path in [&of_volume, &of_claim] {
        assert_eq!(api.get(path).await.ok()["status"]["phase"], "Pending");
    }
    let condition =
        |type_: &str| json!([{"type": type_, "status": "True", "reason": "Test", "message": "as the test says"}]);
    let patch = json!({"status": {"conditions": condition("StatusPatched")}});
    let patched = api.patch("merge-patch", &of_claim, &patch).await.ok();
    assert_eq!(patched["status"]["conditions"][0]["type"], "StatusPatched");
    let updated = api.replace(&of_claim, |object| object["status"]["conditions"] = condition("StatusUpdated")).await;
    assert_eq!(updated["status"]["conditions"][0]["type"], "StatusUpdated");
    let told = |what: &str| json!({"message": format!("it was {what}"), "reason": what});
    let patched = api.patch("merge-patch", &of_volume, &json!({"status": told("patched")})).await.ok();
    assert_eq!((&patched["status"]["reason"], &patched["status"]["phase"]), (&json!("patched"), &json!("Pending")));
    let updated = api.replace(&of_volume, |object| {
        object["status"] = told("updated");
        object["status"]["phase"] = "Pending".into();
    });
    let updated = updated.await;
    assert_eq!(
        (&updated["status"]["reason"], &updated["status"]["message"]),
        (&json!("updated"), &json!("it was updated"))
    );
}
