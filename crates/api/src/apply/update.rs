//! Every write but an apply: whatever it changes is the writer's from now on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::cap::cap;
use super::compare::{Comparison, compare};
use super::created;
use super::managed::{Entry, Head, Id, Managed, Operation, is_reset};
use super::mask::{self, SYSTEM};
use super::reset::Reset;
use super::set::Set;
use super::versions::Versions;
use crate::meta;

/// Who writes, and what.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// Name of the manager, as [`super::manager::name`] gives it.
    pub manager: &'a str,
    /// Group and version in which the object is written, such as `apps/v1`.
    pub api_version: &'a str,
    /// The subresource that is written; empty for the object itself.
    pub subresource: &'a str,
    /// What the write cannot change: nobody comes to own it thereby.
    pub reset: Reset,
    /// The time of the write.
    pub now: Timestamp,
}

impl<'w> Writer<'w> {
    pub(super) fn id(&self, operation: Operation) -> Id<'w> {
        Id {
            manager: self.manager.into(),
            operation,
            api_version: if operation == Operation::Apply { "".into() } else { self.api_version.into() },
            subresource: self.subresource.into(),
        }
    }

    pub(super) fn changes<'a>(&self, comparison: &Comparison<'a>) -> Comparison<'a> {
        Comparison {
            removed: self.reset.filter(&comparison.removed),
            modified: self.reset.filter(&comparison.modified),
            added: self.reset.filter(&comparison.added),
        }
    }
}

/// Says in the new object who owns which of its fields. Call it when the object is decoded and defaulted, before
/// admission changes it. `live` is the object as it is, without it the new one is created.
pub fn update<V: Versions>(versions: &V, live: Option<&Value>, new: &mut Value, writer: &Writer<'_>) {
    let text = update_text(versions, Live::of(live), new, writer);
    put(new, &text);
}

/// An object as it is.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// The object, unless it is created now.
    pub object: Option<&'a Value>,
    /// Its managed fields, where the object does not have them itself.
    pub fields: Option<&'a Value>,
}

impl<'a> Live<'a> {
    /// One that has its managed fields itself.
    pub fn of(object: Option<&'a Value>) -> Live<'a> {
        Live { object, fields: None }
    }
}

/// As [`update`], but the managed fields are taken out of the new object and returned as JSON; empty when there are none.
pub fn update_text<V: Versions>(versions: &V, live: Live<'_>, new: &mut Value, writer: &Writer<'_>) -> String {
    let Live { object: live, fields } = live;
    let given = Some(take(new)).filter(|given| !is_too_long(given)).unwrap_or_default();
    let reset = writer.subresource.is_empty() && is_reset(&given);
    if live.is_none() && (reset || given.is_null()) {
        return create(versions, new, writer);
    }
    let own_list = || live.map_or(&Value::Null, |live| meta::at(live, &["metadata", "managedFields"]));
    let live_list = fields.unwrap_or_else(own_list);
    let from_live = || Managed::parse(live_list).unwrap_or_default();
    let mut managed = match () {
        () if !writer.subresource.is_empty() => from_live(),
        () if reset => Managed::default(),
        // A client that knows nothing of managed fields does not delete them.
        () => Managed::parse(&given).ok().filter(|managed| !managed.is_empty()).unwrap_or_else(from_live),
    };
    if managed.is_empty() {
        return match live {
            Some(_) => String::new(),
            None => create(versions, new, writer),
        };
    }
    let Some(node) = versions.node(writer.api_version) else { return list_text(live_list) };
    let converted = other_versions(versions, &managed, live, new, writer.api_version);
    let comparison = writer.changes(&compare(node, live, new));
    disown(versions, &mut managed, &comparison, &converted, writer, None);
    own(&mut managed, &comparison, writer);
    cap(&mut managed);
    managed.print()
}

/// The most entries that a client may give: each is compared with all that a write changes. An object has about ten.
const MAX_GIVEN: usize = 256;

/// Whether managed fields have more entries than a client may give. They are then as if they were not given, like others
/// that cannot be read.
pub fn is_too_long(given: &Value) -> bool {
    given.as_array().is_some_and(|entries| entries.len() > MAX_GIVEN)
}

/// The creator owns all that is not the server's.
fn create<V: Versions>(versions: &V, new: &Value, writer: &Writer<'_>) -> String {
    let Some(node) = versions.node(writer.api_version) else { return String::new() };
    let time = meta::format_time(writer.now);
    let head = Head {
        manager: writer.manager,
        operation: Operation::Update,
        api_version: writer.api_version,
        subresource: writer.subresource,
        time: Some(&time),
    };
    let mut out = String::with_capacity(2048);
    let mut any = false;
    out.push('[');
    let reset = match writer.reset {
        Reset::Fields(mask) => mask,
        Reset::AllBut(_) => &[],
    };
    head.print(&mut out, |out| any = created::print(node, new, reset, out));
    out.push(']');
    if any { out } else { String::new() }
}

/// The objects in a version that some fields are owned in, besides the version that is written.
pub(super) struct Converted {
    api_version: String,
    live: Option<Value>,
    new: Value,
}

pub(super) fn other_versions<V: Versions>(
    versions: &V,
    managed: &Managed<'_>,
    live: Option<&Value>,
    new: &Value,
    written: &str,
) -> Vec<Converted> {
    let mut found: Vec<Converted> = Vec::new();
    for entry in managed.entries() {
        let to = &*entry.api_version;
        if to == written || found.iter().any(|known| known.api_version == to) || versions.node(to).is_none() {
            continue;
        }
        let convert = |object: &Value| versions.convert(object, written, to);
        let Some(new) = convert(new) else { continue };
        found.push(Converted { api_version: to.to_owned(), live: live.and_then(convert), new });
    }
    found
}

/// Takes from all managers, except one, what was changed or removed. Returns what each of them had of what was changed.
pub(super) fn disown<'a, V: Versions>(
    versions: &'a V,
    managed: &mut Managed<'a>,
    written: &Comparison<'a>,
    converted: &'a [Converted],
    writer: &Writer<'_>,
    but: Option<&Id<'_>>,
) -> BTreeMap<Id<'a>, Set<'a>> {
    let mut others: Vec<(&str, Comparison<'a>)> = Vec::new();
    for version in converted {
        if let Some(node) = versions.node(&version.api_version) {
            let comparison = compare(node, version.live.as_ref(), &version.new);
            others.push((&version.api_version, writer.changes(&comparison)));
        }
    }
    let mut contested = BTreeMap::new();
    let both = |comparison: &Comparison<'a>| comparison.modified.union(&comparison.added);
    let written_now = both(written);
    let others: Vec<_> = others.into_iter().map(|(version, other)| (version, both(&other), other)).collect();
    managed.entries_mut().retain_mut(|entry| {
        if but == Some(&entry.id) {
            return true;
        }
        let (changed, comparison) = match others.iter().find(|(version, ..)| *version == entry.api_version) {
            Some((_, changed, comparison)) => (changed, comparison),
            None if entry.api_version == writer.api_version => (&written_now, written),
            // A version that is no longer there.
            None => return false,
        };
        if let Some(node) = versions.node(&entry.api_version) {
            entry.fields = std::mem::take(&mut entry.fields).with_atomic_places(node);
        }
        if comparison.is_same() {
            return !entry.fields.is_empty();
        }
        let taken = entry.fields.intersection(changed);
        if !taken.is_empty() {
            entry.fields = entry.fields.difference(&taken);
            contested.insert(entry.id.clone(), taken);
        }
        if !comparison.removed.is_empty() {
            entry.fields = entry.fields.difference(&comparison.removed);
        }
        !entry.fields.is_empty()
    });
    contested
}

/// Gives to the writer what it changed. Only then its time moves.
fn own<'a>(managed: &mut Managed<'a>, comparison: &Comparison<'a>, writer: &Writer<'a>) {
    let fields = mask::hide(&comparison.modified.union(&comparison.added), SYSTEM);
    if fields.is_empty() {
        return;
    }
    let id = writer.id(Operation::Update);
    let fields = match managed.get(&id) {
        Some(before) => before.fields.union(&fields),
        None => fields,
    };
    let time = Some(Cow::Owned(meta::format_time(writer.now)));
    managed.put(Entry { id: writer.id(Operation::Update), api_version: writer.api_version.into(), time, fields });
}

/// Takes the managed fields out of an object.
pub(super) fn take(object: &mut Value) -> Value {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.and_then(|metadata| metadata.remove("managedFields")).unwrap_or_default()
}

/// Puts managed fields into an object.
pub(super) fn put(object: &mut Value, text: &str) {
    if let Ok(list) = serde_json::from_str(text) {
        meta::metadata_mut(object).insert("managedFields".into(), list);
    }
}

fn list_text(list: &Value) -> String {
    if list.is_null() { String::new() } else { list.to_string() }
}
