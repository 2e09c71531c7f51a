//! What differs between two objects, as field sets.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::element::{Element, same};
use super::items;
use super::node::{Merge, Node, Place};
use super::set::{Entry, Set};

/// What differs between two objects. No path is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison<'a> {
    /// What only the old object has.
    pub removed: Set<'a>,
    /// What both have, but different.
    pub modified: Set<'a>,
    /// What only the new object has.
    pub added: Set<'a>,
}

impl Comparison<'_> {
    /// Whether the objects are the same.
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }
}

/// One of two objects at a place.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    /// There is nothing.
    Absent,
    /// There is what a Go type has that nobody set: an empty struct, `0`, `""`, `false` or a null list.
    Zero,
    /// There is this, in an object of a Go type: what it does not show may be there all the same, as [`Side::Zero`].
    Is(&'a Value),
    /// There is this, and what it does not show is not there.
    Exactly(&'a Value),
}

impl<'a> Side<'a> {
    fn value(self) -> Option<&'a Value> {
        match self {
            Side::Is(value) | Side::Exactly(value) => Some(value),
            Side::Absent | Side::Zero => None,
        }
    }

    /// The map that this is, if there is anything in it.
    fn map(self) -> Option<&'a Map<String, Value>> {
        self.value().and_then(Value::as_object).filter(|map| !map.is_empty())
    }

    fn list(self) -> &'a [Value] {
        self.value().and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// An item of the list that this is.
    fn item(self, value: &'a Value) -> Side<'a> {
        if matches!(self, Side::Exactly(_)) { Side::Exactly(value) } else { Side::Is(value) }
    }

    /// A field of the struct or map that this is.
    fn field(self, value: Option<&'a Value>, held: bool) -> Side<'a> {
        match (self, value) {
            (Side::Is(_), Some(value)) => Side::Is(value),
            (Side::Exactly(_), Some(value)) => Side::Exactly(value),
            (Side::Is(_) | Side::Zero, None) if held => Side::Zero,
            _ => Side::Absent,
        }
    }
}

/// Whether a value is what Go has for one that nobody set.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// What became of a path itself.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Removed,
    Modified,
    Added,
}

#[derive(Default)]
struct Changes<'a> {
    own: Option<Change>,
    below: Comparison<'a>,
}

impl<'a> Changes<'a> {
    fn push(&mut self, element: &Element<'a>, changes: Changes<'a>) {
        let Comparison { removed, modified, added } = changes.below;
        for (set, below, change) in [
            (&mut self.below.removed, removed, Change::Removed),
            (&mut self.below.modified, modified, Change::Modified),
            (&mut self.below.added, added, Change::Added),
        ] {
            let member = changes.own == Some(change);
            if member || !below.is_empty() {
                set.push(Entry { element: element.clone(), member, below });
            }
        }
    }
}

/// What differs between two objects of a schema. An object that is not there is an empty one.
pub fn compare<'a, N: Node<'a>>(node: N, old: Option<&'a Value>, new: &'a Value) -> Comparison<'a> {
    let old = old.map_or(Side::Zero, Side::Is);
    differences(node, old, Side::Is(new)).below
}

/// As [`compare`], when the new object is what a configuration was merged into: what it does not show is not there.
pub fn compare_merged<'a, N: Node<'a>>(node: N, old: Option<&'a Value>, new: &'a Value) -> Comparison<'a> {
    let old = old.map_or(Side::Zero, Side::Is);
    differences(node, old, Side::Exactly(new)).below
}

fn differences<'a, N: Node<'a>>(node: N, old: Side<'a>, new: Side<'a>) -> Changes<'a> {
    let mut changes = Changes::default();
    match node.place() {
        Place::Map { atomic: false } if old.map().is_some() || new.map().is_some() => {
            changes.own = presence(old, new);
            fields(node, old, new, &mut changes);
        }
        Place::Untyped { granular: true } if old.map().is_some() || new.map().is_some() => {
            let one_is_no_map = |side: Side<'_>| side.value().is_some_and(|value| !value.is_object());
            let mixed = one_is_no_map(old) || one_is_no_map(new);
            changes.own = if mixed { Some(Change::Modified) } else { presence(old, new) };
            fields(node, old, new, &mut changes);
        }
        Place::List(merge @ (Merge::Set | Merge::Map(_)), item) if !old.list().is_empty() || !new.list().is_empty() => {
            changes.own = presence(old, new);
            list(merge, item, old, new, &mut changes);
        }
        _ => changes.own = leaf(old, new),
    }
    changes
}

fn presence(old: Side<'_>, new: Side<'_>) -> Option<Change> {
    match (old, new) {
        (Side::Absent, _) => Some(Change::Added),
        (_, Side::Absent) => Some(Change::Removed),
        _ => None,
    }
}

fn leaf(old: Side<'_>, new: Side<'_>) -> Option<Change> {
    match (old, new) {
        (Side::Absent, Side::Absent) | (Side::Zero, Side::Zero) => None,
        (Side::Absent, _) | (_, Side::Absent) => presence(old, new),
        _ => {
            let equal = match (old.value(), new.value()) {
                (Some(old), Some(new)) => same(old, new),
                (Some(one), None) | (None, Some(one)) => is_zero(one),
                (None, None) => true,
            };
            (!equal).then_some(Change::Modified)
        }
    }
}

fn fields<'a, N: Node<'a>>(node: N, old: Side<'a>, new: Side<'a>, changes: &mut Changes<'a>) {
    for (name, before, after) in zip(old.map(), new.map()) {
        let Some(field) = node.field(name) else { continue };
        let (before, after) = (old.field(before, field.held), new.field(after, field.held));
        changes.push(&Element::Field(Cow::Borrowed(name)), differences(field.node, before, after));
    }
}

type Fields<'a> = (&'a str, Option<&'a Value>, Option<&'a Value>);

/// The keys of two maps in their order, with what each map has.
fn zip<'a>(
    left: Option<&'a Map<String, Value>>,
    right: Option<&'a Map<String, Value>>,
) -> impl Iterator<Item = Fields<'a>> {
    let mut left = left.into_iter().flatten().peekable();
    let mut right = right.into_iter().flatten().peekable();
    std::iter::from_fn(move || {
        let order = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => a.0.cmp(b.0),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let before = if order.is_le() { left.next() } else { None };
        let after = if order.is_ge() { right.next() } else { None };
        let name = before.or(after)?.0;
        Some((name.as_str(), before.map(|(_, value)| value), after.map(|(_, value)| value)))
    })
}

fn list<'a, N: Node<'a>>(merge: Merge<'a, N::Key>, node: N, old: Side<'a>, new: Side<'a>, changes: &mut Changes<'a>) {
    let (before, after) = (items::sorted(merge, node, old.list()), items::sorted(merge, node, new.list()));
    let (mut before, mut after) = (before.as_slice(), after.as_slice());
    loop {
        let element = match (before.first(), after.first()) {
            (Some((a, _)), Some((b, _))) => a.min(b),
            (Some((element, _)), None) | (None, Some((element, _))) => element,
            (None, None) => return,
        };
        let old: Vec<_> = take(&mut before, element).iter().map(|(_, item)| old.item(item)).collect();
        let new: Vec<_> = take(&mut after, element).iter().map(|(_, item)| new.item(item)).collect();
        item(node, element, &old, &new, changes);
    }
}

/// Takes the items of that element from the front.
fn take<'s, 'a>(list: &mut &'s [(Element<'a>, &'a Value)], element: &Element<'_>) -> &'s [(Element<'a>, &'a Value)] {
    let (group, rest) = list.split_at(list.iter().take_while(|(other, _)| other == element).count());
    *list = rest;
    group
}

/// Items of the same element are compared one to one. Several of the same element, which only an update can have made,
/// are one value.
fn item<'a, N: Node<'a>>(
    node: N,
    element: &Element<'a>,
    old: &[Side<'a>],
    new: &[Side<'a>],
    changes: &mut Changes<'a>,
) {
    let first = |items: &[Side<'a>]| items.first().copied().unwrap_or(Side::Absent);
    let only = |own| Changes { own: Some(own), ..Changes::default() };
    match (old.len(), new.len()) {
        (0 | 1, 0 | 1) => changes.push(element, differences(node, first(old), first(new))),
        (2.., 2..) => {
            let equal = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| leaf(*a, *b).is_none());
            if !equal {
                changes.push(element, only(Change::Modified));
            }
        }
        (2.., _) => {
            if !new.is_empty() {
                changes.push(element, differences(node, Side::Absent, first(new)));
            }
            changes.push(element, only(Change::Removed));
        }
        (_, _) => {
            if !old.is_empty() {
                changes.push(element, differences(node, first(old), Side::Absent));
            }
            changes.push(element, only(Change::Added));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::{Builtin, fields_v1};
    use crate::schema::id;
    use serde_json::json;

    fn texts(def: crate::schema::DefId, old: Option<&Value>, new: &Value) -> [String; 3] {
        let comparison = compare(Builtin::new(def), old, new);
        [&comparison.removed, &comparison.modified, &comparison.added].map(fields_v1::print)
    }

    #[test]
    fn fields_items_and_keys_are_compared_one_by_one() {
        let old = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x"]},
            "spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}});
        let new = json!({"metadata": {"labels": {"a": "2", "c": "3"}, "finalizers": ["y"]},
            "spec": {"containers": [{"name": "a", "image": "1", "command": ["x"]}]}});
        let [removed, modified, added] = texts(id::CORE_V1_POD, Some(&old), &new);
        assert_eq!(
            removed,
            r#"{"f:metadata":{"f:finalizers":{"v:\"x\"":{}},"f:labels":{"f:b":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"b\"}":{".":{},"f:name":{}}}}}"#
        );
        assert_eq!(modified, r#"{"f:metadata":{"f:labels":{"f:a":{}}}}"#);
        assert_eq!(
            added,
            r#"{"f:metadata":{"f:finalizers":{"v:\"y\"":{}},"f:labels":{"f:c":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{"f:command":{}}}}}"#
        );
        assert!(compare(Builtin::new(id::CORE_V1_POD), Some(&old), &old).is_same());
    }

    #[test]
    fn atomic_places_are_one_value() {
        let old = json!({"spec": {"selector": {"matchLabels": {"a": "1"}}, "template": {"spec": {"tolerations": []}}}});
        let new =
            json!({"spec": {"selector": {"matchLabels": {"a": "2"}}, "template": {"spec": {"tolerations": [{}]}}}});
        let [_, modified, _] = texts(id::APPS_V1_DEPLOYMENT, Some(&old), &new);
        assert_eq!(modified, r#"{"f:spec":{"f:selector":{},"f:template":{"f:spec":{"f:tolerations":{}}}}}"#);
    }

    #[test]
    fn what_a_go_type_always_has_is_never_added() {
        let new = json!({"spec": {"replicas": 1, "strategy": {"type": "Recreate"}}, "status": {}});
        let [_, modified, added] = texts(id::APPS_V1_DEPLOYMENT, None, &new);
        assert_eq!(added, r#"{"f:spec":{"f:replicas":{},"f:strategy":{"f:type":{}}}}"#);
        assert_eq!(modified, "{}");
        let priority = json!({"value": 0, "globalDefault": true});
        assert_eq!(texts(id::SCHEDULING_V1_PRIORITY_CLASS, None, &priority), ["{}", "{}", r#"{"f:globalDefault":{}}"#]);
        let priority = json!({"value": 5});
        assert_eq!(texts(id::SCHEDULING_V1_PRIORITY_CLASS, None, &priority), ["{}", r#"{"f:value":{}}"#, "{}"]);
    }

    #[test]
    fn items_of_the_same_key_are_one_value() {
        let pod = |env: Value| json!({"spec": {"containers": [{"name": "a", "env": env}]}});
        let (x1, x2) = (json!({"name": "X", "value": "1"}), json!({"name": "X", "value": "2"}));
        let (twice, other, once) = (pod(json!([x1, x2])), pod(json!([x2, x1])), pod(json!([x1])));
        let path = |inner: &str| {
            format!(r#"{{"f:spec":{{"f:containers":{{"k:{{\"name\":\"a\"}}":{{"f:env":{{{inner}}}}}}}}}}}"#)
        };
        let (item, whole) = (r#""k:{\"name\":\"X\"}":{}"#, r#""k:{\"name\":\"X\"}":{".":{},"f:name":{},"f:value":{}}"#);
        assert_eq!(texts(id::CORE_V1_POD, Some(&twice), &other), ["{}".into(), path(item), "{}".into()]);
        assert_eq!(texts(id::CORE_V1_POD, Some(&twice), &once), [path(item), "{}".into(), path(whole)]);
        assert_eq!(texts(id::CORE_V1_POD, Some(&once), &twice), [path(whole), "{}".into(), path(item)]);
    }
}
