//! Evictions and disruption budgets.

use serde_json::{Value, json};

use crate::Api;

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// Ready pods named `p0`, `p1` and so on.
async fn replicas(api: &Api, count: usize) {
    let spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    for n in 0..count {
        let metadata = json!({"name": format!("p{n}"), "labels": {"a": "b"}});
        api.post(PODS, &json!({"metadata": metadata, "spec": spec})).await.ok();
        ready(api, n, "True").await;
    }
}

async fn ready(api: &Api, n: usize, state: &str) {
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": state}]}});
    api.patch("merge-patch", &format!("{PODS}/p{n}/status"), &status).await.ok();
}

/// A budget with the status that the disruption controller would give it.
async fn budget(api: &Api, spec: Value, (allowed, healthy, desired): (i64, i64, i64)) {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"a": "b"}});
    api.post(BUDGETS, &json!({"metadata": {"name": "b"}, "spec": spec})).await.ok();
    let status = json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": healthy,
        "desiredHealthy": desired, "expectedPods": 3});
    api.patch("merge-patch", &format!("{BUDGETS}/b/status"), &json!({"status": status})).await.ok();
}

fn causes(answer: &crate::Answer) -> Vec<String> {
    let causes = answer.json()["details"]["causes"].as_array().cloned().unwrap_or_default();
    causes.iter().filter_map(|cause| cause["message"].as_str().map(str::to_owned)).collect()
}

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

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
    budget(&api, json!({"maxUnavailable": 1}), (1, 3, 2)).await;
    assert_eq!(evict(&api, 0).await.status, 201);
    let status = api.get(&format!("{BUDGETS}/b")).await.ok()["status"].clone();
    assert_eq!(status["disruptionsAllowed"], 0);
    assert!(status["disruptedPods"]["p0"].is_string());
    assert_eq!(
        (&status["conditions"][0]["status"], &status["conditions"][0]["reason"]),
        (&json!("False"), &json!("InsufficientPods"))
    );
    let refused = evict(&api, 1).await;
    refused.refused(429, REFUSED);
    // Clients show the cause only when they need not wait silently.
    assert_eq!(refused.headers.get("retry-after"), None);
    assert_eq!(
        refused.json()["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget b needs 2 healthy pods and has 3 currently"}])
    );
}

#[tokio::test]
async fn a_budget_that_nobody_looked_at_since_it_changed_lets_nothing_go() {
    let api = Api::new().await;
    replicas(&api, 1).await;
    budget(&api, json!({"maxUnavailable": 1}), (1, 1, 0)).await;
    api.patch("merge-patch", &format!("{BUDGETS}/b"), &json!({"spec": {"maxUnavailable": 0}})).await.ok();
    let refused = evict(&api, 0).await;
    refused.refused(429, REFUSED);
    assert_eq!(refused.headers["retry-after"], "10");
    assert_eq!(causes(&refused), ["The disruption budget b is still being processed by the server."]);
}

#[tokio::test]
async fn a_budget_that_could_not_be_computed_says_so() {
    let api = Api::new().await;
    replicas(&api, 1).await;
    budget(&api, json!({"maxUnavailable": 1}), (0, 1, 0)).await;
    let condition = json!({"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no scale",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {"conditions": [condition]}});
    api.patch("merge-patch", &format!("{BUDGETS}/b/status"), &status).await.ok();
    let expected = "The disruption budget b does not allow evicting pods currently because it failed sync: no scale";
    assert_eq!(causes(&evict(&api, 0).await), [expected]);
}

#[tokio::test]
async fn a_pod_under_two_budgets_is_not_evicted() {
    let api = Api::new().await;
    replicas(&api, 1).await;
    budget(&api, json!({"maxUnavailable": 1}), (1, 1, 0)).await;
    let second = json!({"metadata": {"name": "second"}, "spec": {"minAvailable": 0, "selector": {}}});
    api.post(BUDGETS, &second).await.ok();
    let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    evict(&api, 0).await.refused(500, text);
}

#[tokio::test]
async fn a_pod_that_is_not_ready_goes_while_enough_others_are() {
    let api = Api::new().await;
    replicas(&api, 2).await;
    ready(&api, 0, "False").await;
    budget(&api, json!({"minAvailable": 1}), (0, 1, 1)).await;
    assert_eq!(evict(&api, 1).await.status, 429);
    assert_eq!(evict(&api, 0).await.status, 201);
}

#[tokio::test]
async fn a_pod_that_is_not_ready_may_always_go_when_the_budget_says_so() {
    let api = Api::new().await;
    replicas(&api, 2).await;
    ready(&api, 0, "False").await;
    budget(&api, json!({"minAvailable": 2}), (0, 1, 2)).await;
    assert_eq!(evict(&api, 0).await.status, 429);
    let always = json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}});
    api.patch("merge-patch", &format!("{BUDGETS}/b"), &always).await.ok();
    assert_eq!(evict(&api, 0).await.status, 201);
}

#[tokio::test]
async fn an_evicted_pod_says_that_it_is_disrupted() {
    let api = Api::new().await;
    replicas(&api, 1).await;
    let finalizer = json!({"metadata": {"finalizers": ["example.com/stays"]}});
    api.patch("merge-patch", &format!("{PODS}/p0"), &finalizer).await.ok();
    assert_eq!(evict(&api, 0).await.status, 201);
    let pod = api.get(&format!("{PODS}/p0")).await.ok();
    let conditions = pod["status"]["conditions"].as_array().expect("conditions").clone();
    let condition = conditions.iter().find(|c| c["type"] == "DisruptionTarget").expect("the condition");
    assert_eq!(condition["status"], "True");
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&json!("EvictionByEvictionAPI"), &json!("Eviction API: evicting"))
    );
}

#[tokio::test]
async fn evictions_side_by_side_take_no_more_than_there_is() {
    let api = Api::new().await;
    replicas(&api, 8).await;
    budget(&api, json!({"maxUnavailable": 3}), (3, 8, 5)).await;
    let answers = futures::future::join_all((0..8).map(|n| evict(&api, n))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 3);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 5);
}

#[tokio::test]
async fn a_dry_run_said_in_the_options_of_the_deletion_spends_nothing() {
    let api = Api::new().await;
    replicas(&api, 2).await;
    budget(&api, json!({"maxUnavailable": 1}), (1, 2, 1)).await;
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
    budget(&api, json!({"maxUnavailable": 1}), (1, 2, 1)).await;
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

#[tokio::test]
async fn a_pending_pod_that_becomes_ready_meanwhile_needs_the_budget() {
    let api = Api::new().await;
    budget(&api, json!({"minAvailable": 1}), (0, 0, 1)).await;
    let spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    for n in 0..60 {
        let metadata = json!({"name": format!("p{n}"), "labels": {"a": "b"}});
        api.post(PODS, &json!({"metadata": metadata, "spec": spec})).await.ok();
        let path = format!("{PODS}/p{n}/status");
        let become_ready = async {
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
            api.patch("merge-patch", &path, &status).await.status
        };
        let (evicted, ready) = futures::join!(evict(&api, n), become_ready);
        assert!(
            matches!((evicted.status.as_u16(), ready.as_u16()), (201, 404) | (429, 200)),
            "{} {ready}",
            evicted.status
        );
    }
}
