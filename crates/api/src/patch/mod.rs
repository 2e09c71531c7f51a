//! The three kinds of patch: JSON patch, JSON merge patch and strategic merge patch.

mod json_patch;
mod strategic;

use serde_json::Value;

pub use json_patch::{TEST_FAILED, json_patch};
pub use strategic::strategic_merge;

use crate::status::Status;

/// Applies a JSON merge patch (RFC 7386).
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let target = crate::meta::as_object(target);
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge_patch(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Why a value that is merged into an object is neither one nor null; `None` where it is.
pub fn no_object(value: &Value) -> Option<String> {
    let given = match value {
        Value::Object(_) | Value::Null => return None,
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
    };
    Some(format!("json: cannot unmarshal {given} into Go value of type map[string]interface {{}}"))
}

/// 422 for a patch that does not fit the object.
fn rejected(why: impl std::fmt::Display) -> Status {
    Status {
        details: Some(Box::default()),
        ..Status::unprocessable(format!("the server rejected our request due to an error in our request: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merge_patches_as_in_the_rfc() {
        let mut value = json!({"a": "b", "c": {"d": "e", "f": "g"}});
        merge_patch(&mut value, &json!({"a": "z", "c": {"f": null}, "n": {"x": null, "y": 1}}));
        assert_eq!(value, json!({"a": "z", "c": {"d": "e"}, "n": {"y": 1}}));
    }
}
