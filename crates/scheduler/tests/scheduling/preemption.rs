//! Pods that matter more take the place of others.

use serde_json::json;

use crate::cluster::{Cluster, until};

fn priority(value: i32) -> serde_json::Value {
    json!({"spec": {"priorityClassName": format!("p{value}")}})
}

async fn with_priorities() -> Cluster {
    let cluster = Cluster::new().await;
    for value in [1, 10, 100] {
        let class = json!({"metadata": {"name": format!("p{value}")}, "value": value});
        cluster.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_victim_is_told_why_and_its_place_is_kept() {
    let cluster = with_priorities().await;
    cluster.node("a", "1", json!({})).await;
    cluster.pod("low", "1", priority(1)).await;
    cluster.placed("low").await;
    // It takes a while to end.
    let patch = kube::api::Patch::Merge(json!({"metadata": {"finalizers": ["example.com/wait"]}}));
    cluster.pods().patch("low", &Default::default(), &patch).await.unwrap();
    cluster.pod("high", "1", priority(10)).await;
    let condition = until("the condition DisruptionTarget", || async {
        let conditions = cluster.pods().get("low").await.ok()?.status?.conditions?;
        conditions.into_iter().find(|condition| condition.type_ == "DisruptionTarget")
    })
    .await;
    assert_eq!(condition.reason.as_deref(), Some("PreemptionByScheduler"));
    let message = "default-scheduler: preempting to accommodate a higher priority pod";
    assert_eq!(condition.message.as_deref(), Some(message));
    until("the nominated node", || async {
        cluster.pods().get("high").await.ok()?.status?.nominated_node_name.filter(|node| node == "a")
    })
    .await;
    let message = cluster.event("low", "Preempted").await.message.unwrap();
    assert!(message.starts_with("Preempted by pod ") && message.ends_with(" on node a"), "{message}");
    // Another one that matters less does not get the place, and does not preempt.
    cluster.pod("other", "1", priority(1)).await;
    let told = cluster.refused("other").await;
    assert!(told.starts_with("0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes"), "{told}");
    let patch = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
    cluster.pods().patch("low", &Default::default(), &patch).await.unwrap();
    cluster.bury("low").await;
    assert_eq!(cluster.placed("high").await, "a");
    let high = cluster.pods().get("high").await.unwrap();
    assert_eq!(high.status.unwrap().nominated_node_name, None, "the promise was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_victim_that_is_ending_is_left_alone() {
    let cluster = with_priorities().await;
    cluster.node("a", "2", json!({})).await;
    let mut slow = priority(1);
    slow["spec"]["terminationGracePeriodSeconds"] = 30.into();
    for name in ["ending", "running"] {
        cluster.pod(name, "1", slow.clone()).await;
        cluster.placed(name).await;
    }
    let params = kube::api::DeleteParams::default().grace_period(300);
    cluster.pods().delete("ending", &params).await.unwrap();
    cluster.pod("high", "2", priority(10)).await;
    cluster.event("running", "Preempted").await;
    let ending = cluster.pods().get("ending").await.unwrap();
    assert_eq!(ending.metadata.deletion_grace_period_seconds, Some(300));
    let conditions = ending.status.and_then(|status| status.conditions).unwrap_or_default();
    assert!(conditions.iter().all(|condition| condition.type_ != "DisruptionTarget"), "{conditions:?}");
    let events: kube::Api<k8s_openapi::api::core::v1::Event> = kube::Api::namespaced(cluster.client.clone(), "default");
    let params = kube::api::ListParams::default().fields("involvedObject.name=ending,reason=Preempted");
    assert!(events.list(&params).await.unwrap().items.is_empty(), "it was deleted before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_more_important_pod_takes_over_what_was_promised() {
    let cluster = with_priorities().await;
    cluster.node("a", "1", json!({})).await;
    let mut waiting = priority(1);
    waiting["metadata"] = json!({"finalizers": ["example.com/wait"]});
    cluster.pod("low", "1", waiting).await;
    cluster.placed("low").await;
    cluster.pod("middle", "1", priority(10)).await;
    let nominated = |name: &'static str| {
        let pods = cluster.pods();
        async move { pods.get(name).await.ok()?.status?.nominated_node_name }
    };
    until("the first promise", || nominated("middle")).await;
    cluster.pod("high", "1", priority(100)).await;
    until("the second promise", || nominated("high")).await;
    until("the end of the first", || async { nominated("middle").await.is_none().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_preempts_waits() {
    let cluster = with_priorities().await;
    let class = json!({"metadata": {"name": "patient"}, "value": 50, "preemptionPolicy": "Never"});
    cluster.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
    cluster.node("a", "1", json!({})).await;
    cluster.pod("low", "1", priority(1)).await;
    cluster.placed("low").await;
    cluster.pod("high", "1", json!({"spec": {"priorityClassName": "patient"}})).await;
    let told = cluster.refused("high").await;
    let expected =
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.";
    assert_eq!(told, expected);
    cluster.bury("low").await;
    assert_eq!(cluster.placed("high").await, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_a_client_gives_a_node_is_scheduled() {
    let cluster = with_priorities().await;
    cluster.node("a", "1", json!({})).await;
    let asks = json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": {
        "requests": {"scheduling.k8s.io/foo": "1"}, "limits": {"scheduling.k8s.io/foo": "1"}}}]}});
    cluster.pod("p", "0", asks).await;
    let told = cluster.refused("p").await;
    assert!(told.contains("1 Insufficient scheduling.k8s.io/foo"), "{told}");
    let patch =
        json!({"status": {"capacity": {"scheduling.k8s.io/foo": "1"}, "allocatable": {"scheduling.k8s.io/foo": "1"}}});
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(cluster.client.clone());
    nodes.patch_status("a", &Default::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
    assert_eq!(cluster.placed("p").await, "a");
}
