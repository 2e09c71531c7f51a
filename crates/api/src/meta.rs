//! A typed view of object metadata, and times.

use jiff::Timestamp;
use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// An owner of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnerReference {
    /// Group and version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner.
    pub uid: String,
    /// Whether it is the managing controller.
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for this object.
    pub block_owner_deletion: bool,
}

/// A value at a path of object keys; `null` where there is none.
pub fn at<'a>(obj: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().try_fold(obj, |value, key| value.get(*key)).unwrap_or(&NULL)
}

/// A string at a path of object keys; empty where there is none.
pub fn text<'a>(obj: &'a Value, path: &[&str]) -> &'a str {
    at(obj, path).as_str().unwrap_or("")
}

/// An integer at a path of object keys.
pub fn int(obj: &Value, path: &[&str]) -> Option<i64> {
    at(obj, path).as_i64()
}

/// The items of a list at a path of object keys.
pub fn list<'a>(obj: &'a Value, path: &[&str]) -> &'a [Value] {
    at(obj, path).as_array().map_or(&[], Vec::as_slice)
}

fn metadata<'a>(obj: &'a Value, field: &str) -> &'a str {
    text(obj, &["metadata", field])
}

/// The metadata, made if it is not there or not an object. `obj` becomes an object if it is none.
pub fn metadata_mut(obj: &mut Value) -> &mut Map<String, Value> {
    object_at(obj, "metadata")
}

/// The object at a key, made if it is not there or not an object.
pub fn object_at<'a>(obj: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    let map = as_object(obj);
    as_object(map.entry(key).or_insert_with(|| Value::Object(Map::new())))
}

/// The value as an object; what is not one becomes an empty one.
pub fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        // It was made one above.
        _ => unreachable!("the value is an object"),
    }
}

fn set(obj: &mut Value, field: &str, value: Value) {
    metadata_mut(obj).insert(field.into(), value);
}

/// `apiVersion`.
pub fn api_version(obj: &Value) -> &str {
    text(obj, &["apiVersion"])
}

/// `kind`.
pub fn kind(obj: &Value) -> &str {
    text(obj, &["kind"])
}

/// Sets `apiVersion` and `kind`.
pub fn set_type(obj: &mut Value, api_version: &str, kind: &str) {
    let map = as_object(obj);
    map.insert("apiVersion".into(), api_version.into());
    map.insert("kind".into(), kind.into());
}

/// `metadata.name`.
pub fn name(obj: &Value) -> &str {
    metadata(obj, "name")
}

/// `metadata.generateName`.
pub fn generate_name(obj: &Value) -> &str {
    metadata(obj, "generateName")
}

/// `metadata.namespace`.
pub fn namespace(obj: &Value) -> &str {
    metadata(obj, "namespace")
}

/// `metadata.uid`.
pub fn uid(obj: &Value) -> &str {
    metadata(obj, "uid")
}

/// `metadata.resourceVersion`.
pub fn resource_version(obj: &Value) -> &str {
    metadata(obj, "resourceVersion")
}

/// `metadata.generation`; 0 where there is none.
pub fn generation(obj: &Value) -> i64 {
    int(obj, &["metadata", "generation"]).unwrap_or(0)
}

/// Sets `metadata.generation`.
pub fn set_generation(obj: &mut Value, generation: i64) {
    set(obj, "generation", generation.into());
}

/// Sets `metadata.name`.
pub fn set_name(obj: &mut Value, name: &str) {
    set(obj, "name", name.into());
}

/// Sets `metadata.namespace`.
pub fn set_namespace(obj: &mut Value, namespace: &str) {
    set(obj, "namespace", namespace.into());
}

/// Sets `metadata.uid`.
pub fn set_uid(obj: &mut Value, uid: &str) {
    set(obj, "uid", uid.into());
}

/// Sets `metadata.resourceVersion`; an empty one removes it.
pub fn set_resource_version(obj: &mut Value, version: &str) {
    if version.is_empty() {
        metadata_mut(obj).remove("resourceVersion");
    } else {
        set(obj, "resourceVersion", version.into());
    }
}

/// `metadata.labels`.
pub fn labels(obj: &Value) -> impl Iterator<Item = (&str, &str)> {
    string_map(at(obj, &["metadata", "labels"]))
}

/// `metadata.annotations`.
pub fn annotations(obj: &Value) -> impl Iterator<Item = (&str, &str)> {
    string_map(at(obj, &["metadata", "annotations"]))
}

/// One annotation; empty where there is none.
pub fn annotation<'a>(obj: &'a Value, key: &str) -> &'a str {
    text(obj, &["metadata", "annotations", key])
}

/// The string entries of a map.
pub fn string_map(value: &Value) -> impl Iterator<Item = (&str, &str)> {
    value.as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
}

/// `metadata.finalizers`.
pub fn finalizers(obj: &Value) -> Vec<&str> {
    list(obj, &["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect()
}

/// Sets `metadata.finalizers`; none removes the field.
pub fn set_finalizers(obj: &mut Value, finalizers: &[&str]) {
    if finalizers.is_empty() {
        metadata_mut(obj).remove("finalizers");
    } else {
        set(obj, "finalizers", finalizers.iter().copied().collect());
    }
}

/// `metadata.ownerReferences`.
pub fn owner_references(obj: &Value) -> Vec<OwnerReference> {
    list(obj, &["metadata", "ownerReferences"])
        .iter()
        .map(|r| OwnerReference {
            api_version: text(r, &["apiVersion"]).into(),
            kind: text(r, &["kind"]).into(),
            name: text(r, &["name"]).into(),
            uid: text(r, &["uid"]).into(),
            controller: at(r, &["controller"]).as_bool().unwrap_or(false),
            block_owner_deletion: at(r, &["blockOwnerDeletion"]).as_bool().unwrap_or(false),
        })
        .collect()
}

/// The managing controller among the owners.
pub fn controller_of(obj: &Value) -> Option<OwnerReference> {
    owner_references(obj).into_iter().find(|r| r.controller)
}

/// `metadata.creationTimestamp`.
pub fn creation_timestamp(obj: &Value) -> Option<Timestamp> {
    parse_time(metadata(obj, "creationTimestamp"))
}

/// `metadata.deletionTimestamp`.
pub fn deletion_timestamp(obj: &Value) -> Option<Timestamp> {
    parse_time(metadata(obj, "deletionTimestamp"))
}

/// Whether the object is being deleted.
pub fn is_deleting(obj: &Value) -> bool {
    !metadata(obj, "deletionTimestamp").is_empty()
}

/// `metadata.deletionGracePeriodSeconds`.
pub fn deletion_grace_period_seconds(obj: &Value) -> Option<i64> {
    int(obj, &["metadata", "deletionGracePeriodSeconds"])
}

/// Marks the object as deleted at a time with a grace period in seconds.
pub fn set_deletion(obj: &mut Value, at: Timestamp, grace_seconds: i64) {
    set(obj, "deletionTimestamp", format_time(at).into());
    set(obj, "deletionGracePeriodSeconds", grace_seconds.into());
}

/// Sets `metadata.creationTimestamp`.
pub fn set_creation_timestamp(obj: &mut Value, at: Timestamp) {
    set(obj, "creationTimestamp", format_time(at).into());
}

/// A time as `metav1.Time` writes it: RFC 3339, whole seconds, UTC.
pub fn format_time(time: Timestamp) -> String {
    match Timestamp::from_second(time.as_second()) {
        Ok(whole) => format!("{whole:.0}"),
        Err(_) => String::new(),
    }
}

/// A time as `metav1.MicroTime` writes it: RFC 3339, microseconds, UTC.
pub fn format_micro_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Parses an RFC 3339 time.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_have_whole_seconds() {
        let time = parse_time("2024-05-01T12:00:00.123456789+02:00").expect("it parses");
        assert_eq!(format_time(time), "2024-05-01T10:00:00Z");
        assert_eq!(format_micro_time(time), "2024-05-01T10:00:00.123456Z");
    }

    #[test]
    fn metadata_is_made_when_it_is_missing() {
        let mut obj = json!(null);
        set_name(&mut obj, "x");
        assert_eq!(name(&obj), "x");
        assert_eq!(generation(&obj), 0);
        assert!(!is_deleting(&obj));
    }
}
