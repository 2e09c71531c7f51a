//! What an object uses.

use coracle_api::quantity::Quantity;
use coracle_api::status::qualified_resource;
use jiff::Timestamp;
use serde_json::Value;

use super::{claims, pods, services};
use crate::amounts::Amounts;

/// A resource of the API: what kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Its group; empty for the core group.
    pub group: &'a str,
    /// Its plural.
    pub plural: &'a str,
}

/// Core kinds that are counted by their plural alone, too.
const BY_PLURAL: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

impl Resource<'_> {
    pub(super) fn is_core(self, plural: &str) -> bool {
        self.group.is_empty() && self.plural == plural
    }

    /// The name under which any kind is counted: `count/deployments.apps`.
    pub fn count(self) -> String {
        format!("count/{}", qualified_resource(self.group, self.plural))
    }
}

/// A small whole number.
pub(super) fn whole(number: i64) -> Quantity {
    Quantity::from_count(number)
}

/// Whether what a quota limits under a name is used by the objects of a resource.
pub fn is_tracked(resource: Resource<'_>, name: &str) -> bool {
    if name.starts_with("count/") {
        return *name == resource.count();
    }
    match (resource.group, resource.plural) {
        ("", "pods") => pods::is_tracked(name),
        ("", "services") => services::is_tracked(name),
        ("", "persistentvolumeclaims") => claims::is_tracked(name),
        ("", plural) => plural == name && BY_PLURAL.contains(&name),
        _ => false,
    }
}

/// What an object uses at a time.
pub fn usage(resource: Resource<'_>, object: &Value, now: Timestamp) -> Amounts {
    let mut used = match (resource.group, resource.plural) {
        ("", "pods") => pods::usage(object, now),
        ("", "services") => services::usage(object),
        ("", "persistentvolumeclaims") => claims::usage(object),
        _ => Amounts::default(),
    };
    used.set(resource.count(), whole(1));
    if resource.group.is_empty() && BY_PLURAL.contains(&resource.plural) {
        used.set(resource.plural, whole(1));
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn any_kind_is_counted() {
        let widgets = Resource { group: "example.com", plural: "widgets" };
        assert_eq!(usage(widgets, &json!({}), Timestamp::UNIX_EPOCH).to_string(), "count/widgets.example.com=1");
        assert!(is_tracked(widgets, "count/widgets.example.com") && !is_tracked(widgets, "count/widgets"));
        let secrets = Resource { group: "", plural: "secrets" };
        assert_eq!(usage(secrets, &json!({}), Timestamp::UNIX_EPOCH).to_string(), "count/secrets=1,secrets=1");
        assert!(is_tracked(secrets, "secrets") && !is_tracked(secrets, "configmaps"));
    }
}
