//! Claims of the class `standard`, and the directories that a node makes for them.

use std::path::PathBuf;

use coracle_kubelet::provisioner::{ACCOUNT, Config, PROVISIONER, run};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::cluster::{Cluster, until};

const NODE: &str = "here";

/// A cluster with a node, and the provisioner of that.
struct Node1 {
    cluster: Cluster,
    dir: tempfile::TempDir,
    provisioner: AbortHandle,
}

impl Drop for Node1 {
    fn drop(&mut self) {
        self.provisioner.abort();
    }
}

impl Node1 {
    async fn new(class: Value) -> Node1 {
        let cluster = Cluster::new().await;
        let node = json!({"metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}});
        let nodes: Api<Node> = Api::all(cluster.client.clone());
        let node = serde_json::from_value(node).expect("a node");
        nodes.create(&PostParams::default(), &node).await.expect("a node");
        let mut object = json!({"metadata": {"name": "standard"}, "provisioner": PROVISIONER,
            "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true});
        class.as_object().expect("a map").iter().for_each(|(key, value)| object[key] = value.clone());
        let classes: Api<StorageClass> = Api::all(cluster.client.clone());
        let class = serde_json::from_value(object).expect("a class");
        classes.create(&PostParams::default(), &class).await.expect("a class");
        let dir = tempfile::tempdir().expect("a directory");
        let provisioner = start(&cluster, dir.path().to_owned());
        Node1 { cluster, dir, provisioner }
    }

    fn restart(&mut self) {
        self.provisioner.abort();
        self.provisioner = start(&self.cluster, self.dir.path().to_owned());
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.cluster.client.clone())
    }

    fn directory(&self, volume: &str) -> PathBuf {
        self.dir.path().join("volumes").join(volume)
    }

    /// Makes a claim; the scheduler selects a node for it.
    async fn claim(&self, name: &str, node: &str) -> PersistentVolumeClaim {
        let meta = json!({"name": name, "annotations": {"volume.kubernetes.io/selected-node": node}});
        let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
            "resources": {"requests": {"storage": "1Gi"}}});
        self.cluster.create(json!({"metadata": meta, "spec": spec})).await
    }

    async fn bound(&self, name: &str) -> String {
        let is_bound = |claim: &PersistentVolumeClaim| {
            claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
        };
        let claim = self.cluster.wait(name, "a bound claim", is_bound).await;
        claim.spec.and_then(|spec| spec.volume_name).expect("a volume")
    }

    async fn delete(&self, name: &str) {
        let claims = self.cluster.api::<PersistentVolumeClaim>();
        claims.delete(name, &DeleteParams::default()).await.expect("a deletion");
    }

    async fn until_gone(&self, volume: &str) {
        let volumes = self.volumes();
        until("the volume to go", || async {
            volumes.get_opt(volume).await.expect("an answer").is_none().then_some(())
        })
        .await;
    }
}

fn start(cluster: &Cluster, dir: PathBuf) -> AbortHandle {
    let client = cluster.client_of(ACCOUNT);
    tokio::spawn(async move {
        let ended = run(client, Config { node_name: NODE.into(), selects_itself: true, root_dir: dir }).await;
        eprintln!("the provisioner ended: {ended:?}");
    })
    .abort_handle()
}

#[tokio::test]
async fn a_directory_comes_and_goes_with_its_claim() {
    let node = Node1::new(json!({"mountOptions": ["noexec"]})).await;
    let claim = node.claim("c", NODE).await;
    let name = node.bound("c").await;
    assert_eq!(name, format!("pvc-{}", claim.uid().expect("a uid")));
    let volume = node.volumes().get(&name).await.expect("the volume");
    let spec = volume.spec.clone().expect("a spec");
    assert_eq!(spec.local.expect("a directory").path, node.directory(&name).to_string_lossy());
    assert_eq!(spec.persistent_volume_reclaim_policy.as_deref(), Some("Delete"));
    assert_eq!(spec.mount_options, Some(vec!["noexec".to_owned()]));
    assert!(volume.finalizers().contains(&"external-provisioner.volume.kubernetes.io/finalizer".to_owned()));
    std::fs::write(node.directory(&name).join("data"), "mine").expect("a file");
    node.cluster.event("c", "ProvisioningSucceeded").await;
    node.delete("c").await;
    node.until_gone(&name).await;
    assert!(!node.directory(&name).exists());
}

#[tokio::test]
async fn what_is_for_another_node_or_cannot_be_is_not_made() {
    let node = Node1::new(json!({})).await;
    node.claim("there", "elsewhere").await;
    let block = json!({"metadata": {"name": "block", "annotations": {"volume.kubernetes.io/selected-node": NODE}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "standard", "volumeMode": "Block",
            "resources": {"requests": {"storage": "1Gi"}}}});
    node.cluster.create::<PersistentVolumeClaim>(block).await;
    let told = node.cluster.event("block", "ProvisioningFailed").await;
    assert!(
        told.message.expect("a message").starts_with("failed to provision volume with StorageClass \"standard\": ")
    );
    node.cluster.event("there", "ExternalProvisioning").await;
    assert!(node.volumes().list(&Default::default()).await.expect("a list").items.is_empty());
}

#[tokio::test]
async fn a_class_that_waits_for_nobody_is_served_by_the_node_that_is_there() {
    let node = Node1::new(json!({"volumeBindingMode": "Immediate"})).await;
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
        "resources": {"requests": {"storage": "1Gi"}}});
    node.cluster.create::<PersistentVolumeClaim>(json!({"metadata": {"name": "c"}, "spec": spec})).await;
    let name = node.bound("c").await;
    assert!(node.directory(&name).is_dir());
}

#[tokio::test]
async fn a_claim_grows() {
    let node = Node1::new(json!({})).await;
    node.claim("c", NODE).await;
    let name = node.bound("c").await;
    let larger = json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}});
    node.cluster.patch::<PersistentVolumeClaim>("c", larger).await;
    let is_larger = |claim: &PersistentVolumeClaim| {
        let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
        capacity.is_some_and(|capacity| capacity["storage"].0 == "3Gi")
    };
    let grown = node.cluster.wait("c", "a larger claim", is_larger).await;
    let status = grown.status.expect("a status");
    assert!(status.conditions.unwrap_or_default().is_empty());
    assert_eq!(status.allocated_resources.expect("what was promised")["storage"].0, "3Gi");
    let volume = node.volumes().get(&name).await.expect("the volume");
    assert_eq!(volume.spec.expect("a spec").capacity.expect("a capacity")["storage"].0, "3Gi");
    node.cluster.event("c", "VolumeResizeSuccessful").await;
}

#[tokio::test]
async fn what_is_retained_stays_and_so_does_what_a_volume_only_claims_to_have() {
    let node = Node1::new(json!({"reclaimPolicy": "Retain"})).await;
    node.claim("kept", NODE).await;
    let kept = node.bound("kept").await;
    std::fs::write(node.directory(&kept).join("data"), "mine").expect("a file");
    node.delete("kept").await;
    let volumes = node.volumes();
    until("the volume to be released", || async {
        let volume = volumes.get(&kept).await.expect("the volume");
        (volume.status?.phase.as_deref() == Some("Released")).then_some(())
    })
    .await;
    volumes.delete(&kept, &DeleteParams::default()).await.expect("a deletion");
    node.until_gone(&kept).await;
    assert!(node.directory(&kept).join("data").exists());

    let precious = node.dir.path().join("precious");
    std::fs::create_dir(&precious).expect("a directory");
    let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions":
        [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}]}});
    let forged = json!({"metadata": {"name": "pvc-0", "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": precious},
            "nodeAffinity": affinity, "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {"namespace": "default", "name": "gone", "uid": "gone"}}});
    let forged = serde_json::from_value(forged).expect("a volume");
    volumes.create(&PostParams::default(), &forged).await.expect("a volume");
    let told = node.cluster.event("pvc-0", "VolumeFailedDelete").await;
    assert!(told.message.expect("a message").contains("is not the directory of the volume"));
    assert!(precious.exists());
}

#[tokio::test]
async fn killed_at_any_step_it_goes_on_and_leaves_nothing() {
    let mut node = Node1::new(json!({})).await;
    node.claim("c", NODE).await;
    let name = node.bound("c").await;
    std::fs::write(node.directory(&name).join("data"), "mine").expect("a file");
    node.provisioner.abort();
    // A directory whose volume was never made, one that somebody filled, and one whose volume was not deleted any more.
    std::fs::create_dir(node.directory("pvc-never")).expect("a directory");
    std::fs::create_dir(node.directory("pvc-full")).expect("a directory");
    std::fs::write(node.directory("pvc-full").join("data"), "somebody's").expect("a file");
    let claim = node.claim("d", NODE).await;
    std::fs::create_dir(node.directory(&format!("pvc-{}", claim.uid().expect("a uid")))).expect("a directory");
    node.delete("c").await;
    let volumes = node.volumes();
    until("the volume to be released", || async {
        let volume = volumes.get(&name).await.expect("the volume");
        (volume.status?.phase.as_deref() == Some("Released")).then_some(())
    })
    .await;
    std::fs::remove_dir_all(node.directory(&name)).expect("a removal");
    node.restart();
    node.until_gone(&name).await;
    let other = node.bound("d").await;
    assert!(node.directory(&other).is_dir());
    until("the leftover to go", || async { (!node.directory("pvc-never").exists()).then_some(()) }).await;
    assert!(node.directory("pvc-full").join("data").exists());
}

#[tokio::test]
async fn a_volume_that_is_given_back_is_not_removed() {
    let node = Node1::new(json!({})).await;
    node.claim("c", NODE).await;
    let name = node.bound("c").await;
    let keep = json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}});
    node.volumes().patch(&name, &PatchParams::default(), &Patch::Merge(keep)).await.expect("a patch");
    let volumes = node.volumes();
    until("the finalizer to go", || async {
        let volume = volumes.get(&name).await.expect("the volume");
        (!volume.finalizers().iter().any(|finalizer| finalizer.starts_with("external-provisioner"))).then_some(())
    })
    .await;
    node.delete("c").await;
    until("the volume to be released", || async {
        let volume = volumes.get(&name).await.expect("the volume");
        (volume.status?.phase.as_deref() == Some("Released")).then_some(())
    })
    .await;
    assert!(node.directory(&name).is_dir());
}
