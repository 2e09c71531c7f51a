//! Roles and their bindings, in namespaces and in the cluster.

use jiff::Timestamp;
use serde_json::Value;

use super::common::{self, age, default_text, items_mut, object_mut};
use super::{AGE, Column, NAME, Strategy, column, wide};
use crate::field::{self, FieldError, Path, push_all};
use crate::labels;
use crate::meta::{self, at, list, text};
use crate::selector::LabelSelector;

/// A Role or ClusterRole.
pub struct Role;

impl Strategy for Role {
    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        field::path_segment_name(name)
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (i, rule) in list(obj, &["rules"]).iter().enumerate() {
            let path = Path::new("rules").index(i);
            let empty = |key: &str| list(rule, &[key]).is_empty();
            if empty("verbs") {
                errors.push(FieldError::required(&path.child("verbs"), "verbs must contain at least one value"));
            }
            if !empty("nonResourceURLs") {
                if !meta::namespace(obj).is_empty() {
                    let detail = "namespaced rules cannot apply to non-resource URLs";
                    errors.push(FieldError::invalid(&path.child("nonResourceURLs"), &rule["nonResourceURLs"], detail));
                }
                if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
                    let detail = "rules cannot apply to both regular resources and non-resource URLs";
                    errors.push(FieldError::invalid(&path.child("nonResourceURLs"), &rule["nonResourceURLs"], detail));
                }
                continue;
            }
            if empty("apiGroups") {
                let detail = "resource rules must supply at least one api group";
                errors.push(FieldError::required(&path.child("apiGroups"), detail));
            }
            if empty("resources") {
                let detail = "resource rules must supply at least one resource";
                errors.push(FieldError::required(&path.child("resources"), detail));
            }
        }
        aggregation(&obj["aggregationRule"], &mut errors);
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Created At", "date", "", 0)] }
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), at(obj, &["metadata", "creationTimestamp"]).clone()]
    }
}

/// A RoleBinding or ClusterRoleBinding.
pub struct Binding;

impl Strategy for Binding {
    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        field::path_segment_name(name)
    }

    fn default(&self, obj: &mut Value) {
        default_binding(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        validate_binding(obj)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        if new["roleRef"] == old["roleRef"] {
            return Vec::new();
        }
        vec![FieldError::invalid(&Path::new("roleRef"), &new["roleRef"], "cannot change roleRef")]
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        BINDING_COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        binding_row(obj, now)
    }
}

const GROUP: &str = "rbac.authorization.k8s.io";

/// What a ClusterRole gathers its rules by.
fn aggregation(rule: &Value, errors: &mut Vec<FieldError>) {
    if rule.is_null() {
        return;
    }
    let path = Path::new("aggregationRule").child("clusterRoleSelectors");
    let selectors = list(rule, &["clusterRoleSelectors"]);
    if selectors.is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(&path, detail));
    }
    for (i, selector) in selectors.iter().enumerate() {
        let path = path.index(i);
        labels::label_selector(selector, &path, errors);
        if LabelSelector::from_object(selector).is_err() {
            errors.push(FieldError::invalid(&path, selector, "invalid label selector."));
        }
    }
}

static BINDING_COLUMNS: &[Column] =
    &[NAME, column("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")];

fn default_binding(obj: &mut Value) {
    let Some(map) = obj.as_object_mut() else { return };
    if let Some(reference) = object_mut(map, "roleRef") {
        default_text(reference, "apiGroup", GROUP);
    }
    for subject in items_mut(map, "subjects") {
        if subject.get("kind").is_some_and(|k| k == "User" || k == "Group") {
            default_text(subject, "apiGroup", GROUP);
        }
    }
}

fn validate_binding(obj: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::new("roleRef");
    let namespaced = !meta::namespace(obj).is_empty();
    common::one_of(&mut errors, &path.child("apiGroup"), &obj["roleRef"]["apiGroup"], &[GROUP], true);
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    common::one_of(&mut errors, &path.child("kind"), &obj["roleRef"]["kind"], kinds, true);
    let name = text(obj, &["roleRef", "name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        push_all(&mut errors, &path.child("name"), name, field::path_segment_name(name));
    }
    for (i, subject) in list(obj, &["subjects"]).iter().enumerate() {
        let path = Path::new("subjects").index(i);
        if text(subject, &["name"]).is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        let kinds = ["ServiceAccount", "User", "Group"];
        common::one_of(&mut errors, &path.child("kind"), &subject["kind"], &kinds, true);
        let service_account = subject["kind"] == "ServiceAccount";
        if service_account && !namespaced && text(subject, &["namespace"]).is_empty() {
            errors.push(FieldError::required(&path.child("namespace"), ""));
        }
        let group = text(subject, &["apiGroup"]);
        let expected = if service_account { "" } else { GROUP };
        if group != expected {
            errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[expected]));
        }
    }
    errors
}

fn binding_row(obj: &Value, now: Timestamp) -> Vec<Value> {
    let of = |kind: &str| {
        let all: Vec<String> = list(obj, &["subjects"])
            .iter()
            .filter(|s| s["kind"] == kind)
            .map(|s| match text(s, &["namespace"]) {
                "" => text(s, &["name"]).to_owned(),
                namespace => format!("{namespace}/{}", text(s, &["name"])),
            })
            .collect();
        Value::from(all.join(", "))
    };
    let role = format!("{}/{}", text(obj, &["roleRef", "kind"]), text(obj, &["roleRef", "name"]));
    vec![meta::name(obj).into(), role.into(), age(obj, now), of("User"), of("Group"), of("ServiceAccount")]
}
