//! Objects that another API server wrote to the same store.

use coracle_api::protobuf;
use coracle_store::{Op, Txn};
use serde_json::{Value, json};

use crate::Api;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn write(api: &Api, key: &str, value: Vec<u8>) {
    let op = Op::Put { key: format!("/registry/{key}").into(), value: value.into(), ttl: None };
    api.store.txn(Txn { compares: Vec::new(), ops: vec![op] }).await.expect("it is written");
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": {"by": "upstream"},
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }, "data": {"k": "v"}, "binaryData": {"b": "AAEC"}})
}

fn message(object: &Value) -> Vec<u8> {
    protobuf::encode_object(object).expect("it has a protobuf form")
}

#[tokio::test]
async fn objects_in_protobuf_are_served_as_all_others() {
    let api = Api::new().await;
    write(&api, "configmaps/default/before", message(&map("before"))).await;
    let api = Api::after(api).await;
    write(&api, "configmaps/default/later", message(&map("later"))).await;
    for name in ["before", "later"] {
        let path = format!("{MAPS}/{name}");
        let mut found = api.get(&path).await.ok();
        let version = found["metadata"].as_object_mut().unwrap().remove("resourceVersion").expect("it has a version");
        assert_eq!(found, map(name));
        let list =
            api.get(&format!("{MAPS}?labelSelector=by%3Dupstream&fieldSelector=metadata.name%3D{name}")).await.ok();
        assert_eq!(list["items"][0]["metadata"]["resourceVersion"], version);
        let as_message = api.get_as(&path, protobuf::MEDIA_TYPE).await;
        assert!(as_message.status.is_success() && as_message.text.starts_with("k8s\0"));
        let watch = format!("{MAPS}?watch=true&resourceVersion=0&fieldSelector=metadata.name%3D{name}");
        assert_eq!(api.first_event(&watch).await["object"]["data"]["k"], "v");
        // Who changes it stores it as JSON, which upstream reads, too.
        let changed = api.patch("merge-patch", &path, &json!({"data": {"k": "w"}})).await.ok();
        assert_eq!((&changed["data"]["k"], &changed["metadata"]["uid"]), (&json!("w"), &found["metadata"]["uid"]));
        api.delete(&path).await.ok();
        assert_eq!(api.get(&path).await.status, 404);
    }
}

/// Upstream stores events in the core group, and custom resources as JSON without a resource version.
#[tokio::test]
async fn they_are_read_in_every_version_that_is_served() {
    let api = Api::new().await;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Started", "message": "it is so", "type": "Normal",
        "count": 3, "source": {"component": "kubelet"}});
    write(&api, "events/default/e", message(&event)).await;
    let core = api.get("/api/v1/namespaces/default/events/e").await.ok();
    assert_eq!((&core["message"], &core["count"]), (&json!("it is so"), &json!(3)));
    let new = api.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.ok();
    assert_eq!((&new["note"], &new["deprecatedCount"]), (&json!("it is so"), &json!(3)));
    let scaler = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}});
    write(&api, "horizontalpodautoscalers/default/h", message(&scaler)).await;
    let found = api.get("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/h").await.ok();
    assert_eq!((&found["apiVersion"], &found["spec"]["minReplicas"]), (&json!("autoscaling/v2"), &json!(1)));
}
