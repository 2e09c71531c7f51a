//! ComponentStatus.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, NAME, Strategy, column};
use crate::meta::{self, list, text};

/// A ComponentStatus.
pub struct ComponentStatus;

impl Strategy for ComponentStatus {
    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 ComponentStatus is deprecated in v1.19+")
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Status"), column("Message"), column("Error")] }
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        let condition = list(obj, &["conditions"]).iter().find(|c| c["type"] == "Healthy").unwrap_or(&Value::Null);
        let health = match text(condition, &["status"]) {
            "True" => "Healthy",
            "False" => "Unhealthy",
            _ => "Unknown",
        };
        vec![
            meta::name(obj).into(),
            health.into(),
            text(condition, &["message"]).into(),
            text(condition, &["error"]).into(),
        ]
    }
}
