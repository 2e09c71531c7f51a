//! The annotation in which kubectl keeps what it applied from the client's side, for those who move to the server's.

use serde_json::Value;

use super::applied::fields;
use super::compare::compare;
use super::set::Set;
use super::versions::Versions;
use crate::meta;

/// Only for kubectl the annotation means anything.
pub(super) const KUBECTL: &str = "kubectl";

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The most that all annotations of an object may have, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// What was last applied from the client's side, if it is there and of that version.
pub(super) fn configuration(live: &Value, api_version: &str) -> Option<Value> {
    let last: Value = serde_json::from_str(meta::annotation(live, ANNOTATION)).ok()?;
    (meta::api_version(&last) == api_version).then_some(last)
}

/// What of the last configuration the object still has: kubectl owns it, whatever is written in the managed fields.
pub(super) fn owned<'a, V: Versions>(
    versions: &'a V,
    last: &'a Value,
    live: &'a Value,
    api_version: &str,
) -> Option<Set<'a>> {
    let node = versions.node(api_version)?;
    super::validate::validate(node, last).ok()?;
    let changed = compare(node, Some(last), live);
    let owned = fields(node, last);
    Some(owned.difference(&changed.modified).difference(&changed.added).difference(&changed.removed))
}

/// Keeps the annotation of an object up to date, so that the client's side can be used again.
pub(super) fn follow(object: &mut Value, applied: &Value) {
    if meta::annotation(object, ANNOTATION).is_empty() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = annotations(&mut applied) {
        annotations.remove(ANNOTATION);
        if annotations.is_empty() {
            meta::metadata_mut(&mut applied).remove("annotations");
        }
    }
    let Some(annotations) = annotations(object) else { return };
    annotations.insert(ANNOTATION.into(), format!("{applied}\n").into());
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > MAX_ANNOTATIONS {
        annotations.remove(ANNOTATION);
    }
}

fn annotations(object: &mut Value) -> Option<&mut serde_json::Map<String, Value>> {
    object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()
}
