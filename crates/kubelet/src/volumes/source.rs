//! Which type of volume a pod or a PersistentVolume names.

use k8s_openapi::api::core::v1::{PersistentVolumeSpec, Volume};
use serde::Serialize;

/// Fields of a PersistentVolume that are no source.
const OTHERS: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

fn first_besides(object: &impl Serialize, others: &[&str]) -> Option<String> {
    let json = serde_json::to_value(object).ok()?;
    json.as_object()?.keys().find(|key| !others.contains(&key.as_str())).cloned()
}

/// The type of a pod's volume. One without a source is an emptyDir.
pub(super) fn of(volume: &Volume) -> String {
    first_besides(volume, &["name"]).unwrap_or_else(|| "emptyDir".to_owned())
}

/// The type of a PersistentVolume.
pub(super) fn of_persistent(spec: &PersistentVolumeSpec) -> String {
    first_besides(spec, &OTHERS).unwrap_or_else(|| "unknown".to_owned())
}

/// Whether only the kubelet writes to it: it must not find links of a container there.
pub(super) fn is_written_by_kubelet(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}
