//! PriorityClass.

use jiff::Timestamp;
use serde_json::Value;

use super::common::{self, age, default_text, default_to, number, text_or_none};
use super::{AGE, Column, NAME, Strategy, column, immutable, int_column};
use crate::field::{FieldError, Path};
use crate::meta::{self, int};

/// A PriorityClass.
pub struct PriorityClass;

impl Strategy for PriorityClass {
    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let map = meta::as_object(obj);
        default_to(map, "value", 0);
        default_text(map, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let name = meta::name(obj);
        let system = matches!(name, "system-node-critical" | "system-cluster-critical");
        if name.starts_with("system-") && !system {
            let detail = "priority class names with 'system-' prefix are reserved for system use only. error: not a known system priority class";
            errors.push(FieldError::forbidden(&Path::new("metadata").child("name"), detail));
        } else if !system && int(obj, &["value"]).unwrap_or(0) > 1_000_000_000 {
            let detail = "maximum allowed value of a user defined priority is 1000000000";
            errors.push(FieldError::forbidden(&Path::new("value"), detail));
        }
        let policies = ["PreemptLowerPriority", "Never"];
        common::one_of(&mut errors, &Path::new("preemptionPolicy"), &obj["preemptionPolicy"], &policies, true);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if new["value"] != old["value"] {
            errors.push(FieldError::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        immutable(&mut errors, &Path::new("preemptionPolicy"), &new["preemptionPolicy"], &old["preemptionPolicy"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, int_column("Value"), column("Global-Default"), AGE, column("PreemptionPolicy")] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            number(obj, &["value"]),
            common::boolean(obj, &["globalDefault"]),
            age(obj, now),
            text_or_none(obj, &["preemptionPolicy"]),
        ]
    }
}
