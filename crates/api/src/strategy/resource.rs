//! The kinds of `resource.k8s.io`: dynamic resource allocation.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use super::common::{age, or};
use super::{AGE, Column, NAME, Strategy, column, immutable};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, list, text};

/// A DeviceClass.
pub struct DeviceClass;

impl Strategy for DeviceClass {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), age(obj, now)]
    }
}

/// A ResourceClaim.
pub struct ResourceClaim;

impl Strategy for ResourceClaim {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        super::prepare_status_update(new, old);
        super::keep_metadata(new, old, &super::CLIENT_METADATA);
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
        const { &[NAME, column("State"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), state(obj).into(), age(obj, now)]
    }
}

/// A ResourceClaimTemplate.
pub struct ResourceClaimTemplate;

impl Strategy for ResourceClaimTemplate {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(&mut errors, &Path::new("spec"), &new["spec"], &old["spec"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), age(obj, now)]
    }
}

/// A ResourceSlice.
pub struct ResourceSlice;

impl Strategy for ResourceSlice {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        vec![text(obj, &["spec", "driver"]).into(), text(obj, &["spec", "nodeName"]).into()]
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &["spec.driver", "spec.nodeName"]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Node"), column("Driver"), column("Pool"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            or(text(obj, &["spec", "nodeName"]), "<unset>"),
            text(obj, &["spec", "driver"]).into(),
            text(obj, &["spec", "pool", "name"]).into(),
            age(obj, now),
        ]
    }
}

fn state(obj: &Value) -> String {
    let mut states = Vec::new();
    if meta::is_deleting(obj) {
        states.push("deleted");
    }
    let allocated = !at(obj, &["status", "allocation"]).is_null();
    states.push(if allocated { "allocated" } else { "pending" });
    if !list(obj, &["status", "reservedFor"]).is_empty() {
        states.push("reserved");
    }
    states.join(",")
}
