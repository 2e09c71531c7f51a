//! `podFailurePolicy` and `successPolicy`.

use std::collections::HashSet;

use serde_json::Value;

use super::indexes;
use crate::field::{self, FieldError, Path};
use crate::meta::{at, list, text};
use crate::strategy::common::non_negative;

const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_CONDITIONS: usize = 20;
const MAX_SUCCEEDED_INDEXES: usize = 64 * 1024;

/// An error when a string is missing, with the values that it may have, or is another.
fn one_of(errors: &mut Vec<FieldError>, path: &Path, value: &Value, supported: &[&str]) {
    match value.as_str() {
        None | Some("") => {
            let quoted: Vec<String> = supported.iter().map(|text| field::quote(text)).collect();
            errors.push(FieldError::required(path, format!("valid values: [{}]", quoted.join(" "))));
        }
        Some(given) if supported.contains(&given) => {}
        Some(given) => errors.push(FieldError::not_supported(path, given, supported)),
    }
}

/// Checks what is to become of a job when pods fail.
pub fn pod_failure_policy(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let policy = &spec["podFailurePolicy"];
    if policy.is_null() {
        return;
    }
    let path = path.child("podFailurePolicy").child("rules");
    let rules = list(policy, &["rules"]);
    if rules.len() > MAX_RULES {
        errors.push(FieldError::too_many(&path, rules.len(), MAX_RULES));
    }
    let containers: HashSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|key| list(spec, &["template", "spec", key]))
        .map(|container| text(container, &["name"]))
        .collect();
    for (i, rule) in rules.iter().enumerate() {
        failure_rule(spec, rule, &containers, &path.index(i), errors);
    }
}

fn failure_rule(spec: &Value, rule: &Value, containers: &HashSet<&str>, path: &Path, errors: &mut Vec<FieldError>) {
    let action = path.child("action");
    if rule["action"] == "FailIndex" {
        if spec["backoffLimitPerIndex"].is_null() {
            errors.push(FieldError::invalid(&action, &rule["action"], "requires the backoffLimitPerIndex to be set"));
        }
    } else {
        one_of(errors, &action, &rule["action"], &["Count", "FailIndex", "FailJob", "Ignore"]);
    }
    let (codes, conditions) = (&rule["onExitCodes"], list(rule, &["onPodConditions"]));
    if !codes.is_null() {
        exit_codes(codes, containers, &path.child("onExitCodes"), errors);
    }
    pod_conditions(conditions, &path.child("onPodConditions"), errors);
    match (codes.is_null(), conditions.is_empty()) {
        (false, false) => {
            let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.push(FieldError::invalid_unshown(path, detail));
        }
        (true, true) => {
            let detail = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.push(FieldError::invalid_unshown(path, detail));
        }
        _ => {}
    }
}

fn pod_conditions(conditions: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    if conditions.len() > MAX_CONDITIONS {
        errors.push(FieldError::too_many(path, conditions.len(), MAX_CONDITIONS));
    }
    for (j, condition) in conditions.iter().enumerate() {
        let path = path.index(j);
        let kind = text(condition, &["type"]);
        field::push_all(errors, &path.child("type"), kind, field::qualified_name(kind));
        one_of(errors, &path.child("status"), &condition["status"], &["False", "True", "Unknown"]);
    }
}

fn exit_codes(codes: &Value, containers: &HashSet<&str>, path: &Path, errors: &mut Vec<FieldError>) {
    one_of(errors, &path.child("operator"), &codes["operator"], &["In", "NotIn"]);
    if let Some(name) = codes["containerName"].as_str()
        && !containers.contains(name)
    {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid_str(&path.child("containerName"), name, detail));
    }
    let (values, path) = (list(codes, &["values"]), path.child("values"));
    if values.is_empty() {
        errors.push(FieldError::invalid(&path, &codes["values"], "at least one value is required"));
    } else if values.len() > MAX_EXIT_CODES {
        errors.push(FieldError::too_many(&path, values.len(), MAX_EXIT_CODES));
    }
    let mut seen = HashSet::new();
    for (i, value) in values.iter().enumerate() {
        if codes["operator"] == "In" && *value == 0 {
            errors.push(FieldError::invalid(&path.index(i), value, "must not be 0 for the In operator"));
        }
        if !seen.insert(value.as_i64()) {
            errors.push(FieldError::duplicate(&path.index(i), value));
        }
    }
    if !values.is_sorted_by_key(Value::as_i64) {
        errors.push(FieldError::invalid(&path, &codes["values"], "must be ordered"));
    }
}

/// Checks when an Indexed Job has succeeded early.
pub fn success_policy(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let policy = &spec["successPolicy"];
    if policy.is_null() {
        return;
    }
    let path = path.child("successPolicy");
    if spec["completionMode"] != "Indexed" {
        errors.push(FieldError::invalid(&path, policy, "requires indexed completion mode"));
        return;
    }
    let (path, rules) = (path.child("rules"), list(policy, &["rules"]));
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&path, detail));
    }
    if rules.len() > MAX_RULES {
        errors.push(FieldError::too_many(&path, rules.len(), MAX_RULES));
    }
    let completions = at(spec, &["completions"]).as_i64().unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        success_rule(rule, completions, &path.index(i), errors);
    }
}

fn success_rule(rule: &Value, completions: i64, path: &Path, errors: &mut Vec<FieldError>) {
    let (count, named) = (&rule["succeededCount"], rule["succeededIndexes"].as_str());
    if count.is_null() && named.is_none() {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(path, detail));
    }
    let mut total = 0;
    if let Some(named) = named {
        let path = path.child("succeededIndexes");
        if named.len() > MAX_SUCCEEDED_INDEXES {
            errors.push(FieldError::too_long(&path, MAX_SUCCEEDED_INDEXES));
        }
        match indexes::intervals(named, completions) {
            Ok(intervals) => total = indexes::count(&intervals),
            Err(why) => {
                let detail = format!("error parsing succeededIndexes: {why}");
                errors.push(FieldError::invalid_str(&path, named, detail));
            }
        }
    }
    let Some(number) = count.as_i64() else { return };
    let path = path.child("succeededCount");
    non_negative(errors, &path, count);
    if number > completions {
        let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.push(FieldError::invalid(&path, count, detail));
    }
    if named.is_some() && number > total {
        let detail = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.push(FieldError::invalid(&path, count, detail));
    }
}
