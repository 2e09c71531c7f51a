//! PodDisruptionBudget.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{age, number};
use super::{AGE, Column, NAME, Strategy, column, int_column};
use crate::field::{FieldError, Path};
use crate::meta::{self, at};

/// A PodDisruptionBudget.
pub struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn empty_status(&self) -> Value {
        json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0})
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let spec = &obj["spec"];
        if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
            errors.push(FieldError::invalid(&path, spec, "minAvailable and maxUnavailable cannot be both set"));
        }
        for key in ["minAvailable", "maxUnavailable"] {
            super::deployment::int_or_percent(&spec[key], &path.child(key), &mut errors);
            super::deployment::not_over_100_percent(&spec[key], &path.child(key), &mut errors);
        }
        let policies = ["AlwaysAllow", "IfHealthyBudget"];
        let policy = path.child("unhealthyPodEvictionPolicy");
        super::common::one_of(&mut errors, &policy, &spec["unhealthyPodEvictionPolicy"], &policies, false);
        crate::labels::label_selector(&spec["selector"], &path.child("selector"), &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let (mut errors, path) = (Vec::new(), Path::new("status"));
        for key in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            super::common::non_negative(&mut errors, &path.child(key), &new["status"][key]);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Min Available"), column("Max Unavailable"), int_column("Allowed Disruptions"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            amount(at(obj, &["spec", "minAvailable"])),
            amount(at(obj, &["spec", "maxUnavailable"])),
            number(obj, &["status", "disruptionsAllowed"]),
            age(obj, now),
        ]
    }
}

fn amount(value: &Value) -> Value {
    match value {
        Value::Null => "N/A".into(),
        Value::String(text) => text.clone().into(),
        other => other.to_string().into(),
    }
}
