//! PersistentVolumeClaim.

mod data_source;
mod update;

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

    fn prepare_create(&self, obj: &mut Value) {
        super::prepare_create(self, obj);
        data_source::keep_compatible(&mut obj["spec"]);
        data_source::complete(&mut obj["spec"]);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        super::prepare_update(self, new, old);
        data_source::complete(&mut new["spec"]);
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        update::validate(new, old)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if list(new, &["spec", "accessModes"]).is_empty() {
            errors.push(FieldError::required(&Path::new("spec").child("accessModes"), ""));
        }
        status(&new["status"], &Path::new("status"), &mut errors);
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

/// How the growth of a resource stands.
const RESIZE_STATES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
];

/// Checks what is said of the growth of a claim.
fn status(status: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let known = |name: &str| name == "storage" || (name.contains('/') && field::qualified_name(name).is_empty());
    for field in ["allocatedResources", "allocatedResourceStatuses"] {
        for (name, _) in status[field].as_object().into_iter().flatten() {
            if !known(name) {
                let path = path.child(field).key(name);
                errors.push(FieldError::invalid_str(&path, name, "must be storage or a fully qualified name"));
            }
        }
    }
    for (name, state) in meta::string_map(&status["allocatedResourceStatuses"]) {
        if !RESIZE_STATES.contains(&state) {
            let path = path.child("allocatedResourceStatuses").key(name);
            errors.push(FieldError::not_supported(&path, state, &RESIZE_STATES));
        }
    }
    for (name, amount) in status["allocatedResources"].as_object().into_iter().flatten() {
        if amount.as_str().and_then(|text| text.parse::<Quantity>().ok()).is_some_and(Quantity::is_negative) {
            let path = path.child("allocatedResources").key(name);
            errors.push(FieldError::invalid(&path, amount, "must be greater than or equal to 0"));
        }
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
    data_source::validate(spec, path, errors);
}
