//! PersistentVolumeClaim.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, wide};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, list, text};

/// A PersistentVolumeClaim.
pub struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_text(spec, "volumeMode", "Filesystem");
    }

    fn prepare_create(&self, obj: &mut Value) {
        meta::as_object(obj).insert("status".into(), json!({"phase": "Pending"}));
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        if list(obj, &["spec", "accessModes"]).is_empty() {
            errors.push(FieldError::required(&path.child("accessModes"), "at least 1 access mode is required"));
        }
        if at(obj, &["spec", "resources", "requests", "storage"]).is_null() {
            let path = path.child("resources").key("storage");
            errors.push(FieldError::required(&path, ""));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let (mut now, mut before) = (new["spec"].clone(), old["spec"].clone());
        let unbound = text(old, &["spec", "volumeName"]).is_empty();
        for spec in [&mut now, &mut before] {
            if let Some(map) = spec.as_object_mut() {
                map.remove("resources");
                map.remove("volumeAttributesClassName");
                if unbound {
                    map.remove("volumeName");
                    map.remove("storageClassName");
                }
            }
        }
        if now == before {
            return Vec::new();
        }
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        vec![FieldError::forbidden(&Path::new("spec"), detail)]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Status"),
                column("Volume"),
                column("Capacity"),
                column("Access Modes"),
                column("StorageClass"),
                column("VolumeAttributesClass"),
                AGE,
                wide("VolumeMode"),
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            if meta::is_deleting(obj) { "Terminating".into() } else { text(obj, &["status", "phase"]).into() },
            text(obj, &["spec", "volumeName"]).into(),
            if text(obj, &["spec", "volumeName"]).is_empty() {
                "".into()
            } else {
                text(obj, &["status", "capacity", "storage"]).into()
            },
            if text(obj, &["spec", "volumeName"]).is_empty() {
                "".into()
            } else {
                common::access_modes(at(obj, &["status", "accessModes"])).into()
            },
            text(obj, &["spec", "storageClassName"]).into(),
            or(text(obj, &["spec", "volumeAttributesClassName"]), "<unset>"),
            age(obj, now),
            or(text(obj, &["spec", "volumeMode"]), "<unset>"),
        ]
    }
}
