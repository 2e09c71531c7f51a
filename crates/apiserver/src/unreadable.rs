//! Stored values that are no objects of their kind: written by someone else, or damaged. Such a value is neither an
//! object nor the absence of one.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#delete-option-ignore-storage-read-error>

use std::collections::HashMap;

use coracle_api::status::{Cause, Details, Status, qualified_resource};
use coracle_api::{Kind, kinds};
use coracle_store::{KeyValue, Revision};

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

/// Tells which values of a store a server would not serve.
pub struct Unserved {
    by_prefix: HashMap<&'static str, &'static Kind>,
}

impl Unserved {
    /// Knows the built-in kinds. Of custom resources no more is known than that they are objects.
    pub fn of_built_in() -> Unserved {
        let stored = kinds::built_in().kinds().iter().filter(|kind| !kind.review && kind.is_storage_version());
        Unserved { by_prefix: stored.map(|kind| (kind.storage_prefix.as_str(), &**kind)).collect() }
    }

    /// Why a value is no object, if it should be one.
    pub fn why(&self, stored: &KeyValue) -> Option<String> {
        let path = stored.key().strip_prefix(ROOT)?;
        let mut slashes = path.match_indices('/').map(|(at, _)| at);
        let (first, second) = (slashes.next()?, slashes.next());
        let prefixes = second.into_iter().chain([first]);
        let known = prefixes.into_iter().find_map(|at| Some((*self.by_prefix.get(&path[..at])?, &path[at + 1..])));
        match known {
            Some((kind, key)) => Object::parse(kind, key, stored.clone()).is_none().then(|| why(kind, stored.value())),
            None if second.is_some() && path[..first].contains('.') => stored::check(stored.value()).err(),
            None => None,
        }
    }
}

/// Why bytes are no object of a kind.
pub fn why(kind: &Kind, bytes: &[u8]) -> String {
    if bytes.starts_with(b"k8s:enc:") {
        return "the stored value is encrypted, and nothing here has its key".into();
    }
    stored::json(kind, bytes).err().unwrap_or_else(|| "the stored value has metadata that is none of an object".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_be_served_is_told_and_what_is_no_object_is_left_alone() {
        let unserved = Unserved::of_built_in();
        let why = |key: &str, value: &[u8]| unserved.why(&KeyValue::new(&format!("{ROOT}{key}"), value, 1, 1));
        let map =
            br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"d","resourceVersion":""}}"#;
        assert_eq!(why("configmaps/d/a", map), None);
        assert!(why("configmaps/d/a", b"{").is_some_and(|why| why.contains("is not JSON")));
        assert!(why("services/specs/d/a", b"k8s\0\xff").is_some_and(|why| why.contains("protobuf")));
        assert!(why("secrets/d/a", b"k8s:enc:x").is_some_and(|why| why.contains("encrypted")));
        assert_eq!(why("example.com/widgets/d/a", map), None);
        assert!(why("example.com/widgets/d/a", b"[]").is_some());
        for other in ["masterleases/192.0.2.1", "coracle/progress", "ranges/serviceips", "elsewhere"] {
            assert_eq!(why(other, b"x"), None, "{other}");
        }
    }
}
