//! The kinds of `storage.k8s.io`.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, immutable, int_column};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, list, text};

/// A StorageClass.
pub struct StorageClass;

impl Strategy for StorageClass {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let map = meta::as_object(obj);
        default_text(map, "reclaimPolicy", "Delete");
        default_text(map, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let provisioner = text(obj, &["provisioner"]);
        if provisioner.is_empty() {
            errors.push(FieldError::required(&Path::new("provisioner"), ""));
        } else {
            let messages = field::qualified_name(&provisioner.to_lowercase());
            push_all(&mut errors, &Path::new("provisioner"), provisioner, messages);
        }
        common::one_of(&mut errors, &Path::new("reclaimPolicy"), &obj["reclaimPolicy"], &["Delete", "Retain"], true);
        let modes = ["Immediate", "WaitForFirstConsumer"];
        common::one_of(&mut errors, &Path::new("volumeBindingMode"), &obj["volumeBindingMode"], &modes, true);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for key in ["parameters", "provisioner", "reclaimPolicy"] {
            if new[key] != old[key] {
                errors.push(FieldError::forbidden(&Path::new(key), "updates to this field are forbidden."));
            }
        }
        immutable(&mut errors, &Path::new("volumeBindingMode"), &new["volumeBindingMode"], &old["volumeBindingMode"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Provisioner"),
                column("ReclaimPolicy"),
                column("VolumeBindingMode"),
                column("AllowVolumeExpansion"),
                AGE,
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            if meta::annotation(obj, "storageclass.kubernetes.io/is-default-class") == "true" {
                format!("{} (default)", meta::name(obj)).into()
            } else {
                meta::name(obj).into()
            },
            text(obj, &["provisioner"]).into(),
            text(obj, &["reclaimPolicy"]).into(),
            text(obj, &["volumeBindingMode"]).into(),
            common::boolean(obj, &["allowVolumeExpansion"]),
            age(obj, now),
        ]
    }
}

/// A CSIDriver.
pub struct CsiDriver;

impl Strategy for CsiDriver {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_to(spec, "attachRequired", true);
        default_to(spec, "podInfoOnMount", false);
        default_to(spec, "storageCapacity", false);
        default_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        default_to(spec, "volumeLifecycleModes", json!(["Persistent"]));
        default_to(spec, "requiresRepublish", false);
        default_to(spec, "seLinuxMount", false);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let modes = ["Ephemeral", "Persistent"];
        for mode in list(obj, &["spec", "volumeLifecycleModes"]) {
            common::one_of(&mut errors, &path.child("volumeLifecycleModes"), mode, &modes, true);
        }
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        let policy = meta::at(obj, &["spec", "fsGroupPolicy"]);
        common::one_of(&mut errors, &path.child("fsGroupPolicy"), policy, &policies, true);
        let mut audiences: HashSet<&str> = HashSet::new();
        for (i, request) in list(obj, &["spec", "tokenRequests"]).iter().enumerate() {
            let audience = text(request, &["audience"]);
            if !audiences.insert(audience) {
                let path = path.child("tokenRequests").index(i).child("audience");
                errors.push(FieldError::duplicate(&path, &request["audience"]));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("AttachRequired"),
                column("PodInfoOnMount"),
                column("StorageCapacity"),
                column("TokenRequests"),
                column("RequiresRepublish"),
                column("Modes"),
                AGE,
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            common::boolean(obj, &["spec", "attachRequired"]),
            common::boolean(obj, &["spec", "podInfoOnMount"]),
            common::boolean(obj, &["spec", "storageCapacity"]),
            or(&joined(list(obj, &["spec", "tokenRequests"]), "audience"), "<unset>"),
            common::boolean(obj, &["spec", "requiresRepublish"]),
            or(
                &list(obj, &["spec", "volumeLifecycleModes"])
                    .iter()
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join(","),
                "<none>",
            ),
            age(obj, now),
        ]
    }
}

/// A CSINode.
pub struct CsiNode;

impl Strategy for CsiNode {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, int_column("Drivers"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), list(obj, &["spec", "drivers"]).len().into(), age(obj, now)]
    }
}

/// A CSIStorageCapacity.
pub struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("StorageClassName"), column("Capacity")] }
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), text(obj, &["storageClassName"]).into(), or(text(obj, &["capacity"]), "<unset>")]
    }
}

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

/// A VolumeAttributesClass.
pub struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for key in ["driverName", "parameters"] {
            if new[key] != old[key] {
                errors.push(FieldError::forbidden(&Path::new(key), "updates to this field are forbidden."));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("DriverName"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), text(obj, &["driverName"]).into(), age(obj, now)]
    }
}

fn joined(items: &[Value], key: &str) -> String {
    items.iter().map(|i| text(i, &[key])).collect::<Vec<_>>().join(",")
}
