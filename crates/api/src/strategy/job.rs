//! Job.

use std::borrow::Cow;

use jiff::Timestamp;
use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::common::{self, age, default_text, default_to, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, immutable, wide};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, int, list, text};
use crate::selector::LabelSelector;
use crate::table::duration::since;

/// A Job.
pub struct Job;

impl Strategy for Job {
    fn orphans_dependents(&self) -> bool {
        true
    }

    fn warning_on_deletion(&self) -> Option<&'static str> {
        Some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
        )
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        super::workload::warnings(obj)
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_job_spec(spec);
    }

    fn prepare_create(&self, obj: &mut Value) {
        super::prepare_create(self, obj);
        generate_selector(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_job_spec(&obj["spec"], &Path::new("spec"), &mut errors);
        selects_its_pods(&obj["spec"], &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (now, before) = (&new["spec"], &old["spec"]);
        for key in [
            "selector",
            "template",
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ] {
            // While a job is suspended, its template may still be adjusted.
            if key == "template" && before["suspend"] == true && old["status"]["startTime"].is_null() {
                continue;
            }
            immutable(&mut errors, &Path::new("spec").child(key), &now[key], &before[key]);
        }
        if now["completionMode"] != "Indexed" {
            immutable(
                &mut errors,
                &Path::new("spec").child("completions"),
                &now["completions"],
                &before["completions"],
            );
        }
        errors
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        vec![int(obj, &["status", "succeeded"]).unwrap_or(0).to_string().into()]
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Status"),
                column("Completions"),
                column("Duration"),
                AGE,
                wide("Containers"),
                wide("Images"),
                wide("Selector"),
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let succeeded = int(obj, &["status", "succeeded"]).unwrap_or(0);
        let completions = match (int(obj, &["spec", "completions"]), int(obj, &["spec", "parallelism"]).unwrap_or(0)) {
            (Some(total), _) => format!("{succeeded}/{total}"),
            (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            _ => format!("{succeeded}/1"),
        };
        let (start, end) = (text(obj, &["status", "startTime"]), text(obj, &["status", "completionTime"]));
        let duration = match (meta::parse_time(start), meta::parse_time(end)) {
            (None, _) => String::new(),
            (Some(_), None) => since(start, now),
            (Some(_), Some(end)) => since(start, end),
        };
        let holds = |kind: &str| common::condition(obj, kind)["status"] == "True";
        let status = if holds("Complete") {
            "Complete"
        } else if holds("Failed") {
            "Failed"
        } else if meta::is_deleting(obj) {
            "Terminating"
        } else if holds("Suspended") {
            "Suspended"
        } else if holds("FailureTarget") {
            "FailureTarget"
        } else if holds("SuccessCriteriaMet") {
            "SuccessCriteriaMet"
        } else {
            "Running"
        };
        let [names, images] = common::containers(at(obj, &["spec", "template", "spec"]));
        vec![
            meta::name(obj).into(),
            status.into(),
            completions.into(),
            duration.into(),
            age(obj, now),
            names,
            images,
            common::selector(at(obj, &["spec", "selector"])),
        ]
    }
}

/// Fills in the spec of a job or of a cron job's template.
pub fn default_job_spec(spec: &mut Map<String, Value>) {
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        default_to(spec, "completions", 1);
    }
    default_to(spec, "parallelism", 1);
    default_to(spec, "backoffLimit", if spec.contains_key("backoffLimitPerIndex") { i32::MAX } else { 6 });
    default_text(spec, "completionMode", "NonIndexed");
    default_to(spec, "suspend", false);
    let by_policy = spec.contains_key("podFailurePolicy");
    default_text(spec, "podReplacementPolicy", if by_policy { "Failed" } else { "TerminatingOrFailed" });
    super::workload::default_template(spec);
}

/// A job selects its pods by its UID, so that no other job's pods are taken for its own.
fn generate_selector(obj: &mut Value) {
    let (uid, name) = (meta::uid(obj).to_owned(), meta::name(obj).to_owned());
    let Some(spec) = spec_mut(obj) else { return };
    if uid.is_empty() || spec.get("manualSelector").is_some_and(|m| m == true) {
        return;
    }
    let template = meta::as_object(spec.entry("template").or_insert_with(|| json!({})));
    let metadata = meta::as_object(template.entry("metadata").or_insert_with(|| json!({})));
    let labels = meta::as_object(metadata.entry("labels").or_insert_with(|| json!({})));
    for (key, value) in [
        ("controller-uid", &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        labels.insert(key.into(), value.clone().into());
    }
    let selector = meta::as_object(spec.entry("selector").or_insert_with(|| json!({})));
    let labels = meta::as_object(selector.entry("matchLabels").or_insert_with(|| json!({})));
    labels.entry("batch.kubernetes.io/controller-uid").or_insert(uid.into());
}

/// Checks the spec of a job or of a cron job's template.
pub fn validate_job_spec(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for key in ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"] {
        common::non_negative(errors, &path.child(key), &spec[key]);
    }
    for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        common::non_negative(errors, &path.child(key), &spec[key]);
    }
    let policies = ["Failed", "TerminatingOrFailed"];
    common::one_of(errors, &path.child("podReplacementPolicy"), &spec["podReplacementPolicy"], &policies, false);
    pod_failure_policy(spec, path, errors);
    let modes = ["NonIndexed", "Indexed"];
    common::one_of(errors, &path.child("completionMode"), &spec["completionMode"], &modes, false);
    if spec["completionMode"] == "Indexed" && spec["completions"].is_null() {
        errors.push(FieldError::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    let template = path.child("template");
    super::pod::validate::template(&spec["template"], &template, errors);
    let policy = text(spec, &["template", "spec", "restartPolicy"]);
    if !matches!(policy, "OnFailure" | "Never") {
        let path = template.child("spec").child("restartPolicy");
        errors.push(FieldError::required(&path, "valid values: \"OnFailure\", \"Never\""));
    }
}

/// Whether the selector, given or generated, matches the pods that the template makes.
fn selects_its_pods(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    crate::labels::label_selector(&spec["selector"], &path.child("selector"), errors);
    let labels = at(spec, &["template", "metadata", "labels"]);
    match LabelSelector::from_object(&spec["selector"]) {
        _ if spec["selector"].is_null() => errors.push(FieldError::required(&path.child("selector"), "")),
        Ok(selector) if !selector.matches(labels) => {
            let path = path.child("template").child("metadata").child("labels");
            errors.push(FieldError::invalid(&path, labels, "`selector` does not match template `labels`"));
        }
        _ => {}
    }
}

const MAX_RULES: usize = 20;

fn pod_failure_policy(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let policy = &spec["podFailurePolicy"];
    if policy.is_null() {
        return;
    }
    if spec["template"]["spec"]["restartPolicy"] != "Never" {
        let value = at(spec, &["template", "spec", "restartPolicy"]);
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        let path = path.child("template").child("spec").child("restartPolicy");
        errors.push(FieldError::invalid(&path, value, detail));
    }
    let path = path.child("podFailurePolicy").child("rules");
    let rules = list(policy, &["rules"]);
    if rules.len() > MAX_RULES {
        errors.push(FieldError::too_many(&path, rules.len(), MAX_RULES));
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
        common::one_of(errors, &path.child("action"), &rule["action"], &actions, true);
        let (codes, conditions) = (&rule["onExitCodes"], list(rule, &["onPodConditions"]));
        match (codes.is_null(), conditions.is_empty()) {
            (false, false) => {
                let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(FieldError::invalid_unshown(&path, detail));
            }
            (true, true) => {
                let detail = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(FieldError::invalid_unshown(&path, detail));
            }
            _ => {}
        }
        if !codes.is_null() {
            exit_codes(codes, &path.child("onExitCodes"), errors);
        }
        for (j, condition) in conditions.iter().enumerate() {
            let path = path.child("onPodConditions").index(j);
            common::one_of(errors, &path.child("status"), &condition["status"], &["False", "True", "Unknown"], true);
        }
    }
}

fn exit_codes(codes: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    common::one_of(errors, &path.child("operator"), &codes["operator"], &["In", "NotIn"], true);
    let values = list(codes, &["values"]);
    if values.is_empty() {
        errors.push(FieldError::invalid(&path.child("values"), &codes["values"], "at least one value is required"));
    }
    let mut seen = HashSet::new();
    for (i, value) in values.iter().enumerate() {
        if codes["operator"] == "In" && *value == 0 {
            let detail = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(&path.child("values").index(i), value, detail));
        }
        if !seen.insert(value.as_i64()) {
            errors.push(FieldError::duplicate(&path.child("values").index(i), value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_selects_its_own_pods() {
        let mut job = json!({"metadata": {"name": "x", "uid": "u"}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}});
        Job.default(&mut job);
        Job.prepare_create(&mut job);
        assert_eq!(job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], "u");
        assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "x");
        assert_eq!(job["spec"]["backoffLimit"], 6);
        assert!(Job.validate(&job).is_empty(), "{:?}", Job.validate(&job));
    }
}
