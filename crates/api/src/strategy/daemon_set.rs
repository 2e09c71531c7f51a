//! DaemonSet.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, number};
use super::deployment::{int_or_percent, not_over_100_percent};
use super::{AGE, Column, NAME, Strategy, column, wide, workload};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, text};

/// Counts the changes of the template. Pods carry it beside the hash of their revision, for clients older than that.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(obj: &Value) -> i64 {
    text(obj, &["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or(0)
}

fn set_template_generation(obj: &mut Value, generation: i64) {
    let annotations = meta::metadata_mut(obj).entry("annotations").or_insert_with(|| json!({}));
    meta::as_object(annotations).insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
}

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

/// The counts of the status.
const COUNTS: [&str; 7] = [
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
];

impl Strategy for DaemonSet {
    fn warnings(&self, obj: &Value) -> Vec<String> {
        // No pod of a daemon set has a host name of it.
        super::workload::template_warnings(obj)
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

    fn prepare_create(&self, obj: &mut Value) {
        super::prepare_create(self, obj);
        let generation = template_generation(obj).max(1);
        set_template_generation(obj, generation);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        super::prepare_update(self, new, old);
        let changed = at(new, &["spec", "template"]) != at(old, &["spec", "template"]);
        set_template_generation(new, template_generation(old).saturating_add(changed.into()));
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

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        workload::status_numbers(new, old, &COUNTS, &mut errors);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_the_template_are_counted_whatever_a_client_says() {
        let mut set = json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": []}}}});
        DaemonSet.prepare_create(&mut set);
        assert_eq!(template_generation(&set), 1);
        let mut new = set.clone();
        new["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: "7"});
        new["spec"]["minReadySeconds"] = 3.into();
        DaemonSet.prepare_update(&mut new, &set);
        assert_eq!((template_generation(&new), meta::generation(&new)), (1, 2));
        new["spec"]["template"]["spec"]["hostNetwork"] = true.into();
        DaemonSet.prepare_update(&mut new, &set);
        assert_eq!((template_generation(&new), meta::generation(&new)), (2, 2));
    }

    #[test]
    fn a_status_counts_nothing_below_zero_and_no_collisions_backwards() {
        let old = json!({"status": {"collisionCount": 2}});
        let new = json!({"status": {"numberReady": -1, "collisionCount": 1}});
        let found: Vec<String> = DaemonSet.validate_status_update(&new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
                "status.collisionCount: Invalid value: 1: cannot be decremented",
            ]
        );
    }
}
