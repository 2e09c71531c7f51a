//! Lease.

use jiff::Timestamp;
use serde_json::Value;

use super::common::{self, age};
use super::{AGE, Column, NAME, Strategy, column};
use crate::field::{FieldError, Path};
use crate::meta::{self, int, text};

/// A Lease.
pub struct Lease;

impl Strategy for Lease {
    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let spec = &obj["spec"];
        if int(spec, &["leaseDurationSeconds"]).is_some_and(|s| s <= 0) {
            let path = path.child("leaseDurationSeconds");
            errors.push(FieldError::invalid(&path, &spec["leaseDurationSeconds"], "must be greater than 0"));
        }
        common::non_negative(&mut errors, &path.child("leaseTransitions"), &spec["leaseTransitions"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Holder"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), text(obj, &["spec", "holderIdentity"]).into(), age(obj, now)]
    }
}
