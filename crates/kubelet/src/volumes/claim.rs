//! Volumes that a pod claims: the claim and its PersistentVolume are read, and what they say becomes one of the other
//! types. Both are read anew at each try, as a node may not watch them.

use std::path::Path;

use coracle_matching::claims::is_reachable;
use coracle_matching::nodes::Place;
use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, Node, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, Pod, Volume,
};
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::Client;
use kube::api::Api;

use super::host_path::HostPath;
use super::kind::Kind;
use super::local::Local;
use super::nfs::Nfs;
use super::source;
use super::state::{Claim, Record};
use crate::message_of;
use crate::pod::PodExt;
use crate::provisioner::{is_ours, where_it_is};
use crate::quantity::value;

/// The claim that a volume names: it, and whether it was made for the pod and may only be read.
pub(super) struct Wanted {
    name: String,
    is_ephemeral: bool,
    read_only: bool,
}

/// What a volume claims, if it does.
pub(super) fn wanted(pod: &Pod, volume: &Volume) -> Option<Wanted> {
    if let Some(source) = &volume.persistent_volume_claim {
        let read_only = source.read_only == Some(true);
        return Some(Wanted { name: source.claim_name.clone(), is_ephemeral: false, read_only });
    }
    volume.ephemeral.as_ref()?;
    let name = format!("{}-{}", pod.name(), volume.name);
    Some(Wanted { name, is_ephemeral: true, read_only: false })
}

/// Reads claim and volume and says what is to be mounted.
///
/// # Errors
/// With why it cannot be yet: the claim is not bound, is being deleted, or is another pod's, the volume is of another
/// claim or not of this node, or its type is not known.
pub(super) async fn resolve(
    client: &Client,
    pod: &Pod,
    volume: &Volume,
    wanted: &Wanted,
    node: Option<&Node>,
    root_dir: &Path,
) -> Result<Record, String> {
    let failed = |error: String| format!("error processing PVC {}/{}: {error}", pod.namespace(), wanted.name);
    let claim = read_claim(client, pod, wanted).await.map_err(failed)?;
    if wanted.is_ephemeral {
        check_owner(pod, &claim, &wanted.name)?;
    }
    let bound = where_it_is(read_volume(client, &claim).await.map_err(failed)?, root_dir);
    if let Some(source) = bound.spec.as_ref().and_then(|spec| spec.csi.as_ref()) {
        check_attached(client, source, node).await?;
    }
    let record = record(pod, volume, wanted, &bound)?;
    check_node(&bound, node)
        .map_err(|error| format!("MountVolume.NodeAffinity check failed for volume {:?} : {error}", record.name))?;
    Ok(record)
}

async fn read_claim(client: &Client, pod: &Pod, wanted: &Wanted) -> Result<PersistentVolumeClaim, String> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), pod.namespace());
    let claim = api.get(&wanted.name).await;
    let claim = claim.map_err(|error| format!("failed to fetch PVC from API server: {}", message_of(&error)))?;
    // A pod that comes after the deletion must not keep the claim from going.
    if claim.metadata.deletion_timestamp.is_some() {
        return Err("PVC is being deleted".to_owned());
    }
    if claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Bound") {
        return Err("PVC is not bound".to_owned());
    }
    Ok(claim)
}

fn check_owner(pod: &Pod, claim: &PersistentVolumeClaim, name: &str) -> Result<(), String> {
    let owners = claim.metadata.owner_references.iter().flatten();
    match owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == pod.uid()) {
        true => Ok(()),
        false => {
            let (namespace, pod) = (pod.namespace(), pod.name());
            Err(format!("PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"))
        }
    }
}

async fn read_volume(client: &Client, claim: &PersistentVolumeClaim) -> Result<PersistentVolume, String> {
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
    if name.is_empty() {
        return Err("PVC has empty pvc.Spec.VolumeName".to_owned());
    }
    let api: Api<PersistentVolume> = Api::all(client.clone());
    let volume = api.get(&name).await;
    let volume = volume.map_err(|error| format!("failed to get PV {name} from API server: {}", message_of(&error)))?;
    let Some(of) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
        return Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    let (of, uid) = (of.uid.as_deref().unwrap_or_default(), claim.metadata.uid.as_deref().unwrap_or_default());
    match of == uid {
        true => Ok(volume),
        false => {
            Err(format!("found PV object {name} but its pv.Spec.ClaimRef.UID {of} does not point to claim.UID {uid}"))
        }
    }
}

fn record(pod: &Pod, volume: &Volume, wanted: &Wanted, bound: &PersistentVolume) -> Result<Record, String> {
    let name = bound.metadata.name.clone().unwrap_or_default();
    let spec = bound.spec.as_ref().ok_or_else(|| format!("PV {name} has no spec"))?;
    let mode = spec.volume_mode.as_deref().unwrap_or("Filesystem");
    let (in_mounts, in_devices) = super::uses(pod, &volume.name);
    let refused = |list: &str| Err(format!("volume {} has volumeMode {mode}, but is specified in {list}", volume.name));
    match mode {
        "Block" if in_mounts => return refused("volumeMounts"),
        "Filesystem" if in_devices => return refused("volumeDevices"),
        _ => {}
    }
    let kind = kind(&name, spec, mode == "Block", room(bound))
        .map_err(|error| format!("MountVolume.NewMounter initialization failed for volume {name:?} : {error}"))?;
    let exclusive = spec.access_modes.iter().flatten().any(|mode| mode == "ReadWriteOncePod");
    let claim =
        Claim { namespace: pod.namespace().to_owned(), name: wanted.name.clone(), volume: name.clone(), exclusive };
    Ok(Record { kind, name, read_only: wanted.read_only, claim: Some(claim), ready: false })
}

/// How many bytes a directory has that was made for the volume.
fn room(bound: &PersistentVolume) -> Option<u64> {
    let capacity = bound.spec.as_ref()?.capacity.as_ref()?.get("storage").filter(|_| is_ours(bound))?;
    u64::try_from(value(capacity)).ok()
}

fn kind(name: &str, spec: &PersistentVolumeSpec, block: bool, room: Option<u64>) -> Result<Kind, String> {
    let options = spec.mount_options.clone().unwrap_or_default();
    match spec {
        PersistentVolumeSpec { local: Some(source), .. } => {
            Ok(Kind::Local(Local::new(name, source, options, block).with_room(room)))
        }
        _ if block => Err(format!("no block volume plugin matched for {}", source::of_persistent(spec))),
        PersistentVolumeSpec { nfs: Some(source), .. } => Ok(Kind::Nfs(Nfs::new(source, options))),
        PersistentVolumeSpec { host_path: Some(_), .. } if !options.is_empty() => {
            Err("Mount options are not supported for this volume type".to_owned())
        }
        PersistentVolumeSpec { host_path: Some(source), .. } => Ok(Kind::HostPath(HostPath::from(source))),
        _ => Err(format!("volume type {} is not supported by this node", source::of_persistent(spec))),
    }
}

/// A volume that a driver attaches is mounted only once the node's own status says that it is there.
async fn check_attached(
    client: &Client,
    source: &CSIPersistentVolumeSource,
    node: Option<&Node>,
) -> Result<(), String> {
    let drivers: Api<CSIDriver> = Api::all(client.clone());
    let driver = drivers.get_opt(&source.driver).await;
    let driver =
        driver.map_err(|error| format!("failed to get CSIDriver {}: {}", source.driver, message_of(&error)))?;
    let attaches = driver.is_none_or(|driver| driver.spec.attach_required != Some(false));
    if attaches && !is_attached(source, node) {
        return Err(format!("volume {} is not attached to the node yet", source.volume_handle));
    }
    Ok(())
}

fn is_attached(source: &CSIPersistentVolumeSource, node: Option<&Node>) -> bool {
    let name = format!("kubernetes.io/csi/{}^{}", source.driver, source.volume_handle);
    let attached = node.and_then(|node| node.status.as_ref()?.volumes_attached.as_ref());
    attached.is_some_and(|attached| attached.iter().any(|volume| volume.name == name))
}

fn check_node(volume: &PersistentVolume, node: Option<&Node>) -> Result<(), String> {
    if volume.spec.as_ref().is_none_or(|spec| spec.node_affinity.is_none()) {
        return Ok(());
    }
    let node = node.ok_or("the node's object is not known yet")?;
    let (none, labels) = (std::collections::BTreeMap::new(), node.metadata.labels.as_ref());
    let labels = labels.unwrap_or(&none);
    let place = Place { name: node.metadata.name.as_deref().unwrap_or_default(), labels };
    if is_reachable(volume, place) { Ok(()) } else { Err("no matching NodeSelectorTerms".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provisioner::PROVISIONER;
    use coracle_matching::annotations::PROVISIONED_BY;
    use serde_json::{Value, json};

    fn pod(uses: Value) -> Pod {
        let container = json!({"name": "c", "volumeMounts": uses["mounts"], "volumeDevices": uses["devices"]});
        let spec =
            json!({"containers": [container], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]});
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn of(pod: &Pod, spec: Value) -> Result<Record, String> {
        let bound = serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": spec})).unwrap();
        let volume = &pod.spec().volumes.as_ref().unwrap()[0];
        record(pod, volume, &wanted(pod, volume).unwrap(), &bound)
    }

    #[test]
    fn a_volume_becomes_what_its_source_says() {
        let pod = pod(json!({"mounts": [{"name": "v", "mountPath": "/v"}], "devices": null}));
        let local = of(&pod, json!({"local": {"path": "/d"}, "accessModes": ["ReadWriteOncePod"]})).unwrap();
        assert_eq!((local.name.as_str(), local.kind.volume().plugin()), ("pv", "local-volume"));
        assert!(local.claim.unwrap().exclusive);
        assert_eq!(of(&pod, json!({"hostPath": {"path": "/d"}})).unwrap().kind.volume().plugin(), "host-path");
        assert_eq!(of(&pod, json!({"nfs": {"server": "s", "path": "/d"}})).unwrap().kind.volume().plugin(), "nfs");
        let refused = of(&pod, json!({"csi": {"driver": "d", "volumeHandle": "h"}})).unwrap_err();
        assert!(refused.ends_with("volume type csi is not supported by this node"), "{refused}");
        let refused = of(&pod, json!({"hostPath": {"path": "/d"}, "mountOptions": ["ro"]})).unwrap_err();
        assert!(refused.ends_with("Mount options are not supported for this volume type"), "{refused}");
        let refused = of(&pod, json!({"local": {"path": "/d"}, "volumeMode": "Block"})).unwrap_err();
        assert_eq!(refused, "volume v has volumeMode Block, but is specified in volumeMounts");
    }

    #[test]
    fn only_what_was_made_for_a_volume_has_its_room() {
        let made = |by: &str| -> PersistentVolume {
            let metadata = json!({"annotations": {PROVISIONED_BY: by}});
            serde_json::from_value(json!({"metadata": metadata, "spec": {"capacity": {"storage": "1Ki"}}})).unwrap()
        };
        assert_eq!(room(&made(PROVISIONER)), Some(1024));
        assert_eq!(room(&made("somebody")), None);
        assert_eq!(room(&PersistentVolume::default()), None);
    }

    #[test]
    fn a_device_is_of_a_block_volume() {
        let pod = pod(json!({"mounts": null, "devices": [{"name": "v", "devicePath": "/dev/v"}]}));
        assert!(of(&pod, json!({"local": {"path": "/d"}, "volumeMode": "Block"})).is_ok());
        let refused = of(&pod, json!({"local": {"path": "/d"}})).unwrap_err();
        assert_eq!(refused, "volume v has volumeMode Filesystem, but is specified in volumeDevices");
    }

    #[test]
    fn a_volume_of_another_node_is_refused() {
        let on = |host: &str| -> PersistentVolume {
            let expression = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [host]});
            let required = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
            serde_json::from_value(json!({"spec": {"nodeAffinity": {"required": required}}})).unwrap()
        };
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "a", "labels": {"kubernetes.io/hostname": "a"}}}))
                .unwrap();
        assert_eq!(check_node(&on("a"), Some(&node)), Ok(()));
        assert_eq!(check_node(&on("b"), Some(&node)), Err("no matching NodeSelectorTerms".to_owned()));
        assert!(check_node(&on("a"), None).is_err());
    }

    #[test]
    fn what_is_attached_is_said_by_the_node() {
        let source = CSIPersistentVolumeSource {
            driver: "d".into(),
            volume_handle: "h".into(),
            ..CSIPersistentVolumeSource::default()
        };
        let node = |name: &str| -> Node {
            let attached = json!([{"name": name, "devicePath": ""}]);
            serde_json::from_value(json!({"status": {"volumesAttached": attached}})).unwrap()
        };
        assert!(is_attached(&source, Some(&node("kubernetes.io/csi/d^h"))));
        assert!(!is_attached(&source, Some(&node("kubernetes.io/csi/d^other"))) && !is_attached(&source, None));
    }

    #[test]
    fn a_claim_for_a_pod_is_owned_by_it() {
        let pod = pod(json!({}));
        let claim = |uid: &str| -> PersistentVolumeClaim {
            let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true});
            serde_json::from_value(json!({"metadata": {"ownerReferences": [owner]}})).unwrap()
        };
        assert_eq!(check_owner(&pod, &claim("u"), "p-v"), Ok(()));
        let refused = check_owner(&pod, &claim("other"), "p-v").unwrap_err();
        assert_eq!(refused, "PVC n/p-v was not created for pod n/p (pod is not owner)");
    }
}
