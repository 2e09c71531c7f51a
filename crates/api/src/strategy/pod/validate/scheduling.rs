//! Checks of where a pod may run: affinity, tolerations, spreading, gates.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::Errors;
use crate::field::{self, FieldError, Path, push_all};
use crate::labels;
use crate::meta::{int, list, text};
use crate::strategy::common::one_of;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Checks tolerations.
pub(crate) fn tolerations(tolerations: &[Value], path: &Path, errors: &mut Errors) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let path = path.index(i);
        let (key, operator) = (text(toleration, &["key"]), text(toleration, &["operator"]));
        if !key.is_empty() {
            push_all(errors, &path.child("key"), key, field::qualified_name(key));
        }
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid_str(&path.child("operator"), operator, detail));
        }
        let effect = text(toleration, &["effect"]);
        if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid_str(&path.child("effect"), effect, detail));
        }
        let value = text(toleration, &["value"]);
        match operator {
            "" | "Equal" => {
                let messages = field::label_value(value).join(";");
                if !messages.is_empty() {
                    errors.push(FieldError::invalid_str(&path.child("operator"), value, messages));
                }
            }
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid_str(&path.child("operator"), value, detail));
            }
            _ => one_of(errors, &path.child("operator"), &toleration["operator"], &["Equal", "Exists"], false),
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        one_of(errors, &path.child("effect"), &toleration["effect"], &effects, false);
    }
}

/// Checks that gates are well named and there once.
pub(super) fn gates(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, gate) in list(spec, &["schedulingGates"]).iter().enumerate() {
        let name = text(gate, &["name"]);
        push_all(errors, &path.index(i), name, field::qualified_name(name));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.index(i), &gate["name"]));
        }
    }
}

/// Checks `topologySpreadConstraints`.
pub(super) fn spread(spec: &Value, path: &Path, errors: &mut Errors) {
    let constraints = list(spec, &["topologySpreadConstraints"]);
    let what = |constraint| (text(constraint, &["topologyKey"]), text(constraint, &["whenUnsatisfiable"]));
    let mut left: HashMap<(&str, &str), usize> = HashMap::new();
    for constraint in constraints {
        *left.entry(what(constraint)).or_default() += 1;
    }
    for (i, constraint) in constraints.iter().enumerate() {
        let path = path.index(i);
        if int(constraint, &["maxSkew"]).unwrap_or(0) <= 0 {
            let detail = "must be greater than zero";
            errors.push(FieldError::invalid(&path.child("maxSkew"), &constraint["maxSkew"], detail));
        }
        let (key, action) = what(constraint);
        if key.is_empty() {
            errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
        }
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            let supported = ["DoNotSchedule", "ScheduleAnyway"];
            errors.push(FieldError::not_supported(&path.child("whenUnsatisfiable"), action, &supported));
        }
        // One that comes again is told where it is first.
        let others = left.entry((key, action)).or_default();
        *others = others.saturating_sub(1);
        if *others > 0 {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(&path, &format!("{{{key}, {action}}}").into()));
        }
        if let Some(domains) = int(constraint, &["minDomains"]) {
            min_domains(domains, action, &path.child("minDomains"), errors);
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            one_of(errors, &path.child(policy), &constraint[policy], &["Honor", "Ignore"], false);
        }
        labels::label_selector(&constraint["labelSelector"], &path.child("labelSelector"), errors);
    }
}

fn min_domains(domains: i64, action: &str, path: &Path, errors: &mut Errors) {
    if domains <= 0 {
        errors.push(FieldError::invalid(path, &domains.into(), "must be greater than zero"));
    }
    if action != "DoNotSchedule" {
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.push(FieldError::invalid(path, &domains.into(), detail));
    }
}

/// Checks `affinity`.
pub(super) fn affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    let node = &affinity["nodeAffinity"];
    let node_path = path.child("nodeAffinity");
    if node[REQUIRED].is_object() {
        node_selector(&node[REQUIRED], &node_path.child(REQUIRED), errors);
    }
    for (i, term) in list(node, &[PREFERRED]).iter().enumerate() {
        let path = node_path.child(PREFERRED).index(i);
        weight(term, &path, errors);
        node_term(&term["preference"], false, &path.child("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        for (i, term) in list(affinity, &[kind, REQUIRED]).iter().enumerate() {
            affinity_term(term, &path.child(REQUIRED).index(i), errors);
        }
        for (i, term) in list(affinity, &[kind, PREFERRED]).iter().enumerate() {
            let path = path.child(PREFERRED).index(i);
            weight(term, &path, errors);
            affinity_term(&term["podAffinityTerm"], &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path, errors: &mut Errors) {
    if !(1..=100).contains(&int(term, &["weight"]).unwrap_or(0)) {
        errors.push(FieldError::invalid(&path.child("weight"), &term["weight"], "must be in the range 1-100"));
    }
}

/// Checks a selector of nodes, which needs at least one term.
pub(crate) fn node_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("nodeSelectorTerms");
    let terms = list(selector, &["nodeSelectorTerms"]);
    if terms.is_empty() {
        errors.push(FieldError::required(&path, "must have at least one node selector term"));
    }
    for (i, term) in terms.iter().enumerate() {
        node_term(term, true, &path.index(i), errors);
    }
}

fn node_term(term: &Value, check_values: bool, path: &Path, errors: &mut Errors) {
    for (i, requirement) in list(term, &["matchExpressions"]).iter().enumerate() {
        node_requirement(requirement, check_values, &path.child("matchExpressions").index(i), errors);
    }
    for (i, requirement) in list(term, &["matchFields"]).iter().enumerate() {
        let path = path.child("matchFields").index(i);
        let values = list(requirement, &["values"]);
        match text(requirement, &["operator"]) {
            "In" | "NotIn" if values.len() != 1 => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "In" | "NotIn" => {}
            operator => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid_str(&path.child("operator"), operator, detail));
            }
        }
        let key = text(requirement, &["key"]);
        if key != "metadata.name" {
            errors.push(FieldError::invalid_str(&path.child("key"), key, "not a valid field selector key"));
        }
        for (j, value) in values.iter().filter_map(Value::as_str).enumerate() {
            push_all(errors, &path.child("values").index(j), value, field::dns1123_subdomain(value));
        }
    }
}

fn node_requirement(requirement: &Value, check_values: bool, path: &Path, errors: &mut Errors) {
    let values = list(requirement, &["values"]);
    match text(requirement, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&path.child("values"), detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&path.child("values"), detail));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(&path.child("values"), detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        operator => {
            let detail = "not a valid selector operator";
            errors.push(FieldError::invalid_str(&path.child("operator"), operator, detail));
        }
    }
    let key = text(requirement, &["key"]);
    push_all(errors, &path.child("key"), key, field::qualified_name(key));
    for (i, value) in values.iter().filter_map(Value::as_str).enumerate().filter(|_| check_values) {
        push_all(errors, &path.child("values").index(i), value, field::label_value(value));
    }
}

fn affinity_term(term: &Value, path: &Path, errors: &mut Errors) {
    labels::label_selector(&term["labelSelector"], &path.child("labelSelector"), errors);
    labels::label_selector(&term["namespaceSelector"], &path.child("namespaceSelector"), errors);
    for name in list(term, &["namespaces"]).iter().filter_map(Value::as_str) {
        push_all(errors, &path.child("namespace"), name, field::dns1123_label(name));
    }
    let key = text(term, &["topologyKey"]);
    if key.is_empty() {
        errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
    }
    push_all(errors, &path.child("topologyKey"), key, field::qualified_name(key));
}
