//! Objects in another version of their kind than the one that is stored.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Kind, convert, protobuf};
use serde_json::Value;

use crate::object::Object;

/// An object's stored bytes in another version of its kind; nothing is done where there is but one, or where a webhook has
/// done it.
pub(crate) fn in_version(kind: &Arc<Kind>, bytes: Bytes) -> Bytes {
    if kind.is_storage_version() || kind.webhook.is_some() {
        return bytes;
    }
    let value = in_version_value(kind, serde_json::from_slice(&bytes).unwrap_or_default());
    serde_json::to_vec(&value).map(Bytes::from).unwrap_or(bytes)
}

/// The same with a tree.
pub(crate) fn in_version_value(kind: &Arc<Kind>, value: Value) -> Value {
    between(kind.storage(), kind, value)
}

/// An object of one version in another one of its kind.
pub(crate) fn between(from: &Kind, to: &Kind, mut value: Value) -> Value {
    if from != to {
        convert::convert(from, to, &mut value);
    }
    value
}

/// An object as a protobuf message in a version of its kind.
pub(crate) fn message(kind: &Arc<Kind>, object: &Object) -> Bytes {
    // Custom resources have none, and are not asked for it.
    let Some(def) = kind.def() else { return Bytes::new() };
    if kind.is_storage_version() {
        return object.message(def);
    }
    let value = in_version_value(kind, object.value());
    protobuf::encode(def, &value).into()
}
