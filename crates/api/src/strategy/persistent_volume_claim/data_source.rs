//! What the volume of a claim begins with: `dataSource`, and `dataSourceRef`, which came after it and allows any kind.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#volume-populators-and-data-sources>

use serde_json::Value;

use crate::field::{FieldError, Path};
use crate::meta::{self, text};

/// Forgets a `dataSource` of a kind that it never allowed, as those that asked for one had none.
pub(super) fn keep_compatible(spec: &mut Value) {
    let source = &spec["dataSource"];
    let known = matches!(
        (text(source, &["apiGroup"]), text(source, &["kind"])),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    );
    if !source.is_null() && !known && spec["dataSourceRef"].is_null() {
        meta::as_object(spec).remove("dataSource");
    }
}

/// Gives each of the two what the other says.
pub(super) fn complete(spec: &mut Value) {
    let (old, new) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    match (old.is_null(), new.is_null()) {
        (false, true) => spec["dataSourceRef"] = old,
        (true, false) if text(&new, &["namespace"]).is_empty() => spec["dataSource"] = new,
        _ => {}
    }
}

pub(super) fn validate(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for key in ["dataSource", "dataSourceRef"] {
        if !spec[key].is_null() {
            reference(&spec[key], &path.child(key), errors);
        }
    }
    let (old, new) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if !old.is_null() && !new.is_null() && old != new {
        errors.push(FieldError::invalid_str(path, &path.child("dataSource").to_string(), "must match dataSourceRef"));
    }
}

fn reference(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for key in ["name", "kind"] {
        if text(source, &[key]).is_empty() {
            errors.push(FieldError::required(&path.child(key), ""));
        }
    }
    let kind = text(source, &["kind"]);
    if text(source, &["apiGroup"]).is_empty() && kind != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid_str(path, kind, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_says_what_the_other_says() {
        let claim = json!({"kind": "PersistentVolumeClaim", "name": "c"});
        for given in ["dataSource", "dataSourceRef"] {
            let mut spec = json!({given: claim});
            complete(&mut spec);
            assert_eq!(spec, json!({"dataSource": claim, "dataSourceRef": claim}));
        }
        let mut none = json!({"volumeMode": "Block"});
        complete(&mut none);
        assert_eq!(none, json!({"volumeMode": "Block"}));
        let mut other = json!({"dataSource": {"apiGroup": "example.com", "kind": "Made", "name": "m"}});
        keep_compatible(&mut other);
        assert_eq!(other, json!({}));
    }

    #[test]
    fn a_source_has_a_kind_and_a_name() {
        let errors = |source: Value| {
            let mut errors = Vec::new();
            validate(&json!({"dataSource": source}), &Path::new("spec"), &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(errors(json!({"kind": "PersistentVolumeClaim", "name": "c"})).is_empty());
        assert_eq!(errors(json!({"kind": "PersistentVolumeClaim"})), ["spec.dataSource.name: Required value"]);
        assert!(errors(json!({"kind": "Pod", "name": "c"}))[0].contains("must be 'PersistentVolumeClaim'"));
    }
}
