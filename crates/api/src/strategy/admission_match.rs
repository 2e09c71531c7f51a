//! What policies and webhooks are about: rules, selectors and conditions.

use std::collections::HashSet;

use coracle_cel::{Environment, Type};
use serde_json::Value;

use super::common::one_of;
use crate::admission_expressions::compile;
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{list, text};
use crate::selector::LabelSelector;

type Errors = Vec<FieldError>;

/// At most so many conditions may be told.
const MAX_CONDITIONS: usize = 64;

/// The `matchConstraints` of a policy, or the `matchResources` of a binding.
pub(super) fn match_resources(resources: &Value, path: &Path, errors: &mut Errors) {
    one_of(errors, &path.child("matchPolicy"), &resources["matchPolicy"], &["Equivalent", "Exact"], true);
    for key in ["namespaceSelector", "objectSelector"] {
        selector(&resources[key], &path.child(key), errors);
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        for (i, rule) in list(resources, &[key]).iter().enumerate() {
            self::rule(rule, &path.child(key).index(i), errors);
        }
    }
}

/// A label selector that may be missing.
pub(super) fn selector(selector: &Value, path: &Path, errors: &mut Errors) {
    if selector.is_null() {
        return;
    }
    if let Err(why) = LabelSelector::from_object(selector) {
        errors.push(FieldError::invalid(path, selector, why));
    }
}

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// A rule says operations, groups, versions and resources; `*` stands alone.
pub(super) fn rule(rule: &Value, path: &Path, errors: &mut Errors) {
    let texts = |key: &str| -> Vec<&str> { list(rule, &[key]).iter().filter_map(Value::as_str).collect() };
    for key in ["operations", "apiGroups", "apiVersions"] {
        let values = texts(key);
        if values.is_empty() {
            errors.push(FieldError::required(&path.child(key), ""));
        }
        if values.len() > 1 && values.contains(&"*") {
            let detail = "if '*' is present, must not specify other ";
            let what = match key {
                "operations" => "operations",
                "apiGroups" => "API groups",
                _ => "API versions",
            };
            errors.push(FieldError::invalid(&path.child(key), &rule[key], format!("{detail}{what}")));
        }
    }
    for (i, _) in texts("apiVersions").iter().enumerate().filter(|(_, version)| version.is_empty()) {
        errors.push(FieldError::required(&path.child("apiVersions").index(i), ""));
    }
    for (i, operation) in texts("operations").iter().enumerate() {
        if !OPERATIONS.contains(operation) {
            errors.push(FieldError::not_supported(&path.child("operations").index(i), operation, &OPERATIONS));
        }
    }
    one_of(errors, &path.child("scope"), &rule["scope"], &["*", "Cluster", "Namespaced"], false);
    resources(&texts("resources"), rule, &path.child("resources"), errors);
}

fn resources(resources: &[&str], rule: &Value, path: &Path, errors: &mut Errors) {
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    for (i, resource) in resources.iter().enumerate() {
        if resource.is_empty() {
            errors.push(FieldError::required(&path.index(i), ""));
        }
        let (whole, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let covered = |other: &str| resources.contains(&other) && *resource != other;
        if !sub.is_empty() && covered(&format!("{whole}/*")) {
            let detail = format!("if '{whole}/*' is present, must not specify {resource}");
            errors.push(FieldError::invalid_str(&path.index(i), resource, detail));
        }
        if !sub.is_empty() && whole != "*" && covered(&format!("*/{sub}")) {
            let detail = format!("if '*/{sub}' is present, must not specify {resource}");
            errors.push(FieldError::invalid_str(&path.index(i), resource, detail));
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, &rule["resources"], detail));
    }
    if resources.contains(&"*") && resources.iter().any(|other| *other != "*" && !other.contains('/')) {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, &rule["resources"], detail));
    }
}

/// The `matchConditions` of a policy or a webhook.
pub(super) fn conditions(owner: &Value, environment: &Environment, path: &Path, errors: &mut Errors) {
    let conditions = list(owner, &["matchConditions"]);
    if conditions.len() > MAX_CONDITIONS {
        errors.push(FieldError::too_many(path, conditions.len(), MAX_CONDITIONS));
    }
    let mut seen = HashSet::new();
    for (i, condition) in conditions.iter().enumerate().take(MAX_CONDITIONS) {
        let (path, name, expression) = (path.index(i), text(condition, &["name"]), text(condition, &["expression"]));
        if expression.trim().is_empty() {
            errors.push(FieldError::required(&path.child("expression"), ""));
        } else if let Err(why) = compile(expression, environment, &[Type::Bool]) {
            errors.push(FieldError::invalid_str(&path.child("expression"), expression, why));
        }
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            push_all(errors, &path.child("name"), name, field::qualified_name(name));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), &condition["name"]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_star_stands_alone() {
        let mut errors = Vec::new();
        let given = json!({"operations": ["*", "CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/*", "pods/status"]});
        rule(&given, &Path::new("rules").index(0), &mut errors);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
                "rules[0].resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status",
            ]
        );
    }
}
