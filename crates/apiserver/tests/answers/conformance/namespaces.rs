//! Namespaces.

use serde_json::json;

use crate::Api;

const NAMESPACES: &str = "/api/v1/namespaces";
const PATH: &str = "/api/v1/namespaces/tested";

async fn with_namespace() -> Api {
    let api = Api::new().await;
    api.post(NAMESPACES, &json!({"metadata": {"name": "tested"}})).await.ok();
    api
}

#[tokio::test]
async fn should_apply_changes_to_a_namespace_status() {
    let api = with_namespace().await;
    let status = format!("{PATH}/status");
    assert_eq!(api.get(&status).await.ok()["status"]["phase"], "Active");
    let condition = |reason: &str| json!([{"type": "StatusPatch", "status": "True", "reason": reason, "message": "m"}]);
    let patch =
        json!({"metadata": {"annotations": {"e2e": "patched"}}, "status": {"conditions": condition("Patched")}});
    let mut patched = api.patch("merge-patch", &status, &patch).await.ok();
    assert_eq!(patched["status"]["conditions"][0]["reason"], "Patched");
    patched["status"]["conditions"] =
        json!([patched["status"]["conditions"][0], {"type": "StatusUpdate", "status": "True", "reason": "E2E"}]);
    api.put(&status, &patched).await.ok();
    let read = api.get(PATH).await.ok();
    assert_eq!(read["status"]["conditions"][1]["reason"], "E2E");
    assert_eq!(read["status"]["phase"], "Active");
}

#[tokio::test]
async fn should_apply_an_update_to_a_namespace() {
    let api = with_namespace().await;
    let mut namespace = api.get(PATH).await.ok();
    namespace["metadata"]["labels"]["tested"] = "updated".into();
    assert_eq!(api.put(PATH, &namespace).await.ok()["metadata"]["labels"]["tested"], "updated");
    assert_eq!(api.get(PATH).await.ok()["metadata"]["labels"]["tested"], "updated");
}

#[tokio::test]
async fn should_apply_a_finalizer_to_a_namespace() {
    let api = with_namespace().await;
    let finalize = format!("{PATH}/finalize");
    let mut namespace = api.get(PATH).await.ok();
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    namespace["spec"]["finalizers"] = json!(["kubernetes", "e2e.example.com/fake"]);
    let mut held = api.put(&finalize, &namespace).await.ok();
    assert_eq!(held["spec"]["finalizers"], json!(["kubernetes", "e2e.example.com/fake"]));
    held["spec"]["finalizers"] = json!(["kubernetes"]);
    api.put(&finalize, &held).await.ok();
    assert_eq!(api.get(PATH).await.ok()["spec"]["finalizers"], json!(["kubernetes"]));
}
