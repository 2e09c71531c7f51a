//! Helpers that the strategies share: setting defaults, common checks, table cells.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::field::{FieldError, Path};
use crate::meta::{self, at, list, text};
use crate::table::duration::since;

/// Sets a field that is missing.
pub fn default_to(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.into(), value.into());
    }
}

/// Sets a string field that is missing or empty.
pub fn default_text(map: &mut Map<String, Value>, key: &str, value: &str) {
    if map.get(key).is_none_or(|v| v.is_null() || v == "") {
        map.insert(key.into(), value.into());
    }
}

/// The object at a key, if it is there.
pub fn object_mut<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_object_mut)
}

/// The `spec`, if it is there.
pub fn spec_mut(obj: &mut Value) -> Option<&mut Map<String, Value>> {
    obj.as_object_mut().and_then(|o| object_mut(o, "spec"))
}

/// The objects in the list at a key.
pub fn items_mut<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> + use<'a> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// An error when a number is below zero.
pub fn non_negative(errors: &mut Vec<FieldError>, path: &Path, value: &Value) {
    if value.as_i64().is_some_and(|n| n < 0) {
        errors.push(FieldError::invalid(path, value, "must be greater than or equal to 0"));
    }
}

/// An error when a string that is set is not one of `supported`; `required` says that it must be set.
pub fn one_of(errors: &mut Vec<FieldError>, path: &Path, value: &Value, supported: &[&str], required: bool) {
    match value.as_str() {
        None | Some("") if required => errors.push(FieldError::required(path, "")),
        None | Some("") => {}
        Some(given) if supported.contains(&given) => {}
        Some(given) => errors.push(FieldError::not_supported(path, given, supported)),
    }
}

/// The age of an object: a cell.
pub fn age(obj: &Value, now: Timestamp) -> Value {
    since(meta::text(obj, &["metadata", "creationTimestamp"]), now).into()
}

/// A number, or 0: a cell.
pub fn number(obj: &Value, path: &[&str]) -> Value {
    meta::int(obj, path).unwrap_or(0).into()
}

/// A string, or `<none>`: a cell.
pub fn text_or_none(obj: &Value, path: &[&str]) -> Value {
    or(text(obj, path), "<none>")
}

/// The text, or another one when it is empty: a cell.
pub fn or(text: &str, empty: &str) -> Value {
    if text.is_empty() { empty.into() } else { text.into() }
}

/// Labels as `a=b,c=d`, or `<none>`: a cell.
pub fn labels(map: &Value) -> Value {
    let pairs: Vec<String> = meta::string_map(map).map(|(k, v)| format!("{k}={v}")).collect();
    or(&pairs.join(","), "<none>")
}

/// A selector object as kubectl prints it, or `<none>`: a cell.
pub fn selector(value: &Value) -> Value {
    match crate::selector::LabelSelector::from_object(value) {
        Ok(s) if !s.requirements.is_empty() => s.to_string().into(),
        Ok(_) => "<none>".into(),
        Err(_) => "<error>".into(),
    }
}

/// Names of the containers of a template, and their images: two cells.
pub fn containers(pod_spec: &Value) -> [Value; 2] {
    let join = |key: &str| {
        let all: Vec<&str> = list(pod_spec, &["containers"]).iter().map(|c| text(c, &[key])).collect();
        Value::from(all.join(","))
    };
    [join("name"), join("image")]
}

/// The condition of that type.
pub fn condition<'a>(obj: &'a Value, kind: &str) -> &'a Value {
    list(obj, &["status", "conditions"]).iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

/// Access modes as kubectl prints them: `RWO,ROX`.
pub fn access_modes(modes: &Value) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let given: Vec<&str> = list(modes, &[]).iter().filter_map(Value::as_str).collect();
    let out: Vec<&str> = short.iter().filter(|(long, _)| given.contains(long)).map(|(_, s)| *s).collect();
    out.join(",")
}

/// A boolean as kubectl prints it: a cell.
pub fn boolean(obj: &Value, path: &[&str]) -> Value {
    let set = at(obj, path).as_bool().unwrap_or(false);
    if set { "true".into() } else { "false".into() }
}
