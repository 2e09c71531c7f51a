//! DaemonSet.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, number};
use super::deployment::{int_or_percent, not_over_100_percent};
use super::{AGE, Column, NAME, Strategy, column, wide, workload};
use crate::field::{FieldError, Path};
use crate::meta::{self, at};

/// A DaemonSet.
pub struct DaemonSet;

static COLUMNS: &[Column] = &[
    NAME,
    column("Desired"),
    column("Current"),
    column("Ready"),
    column("Up-to-date"),
    column("Available"),
    column("Node Selector"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

impl Strategy for DaemonSet {
    fn warnings(&self, obj: &Value) -> Vec<String> {
        super::workload::warnings(obj)
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = common::spec_mut(obj) else { return };
        default_to(spec, "revisionHistoryLimit", 10);
        let strategy = meta::as_object(spec.entry("updateStrategy").or_insert_with(|| json!({})));
        default_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").is_some_and(|t| t == "RollingUpdate") {
            let rolling = meta::as_object(strategy.entry("rollingUpdate").or_insert_with(|| json!({})));
            default_to(rolling, "maxUnavailable", 1);
            default_to(rolling, "maxSurge", 0);
        }
        workload::default_template(spec);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn empty_status(&self) -> Value {
        json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0})
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let strategy = at(obj, &["spec", "updateStrategy", "type"]);
        let path = Path::new("spec").child("updateStrategy").child("type");
        common::one_of(&mut errors, &path, strategy, &["RollingUpdate", "OnDelete"], true);
        if strategy == "RollingUpdate" {
            let path = Path::new("spec").child("updateStrategy").child("rollingUpdate");
            rolling_update(at(obj, &["spec", "updateStrategy", "rollingUpdate"]), &path, &mut errors);
        }
        workload::numbers(obj, &["minReadySeconds", "revisionHistoryLimit"], &mut errors);
        workload::selector_and_template(obj, "DaemonSet", &mut errors);
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
        let [names, images] = common::containers(at(obj, &["spec", "template", "spec"]));
        vec![
            meta::name(obj).into(),
            number(obj, &["status", "desiredNumberScheduled"]),
            number(obj, &["status", "currentNumberScheduled"]),
            number(obj, &["status", "numberReady"]),
            number(obj, &["status", "updatedNumberScheduled"]),
            number(obj, &["status", "numberAvailable"]),
            common::labels(at(obj, &["spec", "template", "spec", "nodeSelector"])),
            age(obj, now),
            names,
            images,
            common::selector(at(obj, &["spec", "selector"])),
        ]
    }
}

/// Exactly one of the two numbers is not zero.
fn rolling_update(rolling: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut number = |key: &str| {
        let path = path.child(key);
        let number = int_or_percent(&rolling[key], &path, errors);
        not_over_100_percent(&rolling[key], &path, errors);
        number.unwrap_or(0)
    };
    match (number("maxUnavailable"), number("maxSurge")) {
        (0, 0) => {
            errors.push(FieldError::required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"));
        }
        (0, _) | (_, 0) => {}
        _ => {
            let detail = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(&path.child("maxSurge"), &rolling["maxSurge"], detail));
        }
    }
}
