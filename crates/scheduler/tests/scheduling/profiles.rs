//! Profiles choose what is done with whose pods.

use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn profiles_score_each_in_its_way_and_leave_others_pods_alone() {
    let mut cluster = Cluster::bare().await;
    cluster.node("small", "2", json!({})).await;
    cluster.node("large", "20", json!({})).await;
    cluster.schedule(
        "profiles:\n- {}\n- schedulerName: packing\n  pluginConfig:\n  - name: NodeResourcesFit\n    args:\n      \
         scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}\n  plugins: {multiPoint: {disabled: \
         [{name: NodeResourcesBalancedAllocation}]}}\n",
    );
    cluster.pod("usual", "1", json!({})).await;
    cluster.pod("packed", "1", json!({"spec": {"schedulerName": "packing"}})).await;
    cluster.pod("foreign", "1", json!({"spec": {"schedulerName": "other"}})).await;
    assert_eq!(cluster.placed("usual").await, "large");
    assert_eq!(cluster.placed("packed").await, "small");
    assert_eq!(cluster.event("packed", "Scheduled").await.reporting_component.as_deref(), Some("packing"));
    let foreign = cluster.pods().get("foreign").await.unwrap();
    assert!(foreign.spec.unwrap().node_name.is_none() && foreign.status.unwrap().conditions.is_none());
    // A second scheduler beside the first has its own pods, and counts what the first one's use.
    cluster.schedule("profiles: [{schedulerName: other}]");
    assert_eq!(cluster.placed("foreign").await, "large");
    cluster.pod("too-much", "19", json!({"spec": {"schedulerName": "other"}})).await;
    let told = cluster.refused("too-much").await;
    assert!(told.contains("2 Insufficient cpu"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_hold_a_pod_back_until_they_are_removed() {
    let cluster = Cluster::new().await;
    cluster.node("a", "2", json!({})).await;
    cluster.pod("gated", "1", json!({"spec": {"schedulingGates": [{"name": "example.com/wait"}]}})).await;
    cluster.pod("free", "1", json!({})).await;
    cluster.placed("free").await;
    assert!(cluster.pods().get("gated").await.unwrap().spec.unwrap().node_name.is_none());
    let patch = kube::api::Patch::Merge(json!({"spec": {"schedulingGates": []}}));
    cluster.pods().patch("gated", &Default::default(), &patch).await.unwrap();
    assert_eq!(cluster.placed("gated").await, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_comes_back_when_something_happened_that_helps() {
    let cluster = Cluster::new().await;
    let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    cluster.node("a", "2", taint).await;
    cluster.pod("p", "1", json!({})).await;
    let told = cluster.refused("p").await;
    let expected = "0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: 0/1 nodes are \
                    available: 1 Preemption is not helpful for scheduling.";
    assert_eq!(told, expected);
    assert_eq!(cluster.event("p", "FailedScheduling").await.message.as_deref(), Some(expected));
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(cluster.client.clone());
    let patch = kube::api::Patch::Merge(json!({"spec": {"taints": null}}));
    nodes.patch("a", &Default::default(), &patch).await.unwrap();
    assert_eq!(cluster.placed("p").await, "a");
    let message = cluster.event("p", "Scheduled").await.message;
    assert_eq!(message.as_deref(), Some("Successfully assigned default/p to a"));
}
