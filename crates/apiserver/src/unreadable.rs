//! Stored values that are no objects of their kind: written by someone else, or damaged. Such a value is neither an
//! object nor the absence of one.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#delete-option-ignore-storage-read-error>

use coracle_api::Kind;
use coracle_api::status::{Cause, Details, Status, qualified_resource};
use coracle_store::Revision;

use crate::object::Object;
use crate::stored;

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

/// Why bytes are no object of a kind.
pub fn why(kind: &Kind, bytes: &[u8]) -> String {
    if bytes.starts_with(b"k8s:enc:") {
        return "the stored value is encrypted, and nothing here has its key".into();
    }
    stored::json(kind, bytes).err().unwrap_or_else(|| "the stored value has metadata that is none of an object".into())
}
