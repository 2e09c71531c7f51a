//! CSIStorageCapacity.

use jiff::Timestamp;
use serde_json::Value;

use crate::field::{self, FieldError, Path, push_all};
use crate::labels::label_selector;
use crate::meta::{self, text};
use crate::quantity::Quantity;
use crate::strategy::common::or;
use crate::strategy::{Column, NAME, Strategy, column, immutable};

/// A CSIStorageCapacity.
pub struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        label_selector(&obj["nodeTopology"], &Path::new("nodeTopology"), &mut errors);
        let class = text(obj, &["storageClassName"]);
        push_all(&mut errors, &Path::new("storageClassName"), class, field::dns1123_subdomain(class));
        for key in ["capacity", "maximumVolumeSize"] {
            if text(obj, &[key]).parse::<Quantity>().is_ok_and(Quantity::is_negative) {
                let detail = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(&Path::new(key), &obj[key], detail));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for key in ["nodeTopology", "storageClassName"] {
            immutable(&mut errors, &Path::new(key), &new[key], &old[key]);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("StorageClassName"), column("Capacity")] }
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), text(obj, &["storageClassName"]).into(), or(text(obj, &["capacity"]), "<unset>")]
    }
}
