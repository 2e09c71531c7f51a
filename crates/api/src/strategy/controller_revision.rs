//! ControllerRevision.

use jiff::Timestamp;
use serde_json::Value;

use super::common::{age, non_negative};
use super::{AGE, Column, NAME, Strategy, column, immutable};
use crate::field::{FieldError, Path};
use crate::meta::{self, int};

/// A ControllerRevision.
pub struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if obj["data"].is_null() {
            errors.push(FieldError::required(&Path::new("data"), "data is mandatory"));
        }
        non_negative(&mut errors, &Path::new("revision"), &obj["revision"]);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(&mut errors, &Path::new("data"), &new["data"], &old["data"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Controller"), column("Revision"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            meta::controller_of(obj).map_or("<none>".into(), |c| {
                format!("{}.{}/{}", c.kind.to_lowercase(), c.api_version.split('/').next().unwrap_or_default(), c.name)
                    .into()
            }),
            int(obj, &["revision"]).unwrap_or(0).to_string().into(),
            age(obj, now),
        ]
    }
}
