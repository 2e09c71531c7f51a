//! What a status of a Job may say. Jobs of other controllers are held to it as well, so that clients can rely on it.
//!
//! Most of it is asked only of what changes: a spec that changed may be at odds with a status for a moment.

use serde_json::Value;

use super::indexes;
use crate::field::{FieldError, Path};
use crate::meta::{at, list, parse_time, text};
use crate::strategy::common::non_negative;

/// A Job before or after a change of its status.
struct Job<'a>(&'a Value);

impl<'a> Job<'a> {
    fn status(&self, field: &str) -> &'a Value {
        at(self.0, &["status", field])
    }

    fn number(&self, field: &str) -> i64 {
        self.status(field).as_i64().unwrap_or(0)
    }

    fn holds(&self, kind: &str) -> bool {
        list(self.0, &["status", "conditions"]).iter().any(|c| c["type"] == kind && c["status"] == "True")
    }

    fn is_finished(&self) -> bool {
        self.holds("Complete") || self.holds("Failed")
    }

    fn uncounted(&self, field: &str) -> &'a [Value] {
        list(self.0, &["status", "uncountedTerminatedPods", field])
    }
}

/// Checks a change of the status.
pub fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let (mut errors, path) = (Vec::new(), Path::new("status"));
    let (new, old) = (Job(new), Job(old));
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(&mut errors, &path.child(field), new.status(field));
    }
    uncounted(&new, &path, &mut errors);
    conditions(&new, &old, &path, &mut errors);
    times(&new, &old, &path, &mut errors);
    pods(&new, &old, &path, &mut errors);
    index_lists(&new, &old, &path, &mut errors);
    counters(&new, &old, &path, &mut errors);
    errors
}

fn uncounted(new: &Job<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let path = path.child("uncountedTerminatedPods");
    let mut seen = std::collections::HashSet::new();
    for field in ["succeeded", "failed"] {
        for (i, uid) in new.uncounted(field).iter().enumerate() {
            let path = path.child(field).index(i);
            if *uid == "" {
                errors.push(FieldError::invalid(&path, uid, "must not be empty"));
            } else if !seen.insert(uid.as_str()) {
                errors.push(FieldError::duplicate(&path, uid));
            }
        }
    }
}

fn conditions(new: &Job<'_>, old: &Job<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let path = path.child("conditions");
    let changed = |kinds: &[&str]| kinds.iter().any(|kind| new.holds(kind) != old.holds(kind));
    let mut refuse = |detail: String| errors.push(FieldError::invalid_unshown(&path, detail));
    let both = [
        ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
        ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
    ];
    for (one, other, detail) in both {
        if changed(&[one, other]) && new.holds(one) && new.holds(other) {
            refuse(detail.to_owned());
        }
    }
    let needed = [
        ("Failed", "FailureTarget", "cannot set Failed=True condition without the FailureTarget=true condition"),
        (
            "Complete",
            "SuccessCriteriaMet",
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
    ];
    for (kind, before, detail) in needed {
        if changed(&[kind, before]) && new.holds(kind) && !new.holds(before) {
            refuse(detail.to_owned());
        }
    }
    let never = [
        ("Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        ("FailureTarget", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
    ];
    for (kind, detail) in never {
        if new.holds("SuccessCriteriaMet") && new.holds(kind) {
            refuse(detail.to_owned());
        }
    }
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if old.holds(kind) && !new.holds(kind) {
            refuse(format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    if old.holds("SuccessCriteriaMet") && !new.holds("SuccessCriteriaMet") {
        refuse("cannot disable the SuccessCriteriaMet=True condition".to_owned());
    }
    if old.holds("Complete") && !old.holds("SuccessCriteriaMet") && new.holds("SuccessCriteriaMet") {
        refuse("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions".to_owned());
    }
}

fn times(new: &Job<'_>, old: &Job<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let (start, end) = (new.status("startTime"), new.status("completionTime"));
    let (start_path, end_path) = (path.child("startTime"), path.child("completionTime"));
    let start_changed = start != old.status("startTime");
    let end_changed = end != old.status("completionTime");
    let completes = new.holds("Complete") != old.holds("Complete");
    if (completes || end_changed) && !end.is_null() && !new.holds("Complete") {
        let detail = "cannot set completionTime when there is no Complete=True condition";
        errors.push(FieldError::invalid(&end_path, end, detail));
    }
    if (completes || end_changed) && end.is_null() && new.holds("Complete") {
        errors.push(FieldError::required(&end_path, "completionTime is required for Complete jobs"));
    }
    let time = |value: &Value| value.as_str().and_then(parse_time);
    if (start_changed || end_changed) && time(start).zip(time(end)).is_some_and(|(start, end)| end < start) {
        errors.push(FieldError::invalid(&end_path, end, "completionTime cannot be set before startTime"));
    }
    if !end.is_null() && !old.status("completionTime").is_null() && end_changed {
        errors.push(FieldError::invalid(&end_path, end, "completionTime cannot be mutated"));
    }
    let finishes = new.is_finished() != old.is_finished();
    if (finishes || start_changed) && start.is_null() && new.is_finished() {
        errors.push(FieldError::required(&start_path, "startTime is required for finished job"));
    }
    // A job that is resumed starts anew.
    let resumes = !start.is_null() && old.holds("Suspended") && !new.holds("Suspended");
    let may_start_anew = at(new.0, &["spec", "suspend"]) == true || resumes;
    if start_changed && !old.status("startTime").is_null() && !may_start_anew {
        errors.push(FieldError::required(&start_path, "startTime cannot be removed for unsuspended job"));
    }
}

fn pods(new: &Job<'_>, old: &Job<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let finishes = new.is_finished() != old.is_finished();
    let changed = |field: &str| new.status(field) != old.status(field);
    for (field, detail) in [
        ("active", "active>0 is invalid for finished job"),
        ("terminating", "terminating>0 is invalid for finished job"),
    ] {
        if (finishes || changed(field)) && new.is_finished() && new.number(field) > 0 {
            errors.push(FieldError::invalid(&path.child(field), new.status(field), detail));
        }
    }
    if (changed("ready") || changed("active")) && new.number("ready") > new.number("active") {
        let detail = "cannot set more ready pods than active";
        errors.push(FieldError::invalid(&path.child("ready"), new.status("ready"), detail));
    }
    let left = !new.uncounted("succeeded").is_empty() || !new.uncounted("failed").is_empty();
    if (finishes || changed("uncountedTerminatedPods")) && new.is_finished() && left {
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        let pods = new.status("uncountedTerminatedPods");
        errors.push(FieldError::invalid(&path.child("uncountedTerminatedPods"), pods, detail));
    }
}

fn index_lists(new: &Job<'_>, old: &Job<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let changed = |field: &str| new.status(field) != old.status(field);
    let (completed, failed) = (new.status("completedIndexes"), new.status("failedIndexes"));
    let (completed_path, failed_path) = (path.child("completedIndexes"), path.child("failedIndexes"));
    let per_index = !at(new.0, &["spec", "backoffLimitPerIndex"]).is_null();
    if changed("completedIndexes")
        && text(new.0, &["spec", "completionMode"]) != "Indexed"
        && completed.as_str().is_some_and(|text| !text.is_empty())
    {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid(&completed_path, completed, detail));
    }
    if changed("failedIndexes") && !per_index && !failed.is_null() {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(FieldError::invalid(&failed_path, failed, detail));
    }
    let Some(completions) = at(new.0, &["spec", "completions"]).as_i64() else { return };
    let parse = |value: &Value| indexes::intervals(value.as_str().unwrap_or_default(), completions);
    let (completed_list, failed_list) = (parse(completed), parse(failed));
    if let (true, Err(why)) = (changed("completedIndexes"), &completed_list) {
        let detail = format!("error parsing completedIndexes: {why}");
        errors.push(FieldError::invalid(&completed_path, completed, detail));
    }
    if let (true, Err(why)) = (changed("failedIndexes") && per_index, &failed_list) {
        errors.push(FieldError::invalid(&failed_path, failed, format!("error parsing failedIndexes: {why}")));
    }
    if (changed("failedIndexes") || changed("completedIndexes"))
        && let (Ok(completed), Ok(list)) = (completed_list, failed_list)
        && let Some(index) = indexes::overlap(&completed, &list)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(FieldError::invalid(&failed_path, failed, detail));
    }
}

fn counters(new: &Job<'_>, old: &Job<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    if new.number("failed") < old.number("failed") {
        let detail = "cannot decrease the failed counter";
        errors.push(FieldError::invalid(&path.child("failed"), &new.number("failed").into(), detail));
    }
    // An indexed job that becomes smaller forgets successes.
    let spec = |field: &str| at(new.0, &["spec", field]);
    let shrinks = spec("completionMode") == "Indexed" && spec("completions") == spec("parallelism");
    if !shrinks && new.number("succeeded") < old.number("succeeded") {
        let detail = "cannot decrease the succeeded counter";
        errors.push(FieldError::invalid(&path.child("succeeded"), &new.number("succeeded").into(), detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(spec: Value, new: Value, old: Value) -> Vec<String> {
        let job = |status: Value| json!({"spec": spec, "status": status});
        validate(&job(new), &job(old)).iter().map(|error| error.to_string()).collect()
    }

    fn held(kinds: &[&str]) -> Value {
        kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
    }

    #[test]
    fn a_job_ends_by_its_interim_condition_with_times_and_without_pods() {
        let end = json!({"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z",
            "conditions": held(&["SuccessCriteriaMet", "Complete"])});
        assert_eq!(refused(json!({}), end.clone(), json!({})), [] as [&str; 0]);
        let refused_end = refused(json!({}), json!({"conditions": held(&["Complete"]), "active": 1}), json!({}));
        assert_eq!(
            refused_end,
            [
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "status.completionTime: Required value: completionTime is required for Complete jobs",
                "status.startTime: Required value: startTime is required for finished job",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
            ]
        );
        let reopened = refused(json!({}), json!({"startTime": "2026-01-01T00:00:00Z"}), end);
        assert_eq!(reopened.len(), 2, "{reopened:?}");
    }

    #[test]
    fn counters_only_grow_and_the_start_stays() {
        let refusals =
            refused(json!({}), json!({"failed": 1}), json!({"failed": 2, "startTime": "2026-01-01T00:00:00Z"}));
        assert_eq!(
            refusals,
            [
                "status.startTime: Required value: startTime cannot be removed for unsuspended job",
                "status.failed: Invalid value: 1: cannot decrease the failed counter",
            ]
        );
        assert!(refused(json!({"suspend": true}), json!({}), json!({"startTime": "2026-01-01T00:00:00Z"})).is_empty());
    }

    #[test]
    fn a_job_that_is_resumed_starts_anew_and_only_then() {
        let before = json!({"startTime": "2026-01-01T00:00:00Z", "conditions": held(&["Suspended"])});
        let anew = json!({"startTime": "2026-01-01T00:00:02Z"});
        assert_eq!(refused(json!({"suspend": false}), anew.clone(), before.clone()), [] as [&str; 0]);
        assert_eq!(refused(json!({"suspend": false}), json!({}), before.clone()).len(), 1);
        let later = json!({"startTime": "2026-01-01T00:00:04Z", "conditions": held(&["Suspended"])});
        assert_eq!(refused(json!({"suspend": false}), later, before).len(), 1);
        assert_eq!(refused(json!({}), json!({"startTime": "2026-01-01T00:00:04Z"}), anew).len(), 1);
    }

    #[test]
    fn indexes_are_in_one_list_each() {
        let spec = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 1, "backoffLimitPerIndex": 1});
        let refusals = refused(spec, json!({"completedIndexes": "0-2", "failedIndexes": "2,4"}), json!({}));
        assert_eq!(
            refusals,
            ["status.failedIndexes: Invalid value: \"2,4\": failedIndexes and completedIndexes overlap at index: 2"]
        );
        let refusals = refused(json!({}), json!({"completedIndexes": "1"}), json!({}));
        assert_eq!(
            refusals,
            [
                "status.completedIndexes: Invalid value: \"1\": cannot set non-empty completedIndexes when non-indexed completion mode"
            ]
        );
    }
}
