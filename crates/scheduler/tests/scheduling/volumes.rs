//! Pods with claims: nodes that reach their volumes, and volumes that are bound or made before the pod is.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, DeleteParams, Patch};
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const SELECTED: &str = "volume.kubernetes.io/selected-node";

fn claims(cluster: &Cluster) -> Api<PersistentVolumeClaim> {
    Api::namespaced(cluster.client.clone(), "default")
}

fn volumes(cluster: &Cluster) -> Api<PersistentVolume> {
    Api::all(cluster.client.clone())
}

/// Two nodes, and the class `late`, whose claims wait for their pods.
async fn cluster(provisioner: &str) -> Cluster {
    let cluster = Cluster::new().await;
    for name in ["a", "b"] {
        cluster.node(name, "4", json!({})).await;
    }
    let class = json!({"metadata": {"name": "late"}, "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer"});
    cluster.post("/apis/storage.k8s.io/v1/storageclasses", &class).await;
    cluster
}

async fn claim(cluster: &Cluster, name: &str, mode: &str) {
    let spec =
        json!({"accessModes": [mode], "storageClassName": "late", "resources": {"requests": {"storage": "1Gi"}}});
    cluster.post(CLAIMS, &json!({"metadata": {"name": name}, "spec": spec})).await;
}

/// A volume that one node reaches.
async fn volume(cluster: &Cluster, name: &str, node: &str, mode: &str) {
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
    let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": [mode], "storageClassName": "late",
        "local": {"path": "/x"}, "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}});
    cluster.post("/api/v1/persistentvolumes", &json!({"metadata": {"name": name}, "spec": spec})).await;
    let phase = Patch::Merge(json!({"status": {"phase": "Available"}}));
    volumes(cluster).patch_status(name, &Default::default(), &phase).await.expect("a volume");
}

fn uses(claim: &str) -> Value {
    json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}})
}

/// What the binder does once it finds what the scheduler wrote.
async fn bind(cluster: &Cluster, claim: &str, volume: &str) {
    let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": volume}});
    claims(cluster).patch(claim, &Default::default(), &Patch::Merge(bound)).await.expect("a claim");
}

async fn selected(cluster: &Cluster, name: &str) -> String {
    until("a selected node", || async {
        claims(cluster).get(name).await.ok()?.metadata.annotations?.get(SELECTED).cloned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_goes_where_a_volume_is_and_waits_until_that_is_bound() {
    let cluster = cluster("kubernetes.io/no-provisioner").await;
    claim(&cluster, "c", "ReadWriteOnce").await;
    cluster.pod("p", "1", uses("c")).await;
    let told = cluster.refused("p").await;
    let why = "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.";
    assert!(told.starts_with(why), "{told}");
    volume(&cluster, "v", "b", "ReadWriteOnce").await;
    until("the claim in the volume", || async {
        let claim = volumes(&cluster).get("v").await.ok()?.spec?.claim_ref?;
        (claim.name.as_deref() == Some("c") && claim.uid.is_some()).then_some(())
    })
    .await;
    let waiting = cluster.pods().get("p").await.expect("the pod");
    assert_eq!(waiting.spec.and_then(|spec| spec.node_name), None);
    bind(&cluster, "c", "v").await;
    assert_eq!(cluster.placed("p").await, "b");
    // The next one with the claim goes there as well.
    cluster.pod("q", "1", uses("c")).await;
    assert_eq!(cluster.placed("q").await, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_made_for_the_node_that_was_chosen() {
    let cluster = cluster("example.com/p").await;
    claim(&cluster, "c", "ReadWriteOnce").await;
    cluster.pod("p", "1", uses("c")).await;
    let node = selected(&cluster, "c").await;
    volume(&cluster, "made", &node, "ReadWriteOnce").await;
    bind(&cluster, "c", "made").await;
    assert_eq!(cluster.placed("p").await, node);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_make_a_volume_says_so_and_the_pod_is_tried_again() {
    let cluster = cluster("example.com/p").await;
    claim(&cluster, "c", "ReadWriteOnce").await;
    cluster.pod("p", "1", uses("c")).await;
    selected(&cluster, "c").await;
    let refused = Patch::Merge(json!({"metadata": {"annotations": {SELECTED: null}}}));
    claims(&cluster).patch("c", &Default::default(), &refused).await.expect("a claim");
    let told = until("the failure", || async {
        let conditions = cluster.pods().get("p").await.ok()?.status?.conditions?;
        conditions.into_iter().find(|condition| condition.reason.as_deref() == Some("SchedulerError"))?.message
    })
    .await;
    assert!(told.ends_with("binding volumes: provisioning failed for PVC \"c\""), "{told}");
    let node = selected(&cluster, "c").await;
    volume(&cluster, "made", &node, "ReadWriteOnce").await;
    bind(&cluster, "c", "made").await;
    assert_eq!(cluster.placed("p").await, node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_waits_for_its_claim() {
    let cluster = cluster("example.com/p").await;
    cluster.pod("p", "1", uses("later")).await;
    let told = cluster.refused("p").await;
    let why = "0/2 nodes are available: persistentvolumeclaim \"later\" not found.";
    assert!(told.starts_with(why), "{told}");
    claim(&cluster, "later", "ReadWriteOnce").await;
    selected(&cluster, "later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_for_one_pod_is_given_to_the_one_that_matters_more() {
    let cluster = cluster("example.com/p").await;
    let class = json!({"metadata": {"name": "high"}, "value": 100});
    cluster.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
    claim(&cluster, "c", "ReadWriteOncePod").await;
    volume(&cluster, "v", "a", "ReadWriteOncePod").await;
    bind(&cluster, "c", "v").await;
    cluster.pod("first", "1", uses("c")).await;
    assert_eq!(cluster.placed("first").await, "a");
    cluster.pod("second", "1", uses("c")).await;
    let told = cluster.refused("second").await;
    let why = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert!(told.contains(why), "{told}");
    let mut important = uses("c");
    important["spec"]["priorityClassName"] = "high".into();
    cluster.pod("third", "1", important).await;
    cluster.event("first", "Preempted").await;
    cluster.bury("first").await;
    assert_eq!(cluster.placed("third").await, "a");
}

#[tokio::test]
async fn a_volume_that_is_attached_still_takes_a_place_on_its_node() {
    let cluster = cluster("example.com/p").await;
    let csi = |name: &str| {
        let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "csi": {"driver": "d.example.com", "volumeHandle": name}});
        json!({"metadata": {"name": name}, "spec": spec})
    };
    for name in ["old", "new"] {
        cluster.post("/api/v1/persistentvolumes", &csi(name)).await;
    }
    let drivers = json!([{"name": "d.example.com", "nodeID": "a", "allocatable": {"count": 1}, "topologyKeys": null}]);
    let node = json!({"metadata": {"name": "a"}, "spec": {"drivers": drivers}});
    cluster.post("/apis/storage.k8s.io/v1/csinodes", &node).await;
    let attachments = "/apis/storage.k8s.io/v1/volumeattachments";
    let spec = json!({"attacher": "d.example.com", "nodeName": "a", "source": {"persistentVolumeName": "old"}});
    cluster.post(attachments, &json!({"metadata": {"name": "left"}, "spec": spec})).await;
    claim(&cluster, "c", "ReadWriteOnce").await;
    bind(&cluster, "c", "new").await;
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    let spec = json!({"volumes": volumes, "nodeSelector": {"kubernetes.io/hostname": "a"}});
    cluster.pod("p", "1", json!({"spec": spec})).await;
    let told = cluster.refused("p").await;
    assert!(told.contains("node(s) exceed max volume count"), "{told}");
    let api: Api<VolumeAttachment> = Api::all(cluster.client.clone());
    api.delete("left", &DeleteParams::default()).await.expect("a deletion");
    assert_eq!(cluster.placed("p").await, "a");
}
