//! Patches and the questions one asks of API errors.

use std::fmt::Debug;

use kube::api::{Api, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Whether the server says that the object does not exist.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the object was changed (or exists) already, or is another one of that name: a patch that says which UID it is
/// about may not change that.
pub fn is_conflict(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    status.code == 409 || status.code == 422 && causes.iter().any(|cause| cause.field == "metadata.uid")
}

/// Whether the server has forgotten the revision that was asked for.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410 || status.reason == "Expired" || status.reason == "Gone")
}

/// The JSON merge patch (RFC 7386) that turns `old` into `new`; `None` when they are equal.
pub fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(before) => {
                if let Some(change) = merge_diff(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

/// Merge-patches the status subresource with `{"status": status}`.
pub async fn patch_status<K>(api: &Api<K>, name: &str, status: Value) -> kube::Result<K>
where
    K: Clone + DeserializeOwned + Debug,
{
    let patch = serde_json::json!({ "status": status });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// Strategic-merge-patches the status subresource with a whole patch; with `{"metadata": {"uid": ...}}` in it the
/// server refuses to touch another object of the same name.
pub async fn patch_status_strategic<K>(api: &Api<K>, name: &str, patch: &Value) -> kube::Result<K>
where
    K: Clone + DeserializeOwned + Debug,
{
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_of_a_former_object_is_a_conflict() {
        let refused = |code: u16, field: &str| {
            let causes = json!([{"reason": "FieldValueInvalid", "message": "", "field": field}]);
            let status =
                json!({"status": "Failure", "code": code, "message": "", "reason": "", "details": {"causes": causes}});
            kube::Error::Api(serde_json::from_value(status).expect("a status"))
        };
        assert!(is_conflict(&refused(409, "")) && is_conflict(&refused(422, "metadata.uid")));
        assert!(!is_conflict(&refused(422, "metadata.name")) && !is_conflict(&refused(404, "")));
    }

    #[test]
    fn a_merge_diff_names_only_what_changed() {
        let old = json!({"a": 1, "b": {"c": 2, "d": 3}, "l": [1]});
        let new = json!({"a": 1, "b": {"c": 5}, "l": [1, 2]});
        assert_eq!(merge_diff(&old, &new), Some(json!({"b": {"c": 5, "d": null}, "l": [1, 2]})));
        assert_eq!(merge_diff(&new, &new), None);
    }
}
