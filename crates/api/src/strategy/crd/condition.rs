//! Conditions of a definition.

use serde_json::{Value, json};

use crate::meta;
use crate::strategy::common::condition;

/// Whether a condition of a definition holds.
pub fn holds(definition: &Value, kind: &str) -> bool {
    condition(definition, kind)["status"] == "True"
}

/// Sets a condition of a definition. Its time changes when its status does.
pub fn set(definition: &mut Value, kind: &str, holds: bool, reason: &str, message: &str) {
    let status = if holds { "True" } else { "False" };
    let before = condition(definition, kind);
    let time = match before["status"] == status {
        true => before["lastTransitionTime"].clone(),
        false => meta::format_time(jiff::Timestamp::now()).into(),
    };
    let new = json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time});
    let conditions = meta::object_at(definition, "status").entry("conditions").or_insert_with(|| json!([]));
    // A new definition has none: null, as Go writes it.
    if conditions.is_null() {
        *conditions = json!([]);
    }
    let Value::Array(conditions) = conditions else { return };
    match conditions.iter_mut().find(|condition| condition["type"] == kind) {
        Some(condition) => *condition = new,
        None => conditions.push(new),
    }
}
