//! Claims and volumes: who gets which, what is kept while it is used, and what becomes of it afterwards.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};

fn volumes(cluster: &Cluster) -> Api<PersistentVolume> {
    Api::all(cluster.client.clone())
}

async fn volume(cluster: &Cluster, name: &str, size: &str, more: Value) -> PersistentVolume {
    let mut spec = json!({"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}});
    more.as_object().expect("a map").iter().for_each(|(key, value)| spec[key] = value.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a volume");
    volumes(cluster).create(&PostParams::default(), &object).await.expect("a volume")
}

async fn claim(cluster: &Cluster, name: &str, more: Value) -> PersistentVolumeClaim {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}});
    more.as_object().expect("a map").iter().for_each(|(key, value)| spec[key] = value.clone());
    cluster.create(json!({"metadata": {"name": name}, "spec": spec})).await
}

async fn class(cluster: &Cluster, name: &str, mode: &str, annotations: Value) {
    let object = json!({"metadata": {"name": name, "annotations": annotations}, "provisioner": "example.com/p",
        "volumeBindingMode": mode});
    let api: Api<StorageClass> = Api::all(cluster.client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(object).expect("a class")).await.expect("a class");
}

async fn volume_in(cluster: &Cluster, name: &str, phase: &str) -> PersistentVolume {
    let api = volumes(cluster);
    until(&format!("the phase {phase} of {name}"), || async {
        let found = api.get_opt(name).await.expect("an answer")?;
        (found.status.as_ref()?.phase.as_deref() == Some(phase)).then_some(found)
    })
    .await
}

async fn claim_in(cluster: &Cluster, name: &str, phase: &str) -> PersistentVolumeClaim {
    let is_in = |claim: &PersistentVolumeClaim| {
        claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some(phase))
    };
    cluster.wait(name, &format!("the phase {phase} of {name}"), is_in).await
}

async fn patch_volume(cluster: &Cluster, name: &str, patch: Value) {
    volumes(cluster).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a patch");
}

async fn delete_claim(cluster: &Cluster, name: &str) {
    cluster.api::<PersistentVolumeClaim>().delete(name, &DeleteParams::default()).await.expect("a deletion");
}

fn bound_volume(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref()
}

fn claim_ref(volume: &PersistentVolume) -> Option<(&str, &str)> {
    let claim = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some((claim.name.as_deref()?, claim.uid.as_deref().unwrap_or_default()))
}

#[tokio::test]
async fn a_claim_gets_the_smallest_volume_that_fits_and_both_say_so() {
    let cluster = Cluster::new().await;
    for (name, size) in [("small", "1Gi"), ("large", "9Gi"), ("right", "3Gi")] {
        volume(&cluster, name, size, json!({})).await;
        volume_in(&cluster, name, "Available").await;
    }
    let made = claim(&cluster, "c", json!({})).await;
    let bound = claim_in(&cluster, "c", "Bound").await;
    assert_eq!(bound_volume(&bound), Some("right"));
    for name in ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"] {
        assert_eq!(bound.annotations()[name], "yes");
    }
    let status = bound.status.as_ref().expect("a status");
    assert_eq!(status.capacity.as_ref().expect("a capacity")["storage"].0, "3Gi");
    assert_eq!(status.access_modes.as_deref(), Some(&["ReadWriteOnce".to_owned()][..]));
    let volume = volume_in(&cluster, "right", "Bound").await;
    assert_eq!(claim_ref(&volume), Some(("c", made.uid().expect("a uid").as_str())));
    assert_eq!(volume.annotations()["pv.kubernetes.io/bound-by-controller"], "yes");
    assert!(volume.status.expect("a status").last_phase_transition_time.is_some());
}

#[tokio::test]
async fn whoever_names_the_other_side_gets_it() {
    let cluster = Cluster::new().await;
    volume(&cluster, "named", "5Gi", json!({})).await;
    volume(&cluster, "mine", "5Gi", json!({"claimRef": {"name": "second", "namespace": "default"}})).await;
    claim(&cluster, "first", json!({"volumeName": "named"})).await;
    assert_eq!(bound_volume(&claim_in(&cluster, "first", "Bound").await), Some("named"));
    volume_in(&cluster, "mine", "Available").await;
    claim(&cluster, "second", json!({})).await;
    assert_eq!(bound_volume(&claim_in(&cluster, "second", "Bound").await), Some("mine"));
    let mine = volume_in(&cluster, "mine", "Bound").await;
    assert!(!mine.annotations().contains_key("pv.kubernetes.io/bound-by-controller"));
    claim(&cluster, "third", json!({"volumeName": "mine"})).await;
    let told = cluster.event("third", "FailedBinding").await;
    assert_eq!(told.message.as_deref(), Some("volume \"mine\" already bound to a different claim."));
    volume(&cluster, "tiny", "1Gi", json!({})).await;
    claim(&cluster, "fourth", json!({"volumeName": "tiny"})).await;
    let told = cluster.event("fourth", "VolumeMismatch").await;
    assert_eq!(told.message.as_deref(), Some("Cannot bind to requested volume \"tiny\": requested PV is too small"));
}

#[tokio::test]
async fn a_claim_without_a_volume_says_what_it_waits_for() {
    let cluster = Cluster::new().await;
    claim(&cluster, "none", json!({})).await;
    let told = cluster.event("none", "FailedBinding").await;
    let text = "no persistent volumes available for this claim and no storage class is set";
    assert_eq!(told.message.as_deref(), Some(text));
    claim(&cluster, "gone", json!({"storageClassName": "gone"})).await;
    let told = cluster.event("gone", "ProvisioningFailed").await;
    assert_eq!(told.message.as_deref(), Some("storageclass.storage.k8s.io \"gone\" not found"));
    // A volume that comes later is taken.
    volume(&cluster, "late", "2Gi", json!({})).await;
    assert_eq!(bound_volume(&claim_in(&cluster, "none", "Bound").await), Some("late"));
    // So is a class.
    class(&cluster, "gone", "Immediate", json!({})).await;
    let asked = |claim: &PersistentVolumeClaim| {
        claim.annotations().get("volume.kubernetes.io/storage-provisioner").is_some_and(|by| by == "example.com/p")
            && claim.annotations().contains_key("volume.beta.kubernetes.io/storage-provisioner")
    };
    cluster.wait("gone", "a provisioner", asked).await;
    let told = cluster.event("gone", "ExternalProvisioning").await;
    assert!(
        told.message.expect("a message").contains("either by the external provisioner 'example.com/p' or manually")
    );
}

#[tokio::test]
async fn the_volume_of_a_claim_may_wait_for_the_node() {
    let cluster = Cluster::new().await;
    class(&cluster, "late", "WaitForFirstConsumer", json!({})).await;
    volume(&cluster, "v", "2Gi", json!({"storageClassName": "late"})).await;
    volume_in(&cluster, "v", "Available").await;
    claim(&cluster, "c", json!({"storageClassName": "late"})).await;
    let told = cluster.event("c", "WaitForFirstConsumer").await;
    assert_eq!(told.message.as_deref(), Some("waiting for first consumer to be created before binding"));
    // The scheduler chooses an existing volume for one, and wants one made for the other.
    let c = claim_in(&cluster, "c", "Pending").await;
    let chosen = json!({"spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "c",
        "namespace": "default", "uid": c.uid()}}});
    patch_volume(&cluster, "v", chosen).await;
    assert_eq!(bound_volume(&claim_in(&cluster, "c", "Bound").await), Some("v"));
    let d = claim(&cluster, "d", json!({"storageClassName": "late"})).await;
    let node = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node"}}});
    cluster.patch::<PersistentVolumeClaim>(&d.name_any(), node).await;
    cluster.event("d", "ExternalProvisioning").await;
}

#[tokio::test]
async fn a_default_class_that_comes_later_is_given_to_claims_that_name_none() {
    let cluster = Cluster::new().await;
    claim(&cluster, "any", json!({})).await;
    claim(&cluster, "no-class", json!({"storageClassName": ""})).await;
    cluster.event("any", "FailedBinding").await;
    cluster.event("no-class", "FailedBinding").await;
    class(&cluster, "std", "Immediate", json!({"storageclass.kubernetes.io/is-default-class": "true"})).await;
    let named = |claim: &PersistentVolumeClaim| {
        claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.as_deref() == Some("std"))
    };
    cluster.wait("any", "the class", named).await;
    cluster.event("any", "ExternalProvisioning").await;
    let other = cluster.wait("no-class", "the claim", |_: &PersistentVolumeClaim| true).await;
    assert_eq!(other.spec.expect("a spec").storage_class_name.as_deref(), Some(""));
}

#[tokio::test]
async fn a_binding_that_was_begun_is_finished_by_the_next_process() {
    let mut cluster = Cluster::new().await;
    cluster.stop_controllers();
    let c = claim(&cluster, "c", json!({})).await;
    let reference = json!({"name": "c", "namespace": "default", "uid": c.uid()});
    volume(&cluster, "v", "2Gi", json!({"claimRef": reference})).await;
    volume(&cluster, "smaller", "2Gi", json!({})).await;
    cluster.restart_controllers();
    assert_eq!(bound_volume(&claim_in(&cluster, "c", "Bound").await), Some("v"));
    volume_in(&cluster, "v", "Bound").await;
    volume_in(&cluster, "smaller", "Available").await;
}

#[tokio::test]
async fn a_volume_is_released_with_its_claim_and_reclaimed_as_it_says() {
    let cluster = Cluster::new().await;
    for (name, policy) in [("retain", "Retain"), ("delete", "Delete"), ("recycle", "Recycle")] {
        volume(&cluster, name, "2Gi", json!({"persistentVolumeReclaimPolicy": policy})).await;
        claim(&cluster, name, json!({"volumeName": name})).await;
        claim_in(&cluster, name, "Bound").await;
        delete_claim(&cluster, name).await;
    }
    volume_in(&cluster, "retain", "Released").await;
    volume_in(&cluster, "delete", "Failed").await;
    let failed = volume_in(&cluster, "recycle", "Failed").await;
    assert_eq!(failed.status.expect("a status").message.as_deref(), Some("No recycler plugin found for the volume!"));
    cluster.event("delete", "VolumeFailedDelete").await;
    cluster.event("recycle", "VolumeFailedRecycle").await;
    // Another claim of the same name is another claim.
    claim(&cluster, "retain", json!({"volumeName": "retain"})).await;
    cluster.event("retain", "FailedBinding").await;
    volume_in(&cluster, "retain", "Released").await;
    patch_volume(&cluster, "retain", json!({"spec": {"claimRef": null}})).await;
    assert_eq!(bound_volume(&claim_in(&cluster, "retain", "Bound").await), Some("retain"));
}

#[tokio::test]
async fn a_claim_without_its_volume_is_lost() {
    let cluster = Cluster::new().await;
    volume(&cluster, "v", "2Gi", json!({})).await;
    claim(&cluster, "c", json!({})).await;
    claim_in(&cluster, "c", "Bound").await;
    volumes(&cluster).delete("v", &DeleteParams::default()).await.expect("a deletion");
    let kept = volume_in(&cluster, "v", "Bound").await;
    assert_eq!(kept.finalizers(), ["kubernetes.io/pv-protection"]);
    patch_volume(&cluster, "v", json!({"metadata": {"finalizers": null}})).await;
    claim_in(&cluster, "c", "Lost").await;
    let told = cluster.event("c", "ClaimLost").await;
    let text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
    assert_eq!(told.message.as_deref(), Some(text));
}

#[tokio::test]
async fn a_volume_that_is_deleted_goes_when_its_claim_is_gone() {
    let cluster = Cluster::new().await;
    volume(&cluster, "v", "2Gi", json!({})).await;
    claim(&cluster, "c", json!({})).await;
    claim_in(&cluster, "c", "Bound").await;
    volumes(&cluster).delete("v", &DeleteParams::default()).await.expect("a deletion");
    delete_claim(&cluster, "c").await;
    until("the volume to go", || async {
        volumes(&cluster).get_opt("v").await.expect("an answer").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_a_pod_uses_stays_until_the_pod_is_gone() {
    let cluster = Cluster::new().await;
    claim(&cluster, "used", json!({})).await;
    claim(&cluster, "free", json!({})).await;
    let source = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "used"}}]);
    let pod: Pod = cluster
        .create(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}],
            "volumes": source}}))
        .await;
    cluster.bind(&pod).await;
    delete_claim(&cluster, "used").await;
    delete_claim(&cluster, "free").await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    until("the unused claim to go", || async {
        claims.get_opt("free").await.expect("an answer").is_none().then_some(())
    })
    .await;
    let used = claims.get("used").await.expect("the used claim");
    assert_eq!(used.finalizers(), ["kubernetes.io/pvc-protection"]);
    assert!(used.metadata.deletion_timestamp.is_some());
    cluster.bury(&pod).await;
    until("the used claim to go", || async {
        claims.get_opt("used").await.expect("an answer").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_ephemeral_volume_has_a_claim_of_its_pod() {
    let cluster = Cluster::new().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}});
    let pod = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}],
            "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]}})
    };
    let made: Pod = cluster.create(pod("p")).await;
    let claim_of_pod = cluster.wait("p-scratch", "the claim", |_: &PersistentVolumeClaim| true).await;
    let owner = &claim_of_pod.owner_references()[0];
    assert_eq!((owner.kind.as_str(), Some(owner.uid.clone())), ("Pod", made.uid()));
    assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(true)));
    assert_eq!(claim_of_pod.labels()["a"], "b");
    // One that somebody else made is not used, until it is gone.
    claim(&cluster, "q-scratch", json!({})).await;
    cluster.create::<Pod>(pod("q")).await;
    let told = cluster.event("q", "FailedBinding").await;
    let text = "ephemeral volume scratch: PVC default/q-scratch was not created for pod default/q (pod is not owner)";
    assert_eq!(told.message.as_deref(), Some(text));
    delete_claim(&cluster, "q-scratch").await;
    let is_owned = |claim: &PersistentVolumeClaim| !claim.owner_references().is_empty();
    cluster.wait("q-scratch", "a claim of the pod", is_owned).await;
}

#[tokio::test]
async fn a_class_of_attributes_stays_while_a_claim_is_of_it() {
    let cluster = Cluster::new().await;
    let api: Api<VolumeAttributesClass> = Api::all(cluster.client.clone());
    let class = json!({"metadata": {"name": "gold"}, "driverName": "example.com", "parameters": {"speed": "high"}});
    let class = serde_json::from_value(class).expect("a class");
    api.create(&PostParams::default(), &class).await.expect("a class");
    claim(&cluster, "c", json!({"volumeAttributesClassName": "gold"})).await;
    // What the controllers do not know yet, they ask for.
    api.delete("gold", &DeleteParams::default()).await.expect("a deletion");
    let kept = api.get("gold").await.expect("the class");
    assert_eq!(kept.finalizers(), ["kubernetes.io/vac-protection"]);
    delete_claim(&cluster, "c").await;
    until("the class to go", || async { api.get_opt("gold").await.expect("an answer").is_none().then_some(()) }).await;
}
