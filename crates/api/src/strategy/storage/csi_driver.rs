//! CSIDriver.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::driver_name;
use crate::field::{FieldError, Path};
use crate::meta::{self, list, text};
use crate::strategy::common::{self, age, default_text, default_to, or};
use crate::strategy::{AGE, Column, NAME, Strategy, column, immutable};

/// A CSIDriver.
pub struct CsiDriver;

impl Strategy for CsiDriver {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let spec = meta::object_at(obj, "spec");
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

    /// The first generation of a driver is none; each change counts.
    fn prepare_create(&self, _obj: &mut Value) {}

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

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        driver_name(meta::name(obj), &Path::new("metadata").child("name"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (key, shown) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
            let path = Path::new("spec").child(shown);
            immutable(&mut errors, &path, meta::at(new, &["spec", key]), meta::at(old, &["spec", key]));
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

fn joined(items: &[Value], key: &str) -> String {
    items.iter().map(|i| text(i, &[key])).collect::<Vec<_>>().join(",")
}
