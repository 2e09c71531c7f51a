//! ResourceQuota.

use jiff::Timestamp;
use serde_json::Value;

use super::common::age;
use super::{AGE, Column, NAME, Strategy, column};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, list, text};
use crate::strategy::pod::validate::resources;

/// A ResourceQuota.
pub struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        hard(at(obj, &["spec", "hard"]), &Path::new("spec").child("hard"), &mut errors);
        scopes(&obj["spec"], &Path::new("spec").child("scopes"), &mut errors);
        let selector = Path::new("spec").child("scopeSelector").child("matchExpressions");
        scope_selector(&obj["spec"], &selector, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (now, before) = (at(new, &["spec", "scopes"]), at(old, &["spec", "scopes"]));
        super::immutable(&mut errors, &Path::new("spec").child("scopes"), now, before);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for key in ["hard", "used"] {
            hard(at(new, &["status", key]), &Path::new("status").child(key), &mut errors);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Request"), column("Limit"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), amounts(obj, false).into(), amounts(obj, true).into(), age(obj, now)]
    }
}

fn amounts(obj: &Value, limits: bool) -> String {
    meta::string_map(at(obj, &["status", "hard"]))
        .filter(|(key, _)| key.starts_with("limits.") == limits)
        .map(|(key, hard)| {
            let used = text(obj, &["status", "used", key]);
            format!("{key}: {}/{hard}", if used.is_empty() { "0" } else { used })
        })
        .collect::<Vec<_>>()
        .join(", ")
}

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
/// Resources of pods alone: what most scopes are about.
const OF_PODS: [&str; 9] = [
    "pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
];

fn hard(map: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (name, amount) in meta::string_map(map) {
        let path = path.key(name);
        resources::quota_name(name, &path, errors);
        resources::amount(name, amount, &path, errors);
    }
}

/// Whether a scope can narrow down a resource.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "requests.storage" | "persistentvolumeclaims"),
        _ => OF_PODS.contains(&resource) || resource == "limits.ephemeral-storage",
    }
}

fn misfits<'a>(spec: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a str> {
    let names = meta::string_map(&spec["hard"]).map(|(name, _)| name);
    names.filter(move |name| resources::is_standard_for_quota(name) && !fits(scope, name))
}

fn conflicting(spec: &Value, given: &[&str], path: &Path, errors: &mut Vec<FieldError>) {
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| given.contains(scope)) {
            errors.push(FieldError::invalid(path, &spec["scopes"], "conflicting scopes"));
        }
    }
}

fn scopes(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let given: Vec<&str> = list(spec, &["scopes"]).iter().filter_map(Value::as_str).collect();
    for scope in &given {
        if !SCOPES.contains(scope) {
            errors.push(FieldError::invalid(path, &spec["scopes"], "unsupported scope"));
        }
        for _ in misfits(spec, scope) {
            errors.push(FieldError::invalid(path, &spec["scopes"], "unsupported scope applied to resource"));
        }
    }
    conflicting(spec, &given, path, errors);
}

fn scope_selector(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut given = Vec::new();
    for requirement in list(spec, &["scopeSelector", "matchExpressions"]) {
        let (scope, operator) = (text(requirement, &["scopeName"]), text(requirement, &["operator"]));
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid_str(&path.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in misfits(spec, scope) {
            errors.push(FieldError::invalid(path, &spec["scopeSelector"], "unsupported scope applied to resource"));
        }
        let with_values = matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if SCOPES.contains(&scope) && !with_values && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid_str(&path.child("operator"), operator, detail));
        }
        let values = list(requirement, &["values"]);
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(&path.child("values"), &requirement["values"], detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid_str(&path.child("operator"), operator, detail));
            }
        }
        given.push(scope);
    }
    conflicting(spec, &given, path, errors);
}
