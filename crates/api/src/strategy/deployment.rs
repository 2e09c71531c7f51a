//! Deployment.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, number};
use super::{AGE, Column, NAME, Strategy, column, wide, workload};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, int};

/// A Deployment.
pub struct Deployment;

static COLUMNS: &[Column] = &[
    NAME,
    column("Ready"),
    column("Up-to-date"),
    column("Available"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

impl Strategy for Deployment {
    fn warnings(&self, obj: &Value) -> Vec<String> {
        super::workload::warnings(obj)
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        super::prepare_status_update(new, old);
        super::keep_metadata(new, old, &["labels"]);
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = common::spec_mut(obj) else { return };
        default_to(spec, "replicas", 1);
        default_to(spec, "revisionHistoryLimit", 10);
        default_to(spec, "progressDeadlineSeconds", 600);
        let strategy = meta::as_object(spec.entry("strategy").or_insert_with(|| json!({})));
        default_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").is_some_and(|t| t == "RollingUpdate") {
            let rolling = meta::as_object(strategy.entry("rollingUpdate").or_insert_with(|| json!({})));
            default_to(rolling, "maxUnavailable", "25%");
            default_to(rolling, "maxSurge", "25%");
        }
        workload::default_template(spec);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        super::prepare_update(self, new, old);
        // Deployments count changes of their annotations too: `kubectl rollout` waits for them.
        let annotations = |o: &Value| at(o, &["metadata", "annotations"]).clone();
        let generation = meta::generation(old);
        if annotations(new) != annotations(old) && meta::generation(new) == generation {
            meta::set_generation(new, generation + 1);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        workload::numbers(
            obj,
            &["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"],
            &mut errors,
        );
        workload::selector_and_template(obj, "ReplicaSet", &mut errors);
        let strategy = at(obj, &["spec", "strategy"]);
        let strategy_path = path.child("strategy");
        common::one_of(
            &mut errors,
            &strategy_path.child("type"),
            &strategy["type"],
            &["Recreate", "RollingUpdate"],
            true,
        );
        if strategy["type"] == "Recreate" && !strategy["rollingUpdate"].is_null() {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(&strategy_path.child("rollingUpdate"), detail));
        }
        if strategy["type"] == "RollingUpdate" {
            let rolling = &strategy["rollingUpdate"];
            let path = strategy_path.child("rollingUpdate");
            let unavailable = int_or_percent(&rolling["maxUnavailable"], &path.child("maxUnavailable"), &mut errors);
            let surge = int_or_percent(&rolling["maxSurge"], &path.child("maxSurge"), &mut errors);
            if unavailable == Some(0) && surge == Some(0) {
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(&path.child("maxUnavailable"), &rolling["maxUnavailable"], detail));
            }
            not_over_100_percent(&rolling["maxUnavailable"], &path.child("maxUnavailable"), &mut errors);
        }
        let (deadline, ready) =
            (int(obj, &["spec", "progressDeadlineSeconds"]), int(obj, &["spec", "minReadySeconds"]));
        if deadline.is_some_and(|d| d <= ready.unwrap_or(0)) {
            let value = at(obj, &["spec", "progressDeadlineSeconds"]);
            errors.push(FieldError::invalid(
                &path.child("progressDeadlineSeconds"),
                value,
                "must be greater than minReadySeconds",
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        workload::selector_is_immutable(new, old, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let count = |path: &[&str]| int(obj, path).unwrap_or(0);
        let [names, images] = common::containers(at(obj, &["spec", "template", "spec"]));
        vec![
            meta::name(obj).into(),
            format!("{}/{}", count(&["status", "readyReplicas"]), count(&["spec", "replicas"])).into(),
            number(obj, &["status", "updatedReplicas"]),
            number(obj, &["status", "availableReplicas"]),
            age(obj, now),
            names,
            images,
            common::selector(at(obj, &["spec", "selector"])),
        ]
    }
}

/// Checks a number or percentage, and gives its number.
pub fn int_or_percent(value: &Value, path: &Path, errors: &mut Vec<FieldError>) -> Option<i64> {
    match value {
        Value::String(text) => match text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()) {
            Some(number) => Some(number.into()),
            None => {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%', or '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(path, value, detail));
                None
            }
        },
        Value::Number(number) => {
            common::non_negative(errors, path, value);
            number.as_i64()
        }
        _ => None,
    }
}

/// An error when a percentage is over 100.
pub fn not_over_100_percent(value: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<u32>().ok());
    if percent.is_some_and(|percent| percent > 100) {
        errors.push(FieldError::invalid(path, value, "must not be greater than 100%"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Value {
        let mut obj = json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}});
        Deployment.default(&mut obj);
        obj
    }

    #[test]
    fn defaults_and_validation() {
        let obj = deployment();
        assert_eq!(obj["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
        assert_eq!(obj["spec"]["template"]["spec"]["restartPolicy"], "Always");
        assert!(Deployment.validate(&obj).is_empty(), "{:?}", Deployment.validate(&obj));
        let mut bad = obj.clone();
        bad["spec"]["template"]["metadata"]["labels"]["a"] = "c".into();
        assert_eq!(
            Deployment.validate(&bad)[0].to_string(),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`"
        );
        let mut changed = obj.clone();
        changed["spec"]["selector"] = json!({"matchLabels": {"x": "y"}});
        assert!(Deployment.validate_update(&changed, &obj)[0].to_string().ends_with("field is immutable"));
    }

    #[test]
    fn the_generation_counts_changes_of_the_spec_but_not_of_the_status() {
        let mut old = deployment();
        Deployment.prepare_create(&mut old);
        assert_eq!(meta::generation(&old), 1);
        let mut new = old.clone();
        new["status"] = json!({"replicas": 3});
        Deployment.prepare_update(&mut new, &old);
        assert_eq!(meta::generation(&new), 1);
        assert_eq!(new["status"], json!({}));
        new["spec"]["replicas"] = 2.into();
        Deployment.prepare_update(&mut new, &old);
        assert_eq!(meta::generation(&new), 2);
        let mut status = old.clone();
        status["spec"]["replicas"] = 9.into();
        status["status"] = json!({"replicas": 3});
        status["metadata"]["annotations"] = json!({"a": "1"});
        status["metadata"]["labels"] = json!({"b": "2"});
        Deployment.prepare_status_update(&mut status, &old);
        assert_eq!(status["metadata"]["annotations"], json!({"a": "1"}));
        assert_eq!(status["metadata"]["labels"], old["metadata"]["labels"]);
        assert_eq!(status["spec"], old["spec"]);
        assert_eq!(status["status"]["replicas"], 3);
    }
}
