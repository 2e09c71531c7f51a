//! PersistentVolume.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, object_mut, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, wide};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, list, text};

/// A PersistentVolume.
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_text(spec, "volumeMode", "Filesystem");
        if let Some(host) = object_mut(spec, "hostPath") {
            default_to(host, "type", "");
        }
    }

    fn prepare_create(&self, obj: &mut Value) {
        meta::as_object(obj).insert("status".into(), json!({"phase": "Pending"}));
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        if list(obj, &["spec", "accessModes"]).is_empty() {
            errors.push(FieldError::required(&path.child("accessModes"), ""));
        }
        if at(obj, &["spec", "capacity", "storage"]).is_null() {
            errors.push(FieldError::required(&path.child("capacity"), ""));
        }
        let policies = ["Retain", "Recycle", "Delete"];
        let policy = at(obj, &["spec", "persistentVolumeReclaimPolicy"]);
        common::one_of(&mut errors, &path.child("persistentVolumeReclaimPolicy"), policy, &policies, false);
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
