//! RuntimeClass.

use jiff::Timestamp;
use serde_json::Value;

use super::common::age;
use super::{AGE, Column, NAME, Strategy, column, immutable};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, text};

/// A RuntimeClass.
pub struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let handler = text(obj, &["handler"]);
        push_all(&mut errors, &Path::new("handler"), handler, field::dns1123_label(handler));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(&mut errors, &Path::new("handler"), &new["handler"], &old["handler"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Handler"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), text(obj, &["handler"]).into(), age(obj, now)]
    }
}
