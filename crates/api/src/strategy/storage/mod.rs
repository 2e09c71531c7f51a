//! The kinds of `storage.k8s.io`.

mod attachment;
mod csi_driver;
mod csi_node;
mod csi_storage_capacity;

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

use super::common::{self, age, default_text};
use super::{AGE, Column, NAME, Strategy, column, immutable};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, list, text};

pub use attachment::VolumeAttachment;
pub use csi_driver::CsiDriver;
pub use csi_node::CsiNode;
pub use csi_storage_capacity::CsiStorageCapacity;

/// Most parameters of a class, and most bytes of all of them.
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETERS_SIZE: usize = 256 << 10;

/// A StorageClass.
pub struct StorageClass;

impl Strategy for StorageClass {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let map = meta::as_object(obj);
        default_text(map, "reclaimPolicy", "Delete");
        default_text(map, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let provisioner = text(obj, &["provisioner"]);
        if provisioner.is_empty() {
            errors.push(FieldError::required(&Path::new("provisioner"), ""));
        } else {
            let messages = field::qualified_name(&provisioner.to_lowercase());
            push_all(&mut errors, &Path::new("provisioner"), provisioner, messages);
        }
        common::one_of(&mut errors, &Path::new("reclaimPolicy"), &obj["reclaimPolicy"], &["Delete", "Retain"], true);
        let modes = ["Immediate", "WaitForFirstConsumer"];
        common::one_of(&mut errors, &Path::new("volumeBindingMode"), &obj["volumeBindingMode"], &modes, true);
        parameters(&obj["parameters"], false, &mut errors);
        topologies(list(obj, &["allowedTopologies"]), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        unchanged(&["parameters", "provisioner", "reclaimPolicy"], new, old, &mut errors);
        immutable(&mut errors, &Path::new("volumeBindingMode"), &new["volumeBindingMode"], &old["volumeBindingMode"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Provisioner"),
                column("ReclaimPolicy"),
                column("VolumeBindingMode"),
                column("AllowVolumeExpansion"),
                AGE,
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            if meta::annotation(obj, "storageclass.kubernetes.io/is-default-class") == "true" {
                format!("{} (default)", meta::name(obj)).into()
            } else {
                meta::name(obj).into()
            },
            text(obj, &["provisioner"]).into(),
            text(obj, &["reclaimPolicy"]).into(),
            text(obj, &["volumeBindingMode"]).into(),
            common::boolean(obj, &["allowVolumeExpansion"]),
            age(obj, now),
        ]
    }
}

/// A VolumeAttributesClass.
pub struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        driver_name(text(obj, &["driverName"]), &Path::new("driverName"), &mut errors);
        parameters(&obj["parameters"], true, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        unchanged(&["driverName", "parameters"], new, old, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("DriverName"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), text(obj, &["driverName"]).into(), age(obj, now)]
    }
}

/// Errors for what of a class does not change.
fn unchanged(keys: &[&str], new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for key in keys.iter().filter(|key| new[**key] != old[**key]) {
        errors.push(FieldError::forbidden(&Path::new(key), format!("updates to {key} are forbidden.")));
    }
}

/// Checks the parameters of a class.
fn parameters(parameters: &Value, is_required: bool, errors: &mut Vec<FieldError>) {
    let path = Path::new("parameters");
    let count = parameters.as_object().map_or(0, serde_json::Map::len);
    if count > MAX_PARAMETERS {
        return errors.push(FieldError::too_long(&path, MAX_PARAMETERS));
    }
    if is_required && count == 0 {
        errors.push(FieldError::required(&path, "must contain at least one key/value pair"));
    }
    let mut size = 0usize;
    for (key, value) in meta::string_map(parameters) {
        if key.is_empty() {
            errors.push(FieldError::invalid_str(&path, key, "field can not be empty."));
        }
        size = size.saturating_add(key.len()).saturating_add(value.len());
    }
    if size > MAX_PARAMETERS_SIZE {
        errors.push(FieldError::too_long(&path, MAX_PARAMETERS_SIZE));
    }
}

/// Checks where volumes of a class may be.
fn topologies(terms: &[Value], errors: &mut Vec<FieldError>) {
    let mut seen: HashSet<String> = HashSet::new();
    for (i, term) in terms.iter().enumerate() {
        let path = Path::new("allowedTopologies").index(i);
        if !seen.insert(term.to_string()) {
            errors.push(FieldError::duplicate(&path.child("matchLabelExpressions"), &"".into()));
        }
        let mut keys: HashSet<&str> = HashSet::new();
        for (j, requirement) in list(term, &["matchLabelExpressions"]).iter().enumerate() {
            let path = path.child("matchLabelExpressions").index(j);
            let key = text(requirement, &["key"]);
            if !keys.insert(key) {
                errors.push(FieldError::duplicate(&path.child("key"), &requirement["key"]));
            }
            push_all(errors, &path.child("key"), key, field::qualified_name(key));
            let values = list(requirement, &["values"]);
            if values.is_empty() {
                errors.push(FieldError::required(&path.child("values"), ""));
            }
            let mut known: HashSet<&str> = HashSet::new();
            for (k, value) in values.iter().enumerate() {
                if !known.insert(value.as_str().unwrap_or_default()) {
                    errors.push(FieldError::duplicate(&path.child("values").index(k), value));
                }
            }
        }
    }
}

/// Checks the name of a driver.
pub(super) fn driver_name(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        return errors.push(FieldError::required(path, ""));
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(path, 63));
    }
    push_all(errors, path, name, field::dns1123_subdomain(&name.to_lowercase()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(errors: Vec<FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_volumes_are_made_of_does_not_change() {
        let class = |size: &str| {
            json!({"provisioner": "example.com/p", "parameters": {"size": size},
            "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})
        };
        assert_eq!(
            shown(StorageClass.validate_update(&class("a"), &class("b"))),
            ["parameters: Forbidden: updates to parameters are forbidden."]
        );
        let mut grows = class("a");
        grows["allowVolumeExpansion"] = true.into();
        assert!(StorageClass.validate_update(&grows, &class("a")).is_empty());
    }

    #[test]
    fn topologies_name_each_key_once() {
        let term = |keys: &[&str]| {
            let all: Vec<Value> = keys.iter().map(|key| json!({"key": key, "values": ["a"]})).collect();
            json!({"matchLabelExpressions": all})
        };
        let errors = |terms: Value| {
            let mut errors = Vec::new();
            topologies(terms.as_array().unwrap(), &mut errors);
            shown(errors)
        };
        assert!(errors(json!([term(&["zone"]), term(&["rack"])])).is_empty());
        assert_eq!(
            errors(json!([term(&["zone", "zone"])])),
            ["allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"zone\""]
        );
        assert_eq!(
            errors(json!([{"matchLabelExpressions": [{"key": "zone"}]}])),
            ["allowedTopologies[0].matchLabelExpressions[0].values: Required value"]
        );
    }

    #[test]
    fn attributes_have_a_driver_and_parameters() {
        assert_eq!(
            shown(VolumeAttributesClass.validate(&json!({}))),
            ["driverName: Required value", "parameters: Required value: must contain at least one key/value pair"]
        );
    }
}
