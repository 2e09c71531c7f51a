//! Evictions and disruption budgets.

use serde_json::{Value, json};

use crate::Api;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// A replica set of ready pods named `p0`, `p1` and so on.
async fn replicas(api: &Api, count: usize) {
    let spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    let set = json!({"metadata": {"name": "s"}, "spec": {"replicas": count, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec}}});
    let set = api.post(SETS, &set).await.ok();
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "uid": set["metadata"]["uid"], "controller": true});
    for n in 0..count {
        let metadata = json!({"name": format!("p{n}"), "labels": {"a": "b"}, "ownerReferences": [owner]});
        api.post(PODS, &json!({"metadata": metadata, "spec": spec})).await.ok();
        ready(api, n, "True").await;
    }
}

async fn ready(api: &Api, n: usize, state: &str) {
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": state}]}});
    api.patch("merge-patch", &format!("{PODS}/p{n}/status"), &status).await.ok();
}

async fn budget(api: &Api, spec: Value) {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"a": "b"}});
    api.post(BUDGETS, &json!({"metadata": {"name": "b"}, "spec": spec})).await.ok();
}

async fn evict(api: &Api, n: usize) -> crate::Answer {
    evict_with(api, n, Value::Null).await
}

async fn evict_with(api: &Api, n: usize, options: Value) -> crate::Answer {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": format!("p{n}")}, "deleteOptions": options});
    api.post(&format!("{PODS}/p{n}/eviction"), &eviction).await
}

#[tokio::test]
async fn a_budget_lets_go_what_it_can_spare_and_says_why_no_more() {
    let api = Api::new().await;
    replicas(&api, 3).await;
    budget(&api, json!({"maxUnavailable": 1})).await;
    assert_eq!(evict(&api, 0).await.status, 201);
    let refused = evict(&api, 1).await;
    refused.refused(429, "Cannot evict pod as it would violate the pod's disruption budget.");
    // Clients show the cause only when they need not wait silently.
    assert_eq!(refused.headers.get("retry-after"), None);
    assert_eq!(
        refused.json()["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget b needs 2 healthy pods and has 2 currently"}])
    );
}

#[tokio::test]
async fn percentages_are_of_what_the_controller_wants() {
    let api = Api::new().await;
    replicas(&api, 3).await;
    budget(&api, json!({"minAvailable": "50%"})).await;
    assert_eq!(evict(&api, 0).await.status, 201);
    assert_eq!(evict(&api, 1).await.status, 429);
}

#[tokio::test]
async fn a_pod_that_is_not_ready_goes_while_enough_others_are() {
    let api = Api::new().await;
    replicas(&api, 2).await;
    ready(&api, 0, "False").await;
    budget(&api, json!({"minAvailable": 1})).await;
    assert_eq!(evict(&api, 1).await.status, 429);
    assert_eq!(evict(&api, 0).await.status, 201);
}

#[tokio::test]
async fn a_dry_run_said_in_the_options_of_the_deletion_spends_nothing() {
    let api = Api::new().await;
    replicas(&api, 2).await;
    budget(&api, json!({"maxUnavailable": 1})).await;
    let before = api.get(&format!("{BUDGETS}/b")).await.ok();
    assert_eq!(evict_with(&api, 0, json!({"dryRun": ["All"]})).await.status, 201);
    assert_eq!(api.get(&format!("{BUDGETS}/b")).await.ok(), before);
    assert_eq!(api.get(&format!("{PODS}/p0")).await.ok()["metadata"].get("deletionTimestamp"), None);
    assert_eq!(evict(&api, 0).await.status, 201);
}

#[tokio::test]
async fn an_eviction_that_is_refused_spends_nothing() {
    let api = Api::new().await;
    replicas(&api, 2).await;
    budget(&api, json!({"maxUnavailable": 1})).await;
    let before = api.get(&format!("{BUDGETS}/b")).await.ok();
    assert_eq!(evict_with(&api, 0, json!({"preconditions": {"uid": "another"}})).await.status, 409);
    assert_eq!(evict_with(&api, 0, json!({"propagationPolicy": "Sideways"})).await.status, 422);
    assert_eq!(evict_with(&api, 0, json!({"dryRun": "All"})).await.status, 400);
    evict_with(&api, 0, json!({"dryRun": ["Some"]})).await.refused(
        422,
        "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"Some\": supported values: \"All\"",
    );
    assert_eq!(api.get(&format!("{BUDGETS}/b")).await.ok(), before);
}
