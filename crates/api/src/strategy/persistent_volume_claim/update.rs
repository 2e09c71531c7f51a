//! What of a claim may change.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims>

use serde_json::Value;

use super::{STORAGE_CLASS, data_source};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, text};
use crate::quantity::Quantity;

/// Checks a change: a claim gets a volume once, and once it is bound it may ask for another size and other attributes.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    class_annotation(new, old, &mut errors);
    let mut before = old["spec"].clone();
    // One that is older may have only one of the two.
    data_source::complete(&mut before);
    if given(allowed(new, old)) != given(before) {
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden(&Path::new("spec"), detail));
    }
    not_below_capacity(new, old, &mut errors);
    let mode = |obj: &Value| at(obj, &["spec", "volumeMode"]).clone();
    crate::strategy::immutable(&mut errors, &Path::new("volumeMode"), &mode(new), &mode(old));
    let attributes = |obj: &Value| at(obj, &["spec", "volumeAttributesClassName"]).clone();
    if !attributes(old).is_null() && attributes(new).is_null() {
        let path = Path::new("spec").child("volumeAttributesClassName");
        errors.push(FieldError::forbidden(&path, "update from non-nil value to nil is forbidden"));
    }
    errors
}

/// The new spec with what may change as it was.
fn allowed(new: &Value, old: &Value) -> Value {
    let mut spec = new["spec"].clone();
    if text(old, &["spec", "volumeName"]).is_empty() {
        undo(&mut spec, &old["spec"], "volumeName");
    }
    let class = |obj: &Value| at(obj, &["spec", "storageClassName"]).clone();
    let annotated = meta::annotation(old, STORAGE_CLASS.0);
    let from_nothing = class(old).is_null() && !class(new).is_null();
    if from_nothing && (annotated.is_empty() || class(new) == annotated) {
        undo(&mut spec, &old["spec"], "storageClassName");
    }
    if text(new, &["status", "phase"]) == "Bound" {
        let before = at(old, &["spec", "resources", "requests"]);
        if let Some(requests) = spec.get_mut("resources").and_then(|of| of.get_mut("requests"))
            && requests.is_object()
        {
            undo(requests, before, "storage");
        }
        if !spec["volumeAttributesClassName"].is_null() {
            undo(&mut spec, &old["spec"], "volumeAttributesClassName");
        }
    }
    spec
}

/// A spec without fields that are null, which say nothing.
fn given(mut spec: Value) -> Value {
    meta::as_object(&mut spec).retain(|_, value| !value.is_null());
    spec
}

fn undo(new: &mut Value, old: &Value, key: &str) {
    let map = meta::as_object(new);
    match old.get(key).filter(|value| !value.is_null()) {
        Some(value) => map.insert(key.to_owned(), value.clone()),
        None => map.remove(key),
    };
}

/// An error when the annotation that was before the field changes. It may become the field.
fn class_annotation(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (now, before) = (meta::annotation(new, STORAGE_CLASS.0), meta::annotation(old, STORAGE_CLASS.0));
    let became_field = now.is_empty() && text(new, &["spec", "storageClassName"]) == before;
    if now != before && !became_field {
        let path = Path::new("metadata").child("annotations").key(STORAGE_CLASS.0);
        errors.push(FieldError::invalid_str(&path, now, "field is immutable"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(storage: &str, phase: &str) -> Value {
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "volumeName": "v",
            "resources": {"requests": {"storage": storage}}},
            "status": {"phase": phase, "capacity": {"storage": "2Gi"}}})
    }

    fn errors(new: &Value, old: &Value) -> Vec<String> {
        validate(new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_a_bound_claim_grows_and_none_shrinks_below_what_it_has() {
        assert!(errors(&claim("3Gi", "Bound"), &claim("2Gi", "Bound")).is_empty());
        assert!(errors(&claim("3Gi", "Bound"), &claim("4Gi", "Bound")).is_empty());
        assert_eq!(
            errors(&claim("1Gi", "Bound"), &claim("4Gi", "Bound")),
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
        );
        let pending = errors(&claim("3Gi", "Pending"), &claim("2Gi", "Pending"));
        assert!(pending[0].starts_with("spec: Forbidden: spec is immutable"), "{pending:?}");
    }

    #[test]
    fn volume_and_class_are_given_once() {
        let mut unbound = claim("1Gi", "Pending");
        unbound["spec"]["volumeName"] = Value::Null;
        assert!(errors(&claim("1Gi", "Pending"), &unbound).is_empty());
        assert!(!errors(&unbound, &claim("1Gi", "Pending")).is_empty());
        let mut of_class = unbound.clone();
        of_class["spec"]["storageClassName"] = "fast".into();
        assert!(errors(&of_class, &unbound).is_empty());
        let mut other = of_class.clone();
        other["spec"]["storageClassName"] = "slow".into();
        assert!(!errors(&other, &of_class).is_empty());
        assert!(!errors(&unbound, &of_class).is_empty());
    }

    #[test]
    fn the_annotation_of_a_class_becomes_the_field_and_nothing_else() {
        let mut annotated = claim("1Gi", "Pending");
        annotated["metadata"]["annotations"][STORAGE_CLASS.0] = "fast".into();
        let mut named = claim("1Gi", "Pending");
        named["spec"]["storageClassName"] = "fast".into();
        assert!(errors(&named, &annotated).is_empty());
        named["spec"]["storageClassName"] = "slow".into();
        assert!(!errors(&named, &annotated).is_empty());
    }

    #[test]
    fn attributes_of_bound_claims_change() {
        let with = |class: Value, phase: &str| {
            let mut claim = claim("2Gi", phase);
            claim["spec"]["volumeAttributesClassName"] = class;
            claim
        };
        assert!(errors(&with("gold".into(), "Bound"), &with(Value::Null, "Bound")).is_empty());
        assert!(errors(&with("gold".into(), "Bound"), &with("silver".into(), "Bound")).is_empty());
        assert!(!errors(&with("gold".into(), "Pending"), &with("silver".into(), "Pending")).is_empty());
        assert!(!errors(&with(Value::Null, "Bound"), &with("silver".into(), "Bound")).is_empty());
    }
}
