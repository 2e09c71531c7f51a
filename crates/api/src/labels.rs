//! Checks labels, annotations and label selectors, wherever in an object they stand.

use serde_json::Value;

use crate::field::{self, FieldError, MAX_ERRORS, Path, push_all};
use crate::meta::{list, string_map, text};

/// Upper limit of all annotations of an object together, in bytes.
pub const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Checks a map of labels.
pub fn labels(map: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (key, value) in string_map(map) {
        if errors.len() > MAX_ERRORS {
            break;
        }
        push_all(errors, path, key, field::qualified_name(key));
        push_all(errors, path, value, field::label_value(value));
    }
}

/// Checks a map of annotations.
pub fn annotations(map: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut total = 0;
    for (key, value) in string_map(map) {
        if errors.len() <= MAX_ERRORS {
            push_all(errors, path, key, field::qualified_name(&key.to_lowercase()));
        }
        total += key.len() + value.len();
    }
    if total > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long(path, MAX_ANNOTATIONS));
    }
}

/// Checks the object form of a label selector.
pub fn label_selector(selector: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    labels(&selector["matchLabels"], &path.child("matchLabels"), errors);
    for (i, expression) in list(selector, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = list(expression, &["values"]);
        match text(expression, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" => {}
            _ => errors.push(FieldError::invalid(
                &path.child("operator"),
                &expression["operator"],
                "not a valid selector operator",
            )),
        }
        let key = text(expression, &["key"]);
        push_all(errors, &path.child("key"), key, field::qualified_name(key));
        for (j, value) in values.iter().filter_map(Value::as_str).enumerate() {
            push_all(errors, &path.child("values").index(j), value, field::label_value(value));
        }
    }
}
