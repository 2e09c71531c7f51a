//! PodTemplate.

use jiff::Timestamp;
use serde_json::Value;

use super::common;
use super::pod::{defaults, validate};
use super::{Column, NAME, Strategy, column};
use crate::field::{FieldError, Path};
use crate::meta::{self, at};

/// A PodTemplate.
pub struct PodTemplate;

impl Strategy for PodTemplate {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let template = obj.as_object_mut().and_then(|o| common::object_mut(o, "template"));
        if let Some(spec) = template.and_then(|t| common::object_mut(t, "spec")) {
            defaults::pod_spec(spec);
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate::template(&obj["template"], &Path::new("template"), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Containers"), column("Images"), column("Pod Labels")] }
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        let [names, images] = common::containers(at(obj, &["template", "spec"]));
        vec![meta::name(obj).into(), names, images, common::labels(at(obj, &["template", "metadata", "labels"]))]
    }
}
