//! ReplicaSet, and its predecessor ReplicationController.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_to, number};
use super::{AGE, Column, NAME, Strategy, column, wide, workload};
use crate::field::{FieldError, Path};
use crate::meta::{self, at};
use crate::selector::LabelSelector;

/// A ReplicaSet.
pub struct ReplicaSet;

/// A ReplicationController.
pub struct ReplicationController;

static COLUMNS: &[Column] = &[
    NAME,
    column("Desired"),
    column("Current"),
    column("Ready"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

fn row(obj: &Value, now: Timestamp, selector: Value) -> Vec<Value> {
    let [names, images] = common::containers(at(obj, &["spec", "template", "spec"]));
    vec![
        meta::name(obj).into(),
        number(obj, &["spec", "replicas"]),
        number(obj, &["status", "replicas"]),
        number(obj, &["status", "readyReplicas"]),
        age(obj, now),
        names,
        images,
        selector,
    ]
}

impl Strategy for ReplicaSet {
    fn warnings(&self, obj: &Value) -> Vec<String> {
        super::workload::warnings(obj)
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = common::spec_mut(obj) else { return };
        default_to(spec, "replicas", 1);
        workload::default_template(spec);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn empty_status(&self) -> Value {
        json!({"replicas": 0})
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        workload::numbers(obj, &["replicas", "minReadySeconds"], &mut errors);
        workload::selector_and_template(obj, "ReplicaSet", &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        workload::selector_is_immutable(new, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("status");
        for key in ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"] {
            common::non_negative(&mut errors, &path.child(key), at(new, &["status", key]));
        }
        errors
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        let replicas = meta::int(obj, &["status", "replicas"]).unwrap_or(0);
        vec![replicas.to_string().into()]
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        row(obj, now, common::selector(at(obj, &["spec", "selector"])))
    }
}

impl Strategy for ReplicationController {
    fn orphans_dependents(&self) -> bool {
        true
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        super::workload::warnings(obj)
    }

    fn default(&self, obj: &mut Value) {
        let labels = at(obj, &["spec", "template", "metadata", "labels"]).clone();
        let unlabelled = at(obj, &["metadata", "labels"]).as_object().is_none_or(|l| l.is_empty());
        if labels.as_object().is_some_and(|l| !l.is_empty()) {
            if unlabelled {
                meta::metadata_mut(obj).insert("labels".into(), labels.clone());
            }
            if let Some(spec) = common::spec_mut(obj) {
                default_to(spec, "selector", labels);
            }
        }
        let Some(spec) = common::spec_mut(obj) else { return };
        default_to(spec, "replicas", 1);
        workload::default_template(spec);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn empty_status(&self) -> Value {
        json!({"replicas": 0})
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        workload::numbers(obj, &["replicas", "minReadySeconds"], &mut errors);
        let selector = at(obj, &["spec", "selector"]);
        if selector.as_object().is_none_or(|s| s.is_empty()) {
            errors.push(FieldError::required(&path.child("selector"), ""));
        } else if !LabelSelector::from_map(selector).matches(at(obj, &["spec", "template", "metadata", "labels"])) {
            let labels = at(obj, &["spec", "template", "metadata", "labels"]);
            let path = path.child("template").child("metadata").child("labels");
            errors.push(FieldError::invalid(&path, labels, "`selector` does not match template `labels`"));
        }
        workload::restarting_template(obj, "ReplicationController", &mut errors);
        errors
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        ReplicaSet.selectable_fields(obj)
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        row(obj, now, common::labels(at(obj, &["spec", "selector"])))
    }
}
