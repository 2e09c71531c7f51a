//! Resource quotas as objects.

use serde_json::{Value, json};

use crate::Api;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PATH: &str = "/api/v1/namespaces/default/resourcequotas/q";

fn quota(hard: &Value) -> Value {
    json!({"metadata": {"name": "q", "labels": {"test": "quota"}}, "spec": {"hard": hard}})
}

#[tokio::test]
async fn should_manage_the_lifecycle_of_a_resource_quota() {
    let api = Api::new().await;
    api.post(QUOTAS, &quota(&json!({"cpu": "1", "memory": "500Mi"}))).await.ok();
    assert_eq!(api.get(PATH).await.ok()["spec"]["hard"], json!({"cpu": "1", "memory": "500Mi"}));
    let everywhere = "/api/v1/resourcequotas?labelSelector=test%3Dquota";
    assert_eq!(api.get(everywhere).await.ok()["items"].as_array().map(Vec::len), Some(1));
    let patch = json!({"metadata": {"labels": {"q": "patched"}}, "spec": {"hard": {"memory": "750Mi"}}});
    let patched = api.patch("strategic-merge-patch", PATH, &patch).await.ok();
    assert_eq!(patched["metadata"]["labels"], json!({"test": "quota", "q": "patched"}));
    assert_eq!(patched["spec"]["hard"], json!({"cpu": "1", "memory": "750Mi"}));
    api.delete(&format!("{QUOTAS}?labelSelector=q%3Dpatched")).await.ok();
    assert_eq!(api.get(everywhere).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn should_apply_changes_to_a_resourcequota_status() {
    let api = Api::new().await;
    let hard = json!({"cpu": "500m", "memory": "500Mi"});
    api.post(QUOTAS, &quota(&hard)).await.ok();
    let status = format!("{PATH}/status");
    let mut read = api.get(PATH).await.ok();
    read["status"]["hard"] = hard.clone();
    assert_eq!(api.put(&status, &read).await.ok()["status"]["hard"], hard);

    let more = json!({"cpu": "1", "memory": "1Gi"});
    let patched = api.patch("merge-patch", PATH, &json!({"spec": {"hard": more}})).await.ok();
    assert_eq!((&patched["spec"]["hard"], &patched["status"]["hard"]), (&more, &hard));
    let patched = api.patch("merge-patch", &status, &json!({"status": {"hard": more}})).await.ok();
    assert_eq!(patched["status"]["hard"], more);

    let read = api.get(&status).await.ok();
    assert_eq!(read["status"]["hard"], read["spec"]["hard"]);
    let third = json!({"cpu": "2", "memory": "2Gi"});
    let both = json!({"spec": {"hard": third}, "status": {"hard": third}});
    let patched = api.patch("merge-patch", &status, &both).await.ok();
    assert_eq!((&patched["spec"]["hard"], &patched["status"]["hard"]), (&more, &third));
}
