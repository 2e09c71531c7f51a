//! Values in the store that are no objects.

use coracle_store::{Op, Txn};
use serde_json::{Value, json};

use crate::Api;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WHY: &str = "the stored value is protobuf that cannot be read: proto: the message ends in the middle of a field";
const OPTION: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

fn message() -> String {
    format!("failed to read one or more configmaps from the storage: /registry/configmaps/default/a: {WHY}")
}

/// A server on whose store someone else wrote a value over the object `a`.
async fn api() -> Api {
    let api = Api::new().await;
    api.post(MAPS, &json!({"metadata": {"name": "a"}})).await.ok();
    api.post(MAPS, &json!({"metadata": {"name": "b"}})).await.ok();
    write(&api, "k8s\0\n\x0f").await;
    api
}

async fn write(api: &Api, value: &str) {
    let op = Op::Put { key: "/registry/configmaps/default/a".into(), value: value.to_owned().into(), ttl: None };
    api.store.txn(Txn { compares: Vec::new(), ops: vec![op] }).await.expect("it is written");
}

async fn delete(api: &Api, path: &str, options: &Value) -> crate::Answer {
    api.call(http::Method::DELETE, path, &[], options.to_string()).await
}

#[tokio::test]
async fn who_reads_it_is_told_why_that_is_impossible() {
    let api = api().await;
    let refused = api.get(&format!("{MAPS}/a")).await;
    refused.refused(500, &message());
    assert_eq!(refused.json()["reason"], "StorageReadError");
    assert_eq!(
        refused.json()["details"]["causes"],
        json!([{"reason": "UnexpectedServerResponse", "message": WHY, "field": "/registry/configmaps/default/a"}])
    );
    api.patch("merge-patch", &format!("{MAPS}/a"), &json!({"data": {"k": "v"}})).await.refused(500, &message());
    api.delete(&format!("{MAPS}/a")).await.refused(500, &message());
    api.get(&format!("{MAPS}/b")).await.ok();
}

#[tokio::test]
async fn lists_do_not_leave_it_out() {
    let api = api().await;
    let lists = [
        "?",
        "?limit=1",
        "?labelSelector=k%3Dv",
        "?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
    ];
    for query in lists {
        api.get(&format!("{MAPS}{query}")).await.refused(500, &message());
    }
    api.get("/api/v1/configmaps").await.refused(500, &message());
    api.delete(MAPS).await.refused(500, &message());
    api.get("/api/v1/namespaces/kube-system/configmaps").await.ok();
}

#[tokio::test]
async fn watchers_are_told_of_it_only_when_it_is_gone_or_an_object_again() {
    let api = Api::new().await;
    let revision = |object: &Value| object["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let made = api.post(MAPS, &json!({"metadata": {"name": "a"}})).await.ok();
    write(&api, "no JSON").await;
    let watch = format!("{MAPS}?watch=true&resourceVersion={}", revision(&made));
    write(&api, r#"{"metadata":{"name":"a","namespace":"default","resourceVersion":"1"},"data":{"k":"v"}}"#).await;
    let event = api.first_event(&watch).await;
    assert_eq!((&event["type"], &event["object"]["data"]["k"]), (&json!("MODIFIED"), &json!("v")));
    // A past list has what was there then.
    let past = format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion={}", revision(&made));
    assert_eq!(
        api.get(&past).await.ok()["items"],
        json!([{"metadata": made["metadata"], "kind": "ConfigMap", "apiVersion": "v1"}])
    );
}

#[tokio::test]
async fn it_goes_when_someone_insists() {
    let api = api().await;
    let path = format!("{MAPS}/a");
    let revision = api.get(&format!("{MAPS}/b")).await.ok()["metadata"]["resourceVersion"].clone();
    delete(&api, &path, &json!({OPTION: true, "gracePeriodSeconds": 0})).await.refused(
        422,
        &format!("DeleteOptions.meta.k8s.io \"\" is invalid: {OPTION}: Invalid value: true: cannot be set together with .gracePeriodSeconds"),
    );
    delete(&api, MAPS, &json!({OPTION: true})).await.refused(
        422,
        &format!("DeleteOptions.meta.k8s.io \"\" is invalid: {OPTION}: Invalid value: true: is not allowed with DELETECOLLECTION, try again after removing the option"),
    );
    delete(&api, &format!("{MAPS}/b"), &json!({OPTION: true})).await.refused(
        422,
        &format!("ConfigMap \"b\" is invalid: {OPTION}: Invalid value: true: is exclusively used to delete corrupt object(s), try again by removing this option"),
    );
    delete(&api, &path, &json!({OPTION: true})).await.ok();
    assert_eq!(api.get(&path).await.status, 404);
    api.get(MAPS).await.ok();
    let watch = format!("{MAPS}?watch=true&resourceVersion={}", revision.as_str().expect("a version"));
    assert_eq!(api.first_event(&watch).await["type"], "DELETED");
}
