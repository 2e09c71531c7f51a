//! PersistentVolume.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, object_mut, or, spec_mut};
use super::persistent_volume_claim::{STORAGE_CLASS, access_modes, old_annotation, positive};
use super::pod::{validate::scheduling, warnings};
use super::{AGE, Column, NAME, Strategy, column, wide};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, list, text};

/// What a field has replaced.
const MOUNT_OPTIONS: (&str, &str) =
    ("volume.beta.kubernetes.io/mount-options", "deprecated since v1.31; use \"mountOptions\" attribute instead");

/// A PersistentVolume.
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let mut out = Vec::new();
        old_annotation(obj, STORAGE_CLASS, &mut out);
        old_annotation(obj, MOUNT_OPTIONS, &mut out);
        let spec = &obj["spec"];
        if spec["persistentVolumeReclaimPolicy"] == "Recycle" {
            out.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        let path = Path::new("spec").child("nodeAffinity").child("required");
        warnings::node_selector(at(spec, &["nodeAffinity", "required"]), &path, &mut out);
        warnings::sources(spec, &Path::new("spec"), &mut out);
        out
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_text(spec, "volumeMode", "Filesystem");
        if let Some(host) = object_mut(spec, "hostPath") {
            default_to(host, "type", "");
        }
    }

    fn empty_status(&self) -> Value {
        json!({"phase": "Pending"})
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let modes = list(obj, &["spec", "accessModes"]);
        if modes.is_empty() {
            errors.push(FieldError::required(&path.child("accessModes"), ""));
        }
        access_modes(modes, &path.child("accessModes"), &mut errors);
        capacity(at(obj, &["spec", "capacity"]), &path.child("capacity"), &mut errors);
        source(&obj["spec"], &path, &mut errors);
        let affinity = at(obj, &["spec", "nodeAffinity"]);
        if !affinity.is_null() {
            let path = path.child("nodeAffinity").child("required");
            match &affinity["required"] {
                Value::Null => errors.push(FieldError::required(&path, "must specify required node constraints")),
                required => scheduling::node_selector(required, &path, &mut errors),
            }
        }
        let policies = ["Retain", "Recycle", "Delete"];
        let policy = at(obj, &["spec", "persistentVolumeReclaimPolicy"]);
        common::one_of(&mut errors, &path.child("persistentVolumeReclaimPolicy"), policy, &policies, false);
        let modes = ["Block", "Filesystem"];
        common::one_of(&mut errors, &path.child("volumeMode"), at(obj, &["spec", "volumeMode"]), &modes, false);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Capacity"),
                column("Access Modes"),
                column("Reclaim Policy"),
                column("Status"),
                column("Claim"),
                column("StorageClass"),
                column("VolumeAttributesClass"),
                column("Reason"),
                AGE,
                wide("VolumeMode"),
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            text(obj, &["spec", "capacity", "storage"]).into(),
            common::access_modes(at(obj, &["spec", "accessModes"])).into(),
            text(obj, &["spec", "persistentVolumeReclaimPolicy"]).into(),
            if meta::is_deleting(obj) { "Terminating".into() } else { text(obj, &["status", "phase"]).into() },
            match at(obj, &["spec", "claimRef"]) {
                Value::Null => "".into(),
                c => format!("{}/{}", text(c, &["namespace"]), text(c, &["name"])).into(),
            },
            text(obj, &["spec", "storageClassName"]).into(),
            or(text(obj, &["spec", "volumeAttributesClassName"]), "<unset>"),
            text(obj, &["status", "reason"]).into(),
            age(obj, now),
            or(text(obj, &["spec", "volumeMode"]), "<unset>"),
        ]
    }
}

/// Fields of the spec that say where the volume is.
const SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

fn capacity(capacity: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let Some(map) = capacity.as_object().filter(|map| !map.is_empty()) else {
        return errors.push(FieldError::required(path, ""));
    };
    if !map.contains_key("storage") || map.len() > 1 {
        errors.push(FieldError::not_supported(path, &capacity.to_string(), &["storage"]));
    }
    for (name, amount) in map {
        positive(amount, &path.key(name), errors);
    }
}

fn source(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let given: Vec<&str> = SOURCES.into_iter().filter(|key| !spec[*key].is_null()).collect();
    for key in given.iter().skip(1) {
        errors.push(FieldError::forbidden(&path.child(key), "may not specify more than 1 volume type"));
    }
    match given.first() {
        None => errors.push(FieldError::required(path, "must specify a volume type")),
        Some(key @ (&"hostPath" | &"local")) => {
            let (place, path) = (text(spec, &[key, "path"]), path.child(key).child("path"));
            if place.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else if place.split('/').any(|part| part == "..") {
                errors.push(FieldError::invalid_str(&path, place, "must not contain '..'"));
            }
        }
        Some(_) => {}
    }
    if !spec["local"].is_null() && spec["nodeAffinity"].is_null() {
        let path = Path::new("metadata").child("annotations");
        errors.push(FieldError::required(&path, "Local volume requires node affinity"));
    }
    let root = text(spec, &["hostPath", "path"]).trim_matches('/').is_empty() && !spec["hostPath"].is_null();
    if root && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
}
