//! LimitRange.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{items_mut, spec_mut};
use super::{Column, NAME, Strategy};
use crate::meta::{self, at};

/// A LimitRange.
pub struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        for limit in items_mut(spec, "limits") {
            if limit.get("type").is_none_or(|t| t != "Container") {
                continue;
            }
            // A maximum is the default limit, and a limit or minimum the default request.
            for (target, source) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
                let Some(values) = limit.get(source).and_then(Value::as_object).cloned() else { continue };
                let place = meta::as_object(limit.entry(target).or_insert_with(|| json!({})));
                for (key, value) in values {
                    place.entry(key).or_insert(value);
                }
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column { name: "Created At", ty: "date", format: "", priority: 0 }] }
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), at(obj, &["metadata", "creationTimestamp"]).clone()]
    }
}
