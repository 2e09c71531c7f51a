//! Managed fields of the subresource `scale`: who owns the replicas of an object owns those of its scale.

use std::borrow::Cow;

use serde_json::Value;

use super::element::Element;
use super::managed::{Entry, Id, Managed, Operation};
use super::set::Set;

/// Group and version of a Scale.
pub const API_VERSION: &str = "autoscaling/v1";

/// Where the replicas are in a Scale.
const REPLICAS: &[&str] = &["spec", "replicas"];

/// Where the replicas are in the versions of a kind. `None` for a version that is not there, an empty path for one that
/// has no scale.
pub trait ReplicasPath: Fn(&str) -> Option<Vec<String>> {}

impl<F: Fn(&str) -> Option<Vec<String>>> ReplicasPath for F {}

/// The managed fields of an object's scale, as JSON; empty when nobody owns the replicas.
///
/// # Errors
/// When those of the object are malformed.
pub fn to_scale(list: &Value, path: impl ReplicasPath) -> Result<String, String> {
    let mut scale = Managed::default();
    for entry in Managed::parse(list)?.entries() {
        let Some(path) = path(&entry.api_version).filter(|path| !path.is_empty()) else { continue };
        if entry.fields.contains(&elements(&path)) {
            let of_scale = if entry.id.operation == Operation::Update { API_VERSION } else { "" };
            let id = Id { api_version: of_scale.into(), ..entry.id.clone() };
            let fields = Set::of(&elements(REPLICAS));
            scale.put(Entry { id, api_version: API_VERSION.into(), time: entry.time.clone(), fields });
        }
    }
    Ok(scale.print())
}

/// The managed fields of an object whose scale was written in that version of the object, as JSON.
///
/// # Errors
/// When those of the object or of the scale are malformed.
pub fn from_scale(list: &Value, scale: &Value, api_version: &str, path: impl ReplicasPath) -> Result<String, String> {
    let (parent, mut scale) = (Managed::parse(list)?, Managed::parse(scale)?);
    let mut out = Managed::default();
    for entry in parent.entries() {
        let Some(path) = path(&entry.api_version) else { continue };
        let path = elements(&path);
        let mut entry = entry.clone();
        let of_scale = Id {
            api_version: if entry.id.operation == Operation::Update { API_VERSION.into() } else { "".into() },
            ..entry.id.clone()
        };
        if entry.fields.contains(&path) && scale.take(&of_scale).is_none() {
            entry.fields = entry.fields.difference(&Set::of(&path));
        }
        out.put(entry);
    }
    let here = path(api_version).unwrap_or_default();
    let here = elements(&here);
    for entry in scale.entries().iter().filter(|entry| entry.fields.contains(&elements(REPLICAS))) {
        let of_parent: Cow<'_, str> =
            if entry.id.operation == Operation::Update { api_version.into() } else { "".into() };
        let id = Id { api_version: of_parent, ..entry.id.clone() };
        let fields = out.get(&id).map_or_else(Set::default, |known| known.fields.clone()).union(&Set::of(&here));
        out.put(Entry { id, api_version: api_version.into(), time: entry.time.clone(), fields });
    }
    Ok(out.print())
}

fn elements(path: &[impl AsRef<str>]) -> Vec<Element<'static>> {
    path.iter().map(|name| Element::Field(Cow::Owned(name.as_ref().to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(version: &str) -> Option<Vec<String>> {
        (version == "apps/v1").then(|| vec!["spec".into(), "replicas".into()])
    }

    fn entry(manager: &str, operation: &str, version: &str, subresource: &str, fields: Value) -> Value {
        let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": version,
            "fieldsType": "FieldsV1", "fieldsV1": fields});
        if !subresource.is_empty() {
            entry["subresource"] = subresource.into();
        }
        entry
    }

    fn parsed(text: String) -> Value {
        serde_json::from_str(&text).expect("it is JSON")
    }

    #[test]
    fn the_replicas_go_to_who_scales() {
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let both = json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
        let parent = json!([
            entry("a", "Apply", "apps/v1", "", both.clone()),
            entry("old", "Update", "extensions/v1beta1", "", replicas.clone()),
            entry("x", "Update", "apps/v1", "status", json!({"f:status": {"f:replicas": {}}})),
        ]);
        let scale = parsed(to_scale(&parent, path).expect("it is well-formed"));
        assert_eq!(scale, json!([entry("a", "Apply", "autoscaling/v1", "", replicas.clone())]));
        let same = parsed(from_scale(&parent, &scale, "apps/v1", path).expect("it is well-formed"));
        assert_eq!(same, json!([parent[0], parent[2]]));
        let scaled = json!([entry("hpa", "Update", "autoscaling/v1", "scale", replicas.clone())]);
        let after = parsed(from_scale(&parent, &scaled, "apps/v1", path).expect("it is well-formed"));
        let paused = json!({"f:spec": {"f:paused": {}}});
        let expected = json!([
            entry("a", "Apply", "apps/v1", "", paused),
            entry("hpa", "Update", "apps/v1", "scale", replicas),
            parent[2]
        ]);
        assert_eq!(after, expected);
    }

    #[test]
    fn who_owned_them_and_still_does_keeps_them() {
        let both = json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
        let parent = json!([entry("create", "Update", "apps/v1", "", both)]);
        let scale = parsed(to_scale(&parent, path).expect("it is well-formed"));
        assert_eq!(parsed(from_scale(&parent, &scale, "apps/v1", path).expect("it is well-formed")), parent);
    }
}
