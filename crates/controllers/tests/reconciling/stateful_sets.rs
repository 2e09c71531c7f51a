//! StatefulSets.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};

const LABELS: &str = "app=s";

async fn create(cluster: &Cluster, replicas: i32, more: Value) -> StatefulSet {
    let mut spec = json!({"replicas": replicas, "serviceName": "peers", "selector": {"matchLabels": {"app": "s"}},
        "template": {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}});
    for (key, value) in more.as_object().expect("a map") {
        spec[key] = value.clone();
    }
    cluster.create(json!({"metadata": {"name": "s"}, "spec": spec})).await
}

async fn set_image(cluster: &Cluster, image: &str) {
    let template = json!({"spec": {"containers": [{"name": "c", "image": image}]}});
    cluster.patch::<StatefulSet>("s", json!({"spec": {"template": template}})).await;
}

fn status(set: &StatefulSet) -> StatefulSetStatus {
    set.status.clone().unwrap_or_default()
}

/// The active pods, by name.
async fn names(cluster: &Cluster, count: usize) -> Vec<String> {
    let mut names: Vec<String> = cluster.active_pods(LABELS, count).await.iter().map(|pod| pod.name_any()).collect();
    names.sort();
    names
}

/// Waits for a pod, and lets it serve.
async fn serve(cluster: &Cluster, name: &str) -> Pod {
    let pod = cluster.wait::<Pod>(name, &format!("pod {name}"), |pod| pod.metadata.deletion_timestamp.is_none()).await;
    cluster.run(&pod).await;
    pod
}

/// Waits until a pod has an image, and lets it serve.
async fn serve_image(cluster: &Cluster, name: &str, image: &str) {
    let has = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.containers[0].image.as_deref() == Some(image));
    let pod = cluster.wait::<Pod>(name, &format!("pod {name} with {image}"), has).await;
    cluster.run(&pod).await;
}

#[tokio::test]
async fn pods_come_one_after_the_other_with_their_names_and_go_in_reverse() {
    let cluster = Cluster::new().await;
    create(&cluster, 3, json!({})).await;
    for name in ["s-0", "s-1", "s-2"] {
        let pod = serve(&cluster, name).await;
        let spec = pod.spec.expect("a spec");
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some(name), Some("peers")));
        assert_eq!(pod.metadata.labels.expect("labels")["statefulset.kubernetes.io/pod-name"], name);
    }
    let set = cluster.wait::<StatefulSet>("s", "three ready", |set| status(set).ready_replicas == Some(3)).await;
    let found = status(&set);
    assert_eq!((found.replicas, found.available_replicas, found.current_replicas), (3, Some(3), Some(3)));
    assert_eq!(found.current_revision, found.update_revision);
    cluster.patch::<StatefulSet>("s", json!({"spec": {"replicas": 1}})).await;
    assert_eq!(names(&cluster, 1).await, ["s-0"]);
    let told = cluster.event("s", "SuccessfulCreate").await;
    assert_eq!(told.message.as_deref(), Some("create Pod s-0 in StatefulSet s successful"));
    cluster.event("s", "SuccessfulDelete").await;
}

#[tokio::test]
async fn in_parallel_pods_come_at_once_and_from_any_ordinal() {
    let cluster = Cluster::new().await;
    create(&cluster, 3, json!({"podManagementPolicy": "Parallel", "ordinals": {"start": 4}})).await;
    assert_eq!(names(&cluster, 3).await, ["s-4", "s-5", "s-6"]);
    cluster.patch::<StatefulSet>("s", json!({"spec": {"ordinals": {"start": 5}}})).await;
    until("the pods to move", || async {
        let mut names: Vec<String> = cluster.pods(LABELS).await.iter().map(|pod| pod.name_any()).collect();
        names.sort();
        (names == ["s-5", "s-6", "s-7"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_update_stops_at_the_partition_and_goes_on_from_the_last_pod() {
    let cluster = Cluster::new().await;
    let partitioned = |at: i32| json!({"type": "RollingUpdate", "rollingUpdate": {"partition": at}});
    create(&cluster, 2, json!({"updateStrategy": partitioned(1)})).await;
    serve(&cluster, "s-0").await;
    serve(&cluster, "s-1").await;
    cluster.wait::<StatefulSet>("s", "two ready", |set| status(set).ready_replicas == Some(2)).await;
    set_image(&cluster, "i:2").await;
    serve_image(&cluster, "s-1", "i:2").await;
    let half = cluster
        .wait::<StatefulSet>("s", "half the update", |set| {
            let found = status(set);
            found.updated_replicas == Some(1) && found.current_replicas == Some(1) && found.ready_replicas == Some(2)
        })
        .await;
    assert_ne!(status(&half).current_revision, status(&half).update_revision);
    // Below the partition a pod comes back as it was.
    let first = cluster.wait::<Pod>("s-0", "the first pod", |_| true).await;
    cluster.bury(&first).await;
    cluster.wait::<Pod>("s-0", "another pod", |pod| pod.metadata.uid != first.metadata.uid).await;
    serve_image(&cluster, "s-0", "i:1").await;
    cluster.patch::<StatefulSet>("s", json!({"spec": {"updateStrategy": partitioned(0)}})).await;
    serve_image(&cluster, "s-0", "i:2").await;
    let done = cluster
        .wait::<StatefulSet>("s", "the update", |set| status(set).current_revision == status(set).update_revision)
        .await;
    assert_eq!((status(&done).updated_replicas, status(&done).current_replicas), (Some(2), Some(2)));
}

#[tokio::test]
async fn what_was_before_comes_back_as_its_own_revision() {
    let cluster = Cluster::new().await;
    create(&cluster, 1, json!({"revisionHistoryLimit": 1})).await;
    serve(&cluster, "s-0").await;
    for image in ["i:2", "i:1", "i:3", "i:4"] {
        set_image(&cluster, image).await;
        serve_image(&cluster, "s-0", image).await;
        cluster
            .wait::<StatefulSet>("s", "the update", |set| {
                let found = status(set);
                found.current_revision == found.update_revision
                    && found.updated_replicas == Some(1)
                    && found.observed_generation == set.metadata.generation
            })
            .await;
    }
    until("the older revisions to go", || async {
        let list = cluster.api::<ControllerRevision>().list(&ListParams::default()).await.expect("a list").items;
        let mut numbers: Vec<i64> = list.iter().map(|revision| revision.revision).collect();
        numbers.sort_unstable();
        (numbers == [4, 5]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_failed_comes_back_under_its_name_after_a_restart_too() {
    let mut cluster = Cluster::new().await;
    create(&cluster, 2, json!({})).await;
    serve(&cluster, "s-0").await;
    let pod = serve(&cluster, "s-1").await;
    cluster.restart_controllers();
    cluster.end(&pod, 1, 0).await;
    cluster.wait::<Pod>("s-1", "another pod", |other| other.metadata.uid != pod.metadata.uid).await;
    assert_eq!(names(&cluster, 2).await, ["s-0", "s-1"]);
}

#[tokio::test]
async fn claims_are_made_first_and_go_with_what_the_policy_says() {
    let cluster = Cluster::new().await;
    let template = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let retention = json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    create(&cluster, 2, json!({"volumeClaimTemplates": [template], "persistentVolumeClaimRetentionPolicy": retention}))
        .await;
    let owner = |claim: &PersistentVolumeClaim| claim.owner_references().first().map(|owner| owner.kind.clone());
    for name in ["s-0", "s-1"] {
        serve(&cluster, name).await;
        let claim = format!("data-{name}");
        let of_set = |claim: &PersistentVolumeClaim| owner(claim).as_deref() == Some("StatefulSet");
        let found = cluster.wait::<PersistentVolumeClaim>(&claim, "an owned claim", of_set).await;
        assert_eq!(found.labels()["app"], "s");
    }
    cluster.wait::<StatefulSet>("s", "two ready", |set| status(set).ready_replicas == Some(2)).await;
    let told = cluster.event("s", "SuccessfulCreate").await;
    assert_eq!(told.message.as_deref(), Some("create Claim data-s-0 Pod s-0 in StatefulSet s success"));
    cluster.patch::<StatefulSet>("s", json!({"spec": {"replicas": 1}})).await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    until("the claim of the pod that is too many to go", || async {
        claims.get_opt("data-s-1").await.expect("an answer").is_none().then_some(())
    })
    .await;
    let background =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    cluster.api::<StatefulSet>().delete("s", &background).await.expect("a deletion");
    until("the last claim to go", || async {
        claims.get_opt("data-s-0").await.expect("an answer").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_does_not_go_holds_up_neither_its_pod_nor_others() {
    let cluster = Cluster::new().await;
    let template = json!({"metadata": {"name": "data", "finalizers": ["example.com/hold"]}, "spec":
        {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let retention = json!({"whenScaled": "Delete", "whenDeleted": "Retain"});
    create(&cluster, 2, json!({"volumeClaimTemplates": [template], "persistentVolumeClaimRetentionPolicy": retention}))
        .await;
    for name in ["s-0", "s-1"] {
        serve(&cluster, name).await;
    }
    cluster.wait::<StatefulSet>("s", "two ready", |set| status(set).ready_replicas == Some(2)).await;
    cluster.api::<PersistentVolumeClaim>().delete("data-s-1", &DeleteParams::default()).await.expect("a deletion");
    let replicas = json!({"spec": {"replicas": 1}});
    cluster.patch::<StatefulSet>("s", replicas).await;
    assert_eq!(names(&cluster, 1).await, ["s-0"]);
    let claim = cluster.wait::<PersistentVolumeClaim>("data-s-1", "the claim", |_| true).await;
    assert_eq!(claim.owner_references()[0].kind, "Pod");
}
