//! Objects that may not decode: one of them must not keep the others from those who watch.

use std::borrow::Cow;
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ObjectKey;
use crate::cached::Cached;
use crate::follow::Followed;

/// An object, or what can be said of one that is not as its type says. Clients in Go leave the fields that they do
/// not know empty (a condition's time is then `null`), and an API server keeps what the schema allows.
#[derive(Clone, Debug)]
pub enum Decoded<K> {
    /// As its type says.
    Object(K),
    /// Not so.
    Broken {
        /// Which one it is.
        key: ObjectKey,
        /// Its resource version.
        version: Option<String>,
    },
}

impl<K: Resource> Decoded<K> {
    /// Which one it is.
    pub fn key(&self) -> ObjectKey {
        match self {
            Decoded::Object(object) => ObjectKey::of(object),
            Decoded::Broken { key, .. } => key.clone(),
        }
    }

    /// The object, unless it is broken.
    pub fn object(self) -> Option<K> {
        match self {
            Decoded::Object(object) => Some(object),
            Decoded::Broken { .. } => None,
        }
    }
}

impl<K: Cached> Followed for Decoded<K> {
    /// Reads an object without its managed fields: nobody here asks who owns what, they would be most of what is read and kept
    /// in memory, and a server keeps those of an object that is written without.
    fn read(text: &str) -> serde_json::Result<Decoded<K>> {
        let text = without_managed_fields(text);
        let error = match K::from_json(&text) {
            Ok(object) => return Ok(Decoded::Object(object)),
            Err(error) => error,
        };
        let (text, metadata) = completed(&text)?;
        if let Ok(object) = K::from_json(&text) {
            return Ok(Decoded::Object(object));
        }
        let key = ObjectKey::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
        tracing::warn!(kind = %K::kind(&()), %key, %error, "an object is not as its type says; it is left as it was");
        Ok(Decoded::Broken { key, version: metadata.resource_version })
    }

    fn version(&self) -> Option<&str> {
        match self {
            Decoded::Object(object) => object.meta().resource_version.as_deref(),
            Decoded::Broken { version, .. } => version.as_deref(),
        }
    }
}

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    managed_fields: Option<&'a RawValue>,
}

/// The same with nothing where the managed fields are: a tree of maps, and not worth building only to be dropped.
fn without_managed_fields(text: &str) -> Cow<'_, str> {
    let fields = match serde_json::from_str(text) {
        Ok(Top { metadata: Metadata { managed_fields: Some(fields) } }) => fields.get(),
        _ => return text.into(),
    };
    let at = (fields.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    match (text.get(..at), text.get(at.saturating_add(fields.len())..)) {
        (Some(before), Some(behind)) => [before, "null", behind].concat().into(),
        _ => text.into(),
    }
}

/// The same as a client in Go would have read it, and its metadata.
fn completed(text: &str) -> serde_json::Result<(String, ObjectMeta)> {
    let mut value: Value = serde_json::from_str(text)?;
    complete(&mut value);
    // Each way to read a type is a program of its own: all that is read of an API is read from text.
    let metadata = serde_json::from_str(&value["metadata"].to_string()).unwrap_or_default();
    Ok((value.to_string(), metadata))
}

/// Gives conditions without a time Go's first one.
fn complete(value: &mut Value) {
    const ZERO: &str = "0001-01-01T00:00:00Z";
    match value {
        Value::Object(map) => {
            for condition in map.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
                if condition.is_object() && condition["lastTransitionTime"].is_null() {
                    condition["lastTransitionTime"] = ZERO.into();
                }
            }
            map.values_mut().for_each(complete);
        }
        Value::Array(list) => list.iter_mut().for_each(complete),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    fn decoded(status: Value) -> Decoded<Service> {
        let object = json!({"apiVersion": "v1", "kind": "Service", "status": status,
            "metadata": {"name": "s", "namespace": "n", "resourceVersion": "7"}});
        Decoded::read(&object.to_string()).unwrap()
    }

    #[test]
    fn a_condition_without_a_time_has_the_first_one() {
        for condition in [json!({"type": "A", "lastTransitionTime": null}), json!({"type": "A"})] {
            let Decoded::Object(service) = decoded(json!({"conditions": [condition]})) else { panic!("broken") };
            let condition = service.status.unwrap().conditions.unwrap().remove(0);
            assert_eq!(
                (condition.type_.as_str(), condition.last_transition_time.0.as_second()),
                ("A", -62_135_596_800)
            );
        }
    }

    #[test]
    fn who_owns_what_is_not_kept() {
        let owned =
            json!([{"manager": "m", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]);
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "managedFields": owned}});
        let Decoded::Object(service) = Decoded::<Service>::read(&object.to_string()).unwrap() else { panic!("broken") };
        assert_eq!((service.metadata.name.as_deref(), service.metadata.managed_fields), (Some("s"), None));
    }

    #[test]
    fn of_a_broken_object_the_key_and_the_version_are_known() {
        let broken = decoded(json!({"conditions": 7}));
        assert_eq!((broken.key().to_string().as_str(), broken.version()), ("n/s", Some("7")));
        assert!(broken.object().is_none());
    }
}
