//! What Deployment, ReplicaSet, StatefulSet, DaemonSet and ReplicationController share.

use serde_json::{Map, Value};

use super::common::{non_negative, object_mut};
use super::pod::{defaults, validate, warnings};
use crate::field::{FieldError, Path};
use crate::labels;
use crate::meta::{at, int, text};
use crate::selector::LabelSelector;

/// Fills in the pod template of a spec.
pub fn default_template(spec: &mut Map<String, Value>) {
    if let Some(pod) = object_mut(spec, "template").and_then(|t| object_mut(t, "spec")) {
        defaults::pod_spec(pod);
    }
}

/// Warnings for the name, and for the template of pods.
pub fn warnings(obj: &Value) -> Vec<String> {
    let mut out = Vec::new();
    warnings::workload_name(obj, &mut out);
    out.extend(template_warnings(obj));
    out
}

/// Warnings for the template of pods.
pub fn template_warnings(obj: &Value) -> Vec<String> {
    let mut out = Vec::new();
    warnings::template(at(obj, &["spec", "template"]), &Path::new("spec").child("template"), &mut out);
    out
}

/// Checks the selector, that the template matches it, and the template, whose pods are restarted always;
/// `pods_of` is the kind that makes them.
pub fn selector_and_template(obj: &Value, pods_of: &str, errors: &mut Vec<FieldError>) {
    let path = Path::new("spec");
    let (selector, template) = (at(obj, &["spec", "selector"]), at(obj, &["spec", "template"]));
    if selector.is_null() {
        errors.push(FieldError::required(&path.child("selector"), ""));
    } else {
        labels::label_selector(selector, &path.child("selector"), errors);
        match LabelSelector::from_object(selector) {
            Ok(parsed) if parsed.is_everything() => {
                let detail = format!("empty selector is invalid for {}", crate::meta::kind(obj).to_lowercase());
                errors.push(FieldError::invalid(&path.child("selector"), selector, detail));
            }
            Ok(parsed) if !parsed.matches(at(template, &["metadata", "labels"])) => {
                let labels = at(template, &["metadata", "labels"]);
                let detail = "`selector` does not match template `labels`";
                errors.push(FieldError::invalid(
                    &path.child("template").child("metadata").child("labels"),
                    labels,
                    detail,
                ));
            }
            Ok(_) => {}
            Err(_) => errors.push(FieldError::invalid(&path.child("selector"), selector, "invalid label selector")),
        }
    }
    restarting_template(obj, pods_of, errors);
}

/// Checks the template, whose pods are restarted always; `pods_of` is the kind that makes them.
pub fn restarting_template(obj: &Value, pods_of: &str, errors: &mut Vec<FieldError>) {
    let path = Path::new("spec").child("template");
    let template = at(obj, &["spec", "template"]);
    validate::template(template, &path, errors);
    let policy = text(template, &["spec", "restartPolicy"]);
    if !matches!(policy, "Always" | "") {
        errors.push(FieldError::not_supported(&path.child("spec").child("restartPolicy"), policy, &["Always"]));
    }
    if !at(template, &["spec", "activeDeadlineSeconds"]).is_null() {
        let detail = format!("activeDeadlineSeconds in {pods_of} is not Supported");
        errors.push(FieldError::forbidden(&path.child("spec").child("activeDeadlineSeconds"), detail));
    }
}

/// Checks numbers of a spec that are not negative.
pub fn numbers(obj: &Value, keys: &[&str], errors: &mut Vec<FieldError>) {
    for key in keys {
        non_negative(errors, &Path::new("spec").child(key), at(obj, &["spec", key]));
    }
}

/// Checks that the counts of a status are not negative, and that names that collided are not counted down.
pub fn status_numbers(new: &Value, old: &Value, keys: &[&str], errors: &mut Vec<FieldError>) {
    let path = Path::new("status");
    for key in keys.iter().chain(&["observedGeneration", "collisionCount"]) {
        non_negative(errors, &path.child(key), at(new, &["status", key]));
    }
    let collisions = |obj: &Value| int(obj, &["status", "collisionCount"]);
    if collisions(old).is_some_and(|before| collisions(new).unwrap_or(0) < before) {
        let now = collisions(new).unwrap_or(0).into();
        errors.push(FieldError::invalid(&path.child("collisionCount"), &now, "cannot be decremented"));
    }
}

/// An error when the selector changes.
pub fn selector_is_immutable(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (now, before) = (at(new, &["spec", "selector"]), at(old, &["spec", "selector"]));
    super::immutable(errors, &Path::new("spec").child("selector"), now, before);
}
