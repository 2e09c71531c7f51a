//! VolumeAttachment.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::driver_name;
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, text};
use crate::strategy::common::{self, age};
use crate::strategy::{AGE, Column, NAME, Strategy, column, immutable};

/// A VolumeAttachment.
pub struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn empty_status(&self) -> Value {
        json!({"attached": false})
    }

    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        driver_name(text(obj, &["spec", "attacher"]), &path.child("attacher"), &mut errors);
        let source = at(obj, &["spec", "source"]);
        let named = !text(source, &["persistentVolumeName"]).is_empty();
        let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        match (source["inlineVolumeSpec"].is_null(), named) {
            (true, false) => errors.push(FieldError::required(&path.child("source"), detail)),
            (false, true) => errors.push(FieldError::forbidden(&path.child("source"), detail)),
            _ => {}
        }
        let node = text(obj, &["spec", "nodeName"]);
        push_all(&mut errors, &path.child("nodeName"), node, field::dns1123_subdomain(node));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(&mut errors, &Path::new("spec"), &new["spec"], &old["spec"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Attacher"), column("PV"), column("Node"), column("Attached"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            text(obj, &["spec", "attacher"]).into(),
            text(obj, &["spec", "source", "persistentVolumeName"]).into(),
            text(obj, &["spec", "nodeName"]).into(),
            common::boolean(obj, &["status", "attached"]),
            age(obj, now),
        ]
    }
}
