//! An apply: a manager says which fields it wants to have, and with which values.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::applied::fields;
use super::compare::{compare, compare_merged};
use super::conflict::Conflicts;
use super::element::same;
use super::last_applied;
use super::managed::{Entry, Managed, Operation};
use super::mask::{self, SYSTEM};
use super::merge::merge;
use super::prune::{Now, prune};
use super::update::{Writer, disown, other_versions, put, take};
use super::validate::validate;
use super::versions::Versions;
use crate::meta;
use crate::status::Status;

/// The manager of what was there before anybody's fields were tracked.
const BEFORE: &str = "before-first-apply";

/// Applies a configuration to an object as it is, or makes one if there is none. Returns the new object with its managed
/// fields: not yet decoded, defaulted or validated. The configuration comes as it was parsed, nulls included.
///
/// # Errors
/// 409 when others own what the configuration changes, unless it is forced. 400 and 500 as upstream when the
/// configuration is not of the kind, does not fit its schema, or says who owns what.
pub fn apply<V: Versions>(
    versions: &V,
    live: Option<&Value>,
    applied: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Status> {
    let given = meta::at(applied, &["metadata", "managedFields"]);
    if !given.is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let Some(node) = versions.node(writer.api_version) else {
        return Err(Status::internal(format!("no schema for {}", writer.api_version)));
    };
    validate(node, applied).map_err(|error| {
        Status::new(500, "", format!("failed to create typed patch object ({}): {error}", described(applied)))
    })?;
    let list = live.map_or(&Value::Null, |live| meta::at(live, &["metadata", "managedFields"]));
    let mut managed = Managed::parse(list)
        .map_err(|error| Status::new(500, "", format!("failed to decode managed fields: {error}")))?;
    if let (true, Some(live)) = (managed.is_empty(), live) {
        before_first_apply(&mut managed, versions, live, writer);
    }
    let id = writer.id(Operation::Apply);
    let last = managed.get(&id).cloned();
    let wanted = writer.reset.filter(&fields(node, applied));
    let time = last.as_ref().and_then(|last| last.time.clone());
    managed.put(Entry { id: id.clone(), api_version: writer.api_version.into(), time, fields: wanted.clone() });

    let mut new = live.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    take(&mut new);
    merge(node, &mut new, applied);
    let now = Now { api_version: writer.api_version, fields: &wanted };
    let new = prune(versions, new, &managed, last.as_ref(), &now);

    let before = live.map(without_managed_fields);
    let comparison = writer.changes(&compare_merged(node, before.as_ref(), &new));
    let converted = other_versions(versions, &managed, before.as_ref(), &new, writer.api_version);
    let conflicts = Conflicts(disown(versions, &mut managed, &comparison, &converted, writer, Some(&id)));
    if !force && !conflicts.is_empty() {
        allow(versions, &conflicts, live, writer)?;
    }
    let changed = before.as_ref().is_none_or(|before| !same(before, &new));
    settle(&mut managed, writer, changed);
    let text = managed.print();
    let mut out = new.clone();
    if writer.manager == last_applied::KUBECTL {
        last_applied::follow(&mut out, applied);
    }
    match live {
        Some(live) if out == new && !changed && only_times_differ(list, &text) => Ok(live.clone()),
        _ => {
            put(&mut out, &text);
            Ok(out)
        }
    }
}

fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    take(&mut object);
    object
}

/// `default/web; apps/v1, Kind=Deployment`.
fn described(object: &Value) -> String {
    let version = meta::api_version(object);
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{}/{}; {slash}{version}, Kind={}", meta::namespace(object), meta::name(object), meta::kind(object))
}

/// Whatever was there when nobody's fields were tracked is owned by a manager of its own.
fn before_first_apply<'a, V: Versions>(
    managed: &mut Managed<'a>,
    versions: &'a V,
    live: &'a Value,
    writer: &Writer<'a>,
) {
    let Some(node) = versions.node(writer.api_version) else { return };
    let comparison = writer.changes(&compare(node, None, live));
    let fields = mask::hide(&comparison.modified.union(&comparison.added), SYSTEM);
    if !fields.is_empty() {
        let id = Writer { manager: BEFORE, ..*writer }.id(Operation::Update);
        let time = Some(Cow::Owned(meta::format_time(writer.now)));
        managed.put(Entry { id, api_version: writer.api_version.into(), time, fields });
    }
}

/// Conflicts with what kubectl itself applied from the client's side are none.
fn allow<V: Versions>(
    versions: &V,
    conflicts: &Conflicts<'_>,
    live: Option<&Value>,
    writer: &Writer<'_>,
) -> Result<(), Status> {
    let live = live.filter(|_| writer.manager == last_applied::KUBECTL);
    let last = live.and_then(|live| last_applied::configuration(live, writer.api_version));
    let left = match (&last, live) {
        (Some(last), Some(live)) => {
            let allowed = last_applied::owned(versions, last, live, writer.api_version);
            conflicts.without(&allowed.unwrap_or_default())
        }
        _ => conflicts.without(&super::set::Set::default()),
    };
    if left.is_empty() { Ok(()) } else { Err(left.status()) }
}

/// The applier does not own what the server keeps itself; its time moves if the object changed.
fn settle(managed: &mut Managed<'_>, writer: &Writer<'_>, changed: bool) {
    let Some(mut entry) = managed.take(&writer.id(Operation::Apply)) else { return };
    entry.fields = mask::hide(&entry.fields, SYSTEM);
    if changed {
        entry.time = Some(Cow::Owned(meta::format_time(writer.now)));
    }
    managed.put(entry);
}

fn only_times_differ(before: &Value, after: &str) -> bool {
    let mut before = before.clone();
    let mut after: Value = serde_json::from_str(after).unwrap_or_default();
    for list in [&mut before, &mut after] {
        for entry in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
    }
    before == after
}
