//! Stored values that are no objects of their kind: written by someone else, or damaged. Such a value is neither an
//! object nor the absence of one.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#delete-option-ignore-storage-read-error>

use coracle_api::Kind;
use coracle_api::status::{Cause, Details, Status, qualified_resource};
use coracle_store::Revision;
use serde_json::Value;

use crate::object::Object;

/// The root of all keys, as upstream's.
pub const ROOT: &str = "/registry/";

/// One value that cannot be read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// The revision that wrote it.
    pub revision: Revision,
    /// What is wrong with it.
    pub why: String,
    /// The last state that could be read, if this process has seen it.
    pub before: Option<Object>,
}

impl Unreadable {
    /// What is told instead of the object; `key` is that below the resource.
    pub fn status(&self, kind: &Kind, key: &str) -> Status {
        let key = format!("{ROOT}{}/{key}", kind.storage_prefix);
        let resource = qualified_resource(&kind.group, &kind.plural);
        let message = format!("failed to read one or more {resource} from the storage: {key}: {}", self.why);
        let cause = Cause { reason: "UnexpectedServerResponse".into(), message: self.why.clone(), field: key.clone() };
        let details = Details {
            name: key,
            group: kind.group.to_string(),
            kind: kind.plural.to_string(),
            causes: vec![cause],
            ..Details::default()
        };
        Status { details: Some(Box::new(details)), ..Status::new(500, "StorageReadError", message) }
    }
}

/// Why bytes are no object.
pub fn why(bytes: &[u8]) -> String {
    if bytes.starts_with(b"k8s\0") {
        return "the stored value is protobuf, and JSON is what is read here".into();
    }
    if bytes.starts_with(b"k8s:enc:") {
        return "the stored value is encrypted, and nothing here has its key".into();
    }
    match serde_json::from_slice::<Value>(bytes) {
        Err(error) => format!("the stored value is not JSON: {error}"),
        Ok(_) => "the stored value is JSON without the metadata of an object".into(),
    }
}
