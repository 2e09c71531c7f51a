//! Objects as other API servers on the same store write them: in protobuf or JSON, in another version, without a default
//! that is younger than they are.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>

use bytes::Bytes;
use coracle_api::protobuf::Envelope;
use coracle_api::{Kind, convert, kinds, meta};
use serde_json::Value;

/// What a value in protobuf begins with.
const PROTOBUF: &[u8] = b"k8s\0";

/// Whether a value is protobuf.
pub fn is_protobuf(value: &[u8]) -> bool {
    value.starts_with(PROTOBUF)
}

/// The object that a value means, as JSON of the version that is served from the store, with a place for its resource
/// version. Where it is stored decides of what kind it is, even if it does not say so. One that a webhook converts stays in
/// its version.
///
/// # Errors
/// Why it is no such object.
pub fn json(kind: &Kind, value: &[u8]) -> Result<Bytes, String> {
    let mut object = if is_protobuf(value) { of_protobuf(kind, value)? } else { of_json(value)? };
    let may_stay = kind.webhook.is_some() && kind.may_hold(meta::api_version(&object), meta::kind(&object));
    if may_stay {
        meta::set_resource_version(&mut object, "0");
        return serde_json::to_vec(&object).map(Bytes::from).map_err(|error| error.to_string());
    }
    if let Some(from) = version_of(kind, meta::api_version(&object), meta::kind(&object)) {
        convert::convert(from, kind, &mut object);
    }
    meta::set_type(&mut object, kind.api_version(), &kind.kind);
    meta::set_resource_version(&mut object, "0");
    kind.strategy.default(&mut object);
    serde_json::to_vec(&object).map(Bytes::from).map_err(|error| error.to_string())
}

/// Checks that a value is an object, of whatever kind.
///
/// # Errors
/// Why it is none.
pub fn check(value: &[u8]) -> Result<(), String> {
    of_json(value).map(drop)
}

fn of_json(value: &[u8]) -> Result<Value, String> {
    let object: Value =
        serde_json::from_slice(value).map_err(|error| format!("the stored value is not JSON: {error}"))?;
    match object["metadata"].is_object() {
        true => Ok(object),
        false => Err("the stored value is JSON without the metadata of an object".into()),
    }
}

fn of_protobuf(kind: &Kind, value: &[u8]) -> Result<Value, String> {
    let broken = |error: String| format!("the stored value is protobuf that cannot be read: {error}");
    let envelope = Envelope::parse(value).map_err(broken)?;
    let (version, name) = (envelope.api_version, envelope.kind);
    let from = match (version, name) {
        ("", "") => Some(kind),
        _ => version_of(kind, version, name),
    };
    let def = from.and_then(Kind::def);
    let def =
        def.ok_or_else(|| format!("the stored value is a {name:?} of {version:?} in protobuf, which is not known"))?;
    let mut object = envelope.object(def).map_err(broken)?;
    meta::metadata_mut(&mut object);
    Ok(object)
}

/// The version of a stored kind that an object names.
fn version_of<'a>(stored: &'a Kind, api_version: &str, kind: &str) -> Option<&'a Kind> {
    if stored.api_version() == api_version && *stored.kind == *kind {
        return Some(stored);
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let named = kinds::by_kind(group, version, kind)?;
    (named.storage_prefix == stored.storage_prefix).then_some(&**named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_api::protobuf;
    use serde_json::json;

    fn read(kind: &Kind, value: &[u8]) -> Result<Value, String> {
        json(kind, value).map(|json| serde_json::from_slice(&json).unwrap())
    }

    #[test]
    fn every_kind_is_read_as_it_was_written_in_protobuf() {
        for kind in kinds::built_in().kinds().iter().filter(|kind| !kind.review) {
            let object = json!({"apiVersion": kind.api_version(), "kind": *kind.kind, "metadata": {
                "name": "a", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "b"},
            }});
            let stored = protobuf::encode_object(&object).expect("it has a protobuf form");
            let storage = kind.storage();
            let found = read(storage, &stored).unwrap_or_else(|error| panic!("{}: {error}", kind.kind));
            let same = read(storage, object.to_string().as_bytes()).expect("it is read from JSON, too");
            assert_eq!((meta::api_version(&found), meta::kind(&found)), (storage.api_version(), &*storage.kind));
            assert_eq!(found["metadata"], same["metadata"], "{}", kind.kind);
        }
    }

    #[test]
    fn another_version_is_converted_and_completed() {
        let kind = kinds::by_kind("autoscaling", "v2", "HorizontalPodAutoscaler").unwrap();
        let object = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a", "namespace": "d"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                "targetCPUUtilizationPercentage": 70}});
        for stored in [protobuf::encode_object(&object).unwrap(), object.to_string().into_bytes()] {
            let found = read(kind, &stored).unwrap();
            assert_eq!(found["apiVersion"], "autoscaling/v2");
            assert_eq!(found["spec"]["minReplicas"], 1);
            let target = json!({"type": "Utilization", "averageUtilization": 70});
            assert_eq!(found["spec"]["metrics"][0]["resource"]["target"], target);
        }
    }

    #[test]
    fn what_is_no_object_says_why() {
        let kind = kinds::by_kind("", "v1", "ConfigMap").unwrap();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
        for (stored, why) in [
            (b"k8s\0\n\x0f".to_vec(), "protobuf that cannot be read"),
            (protobuf::encode_object(&pod).unwrap(), "a \"Pod\" of \"v1\" in protobuf, which is not known"),
            (protobuf::wrap("v9", "ConfigMap", b""), "of \"v9\" in protobuf"),
            (b"{".to_vec(), "not JSON"),
            (b"{}".to_vec(), "without the metadata"),
            (b"[]".to_vec(), "without the metadata"),
        ] {
            let error = read(kind, &stored).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
