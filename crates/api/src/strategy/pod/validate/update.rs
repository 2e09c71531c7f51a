//! Checks of changes of pods: only a few fields of a spec may change.

use std::collections::HashSet;

use serde_json::Value;

use super::Errors;
use crate::field::{FieldError, Path};
use crate::meta::{int, list, text};

/// Checks a change of a pod.
pub fn update(new: &Value, old: &Value) -> Errors {
    let mut errors = Vec::new();
    let path = Path::new("spec");
    let (mut ours, theirs) = (new["spec"].clone(), &old["spec"]);
    for group in ["containers", "initContainers"] {
        let (now, before) = (list(new, &["spec", group]), list(old, &["spec", group]));
        if now.len() != before.len() {
            errors.push(FieldError::forbidden(&path.child(group), "pod updates may not add or remove containers"));
            return errors;
        }
        for (i, container) in before.iter().enumerate() {
            if text(&now[i], &["image"]).is_empty() {
                errors.push(FieldError::required(&path.child(group).index(i).child("image"), ""));
            }
            if let Some(map) = ours[group][i].as_object_mut() {
                map.insert("image".into(), container["image"].clone());
            }
        }
    }
    deadline(new, old, &path, &mut errors);
    tolerations(new, old, &path.child("tolerations"), &mut errors);
    gates(new, old, &path.child("schedulingGates"), &mut errors);
    let mut keep = vec!["activeDeadlineSeconds", "schedulingGates", "tolerations"];
    let seconds = |pod: &Value| int(pod, &["spec", "terminationGracePeriodSeconds"]);
    if seconds(old).is_some_and(|s| s < 0) && seconds(new) == Some(1) {
        keep.push("terminationGracePeriodSeconds");
    }
    let gated = !list(old, &["spec", "schedulingGates"]).is_empty();
    if gated {
        // A pod that does not run yet may be narrowed down.
        keep.push("nodeSelector");
        node_selector(new, old, &path.child("nodeSelector"), &mut errors);
    }
    if let (Some(map), Some(before)) = (ours.as_object_mut(), theirs.as_object()) {
        for key in keep {
            match before.get(key) {
                Some(value) => map.insert(key.into(), value.clone()),
                None => map.remove(key),
            };
        }
    }
    if ours != *theirs && errors.is_empty() {
        errors.push(FieldError::forbidden(
            &path,
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
    errors
}

fn deadline(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let key = "activeDeadlineSeconds";
    let path = path.child(key);
    match (int(new, &["spec", key]), int(old, &["spec", key])) {
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(&path, &Value::Null, detail));
        }
        (Some(now), Some(before)) if now > before => {
            let detail = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(&path, &now.into(), detail));
        }
        _ => {}
    }
}

fn tolerations(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let parts = |toleration| ["key", "operator", "value", "effect"].map(|key| text(toleration, &[key]));
    let now: HashSet<_> = list(new, &["spec", "tolerations"]).iter().map(parts).collect();
    if !list(old, &["spec", "tolerations"]).iter().all(|before| now.contains(&parts(before))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(path, detail));
    }
}

fn gates(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let before: HashSet<_> = list(old, &["spec", "schedulingGates"]).iter().map(|gate| text(gate, &["name"])).collect();
    for (i, gate) in list(new, &["spec", "schedulingGates"]).iter().enumerate() {
        let name = text(gate, &["name"]);
        if !before.contains(name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden(&path.index(i).child("name"), detail));
        }
    }
}

fn node_selector(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let now = &new["spec"]["nodeSelector"];
    let kept = crate::meta::string_map(&old["spec"]["nodeSelector"]).all(|(key, value)| text(now, &[key]) == value);
    if !kept {
        errors.push(FieldError::invalid(
            path,
            now,
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ));
    }
}

/// Checks a change through the subresource `ephemeralcontainers`, which adds containers only.
pub fn ephemeral_containers(new: &Value, old: &Value) -> Errors {
    let path = Path::new("spec").child("ephemeralContainers");
    let now = list(new, &["spec", "ephemeralContainers"]);
    let mut errors = Vec::new();
    for before in list(old, &["spec", "ephemeralContainers"]) {
        let name = text(before, &["name"]);
        let detail = match now.iter().find(|container| text(container, &["name"]) == name) {
            None => format!("existing ephemeral containers \"{name}\" may not be removed\n"),
            Some(same) if same != before => format!("existing ephemeral containers \"{name}\" may not be changed\n"),
            Some(_) => continue,
        };
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}
