//! The versions of a kind: fields are owned in the version in which they were written.

use serde_json::Value;

use super::Builtin;
use super::node::Node;
use crate::convert;
use crate::{Kind, kinds};

/// The versions of a kind.
pub trait Versions {
    /// What describes an object of one version.
    type Node<'a>: Node<'a>
    where
        Self: 'a;

    /// The schema of a version, such as `apps/v1`. `None` when there is no such version, or no longer: what is owned in it
    /// is forgotten.
    fn node<'a>(&'a self, api_version: &str) -> Option<Self::Node<'a>>;

    /// Turns an object into another version. `None` when that cannot be done.
    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value>;
}

/// The versions of a built-in kind.
impl Versions for Kind {
    type Node<'a> = Builtin;

    fn node(&self, api_version: &str) -> Option<Builtin> {
        version(self, api_version).and_then(Kind::def).map(Builtin::new)
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        let mut object = object.clone();
        convert::convert(version(self, from)?, version(self, to)?, &mut object);
        Some(object)
    }
}

fn version<'k>(kind: &'k Kind, api_version: &str) -> Option<&'k Kind> {
    if kind.api_version() == api_version {
        return Some(kind);
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    kinds::by_kind(group, version, &kind.kind)
        .map(|other| &**other)
        .filter(|other| other.storage_prefix == kind.storage_prefix)
}
