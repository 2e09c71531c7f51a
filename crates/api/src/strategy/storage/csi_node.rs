//! CSINode.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

use super::driver_name;
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, list, text};
use crate::strategy::common::{age, non_negative};
use crate::strategy::{AGE, Column, NAME, Strategy, int_column};

/// Most bytes of what a driver calls a node.
const MAX_NODE_ID: usize = 256;

/// A CSINode.
pub struct CsiNode;

impl Strategy for CsiNode {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut names: HashSet<&str> = HashSet::new();
        for (i, driver) in list(obj, &["spec", "drivers"]).iter().enumerate() {
            let path = Path::new("spec").child("drivers").index(i);
            let name = text(driver, &["name"]);
            driver_name(name, &path.child("name"), &mut errors);
            if !names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), &driver["name"]));
            }
            driver_on_node(driver, &path, &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (i, driver) in list(new, &["spec", "drivers"]).iter().enumerate() {
            let before = list(old, &["spec", "drivers"]).iter().find(|other| other["name"] == driver["name"]);
            if before.is_some_and(|before| !same_driver(driver, before)) {
                let path = Path::new("spec").child("drivers").index(i);
                errors.push(FieldError::invalid(&path, driver, "field is immutable"));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, int_column("Drivers"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), list(obj, &["spec", "drivers"]).len().into(), age(obj, now)]
    }
}

fn driver_on_node(driver: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let id = text(driver, &["nodeID"]);
    if id.is_empty() {
        errors.push(FieldError::required(&path.child("nodeID"), ""));
    } else if id.len() > MAX_NODE_ID {
        let detail = format!("must be {MAX_NODE_ID} characters or less");
        errors.push(FieldError::invalid_str(&path.child("nodeID"), id, detail));
    }
    non_negative(errors, &path.child("allocatable").child("count"), &driver["allocatable"]["count"]);
    let mut keys: HashSet<&str> = HashSet::new();
    for key in list(driver, &["topologyKeys"]).iter().filter_map(Value::as_str) {
        let path = path.child("topologyKeys");
        match keys.insert(key) {
            true => push_all(errors, &path, key, field::qualified_name(key)),
            false => errors.push(FieldError::duplicate(&path, &key.into())),
        }
    }
}

/// Whether a driver is as it was. How many volumes it can have may change.
fn same_driver(new: &Value, old: &Value) -> bool {
    ["name", "nodeID", "topologyKeys"].iter().all(|key| new[*key] == old[*key])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_driver_is_on_a_node_once_and_stays_as_it_is() {
        let node = |drivers: Value| json!({"spec": {"drivers": drivers}});
        let driver = |id: &str, count: i64| json!({"name": "d", "nodeID": id, "allocatable": {"count": count}});
        let errors = |drivers: Value| CsiNode.validate(&node(drivers)).len();
        assert_eq!(errors(json!([driver("a", 1)])), 0);
        assert_eq!(errors(json!([driver("a", 1), driver("a", 1)])), 1);
        assert_eq!(errors(json!([driver("", -1)])), 2);
        let changed = |new: Value| CsiNode.validate_update(&node(json!([new])), &node(json!([driver("a", 1)]))).len();
        assert_eq!((changed(driver("a", 2)), changed(driver("b", 1))), (0, 1));
    }
}
