//! Disruption budgets, and the evictions that take from them.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use kube::ResourceExt;
use kube::api::EvictParams;
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};

async fn replicas(cluster: &Cluster, count: usize) -> Vec<Pod> {
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let spec = json!({"replicas": count, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    cluster.create::<k8s_openapi::api::apps::v1::Deployment>(json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let pods = cluster.active_pods("app=web", count).await;
    for pod in &pods {
        cluster.run(pod).await;
    }
    pods
}

async fn budget(cluster: &Cluster, spec: Value) {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    cluster.create::<PodDisruptionBudget>(json!({"metadata": {"name": "b"}, "spec": spec})).await;
}

fn status(budget: &PodDisruptionBudget) -> PodDisruptionBudgetStatus {
    budget.status.clone().unwrap_or_default()
}

async fn settled(
    cluster: &Cluster,
    what: &str,
    fits: impl Fn(&PodDisruptionBudgetStatus) -> bool,
) -> PodDisruptionBudget {
    let current = |b: &PodDisruptionBudget| status(b).observed_generation == b.metadata.generation && fits(&status(b));
    cluster.wait("b", what, current).await
}

fn reason(budget: &PodDisruptionBudget) -> String {
    status(budget).conditions.unwrap_or_default().into_iter().map(|condition| condition.reason).collect()
}

fn explanation(budget: &PodDisruptionBudget) -> String {
    status(budget).conditions.unwrap_or_default().into_iter().map(|condition| condition.message).collect()
}

async fn evict(cluster: &Cluster, pod: &Pod) -> Result<(), u16> {
    match cluster.api::<Pod>().evict(&pod.name_any(), &EvictParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.code),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn what_may_go_follows_the_pods() {
    let cluster = Cluster::new().await;
    budget(&cluster, json!({"maxUnavailable": 1})).await;
    let empty = settled(&cluster, "a status", |_| true).await;
    assert_eq!((status(&empty).disruptions_allowed, reason(&empty).as_str()), (0, "InsufficientPods"));
    let pods = replicas(&cluster, 3).await;
    let full = settled(&cluster, "three healthy pods", |status| status.disruptions_allowed == 1).await;
    let counts = status(&full);
    assert_eq!((counts.expected_pods, counts.current_healthy, counts.desired_healthy), (3, 3, 2));
    assert_eq!(reason(&full), "SufficientPods");
    cluster.set_status(&pods[0], json!({"conditions": [{"type": "Ready", "status": "False"}]})).await;
    settled(&cluster, "nothing to spare", |status| status.disruptions_allowed == 0 && status.current_healthy == 2)
        .await;
    cluster.patch::<PodDisruptionBudget>("b", json!({"spec": {"maxUnavailable": null, "minAvailable": "60%"}})).await;
    settled(&cluster, "a share rounded up", |status| status.desired_healthy == 2).await;
    cluster.patch::<PodDisruptionBudget>("b", json!({"spec": {"minAvailable": 1}})).await;
    settled(&cluster, "a number", |status| status.disruptions_allowed == 1).await;
}

#[tokio::test]
async fn an_evicted_pod_is_replaced_before_the_next_may_go() {
    let cluster = Cluster::new().await;
    let pods = replicas(&cluster, 2).await;
    budget(&cluster, json!({"maxUnavailable": 1})).await;
    settled(&cluster, "one to spare", |status| status.disruptions_allowed == 1).await;
    assert_eq!(evict(&cluster, &pods[0]).await, Ok(()));
    assert_eq!(evict(&cluster, &pods[1]).await, Err(429));
    let replacement = until("a replacement", || async {
        let pods_now = cluster.active_pods("app=web", 2).await;
        pods_now.into_iter().find(|pod| pods.iter().all(|old| old.name_any() != pod.name_any()))
    })
    .await;
    cluster.run(&replacement).await;
    settled(&cluster, "one to spare again", |status| {
        status.disruptions_allowed == 1 && status.disrupted_pods.is_none()
    })
    .await;
    assert_eq!(evict(&cluster, &pods[1]).await, Ok(()));
}

/// A custom resource `f` that wants four replicas.
async fn fleet(cluster: &Cluster) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let paths = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
    let version =
        json!({"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"scale": paths}});
    let names = json!({"kind": "Fleet", "plural": "fleets", "singular": "fleet"});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "fleets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}});
    cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await.expect("a definition");
    let fleet =
        json!({"apiVersion": "example.com/v1", "kind": "Fleet", "metadata": {"name": "f"}, "spec": {"replicas": 4}});
    let path = "/apis/example.com/v1/namespaces/default/fleets";
    until("the kind", || async { cluster.post(path, &fleet).await.ok() }).await
}

/// Runs a pod that says it is of a fleet of this API version and name.
async fn pod_of(cluster: &Cluster, fleet: &Value, api_version: &str, name: &str) -> Pod {
    let owner = json!({"apiVersion": api_version, "kind": "Fleet", "name": name, "uid": fleet["metadata"]["uid"],
        "controller": true});
    let metadata = json!({"name": "p", "labels": {"app": "web"}, "ownerReferences": [owner]});
    let pod: Pod =
        cluster.create(json!({"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})).await;
    cluster.run(&pod).await;
    pod
}

#[tokio::test]
async fn a_pod_of_a_custom_resource_counts_by_its_scale() {
    let cluster = Cluster::new().await;
    let fleet = fleet(&cluster).await;
    pod_of(&cluster, &fleet, "example.com/v1", "f").await;
    budget(&cluster, json!({"maxUnavailable": "75%"})).await;
    let settled = settled(&cluster, "four expected pods", |status| status.expected_pods == 4).await;
    let status = status(&settled);
    assert_eq!((status.desired_healthy, status.current_healthy, status.disruptions_allowed), (1, 1, 0));
}

#[tokio::test]
async fn the_name_of_an_owner_is_one_part_of_a_path() {
    let cluster = Cluster::new().await;
    let fleet = fleet(&cluster).await;
    pod_of(&cluster, &fleet, "example.com/v1", "f/scale?").await;
    budget(&cluster, json!({"maxUnavailable": "75%"})).await;
    let failed = cluster.wait::<PodDisruptionBudget>("b", "the failure", |b| reason(b) == "SyncFailed").await;
    assert_eq!(explanation(&failed), "found no controllers for pod \"p\"");
}

#[tokio::test]
async fn an_owner_is_of_a_version_that_is_served() {
    let cluster = Cluster::new().await;
    let fleet = fleet(&cluster).await;
    pod_of(&cluster, &fleet, "example.com/v1?x", "f").await;
    budget(&cluster, json!({"maxUnavailable": "75%"})).await;
    let failed = cluster.wait::<PodDisruptionBudget>("b", "the failure", |b| reason(b) == "SyncFailed").await;
    assert_eq!(explanation(&failed), "no matches for kind \"Fleet\" in version \"example.com/v1?x\"");
}

#[tokio::test]
async fn a_controller_without_a_scale_lets_nothing_go() {
    let cluster = Cluster::new().await;
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]},
        "metadata": {"labels": {"app": "web"}}});
    cluster
        .create::<k8s_openapi::api::batch::v1::Job>(json!({"metadata": {"name": "j"}, "spec": {"template": template}}))
        .await;
    let pods = cluster.active_pods("app=web", 1).await;
    cluster.run(&pods[0]).await;
    budget(&cluster, json!({"maxUnavailable": 1})).await;
    let failed = |b: &PodDisruptionBudget| reason(b) == "SyncFailed";
    let failed = cluster.wait::<PodDisruptionBudget>("b", "the failure", failed).await;
    assert_eq!(explanation(&failed), "jobs.batch does not implement the scale subresource");
    assert_eq!(evict(&cluster, &pods[0]).await, Err(429));
    cluster.event("b", "CalculateExpectedPodCountFailed").await;
}

#[tokio::test]
async fn the_pod_of_a_job_that_is_evicted_may_be_ignored_by_its_policy() {
    let cluster = Cluster::new().await;
    let rules = json!([{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]);
    let template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}});
    let spec = json!({"backoffLimit": 0, "podFailurePolicy": {"rules": rules}, "template": template});
    cluster.create::<k8s_openapi::api::batch::v1::Job>(json!({"metadata": {"name": "j"}, "spec": spec})).await;
    let evicted = cluster.active_pods("app=web", 1).await.remove(0);
    cluster.bind(&evicted).await;
    cluster.run(&evicted).await;
    assert_eq!(evict(&cluster, &evicted).await, Ok(()));
    cluster.end(&evicted, 143, 60).await;
    cluster.bury(&evicted).await;
    let pods = cluster.active_pods("app=web", 1).await;
    assert_ne!(pods[0].name_any(), evicted.name_any());
    let job = cluster.api::<k8s_openapi::api::batch::v1::Job>().get("j").await.expect("a job");
    assert_eq!(job.status.and_then(|status| status.failed), None);
}
