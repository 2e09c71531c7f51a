//! PersistentVolumeClaim.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, or, spec_mut};
use super::pod::warnings;
use super::{AGE, Column, NAME, Strategy, column, wide};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, list, text};
use crate::quantity::Quantity;

/// An annotation that a field has replaced, and since when.
pub(super) const STORAGE_CLASS: (&str, &str) =
    ("volume.beta.kubernetes.io/storage-class", "deprecated since v1.8; use \"storageClassName\" attribute instead");

/// A warning if the object has an annotation that a field has replaced.
pub(super) fn old_annotation(obj: &Value, (name, detail): (&str, &str), out: &mut Vec<String>) {
    if !at(obj, &["metadata", "annotations", name]).is_null() {
        out.push(format!("{}: {detail}", Path::new("metadata").child("annotations").key(name)));
    }
}

/// A PersistentVolumeClaim.
pub struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let mut out = Vec::new();
        old_annotation(obj, STORAGE_CLASS, &mut out);
        for kind in ["limits", "requests"] {
            let path = Path::new("spec").child("resources").child(kind);
            warnings::fractions(at(obj, &["spec", "resources", kind]), &path, &mut out);
        }
        out
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_text(spec, "volumeMode", "Filesystem");
    }

    fn empty_status(&self) -> Value {
        json!({"phase": "Pending"})
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_spec(&obj["spec"], &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (mut now, mut before) = (new["spec"].clone(), old["spec"].clone());
        let unbound = text(old, &["spec", "volumeName"]).is_empty();
        let may_grow = text(new, &["status", "phase"]) == "Bound";
        for spec in [&mut now, &mut before] {
            if let Some(map) = spec.as_object_mut() {
                if may_grow && let Some(requests) = map.get_mut("resources").and_then(|of| of.get_mut("requests")) {
                    meta::as_object(requests).remove("storage");
                }
                map.remove("volumeAttributesClassName");
                if unbound {
                    map.remove("volumeName");
                    map.remove("storageClassName");
                }
            }
        }
        if now != before {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            errors.push(FieldError::forbidden(&Path::new("spec"), detail));
        }
        not_below_capacity(new, old, &mut errors);
        super::immutable(&mut errors, &Path::new("volumeMode"), &new["spec"]["volumeMode"], &old["spec"]["volumeMode"]);
        errors
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

/// An error when a claim that asks for less than before asks for no more than it has: no volume shrinks.
fn not_below_capacity(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let amount = |obj: &Value, path: &[&str]| text(obj, path).parse::<Quantity>().unwrap_or_default();
    let requested = ["spec", "resources", "requests", "storage"];
    let (now, before) = (amount(new, &requested), amount(old, &requested));
    if now < before && now <= amount(old, &["status", "capacity", "storage"]) {
        let path = Path::new("spec").child("resources").child("requests").child("storage");
        errors.push(FieldError::forbidden(&path, "field can not be less than status.capacity"));
    }
}

/// How a volume may be mounted.
pub(super) const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Checks access modes: known ones, and `ReadWriteOncePod` alone.
pub(super) fn access_modes(modes: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    for mode in modes {
        common::one_of(errors, path, mode, &ACCESS_MODES, true);
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        errors.push(FieldError::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
}

/// An error when an amount of storage is not positive.
pub(super) fn positive(amount: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let parsed = amount.as_str().and_then(|text| text.parse::<Quantity>().ok());
    if parsed.is_some_and(|amount| amount.is_negative() || amount.is_zero()) {
        errors.push(FieldError::invalid(path, amount, "must be greater than zero"));
    }
}

/// Checks the spec of a claim or of a template of claims.
pub(super) fn validate_spec(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let modes = list(spec, &["accessModes"]);
    if modes.is_empty() {
        errors.push(FieldError::required(&path.child("accessModes"), "at least 1 access mode is required"));
    }
    crate::labels::label_selector(&spec["selector"], &path.child("selector"), errors);
    access_modes(modes, &path.child("accessModes"), errors);
    let storage = path.child("resources").key("storage");
    match at(spec, &["resources", "requests", "storage"]) {
        Value::Null => errors.push(FieldError::required(&storage, "")),
        amount => positive(amount, &storage, errors),
    }
    for key in ["storageClassName", "volumeAttributesClassName"] {
        let name = text(spec, &[key]);
        if !name.is_empty() {
            push_all(errors, &path.child(key), name, field::dns1123_subdomain(name));
        }
    }
    let modes = ["Block", "Filesystem"];
    common::one_of(errors, &path.child("volumeMode"), &spec["volumeMode"], &modes, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(storage: &str, phase: &str) -> Value {
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "volumeName": "v",
            "resources": {"requests": {"storage": storage}}},
            "status": {"phase": phase, "capacity": {"storage": "2Gi"}}})
    }

    #[test]
    fn only_a_bound_claim_grows_and_none_shrinks_below_what_it_has() {
        let errors = |new: &Value, old: &Value| -> Vec<String> {
            PersistentVolumeClaim.validate_update(new, old).iter().map(ToString::to_string).collect()
        };
        assert!(errors(&claim("3Gi", "Bound"), &claim("2Gi", "Bound")).is_empty());
        assert!(errors(&claim("3Gi", "Bound"), &claim("4Gi", "Bound")).is_empty());
        assert_eq!(
            errors(&claim("1Gi", "Bound"), &claim("4Gi", "Bound")),
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
        );
        let pending = errors(&claim("3Gi", "Pending"), &claim("2Gi", "Pending"));
        assert!(pending[0].starts_with("spec: Forbidden: spec is immutable"), "{pending:?}");
    }
}
