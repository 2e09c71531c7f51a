//! ConfigMap.

use jiff::Timestamp;
use serde_json::Value;

use super::common::age;
use super::{AGE, Column, NAME, Strategy, column};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta;

/// A ConfigMap.
pub struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut total = 0;
        for group in ["data", "binaryData"] {
            for (key, value) in meta::string_map(&obj[group]) {
                let path = || Path::new(group).key(key);
                let messages = field::config_map_key(key);
                if !messages.is_empty() {
                    push_all(&mut errors, &path(), key, messages);
                }
                if group == "binaryData" && obj["data"].get(key).is_some() {
                    errors.push(FieldError::invalid_str(&path(), key, "duplicate of key present in data"));
                }
                total += if group == "data" { value.len() } else { value.len() / 4 * 3 };
            }
        }
        if total > MAX_SIZE {
            errors.push(FieldError::too_long(&Path::new("[]"), MAX_SIZE));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable_data(new, old, &["data", "binaryData"], &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Data"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), data_len(obj), age(obj, now)]
    }
}

/// Upper limit of the data of a ConfigMap or Secret, in bytes.
pub const MAX_SIZE: usize = 1024 * 1024;

/// Errors when data that was marked as immutable changes.
pub fn immutable_data(new: &Value, old: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    if old["immutable"] != true {
        return;
    }
    let detail = "field is immutable when `immutable` is set";
    for field in fields.iter().filter(|f| new[**f] != old[**f]) {
        errors.push(FieldError::forbidden(&Path::new(field), detail));
    }
    if new["immutable"] != true {
        errors.push(FieldError::forbidden(&Path::new("immutable"), detail));
    }
}

fn data_len(obj: &Value) -> Value {
    let count = |key: &str| obj[key].as_object().map_or(0, |m| m.len());
    (count("data") + count("binaryData")).into()
}
