//! Job.

mod indexes;
mod policies;
mod status;

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::common::{self, age, default_text, default_to, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, immutable, wide};
use crate::field::{self, FieldError, Path};
use crate::meta::{self, at, int, text};
use crate::selector::LabelSelector;
use crate::table::duration::since;

/// The labels that a job gives its pods: its UID and its name, each under an older name too.
const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const LEGACY_UID_LABEL: &str = "controller-uid";
const LEGACY_NAME_LABEL: &str = "job-name";

const MAX_PARALLELISM: i64 = 100_000;
const MAX_FAILED_INDEXES: i64 = 100_000;
/// Of more indexes than this, fewer may run and fail when failures are counted for each.
const MANY_COMPLETIONS: i64 = 100_000;
const MAX_OF_MANY: i64 = 10_000;
const MAX_MANAGED_BY: usize = 63;

/// A Job.
pub struct Job;

impl Strategy for Job {
    fn warnings(&self, obj: &Value) -> Vec<String> {
        let mut out = super::workload::warnings(obj);
        out.extend(spec_warning(&obj["spec"]));
        out
    }

    /// Of `batch/v1`, as ever: who wants the pods gone says so.
    fn orphans_dependents(&self) -> bool {
        true
    }

    fn warning_on_deletion(&self) -> Option<&'static str> {
        Some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
        )
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
        default_to(spec, "manualSelector", false);
        labels_of_template(obj);
    }

    fn prepare_create(&self, obj: &mut Value) {
        super::prepare_create(self, obj);
        let labeled_as_template = obj["metadata"]["labels"] == *at(obj, &TEMPLATE_LABELS);
        generate_selector(obj);
        if labeled_as_template {
            meta::metadata_mut(obj).remove("labels");
            labels_of_template(obj);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_job_spec(&obj["spec"], &Path::new("spec"), &mut errors);
        generated_labels(obj, &mut errors);
        selects_its_pods(&obj["spec"], &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        status::validate(new, old)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (now, before) = (&new["spec"], &old["spec"]);
        let path = Path::new("spec");
        completions_change(now, before, &path.child("completions"), &mut errors);
        immutable(&mut errors, &path.child("selector"), &now["selector"], &before["selector"]);
        let mut template = before["template"].clone();
        // Where the pods of a job go may be said until it first starts.
        if before["suspend"] == true && old["status"]["startTime"].is_null() {
            take_scheduling(&mut template, &now["template"]);
        }
        if template != now["template"] {
            errors.push(FieldError::invalid(&path.child("template"), &now["template"], "field is immutable"));
        }
        for key in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
            immutable(&mut errors, &path.child(key), &now[key], &before[key]);
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

const TEMPLATE_LABELS: [&str; 4] = ["spec", "template", "metadata", "labels"];

/// A job without labels has those of its pods.
fn labels_of_template(obj: &mut Value) {
    let has_labels = obj["metadata"]["labels"].as_object().is_some_and(|labels| !labels.is_empty());
    let labels = at(obj, &TEMPLATE_LABELS);
    if !has_labels && labels.is_object() {
        let labels = labels.clone();
        meta::metadata_mut(obj).insert("labels".into(), labels);
    }
}

/// A job selects its pods by its UID, so that no other job's pods are taken for its own. Labels that are given stay, and must
/// be the right ones.
fn generate_selector(obj: &mut Value) {
    let (uid, name) = (meta::uid(obj).to_owned(), meta::name(obj).to_owned());
    let Some(spec) = spec_mut(obj) else { return };
    if uid.is_empty() || spec.get("manualSelector").is_some_and(|m| m == true) {
        return;
    }
    let template = meta::as_object(spec.entry("template").or_insert_with(|| json!({})));
    let metadata = meta::as_object(template.entry("metadata").or_insert_with(|| json!({})));
    let labels = meta::as_object(metadata.entry("labels").or_insert_with(|| json!({})));
    for (key, value) in [(LEGACY_UID_LABEL, &uid), (LEGACY_NAME_LABEL, &name), (UID_LABEL, &uid), (NAME_LABEL, &name)] {
        labels.entry(key).or_insert_with(|| value.clone().into());
    }
    let selector = meta::as_object(spec.entry("selector").or_insert_with(|| json!({})));
    let labels = meta::as_object(selector.entry("matchLabels").or_insert_with(|| json!({})));
    labels.entry(UID_LABEL).or_insert(uid.into());
}

/// Whether a job that selects by its UID gives its pods the labels for it, and selects no less.
fn generated_labels(obj: &Value, errors: &mut Vec<FieldError>) {
    let spec = &obj["spec"];
    if spec["manualSelector"] == true || spec["selector"].is_null() {
        return;
    }
    let (uid, name) = (meta::uid(obj), meta::name(obj));
    let labels = at(spec, &["template", "metadata", "labels"]);
    let path = Path::new("spec").child("template").child("metadata").child("labels");
    let mut expected = vec![(LEGACY_UID_LABEL, uid), (LEGACY_NAME_LABEL, name)];
    // Jobs of before 1.27 have the older names only.
    if !labels[UID_LABEL].is_null() || !labels[NAME_LABEL].is_null() {
        expected.extend([(UID_LABEL, uid), (NAME_LABEL, name)]);
    }
    for (key, value) in &expected {
        let detail = format!("must be '{value}'");
        match labels[*key].as_str() {
            None => errors.push(FieldError::required(&path.key(key), detail)),
            Some(given) if given != *value => errors.push(FieldError::invalid(&path.key(key), labels, detail)),
            Some(_) => {}
        }
    }
    let expected: Map<String, Value> = expected.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    if LabelSelector::from_object(&spec["selector"]).is_ok_and(|selector| !selector.matches(&expected.into())) {
        let path = Path::new("spec").child("selector");
        errors.push(FieldError::invalid(&path, &spec["selector"], "`selector` not auto-generated"));
    }
}

/// Checks the spec of a job or of a cron job's template.
pub fn validate_job_spec(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let numbers = ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"];
    for key in numbers.iter().chain(&["backoffLimitPerIndex", "maxFailedIndexes"]) {
        common::non_negative(errors, &path.child(key), &spec[*key]);
    }
    if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
        let detail = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(&path.child("backoffLimitPerIndex"), detail));
    }
    if let Some(name) = spec["managedBy"].as_str() {
        managed_by(name, &path.child("managedBy"), errors);
    }
    let modes = ["NonIndexed", "Indexed"];
    common::one_of(errors, &path.child("completionMode"), &spec["completionMode"], &modes, false);
    match text(spec, &["completionMode"]) {
        "Indexed" => indexed(spec, path, errors),
        _ => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"].iter().filter(|key| !spec[**key].is_null()) {
                let detail = "requires indexed completion mode";
                errors.push(FieldError::invalid(&path.child(key), &spec[*key], detail));
            }
        }
    }
    policies::pod_failure_policy(spec, path, errors);
    policies::success_policy(spec, path, errors);
    let fails_by_policy = !spec["podFailurePolicy"].is_null();
    let replacements: &[&str] = if fails_by_policy { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    common::one_of(errors, &path.child("podReplacementPolicy"), &spec["podReplacementPolicy"], replacements, false);
    let template = path.child("template");
    super::pod::validate::template(&spec["template"], &template, errors);
    let path = template.child("spec").child("restartPolicy");
    match text(spec, &["template", "spec", "restartPolicy"]) {
        "" | "Always" => errors.push(FieldError::required(&path, "valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if fails_by_policy => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid_str(&path, "OnFailure", detail));
        }
        "OnFailure" | "Never" => {}
        other => errors.push(FieldError::not_supported(&path, other, &["OnFailure", "Never"])),
    }
}

/// The controller of a job: a domain, a slash and a path.
fn managed_by(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    match name.split_once('/') {
        _ if name.is_empty() => errors.push(FieldError::required(path, "")),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            field::push_all(errors, path, domain, field::dns1123_subdomain(domain));
        }
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid_str(path, name, detail));
        }
    }
    if name.len() > MAX_MANAGED_BY {
        errors.push(FieldError::too_long(path, MAX_MANAGED_BY));
    }
}

fn indexed(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut most = |key: &str, limit: i64, detail: String| {
        if spec[key].as_i64().is_some_and(|number| number > limit) {
            errors.push(FieldError::invalid(&path.child(key), &spec[key], detail));
        }
    };
    let limit = format!("must be less than or equal to {MAX_PARALLELISM} when completion mode is Indexed");
    most("parallelism", MAX_PARALLELISM, limit);
    let completions = spec["completions"].as_i64();
    if let Some(completions) = completions {
        most("maxFailedIndexes", completions, "must be less than or equal to completions".to_owned());
    }
    most("maxFailedIndexes", MAX_FAILED_INDEXES, format!("must be less than or equal to {MAX_FAILED_INDEXES}"));
    if completions.is_some_and(|completions| completions > MANY_COMPLETIONS) && !spec["backoffLimitPerIndex"].is_null()
    {
        let detail = format!(
            "must be less than or equal to {MAX_OF_MANY} when completions are above {MANY_COMPLETIONS} and used with backoff \
             limit per index"
        );
        most("parallelism", MAX_OF_MANY, detail.clone());
        most("maxFailedIndexes", MAX_OF_MANY, detail);
        if spec["maxFailedIndexes"].is_null() {
            let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.push(FieldError::required(&path.child("maxFailedIndexes"), detail));
        }
    }
    if completions.is_none() {
        errors.push(FieldError::required(&path.child("completions"), "when completion mode is Indexed"));
    }
}

fn spec_warning(spec: &Value) -> Option<String> {
    let above = |key: &str, limit: i64| spec[key].as_i64().is_some_and(|number| number > limit);
    let many = spec["completionMode"] == "Indexed"
        && above("completions", MANY_COMPLETIONS)
        && above("parallelism", MAX_OF_MANY);
    many.then(|| {
        "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might \
         not be able to track completedIndexes when a big number of indexes fail"
            .to_owned()
    })
}

/// An indexed job may become larger or smaller, if as many run as there are to complete.
fn completions_change(now: &Value, before: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (new, old) = (&now["completions"], &before["completions"]);
    if now["completionMode"] != "Indexed" {
        return immutable(errors, path, new, old);
    }
    if new != old && !new.is_null() && *new != now["parallelism"] {
        errors.push(FieldError::invalid(path, new, "can only be modified in tandem with spec.parallelism"));
    }
}

/// Takes over from another template what says where pods go.
fn take_scheduling(template: &mut Value, from: &Value) {
    let mut take = |path: &[&str]| set(template, path, at(from, path));
    for path in [&["metadata", "annotations"], &["metadata", "labels"]] {
        take(path);
    }
    for key in ["nodeSelector", "tolerations", "schedulingGates"] {
        take(&["spec", key]);
    }
    // Of the affinity only the part about nodes; without any other part, an empty one is none.
    let affinity = ["spec", "affinity"];
    if !at(from, &affinity).is_null() && at(template, &affinity).is_null() {
        set(template, &affinity, &json!({}));
    }
    set(template, &["spec", "affinity", "nodeAffinity"], at(from, &["spec", "affinity", "nodeAffinity"]));
    if at(from, &affinity).is_null() && at(template, &affinity).as_object().is_some_and(Map::is_empty) {
        set(template, &affinity, &Value::Null);
    }
}

/// Sets what is at a path, or removes it.
fn set(object: &mut Value, path: &[&str], value: &Value) {
    match path {
        [] => {}
        [key] if value.is_null() => {
            object.as_object_mut().and_then(|map| map.remove(*key));
        }
        [key] => {
            meta::as_object(object).insert((*key).into(), value.clone());
        }
        [key, ..] if value.is_null() && object[*key].is_null() => {}
        [key, rest @ ..] => set(&mut object[*key], rest, value),
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

    fn valid(spec: Value) -> Value {
        let mut job = json!({"metadata": {"name": "x", "uid": "u"}, "spec": spec});
        job["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
        job["spec"]["template"]["spec"]["containers"] = json!([{"name": "c", "image": "i:1"}]);
        Job.default(&mut job);
        Job.prepare_create(&mut job);
        job
    }

    fn refused(spec: Value) -> Vec<String> {
        Job.validate(&valid(spec)).iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn labels_that_are_given_are_kept_and_must_be_right() {
        let refusals = refused(json!({"template": {"metadata": {"labels": {"job-name": "other"}}}}));
        assert_eq!(
            refusals,
            [format!(
                "spec.template.metadata.labels[job-name]: Invalid value: {}: must be 'x'",
                r#"{"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"x","controller-uid":"u","job-name":"other"}"#
            )]
        );
        let manual = json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}}});
        assert_eq!(refused(manual), [] as [&str; 0]);
    }

    #[test]
    fn what_needs_indexes_says_so() {
        assert_eq!(
            refused(json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 2, "successPolicy": {"rules": []}})),
            [
                "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
                "spec.maxFailedIndexes: Invalid value: 2: requires indexed completion mode",
                "spec.successPolicy: Invalid value: {\"rules\":[]}: requires indexed completion mode",
            ]
        );
        let rules = json!([{"succeededIndexes": "0-3", "succeededCount": 5}, {"succeededIndexes": "9"}, {}]);
        let spec = json!({"completionMode": "Indexed", "completions": 4, "maxFailedIndexes": 5, "backoffLimitPerIndex": 1,
            "successPolicy": {"rules": rules}});
        assert_eq!(
            refused(spec),
            [
                "spec.maxFailedIndexes: Invalid value: 5: must be less than or equal to completions",
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 5: must be less than or equal to 4 (the number of specified completions)",
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 5: must be less than or equal to 4 (the number of indexes in the specified succeededIndexes field)",
                "spec.successPolicy.rules[1].succeededIndexes: Invalid value: \"9\": error parsing succeededIndexes: too large index: \"9\"",
                "spec.successPolicy.rules[2]: Required value: at least one of succeededCount or succeededIndexes must be specified",
            ]
        );
    }

    #[test]
    fn rules_for_failures_are_checked() {
        let rules = json!([
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [2, 1], "containerName": "other"}},
            {"onPodConditions": [{"type": "DisruptionTarget"}]},
        ]);
        assert_eq!(
            refused(json!({"podFailurePolicy": {"rules": rules}, "podReplacementPolicy": "TerminatingOrFailed"})),
            [
                "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
                "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"other\": must be one of the container or initContainer names in the pod template",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1]: must be ordered",
                "spec.podFailurePolicy.rules[1].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
                "spec.podFailurePolicy.rules[1].onPodConditions[0].status: Required value: valid values: [\"False\" \"True\" \"Unknown\"]",
                "spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\"",
            ]
        );
        assert_eq!(
            refused(json!({"managedBy": "me"})),
            ["spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")"]
        );
    }

    fn refused_change(spec: Value, change: impl Fn(&mut Value)) -> Vec<String> {
        let old = valid(spec);
        let mut new = old.clone();
        change(&mut new);
        Job.validate_update(&new, &old).iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn where_pods_go_may_change_before_the_first_start() {
        let schedule = |job: &mut Value| {
            job["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
            job["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {}});
            job["spec"]["template"]["metadata"]["labels"]["more"] = "yes".into();
        };
        assert_eq!(refused_change(json!({"suspend": true}), schedule), [] as [&str; 0]);
        assert_eq!(refused_change(json!({"suspend": false}), schedule), ["spec.template"]);
        let image = |job: &mut Value| job["spec"]["template"]["spec"]["containers"][0]["image"] = "i:2".into();
        assert_eq!(refused_change(json!({"suspend": true}), image), ["spec.template"]);
        let affinity = json!({"suspend": true, "template": {"spec": {"affinity": {"nodeAffinity": {}}}}});
        let clear = |job: &mut Value| {
            job["spec"]["template"]["spec"].as_object_mut().unwrap().remove("affinity");
        };
        assert_eq!(refused_change(affinity, clear), [] as [&str; 0]);
        let others = json!({"suspend": true, "template": {"spec": {"affinity": {"podAffinity": {"x": 1}}}}});
        assert_eq!(refused_change(others, clear), ["spec.template"]);
    }

    #[test]
    fn an_indexed_job_grows_with_its_parallelism() {
        let grow = |completions: i32, parallelism: i32| {
            move |job: &mut Value| {
                job["spec"]["completions"] = completions.into();
                job["spec"]["parallelism"] = parallelism.into();
            }
        };
        let spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 4});
        assert_eq!(refused_change(spec.clone(), grow(6, 6)), [] as [&str; 0]);
        assert_eq!(refused_change(spec, grow(6, 4)), ["spec.completions"]);
        assert_eq!(refused_change(json!({"completions": 4, "parallelism": 4}), grow(6, 6)), ["spec.completions"]);
    }
}
