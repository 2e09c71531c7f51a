//! DaemonSets.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};

const LABELS: &str = "app=d";
const HASH: &str = "controller-revision-hash";

async fn node(cluster: &Cluster, name: &str, labels: Value) {
    let node = json!({"metadata": {"name": name, "labels": labels}});
    let node: Node = serde_json::from_value(node).expect("a node");
    Api::<Node>::all(cluster.client.clone()).create(&PostParams::default(), &node).await.expect("a new node");
}

async fn patch_node(cluster: &Cluster, name: &str, patch: Value) {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a node");
}

async fn create(cluster: &Cluster, more: Value) -> DaemonSet {
    let mut spec = json!({"selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}}});
    for (key, value) in more.as_object().expect("a map") {
        spec[key] = value.clone();
    }
    cluster.create(json!({"metadata": {"name": "d"}, "spec": spec})).await
}

async fn set_image(cluster: &Cluster, image: &str) {
    let template = json!({"spec": {"containers": [{"name": "c", "image": image}]}});
    cluster.patch::<DaemonSet>("d", json!({"spec": {"template": template}})).await;
}

/// The node that a pod is for.
fn target(pod: &Pod) -> String {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()).expect("an affinity");
    let value = serde_json::to_value(affinity).expect("a value");
    let field = "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0";
    assert_eq!(value.pointer(field).expect("a field")["key"], "metadata.name");
    value.pointer(field).expect("a field")["values"][0].as_str().expect("a name").to_owned()
}

async fn targets(cluster: &Cluster, count: usize) -> Vec<String> {
    let mut found: Vec<String> = cluster.active_pods(LABELS, count).await.iter().map(target).collect();
    found.sort();
    found
}

fn images(pods: &[Pod]) -> Vec<String> {
    pods.iter().filter_map(|pod| pod.spec.as_ref()?.containers[0].image.clone()).collect()
}

async fn revisions(cluster: &Cluster) -> Vec<ControllerRevision> {
    let mut found = cluster.api::<ControllerRevision>().list(&ListParams::default()).await.expect("a list").items;
    found.sort_by_key(|revision| revision.revision);
    found
}

#[tokio::test]
async fn every_node_that_fits_has_a_pod_and_the_status_says_so() {
    let cluster = Cluster::new().await;
    node(&cluster, "a", json!({"disk": "ssd"})).await;
    node(&cluster, "b", json!({})).await;
    let template = json!({"metadata": {"labels": {"app": "d"}}, "spec": {"nodeSelector": {"disk": "ssd"},
        "containers": [{"name": "c", "image": "i:1"}]}});
    create(&cluster, json!({"template": template})).await;
    assert_eq!(targets(&cluster, 1).await, ["a"]);
    patch_node(&cluster, "b", json!({"metadata": {"labels": {"disk": "ssd"}}})).await;
    assert_eq!(targets(&cluster, 2).await, ["a", "b"]);
    for pod in cluster.active_pods(LABELS, 2).await {
        assert!(pod.labels().contains_key(HASH) && pod.labels()["pod-template-generation"] == "1");
        cluster.run(&pod).await;
    }
    let set = cluster
        .wait::<DaemonSet>("d", "two available", |set| {
            set.status.as_ref().is_some_and(|status| status.number_available == Some(2))
        })
        .await;
    let status = set.status.expect("a status");
    assert_eq!((status.desired_number_scheduled, status.current_number_scheduled, status.number_ready), (2, 2, 2));
    assert_eq!((status.updated_number_scheduled, status.observed_generation), (Some(2), Some(1)));
    patch_node(&cluster, "b", json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}})).await;
    assert_eq!(targets(&cluster, 1).await, ["a"]);
    node(&cluster, "c", json!({"disk": "ssd"})).await;
    assert_eq!(targets(&cluster, 2).await, ["a", "c"]);
    cluster.event("d", "SuccessfulCreate").await;
    cluster.event("d", "SuccessfulDelete").await;
}

#[tokio::test]
async fn a_new_template_rolls_out_and_an_old_one_comes_back_as_the_newest() {
    let cluster = Cluster::new().await;
    for name in ["a", "b"] {
        node(&cluster, name, json!({})).await;
    }
    create(&cluster, json!({"revisionHistoryLimit": 1})).await;
    for pod in cluster.active_pods(LABELS, 2).await {
        cluster.run(&pod).await;
    }
    roll(&cluster, "i:2").await;
    let history = revisions(&cluster).await;
    assert_eq!(history.iter().map(|revision| revision.revision).collect::<Vec<_>>(), [1, 2]);
    let before = history[0].name_any();
    let kept = serde_json::to_value(&history[0].data).expect("a patch");
    let template = kept.pointer("/spec/template").expect("a template");
    assert_eq!((&template["$patch"], template["metadata"].get("creationTimestamp")), (&json!("replace"), None));
    roll(&cluster, "i:1").await;
    let history = revisions(&cluster).await;
    assert_eq!(history.iter().map(|revision| revision.revision).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(history[1].name_any(), before, "the same revision came back");
    roll(&cluster, "i:3").await;
    until("the oldest revision to go", || async {
        let numbers: Vec<i64> = revisions(&cluster).await.iter().map(|revision| revision.revision).collect();
        (numbers == [3, 4]).then_some(())
    })
    .await;
}

/// Changes the image and lets every pod that comes serve, until all are of it; no more than one is missing at a time.
async fn roll(cluster: &Cluster, image: &str) {
    set_image(cluster, image).await;
    until("the rollout", || async {
        let pods = cluster.pods(LABELS).await;
        let serves = |pod: &&Pod| pod.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running"));
        assert!(pods.iter().filter(serves).count() >= 1, "at most one is missing");
        for pod in pods.iter().filter(|pod| !serves(pod)) {
            let patch = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
            let _ =
                cluster.api::<Pod>().patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        }
        (pods.len() == 2 && images(&pods).iter().all(|found| found == image)).then_some(())
    })
    .await;
    cluster
        .wait::<DaemonSet>("d", "all updated", |set| {
            let status = set.status.clone().unwrap_or_default();
            status.updated_number_scheduled == Some(2)
                && status.number_available == Some(2)
                && status.observed_generation == set.metadata.generation
        })
        .await;
}

/// Upstream's "should rollback without unnecessary restarts".
#[tokio::test]
async fn a_rollback_leaves_alone_what_is_as_it_was() {
    let cluster = Cluster::new().await;
    for name in ["a", "b"] {
        node(&cluster, name, json!({})).await;
    }
    create(&cluster, json!({})).await;
    let old = cluster.active_pods(LABELS, 2).await;
    for pod in &old {
        cluster.run(pod).await;
    }
    set_image(&cluster, "broken:1").await;
    let is_broken = |pod: &&Pod| images(std::slice::from_ref(*pod)) == ["broken:1"];
    let mixed = until("the first broken pod", || async {
        Some(cluster.active_pods(LABELS, 2).await).filter(|pods| pods.iter().any(|pod| is_broken(&pod)))
    })
    .await;
    let kept = mixed.iter().find(|pod| !is_broken(pod)).expect("one pod still serves");
    set_image(&cluster, "i:1").await;
    let back = until("the broken pod to be replaced", || async {
        let pods = cluster.active_pods(LABELS, 2).await;
        Some(pods).filter(|pods| !pods.iter().any(|pod| is_broken(&pod)))
    })
    .await;
    assert!(back.iter().any(|pod| pod.metadata.uid == kept.metadata.uid), "nobody restarted it");
    assert_eq!(old.iter().filter(|pod| pod.metadata.uid == kept.metadata.uid).count(), 1);
}

#[tokio::test]
async fn with_a_surge_the_new_pod_serves_before_the_old_one_goes() {
    let cluster = Cluster::new().await;
    node(&cluster, "a", json!({})).await;
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    create(&cluster, json!({"updateStrategy": strategy})).await;
    let old = cluster.active_pods(LABELS, 1).await.remove(0);
    cluster.run(&old).await;
    set_image(&cluster, "i:2").await;
    let both = cluster.active_pods(LABELS, 2).await;
    let new = both.iter().find(|pod| pod.name_any() != old.name_any()).expect("a new pod");
    cluster.run(new).await;
    let left = cluster.active_pods(LABELS, 1).await;
    assert_eq!(left[0].name_any(), new.name_any());
}

#[tokio::test]
async fn with_on_delete_pods_are_updated_as_somebody_deletes_them() {
    let cluster = Cluster::new().await;
    node(&cluster, "a", json!({})).await;
    create(&cluster, json!({"updateStrategy": {"type": "OnDelete"}})).await;
    let old = cluster.active_pods(LABELS, 1).await.remove(0);
    cluster.run(&old).await;
    set_image(&cluster, "i:2").await;
    cluster
        .wait::<DaemonSet>("d", "the change to be seen", |set| {
            let status = set.status.clone().unwrap_or_default();
            status.observed_generation == Some(2) && status.updated_number_scheduled.is_none()
        })
        .await;
    assert_eq!(images(&cluster.active_pods(LABELS, 1).await), ["i:1"]);
    cluster.bury(&old).await;
    until("the new pod", || async { Some(cluster.pods(LABELS).await).filter(|pods| images(pods) == ["i:2"]) }).await;
}

#[tokio::test]
async fn a_failed_pod_is_replaced_and_told_of() {
    let cluster = Cluster::new().await;
    node(&cluster, "a", json!({})).await;
    create(&cluster, json!({})).await;
    let pod = cluster.active_pods(LABELS, 1).await.remove(0);
    cluster.end(&pod, 1, 0).await;
    until("another pod", || async {
        let pods = cluster.pods(LABELS).await;
        pods.iter().any(|other| other.name_any() != pod.name_any()).then_some(())
    })
    .await;
    let told = cluster.event("d", "FailedDaemonPod").await;
    let text = format!("Found failed daemon pod default/{} on node a, will try to kill it", pod.name_any());
    assert_eq!(told.message.as_deref(), Some(text.as_str()));
}

#[tokio::test]
async fn a_set_whose_pods_are_refused_has_been_seen() {
    let cluster = Cluster::new().await;
    node(&cluster, "a", json!({})).await;
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    cluster.create::<ResourceQuota>(quota).await;
    create(&cluster, json!({})).await;
    cluster.event("d", "FailedCreate").await;
    cluster
        .wait::<DaemonSet>("d", "the set to be seen", |set| {
            set.status.as_ref().is_some_and(|status| status.observed_generation == Some(1))
        })
        .await;
    assert!(cluster.pods(LABELS).await.is_empty());
}

#[tokio::test]
async fn pods_and_history_that_are_left_behind_are_adopted() {
    let mut cluster = Cluster::new().await;
    node(&cluster, "a", json!({})).await;
    create(&cluster, json!({})).await;
    let pod = cluster.active_pods(LABELS, 1).await.remove(0);
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    cluster.api::<DaemonSet>().delete("d", &orphan).await.expect("a deletion");
    until("the set to be gone", || async {
        cluster.api::<DaemonSet>().get_opt("d").await.expect("an answer").is_none().then_some(())
    })
    .await;
    cluster.restart_controllers();
    let set = create(&cluster, json!({})).await;
    let of_set = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
        owners.iter().any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
    };
    cluster.wait::<Pod>(&pod.name_any(), "the pod to be adopted", |pod| of_set(pod.owner_references())).await;
    let history = until("the revision to be adopted", || async {
        Some(revisions(&cluster).await).filter(|all| all.iter().all(|revision| of_set(revision.owner_references())))
    })
    .await;
    assert_eq!((history.len(), history[0].revision), (1, 1));
    assert_eq!(cluster.active_pods(LABELS, 1).await[0].name_any(), pod.name_any());
}

/// Upstream's "should manage the lifecycle of a ControllerRevision".
#[tokio::test]
async fn revisions_may_be_labelled_added_and_deleted() {
    let cluster = Cluster::new().await;
    node(&cluster, "a", json!({})).await;
    create(&cluster, json!({})).await;
    cluster.run(&cluster.active_pods(LABELS, 1).await[0]).await;
    let api = cluster.api::<ControllerRevision>();
    let found = |labels: &str, count: usize| {
        let (api, params) = (api.clone(), ListParams::default().labels(labels));
        async move {
            until(&format!("{count} revisions"), || async {
                Some(api.list(&params).await.expect("a list").items).filter(|items| items.len() == count)
            })
            .await
        }
    };
    let first = found(LABELS, 1).await.remove(0);
    let labelled = json!({"metadata": {"labels": {"is": "patched"}}});
    cluster.patch::<ControllerRevision>(&first.name_any(), labelled).await;
    found("is=patched", 1).await;
    let mut second = first.clone();
    second.metadata = Default::default();
    second.metadata.name = Some("d-second".into());
    second.metadata.labels = first.metadata.labels.clone();
    second.metadata.owner_references = first.metadata.owner_references.clone();
    second.revision = first.revision + 1;
    api.create(&PostParams::default(), &second).await.expect("a second revision");
    found(LABELS, 2).await;
    api.delete(&first.name_any(), &DeleteParams::default()).await.expect("a deletion");
    found(LABELS, 1).await;
    cluster.patch::<ControllerRevision>("d-second", json!({"metadata": {"labels": {"is": "updated"}}})).await;
    found("is=updated", 1).await;
    cluster
        .patch::<DaemonSet>("d", json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 20}}}}))
        .await;
    found(LABELS, 2).await;
    api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("is=updated"))
        .await
        .expect("a deletion");
    assert_eq!(found(LABELS, 1).await[0].revision, 3);
}
