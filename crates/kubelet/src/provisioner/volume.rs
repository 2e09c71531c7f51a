//! The volume object of a directory.

use std::path::Path;

use coracle_matching::annotations::PROVISIONED_BY;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::PROVISIONER;
use super::directory::directory_of;

/// Keeps a volume until its directory is removed.
pub(super) const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
const HOST_NAME: &str = "kubernetes.io/hostname";

/// The name of the volume that is made for a claim.
pub(super) fn name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default())
}

/// Whether a volume was made by this provisioner, on whichever node.
pub(crate) fn is_ours(volume: &PersistentVolume) -> bool {
    volume.annotations().get(PROVISIONED_BY).is_some_and(|by| by == PROVISIONER)
}

/// The volume with the path of its directory where that is now, if it was made here: the data of a cluster may have been moved.
pub(crate) fn where_it_is(mut volume: PersistentVolume, root_dir: &Path) -> PersistentVolume {
    let dir = directory_of(root_dir, &volume.name_any()).filter(|_| is_ours(&volume));
    if let Some((dir, local)) = dir.zip(volume.spec.as_mut().and_then(|spec| spec.local.as_mut())) {
        local.path = dir.to_string_lossy().into_owned();
    }
    volume
}

/// Why a claim cannot have a directory.
///
/// # Errors
/// Names what there is not here.
pub(super) fn check(claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<(), String> {
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("a directory is no block device: volumeMode Block is not supported".into());
    }
    if spec.selector.is_some() {
        return Err("claim Selector is not supported".into());
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return Err("data sources are not supported".into());
    }
    if let Some(parameter) = class.parameters.iter().flatten().map(|(name, _)| name).next() {
        return Err(format!("invalid parameter {parameter:?}: this provisioner has none"));
    }
    Ok(())
}

/// The volume of a claim, which leads to a directory of a node.
pub(super) fn of_claim(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &Node,
    dir: &Path,
) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let host = node.labels().get(HOST_NAME).cloned().unwrap_or_else(|| node.name_any());
    let on_node = NodeSelectorRequirement { key: HOST_NAME.into(), operator: "In".into(), values: Some(vec![host]) };
    let deletes = class.reclaim_policy.as_deref() == Some("Delete");
    let term = NodeSelectorTerm { match_expressions: Some(vec![on_node]), match_fields: None };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name(claim)),
            annotations: Some([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())].into()),
            finalizers: deletes.then(|| vec![FINALIZER.into()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes,
            capacity: spec.resources.and_then(|resources| resources.requests),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("PersistentVolumeClaim".into()),
                namespace: claim.namespace(),
                name: claim.metadata.name.clone(),
                uid: claim.metadata.uid.clone(),
                resource_version: claim.metadata.resource_version.clone(),
                field_path: None,
            }),
            local: Some(LocalVolumeSource { fs_type: None, path: dir.to_string_lossy().into_owned() }),
            mount_options: class.mount_options.clone(),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![term] }),
            }),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
            storage_class_name: Some(class.name_any()),
            volume_mode: Some("Filesystem".into()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(more: Value) -> PersistentVolumeClaim {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        more.as_object().unwrap().iter().for_each(|(key, value)| spec[key] = value.clone());
        serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn class(more: Value) -> StorageClass {
        let mut class =
            json!({"metadata": {"name": "standard"}, "provisioner": PROVISIONER, "reclaimPolicy": "Delete"});
        more.as_object().unwrap().iter().for_each(|(key, value)| class[key] = value.clone());
        serde_json::from_value(class).unwrap()
    }

    #[test]
    fn a_volume_leads_to_the_directory_on_its_node() {
        let node = json!({"metadata": {"name": "a", "labels": {HOST_NAME: "host-a"}}});
        let node: Node = serde_json::from_value(node).unwrap();
        let class = class(json!({"mountOptions": ["noexec"]}));
        let volume = of_claim(&claim(json!({})), &class, &node, Path::new("/d/pvc-u"));
        assert!(is_ours(&volume));
        assert_eq!(volume.name_any(), "pvc-u");
        let spec = serde_json::to_value(volume.spec).unwrap();
        assert_eq!(spec["local"]["path"], "/d/pvc-u");
        assert_eq!(spec["capacity"]["storage"], "1Gi");
        assert_eq!(spec["claimRef"]["uid"], "u");
        assert_eq!(spec["mountOptions"], json!(["noexec"]));
        let term = &spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
        assert_eq!(term["values"], json!(["host-a"]));
    }

    #[test]
    fn a_directory_is_found_where_the_data_are_now() {
        let volume = |by: &str| -> PersistentVolume {
            let meta = json!({"name": "pvc-u", "annotations": {PROVISIONED_BY: by}});
            serde_json::from_value(json!({"metadata": meta, "spec": {"local": {"path": "/old/volumes/pvc-u"}}}))
                .unwrap()
        };
        let path = |by: &str| where_it_is(volume(by), Path::new("/new")).spec.unwrap().local.unwrap().path;
        assert_eq!(path(PROVISIONER), "/new/volumes/pvc-u");
        assert_eq!(path("somebody"), "/old/volumes/pvc-u");
    }

    #[test]
    fn what_a_directory_cannot_be_is_refused() {
        assert_eq!(check(&claim(json!({})), &class(json!({}))), Ok(()));
        assert!(check(&claim(json!({"volumeMode": "Block"})), &class(json!({}))).is_err());
        assert!(check(&claim(json!({"selector": {}})), &class(json!({}))).is_err());
        let source = json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "o"}});
        assert!(check(&claim(source), &class(json!({}))).is_err());
        assert!(check(&claim(json!({})), &class(json!({"parameters": {"size": "1"}}))).is_err());
    }
}
