//! Who may refer to objects of another namespace.
//! <https://gateway-api.sigs.k8s.io/api-types/referencegrant/>

use std::sync::Arc;

use coracle_client::ObjectKey;
use kube::ResourceExt;

use super::types::ReferenceGrant;

/// Whether one of the grants lets objects (of a group, kind and namespace) refer to another (of a group and kind).
pub fn permits(grants: &[Arc<ReferenceGrant>], from: (&str, &str, &str), to: (&str, &str, &ObjectKey)) -> bool {
    let (group, kind, key) = to;
    grants.iter().filter(|grant| grant.namespace().as_deref() == Some(&key.namespace)).any(|grant| {
        let comes =
            grant.spec.from.iter().any(|own| (own.group.as_str(), own.kind.as_str(), own.namespace.as_str()) == from);
        let goes = grant.spec.to.iter().any(|own| {
            (own.group.as_str(), own.kind.as_str()) == (group, kind)
                && own.name.as_deref().is_none_or(|name| name.is_empty() || name == key.name)
        });
        comes && goes
    })
}
