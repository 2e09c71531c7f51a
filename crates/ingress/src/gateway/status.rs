//! Conditions of objects of the Gateway API.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// A condition as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    kind: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

impl Condition {
    /// One that is true or not, and why.
    pub fn new(kind: &'static str, status: bool, reason: &'static str, message: &str) -> Condition {
        Condition { kind, status, reason, message: message.to_owned() }
    }
}

/// Conditions as they are written: what did not change keeps its time.
pub fn written(conditions: &[Condition], before: &Value, generation: i64) -> Value {
    let before = before.as_array().map(Vec::as_slice).unwrap_or_default();
    let all = conditions.iter().map(|condition| {
        let status = if condition.status { "True" } else { "False" };
        let known = before.iter().find(|known| known["type"] == condition.kind && known["status"] == status);
        let now = || Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        let since = known.map(|known| known["lastTransitionTime"].clone()).filter(Value::is_string).unwrap_or_else(now);
        json!({"type": condition.kind, "status": status, "reason": condition.reason, "message": condition.message,
            "observedGeneration": generation, "lastTransitionTime": since})
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let old = json!([{"type": "Accepted", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let as_it_was = written(&[Condition::new("Accepted", true, "Accepted", "")], &old, 2);
        assert_eq!(as_it_was[0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(as_it_was[0]["observedGeneration"], 2);
        let other = written(&[Condition::new("Accepted", false, "Invalid", "m")], &old, 2);
        assert_ne!(other[0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
    }
}
