//! Removes what an applier applied last time and applies no longer, unless somebody else wants it to be there.

use std::collections::BTreeMap;

use serde_json::Value;

use super::applied::fields;
use super::managed::{Entry, Managed};
use super::remove::remove;
use super::set::Set;
use super::versions::Versions;

/// What an applier applies now: the merged object is in this version.
pub(super) struct Now<'s, 'a> {
    pub api_version: &'s str,
    pub fields: &'s Set<'a>,
}

/// The merged object without what only the applier's last configuration had. `managed` already has the new one's fields.
pub(super) fn prune<V: Versions>(
    versions: &V,
    merged: Value,
    managed: &Managed<'_>,
    last: Option<&Entry<'_>>,
    now: &Now<'_, '_>,
) -> Value {
    let Some(last) = last.filter(|last| !last.fields.is_empty()) else { return merged };
    if last.api_version == now.api_version && last.fields.difference(now.fields).is_empty() {
        return merged;
    }
    let version = &*last.api_version;
    let pruned = converted(versions, &merged, now.api_version, version).and_then(|merged| {
        let pruned = prune_version(versions, &merged, managed, last)?;
        converted(versions, &pruned, version, now.api_version)
    });
    pruned.unwrap_or(merged)
}

fn converted<V: Versions>(versions: &V, object: &Value, from: &str, to: &str) -> Option<Value> {
    if from == to { Some(object.clone()) } else { versions.convert(object, from, to) }
}

/// All in the version of the last configuration. `None` when that is not there any longer.
fn prune_version<V: Versions>(versions: &V, merged: &Value, managed: &Managed<'_>, last: &Entry<'_>) -> Option<Value> {
    let version = &*last.api_version;
    let node = versions.node(version)?;
    let wanted = last.fields.with_named_fields(Some(node));
    let mut pruned = merged.clone();
    remove(node, &mut pruned, &wanted);
    let pruned = add_back_owned(versions, merged, pruned, managed, version);
    // Only what the applier itself had goes: not what nobody owns, nor what was updated.
    let gone = all(node, merged).difference(&all(node, &pruned)).intersection(&wanted);
    let mut out = merged.clone();
    remove(node, &mut out, &gone);
    Some(out)
}

fn all<'a, N: super::node::Node<'a>>(node: N, object: &'a Value) -> Set<'a> {
    fields(node, object).with_named_fields(Some(node))
}

/// Adds back what any manager owns, its version first: what is pruned may be needed for the conversion to the others.
fn add_back_owned<V: Versions>(
    versions: &V,
    merged: &Value,
    pruned: Value,
    managed: &Managed<'_>,
    version: &str,
) -> Value {
    let mut owned: BTreeMap<(bool, &str), Set<'_>> = BTreeMap::new();
    for entry in managed.entries() {
        let of_version = owned.entry((*entry.api_version != *version, &entry.api_version)).or_default();
        *of_version = of_version.union(&entry.fields);
    }
    let mut pruned = pruned;
    for ((_, other), owned) in &owned {
        let convert = |object: &Value| converted(versions, object, version, other);
        let (Some(node), Some(merged), Some(left)) = (versions.node(other), convert(merged), convert(&pruned)) else {
            continue;
        };
        let keep = all(node, &left).union(&owned.with_named_fields(Some(node)));
        let gone = all(node, &merged).difference(&keep);
        let mut left = merged.clone();
        remove(node, &mut left, &gone);
        if let Some(back) = converted(versions, &left, other, version) {
            pruned = back;
        }
    }
    pruned
}
