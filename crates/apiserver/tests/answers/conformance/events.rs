//! Events of the core group.

use serde_json::json;

use crate::Api;

#[tokio::test]
async fn should_manage_the_lifecycle_of_an_event() {
    let api = Api::new().await;
    let path = "/api/v1/namespaces/default/events";
    let event = json!({"metadata": {"name": "tested", "labels": {"testevent": "true"}},
        "involvedObject": {"namespace": "default"}, "message": "This is a test event", "reason": "Test", "type": "Normal"});
    api.post(path, &event).await.ok();
    let everywhere = "/api/v1/events?labelSelector=testevent%3Dtrue";
    assert_eq!(api.get(everywhere).await.ok()["items"].as_array().map(Vec::len), Some(1));
    let one = format!("{path}/tested");
    let patched = api.patch("strategic-merge-patch", &one, &json!({"message": "patched"})).await.ok();
    assert_eq!(patched["message"], "patched");
    let mut event = api.get(&one).await.ok();
    event["series"] = json!({"count": 100, "lastObservedTime": "2024-01-01T00:00:00.505050Z"});
    api.put(&one, &event).await.ok();
    assert_eq!(api.get(&one).await.ok()["series"]["count"], 100);
    api.delete(&one).await.ok();
    assert_eq!(api.get(everywhere).await.ok()["items"], json!([]));
}
