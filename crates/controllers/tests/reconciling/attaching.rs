//! Volumes that drivers attach: where, when no more, and what is told. The test is kubelet and external attacher.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::ClusterResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::cluster::{Cluster, until};

const DRIVER: &str = "d.example.com";
const ON_NODE: &str = "kubernetes.io/csi/d.example.com^handle-v";

async fn make<K>(client: &Client, object: Value) -> K
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let object: K = serde_json::from_value(object).expect("an object");
    Api::<K>::all(client.clone())
        .create(&PostParams::default(), &object)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn node(cluster: &Cluster, name: &str) {
    let annotations = json!({"volumes.kubernetes.io/controller-managed-attach-detach": "true"});
    make::<Node>(&cluster.client, json!({"metadata": {"name": name, "annotations": annotations}})).await;
    let conditions = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    set_node(cluster, name, json!({"conditions": conditions})).await;
}

async fn set_node(cluster: &Cluster, name: &str, status: Value) {
    let api: Api<Node> = Api::all(cluster.client.clone());
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(name, &PatchParams::default(), &patch).await.expect("a status");
}

/// A volume and the claim that it is bound to.
async fn volume(cluster: &Cluster, name: &str, driver: &str) {
    let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
        "csi": {"driver": driver, "volumeHandle": format!("handle-{name}")}});
    make::<PersistentVolume>(&cluster.client, json!({"metadata": {"name": name}, "spec": spec})).await;
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": name,
        "resources": {"requests": {"storage": "1Gi"}}});
    cluster.create::<PersistentVolumeClaim>(json!({"metadata": {"name": name}, "spec": spec})).await;
    let is_bound = |claim: &PersistentVolumeClaim| {
        claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
    };
    cluster.wait(name, "a claim that is bound", is_bound).await;
}

async fn pod(cluster: &Cluster, name: &str, on: &str, claim: &str) -> Pod {
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
    let spec = json!({"nodeName": on, "containers": [{"name": "c", "image": "i"}], "volumes": volumes,
        "tolerations": [{"operator": "Exists"}]});
    cluster.create(json!({"metadata": {"name": name}, "spec": spec})).await
}

async fn attachments(client: &Client) -> Vec<VolumeAttachment> {
    Api::<VolumeAttachment>::all(client.clone()).list(&ListParams::default()).await.expect("a list").items
}

/// Where a volume is attached, or is to be.
async fn places(cluster: &Cluster, volume: &str) -> Vec<String> {
    let all = attachments(&cluster.client).await.into_iter();
    let of = all.filter(|one| one.spec.source.persistent_volume_name.as_deref() == Some(volume));
    of.filter(|one| one.metadata.deletion_timestamp.is_none()).map(|one| one.spec.node_name).collect()
}

async fn reported(cluster: &Cluster, node: &str) -> Vec<String> {
    let node = Api::<Node>::all(cluster.client.clone()).get(node).await.expect("a node");
    let attached = node.status.and_then(|status| status.volumes_attached).unwrap_or_default();
    attached.into_iter().map(|volume| volume.name).collect()
}

/// What a driver's external attacher does: all at once, or nothing but to tell why not.
fn attacher(cluster: &Cluster, error: Option<&'static str>) -> AbortHandle {
    let client = cluster.client.clone();
    let step = move |attachment: VolumeAttachment, api: Api<VolumeAttachment>| async move {
        let name = attachment.name_any();
        let params = PatchParams::default();
        let finalizers = |names: Value| Patch::Merge(json!({"metadata": {"finalizers": names}}));
        let _ = match (attachment.metadata.deletion_timestamp.is_some(), error) {
            (true, _) => api.patch(&name, &params, &finalizers(json!(null))).await,
            (false, Some(error)) => {
                let status = json!({"attached": false, "attachError": {"message": error}});
                api.patch_status(&name, &params, &Patch::Merge(json!({"status": status}))).await
            }
            (false, None) if attachment.finalizers().is_empty() => {
                let _ = api.patch(&name, &params, &finalizers(json!(["external-attacher/d"]))).await;
                api.patch_status(&name, &params, &Patch::Merge(json!({"status": {"attached": true}}))).await
            }
            (false, None) => Ok(attachment),
        };
    };
    tokio::spawn(async move {
        loop {
            for attachment in attachments(&client).await {
                step(attachment, Api::all(client.clone())).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .abort_handle()
}

/// Waits until a volume is attached at these nodes, and its status says so of each.
async fn attached(cluster: &Cluster, volume: &str, nodes: &[&str]) {
    until(&format!("{volume} at {nodes:?}"), || async {
        for node in nodes {
            if !reported(cluster, node).await.iter().any(|name| name.ends_with(&format!("^handle-{volume}"))) {
                return None;
            }
        }
        (places(cluster, volume).await == nodes).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_volume_follows_its_pods_and_leaves_a_node_that_has_it_in_use_no_more() {
    let cluster = Cluster::new().await;
    for name in ["a", "b"] {
        node(&cluster, name).await;
    }
    make::<CSIDriver>(&cluster.client, json!({"metadata": {"name": DRIVER}, "spec": {}})).await;
    volume(&cluster, "v", DRIVER).await;
    let first = pod(&cluster, "first", "a", "v").await;
    let made = until("an attachment", || async { attachments(&cluster.client).await.into_iter().next() }).await;
    assert!(made.name_any().starts_with("csi-") && made.name_any().len() == 68, "{}", made.name_any());
    assert_eq!((made.spec.attacher.as_str(), made.spec.node_name.as_str()), (DRIVER, "a"));
    assert!(reported(&cluster, "a").await.is_empty(), "nobody has attached it yet");
    let attacher = attacher(&cluster, None);
    attached(&cluster, "v", &["a"]).await;
    assert_eq!(reported(&cluster, "a").await, [ON_NODE]);
    let told = cluster.event("first", "SuccessfulAttachVolume").await;
    assert_eq!(told.message.as_deref(), Some("AttachVolume.Attach succeeded for volume \"v\" "));

    set_node(&cluster, "a", json!({"volumesInUse": [ON_NODE]})).await;
    pod(&cluster, "second", "b", "v").await;
    let told = cluster.event("second", "FailedAttachVolume").await;
    let expected = "Multi-Attach error for volume \"v\" Volume is already used by pod(s) first";
    assert_eq!(told.message.as_deref(), Some(expected));
    cluster.bury(&first).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(places(&cluster, "v").await, ["a"], "the kubelet has it in use");
    assert_eq!(reported(&cluster, "a").await, [ON_NODE]);
    set_node(&cluster, "a", json!({"volumesInUse": []})).await;
    attached(&cluster, "v", &["b"]).await;
    assert!(reported(&cluster, "a").await.is_empty());
    cluster.event("second", "SuccessfulAttachVolume").await;
    attacher.abort();
}

#[tokio::test]
async fn what_is_wanted_no_more_is_detached_also_by_the_next_process() {
    let mut cluster = Cluster::new().await;
    node(&cluster, "a").await;
    volume(&cluster, "v", DRIVER).await;
    let attacher = attacher(&cluster, None);
    let user = pod(&cluster, "user", "a", "v").await;
    attached(&cluster, "v", &["a"]).await;
    cluster.stop_controllers();
    cluster.bury(&user).await;
    cluster.restart_controllers();
    until("no attachment", || async { attachments(&cluster.client).await.is_empty().then_some(()) }).await;
    assert!(reported(&cluster, "a").await.is_empty());
    attacher.abort();
}

#[tokio::test]
async fn a_node_out_of_service_is_not_waited_for() {
    let cluster = Cluster::new().await;
    node(&cluster, "a").await;
    volume(&cluster, "v", DRIVER).await;
    let attacher = attacher(&cluster, None);
    let user = pod(&cluster, "user", "a", "v").await;
    attached(&cluster, "v", &["a"]).await;
    set_node(&cluster, "a", json!({"volumesInUse": [ON_NODE]})).await;
    let taint = json!({"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"});
    let patch = Patch::Merge(json!({"spec": {"taints": [taint]}}));
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.patch("a", &PatchParams::default(), &patch).await.expect("a taint");
    cluster.bury(&user).await;
    until("no attachment", || async { attachments(&cluster.client).await.is_empty().then_some(()) }).await;
    nodes.delete("a", &DeleteParams::default()).await.expect("a deletion");
    attacher.abort();
}

#[tokio::test]
async fn a_failure_is_told_and_drivers_that_attach_nothing_are_not_asked() {
    let cluster = Cluster::new().await;
    node(&cluster, "a").await;
    let attacher = attacher(&cluster, Some("rpc error: no such disk"));
    let driver = json!({"metadata": {"name": "none.example.com"}, "spec": {"attachRequired": false}});
    make::<CSIDriver>(&cluster.client, driver).await;
    volume(&cluster, "plain", "none.example.com").await;
    pod(&cluster, "plain", "a", "plain").await;
    volume(&cluster, "v", DRIVER).await;
    pod(&cluster, "user", "a", "v").await;
    let told = cluster.event("user", "FailedAttachVolume").await;
    let expected = "AttachVolume.Attach failed for volume \"v\" : rpc error: no such disk";
    assert_eq!(told.message.as_deref(), Some(expected));
    assert!(places(&cluster, "plain").await.is_empty() && reported(&cluster, "a").await.is_empty());
    attacher.abort();
}
