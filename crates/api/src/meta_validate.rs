//! Checks metadata: names, labels, annotations, owners and finalizers, the same for every kind.

use std::collections::HashSet;

use serde_json::Value;

use crate::field::{self, FieldError, MAX_ERRORS, Path, push_all};
use crate::kind::Kind;
use crate::labels;
use crate::meta::{self, at, list, text};

/// Checks the metadata of a new object. The name must be set by now, also when it was generated.
pub fn validate(kind: &Kind, obj: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::new("metadata");
    let generate = meta::generate_name(obj);
    if !generate.is_empty() {
        push_all(&mut errors, &path.child("generateName"), generate, kind.strategy.validate_name(generate, true));
    }
    let name = meta::name(obj);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        push_all(&mut errors, &path.child("name"), name, kind.strategy.validate_name(name, false));
    }
    let namespace = meta::namespace(obj);
    if kind.namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required(&path.child("namespace"), ""));
        } else {
            push_all(&mut errors, &path.child("namespace"), namespace, field::dns1123_label(namespace));
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(&path.child("namespace"), "not allowed on this type"));
    }
    if meta::generation(obj) < 0 {
        let value = at(obj, &["metadata", "generation"]);
        errors.push(FieldError::invalid(&path.child("generation"), value, "must be greater than or equal to 0"));
    }
    common(kind, obj, &path, &mut errors);
    errors
}

/// Checks the metadata of a changed object.
pub fn validate_update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::new("metadata");
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let (now, before) = (at(new, &["metadata", field]), at(old, &["metadata", field]));
        if now != before && (kind.namespaced || field != "namespace") {
            errors.push(FieldError::invalid(&path.child(field), now, "field is immutable"));
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (now, before) = (at(new, &["metadata", field]), at(old, &["metadata", field]));
        if now != before {
            errors.push(FieldError::invalid(&path.child(field), now, "field is immutable"));
        }
    }
    if meta::is_deleting(old) {
        let before: HashSet<&str> = meta::finalizers(old).into_iter().collect();
        let added: Vec<&str> = meta::finalizers(new).into_iter().filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                go_strings(&added)
            );
            errors.push(FieldError::forbidden(&path.child("finalizers"), detail));
        }
    }
    common(kind, new, &path, &mut errors);
    errors
}

/// Groups of kinds whose finalizers need no path, as with upstream, where others than those of the core check them; nor do
/// those of custom resources.
const LENIENT: [&str; 3] = ["admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io"];

fn finalizers(kind: &Kind, finalizers: &[&str], path: &Path, errors: &mut Vec<FieldError>) {
    let want_paths = kind.def().is_some() && !LENIENT.contains(&&*kind.group);
    for (index, finalizer) in finalizers.iter().enumerate() {
        if errors.len() > MAX_ERRORS {
            break;
        }
        let messages = field::qualified_name(finalizer);
        let plain = ["foregroundDeletion", "orphan", "kubernetes"].contains(finalizer);
        if want_paths && messages.is_empty() && !finalizer.contains('/') && !plain {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid_str(&path.index(index), finalizer, detail));
        }
        push_all(errors, path, finalizer, messages);
    }
}

fn go_strings(items: &[&str]) -> String {
    let quoted: Vec<String> = items.iter().map(|i| field::quote(i)).collect();
    format!("[]string{{{}}}", quoted.join(", "))
}

fn common(kind: &Kind, obj: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    labels::labels(at(obj, &["metadata", "labels"]), &path.child("labels"), errors);
    labels::annotations(at(obj, &["metadata", "annotations"]), &path.child("annotations"), errors);
    owners(obj, &path.child("ownerReferences"), errors);
    let given = meta::finalizers(obj);
    finalizers(kind, &given, &path.child("finalizers"), errors);
    if given.contains(&"orphan") && given.contains(&"foregroundDeletion") {
        let value = at(obj, &["metadata", "finalizers"]);
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(&path.child("finalizers"), value, detail));
    }
}

fn owners(obj: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut controller: Option<String> = None;
    for owner in list(obj, &["metadata", "ownerReferences"]) {
        if errors.len() > MAX_ERRORS {
            break;
        }
        for (field, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(owner, &[field]).is_empty() {
                errors.push(FieldError::invalid_str(&path.child(field), "", detail));
            }
        }
        if owner["apiVersion"] == "v1" && owner["kind"] == "Event" {
            errors.push(FieldError::invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"));
        }
        if owner["controller"] == true {
            let name = format!("{}/{}", text(owner, &["kind"]), text(owner, &["name"]));
            if let Some(first) = &controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                );
                let owners = at(obj, &["metadata", "ownerReferences"]);
                errors.push(FieldError::invalid(path, owners, detail));
                // All are shown each time: once is enough.
                break;
            }
            controller = Some(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_is_checked() {
        let kind = crate::kinds::by_kind("", "v1", "ConfigMap").expect("it is there");
        let good = json!({"metadata": {"name": "a.b", "namespace": "x", "finalizers": ["a.b/c"]}});
        assert!(validate(kind, &good).is_empty());
        let bad = json!({"metadata": {"name": "A", "namespace": "x", "labels": {"/": "-"}, "finalizers": ["x"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}});
        let text: Vec<String> = validate(kind, &bad).iter().map(ToString::to_string).collect();
        assert!(text[0].starts_with("metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain"), "{text:?}");
        assert!(text.iter().any(|t| t == "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"));
        assert!(text.iter().any(|t| t.starts_with("metadata.finalizers[0]: Invalid value: \"x\"")));
        let renamed = json!({"metadata": {"name": "b", "namespace": "x"}});
        assert!(!validate_update(kind, &renamed, &good).is_empty());
    }
}
