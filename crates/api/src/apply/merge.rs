//! Merges an applied configuration into an object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::element::Element;
use super::items;
use super::node::{Merge, Node, Place};

/// Merges `applied` into `live`: leaves are the applied ones, maps and lists merge as their schema says. Nothing is
/// removed.
pub fn merge<'n, N: Node<'n>>(node: N, live: &mut Value, applied: &Value) {
    match (node.place(), applied) {
        (Place::Map { atomic: false } | Place::Untyped { granular: true }, Value::Object(map)) if !map.is_empty() => {
            fields(node, crate::meta::as_object(live), map);
        }
        (Place::List(merge @ (Merge::Set | Merge::Map(_)), item), Value::Array(list)) if !list.is_empty() => {
            let before = match live.take() {
                Value::Array(before) => before,
                _ => Vec::new(),
            };
            *live = Value::Array(lists(merge, item, before, list));
        }
        // What is empty or null is no wish to remove what others put there.
        (Place::Map { atomic: false }, _) if live.as_object().is_some_and(|map| !map.is_empty()) => {}
        (Place::List(Merge::Set | Merge::Map(_), _), _) if live.as_array().is_some_and(|list| !list.is_empty()) => {}
        (Place::Untyped { granular: true }, Value::Object(_) | Value::Null)
            if live.as_object().is_some_and(|map| !map.is_empty()) => {}
        _ => live.clone_from(applied),
    }
}

fn fields<'n, N: Node<'n>>(node: N, live: &mut Map<String, Value>, applied: &Map<String, Value>) {
    for (name, value) in applied {
        match (live.get_mut(name), node.field(name)) {
            (Some(live), Some(field)) => merge(field.node, live, value),
            _ => {
                live.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Items of both lists come in the applied order. Those that only the live list has stay before the item that they
/// precede there.
fn lists<'n, N: Node<'n>>(merge: Merge<'n, N::Key>, node: N, live: Vec<Value>, applied: &[Value]) -> Vec<Value> {
    let mut left = Left::new(merge, node, live);
    let names: Vec<Option<Element<'static>>> = applied.iter().map(|item| name(merge, node, item)).collect();
    let right: BTreeSet<&Element<'static>> = names.iter().flatten().collect();
    let mut shared = names.iter().flatten().filter(|name| left.places.contains_key(*name)).cloned().collect::<Vec<_>>();
    shared.reverse();
    let mut next_shared = shared.pop();
    let mut merged = BTreeSet::new();
    let mut out = Vec::with_capacity(left.items.len().max(applied.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.items.len() || r < applied.len() {
        let on_left = left.names.get(l).and_then(Option::as_ref);
        let on_right = names.get(r).and_then(Option::as_ref);
        let left_is_shared = on_left.is_some_and(|name| right.contains(name));
        if let (Some(a), Some(b)) = (on_left, on_right) {
            if a == b {
                merged.insert(b);
                let (a, b) = (a.clone(), &applied[r]);
                out.push(left.merged(node, &a, b));
                (l, r) = (l + 1, r + 1);
                next_shared = shared.pop();
                continue;
            }
            if left_is_shared && next_shared.as_ref().is_some_and(|next| next != a) {
                l += 1;
                continue;
            }
        }
        if l < left.items.len() {
            if !left_is_shared {
                out.extend(left.items[l].take());
                l += 1;
                continue;
            }
            if on_left.is_some_and(|name| merged.contains(name)) {
                l += 1;
            }
        }
        if let Some(item) = applied.get(r) {
            match on_right {
                Some(name) => {
                    merged.insert(name);
                    out.push(left.merged(node, name, item));
                    if next_shared.as_ref() == Some(name) {
                        next_shared = shared.pop();
                    }
                }
                None => out.push(item.clone()),
            }
            r += 1;
        }
    }
    out
}

/// The items of the live list.
struct Left {
    items: Vec<Option<Value>>,
    names: Vec<Option<Element<'static>>>,
    /// Where an item of that name is; `None` when there are several: those are replaced.
    places: BTreeMap<Element<'static>, Option<usize>>,
}

impl Left {
    fn new<'n, N: Node<'n>>(merge: Merge<'n, N::Key>, node: N, items: Vec<Value>) -> Self {
        let names: Vec<_> = items.iter().map(|item| name(merge, node, item)).collect();
        let mut places: BTreeMap<_, Option<usize>> = BTreeMap::new();
        for (at, name) in names.iter().enumerate() {
            let Some(name) = name else { continue };
            places.entry(name.clone()).and_modify(|place| *place = None).or_insert(Some(at));
        }
        Self { items: items.into_iter().map(Some).collect(), names, places }
    }

    /// The applied item, merged into the live one of that name.
    fn merged<'n, N: Node<'n>>(&mut self, node: N, name: &Element<'static>, applied: &Value) -> Value {
        let live = self.places.get(name).copied().flatten().and_then(|at| self.items.get_mut(at)?.take());
        match live {
            Some(mut live) => {
                merge(node, &mut live, applied);
                live
            }
            None => applied.clone(),
        }
    }
}

fn name<'n, N: Node<'n>>(merge: Merge<'n, N::Key>, node: N, item: &Value) -> Option<Element<'static>> {
    items::owned_element(merge, node, item).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Builtin;
    use crate::schema::id;
    use serde_json::json;

    fn merged(mut live: Value, applied: Value) -> Value {
        merge(Builtin::new(id::CORE_V1_POD), &mut live, &applied);
        live
    }

    #[test]
    fn maps_and_list_maps_merge_and_atomic_lists_are_replaced() {
        let live = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nodeName": "n", "containers": [
            {"name": "a", "image": "1", "args": ["x", "y"]}, {"name": "b"}]}});
        let applied =
            json!({"metadata": {"labels": {"b": "3"}}, "spec": {"containers": [{"name": "a", "args": ["z"]}]}});
        let expected = json!({"metadata": {"labels": {"a": "1", "b": "3"}}, "spec": {"nodeName": "n", "containers": [
            {"name": "a", "image": "1", "args": ["z"]}, {"name": "b"}]}});
        assert_eq!(merged(live, applied), expected);
    }

    #[test]
    fn empty_values_and_nulls_leave_what_others_have() {
        let live = json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x"]}, "spec": {"nodeName": "n"}});
        let same = merged(live.clone(), json!({"metadata": {"labels": {}, "finalizers": null}, "spec": null}));
        assert_eq!(same, live);
        assert_eq!(merged(live, json!({"spec": {"nodeName": null}}))["spec"]["nodeName"], Value::Null);
        assert_eq!(merged(json!({}), json!({"metadata": {"labels": {}}})), json!({"metadata": {"labels": {}}}));
    }

    #[test]
    fn items_come_in_upstreams_order() {
        let cases: [(&[&str], &[&str], &[&str]); 8] = [
            (&["1", "2", "3"], &["1", "2", "3"], &["1", "2", "3"]),
            (&["1", "2", "3"], &["3", "2", "1"], &["3", "2", "1"]),
            (&["a", "b", "c"], &["x"], &["a", "b", "c", "x"]),
            (&["a", "b", "c", "d"], &["b", "x"], &["a", "b", "c", "d", "x"]),
            (&["a", "b", "c"], &["x", "a"], &["x", "a", "b", "c"]),
            (&["a", "b", "c"], &["c", "b"], &["a", "c", "b"]),
            (&["a", "a", "b"], &["a"], &["a", "b"]),
            (&[], &["b", "a"], &["b", "a"]),
        ];
        for (live, applied, expected) in cases {
            let finalizers = |list: &[&str]| json!({"metadata": {"finalizers": list}});
            assert_eq!(merged(finalizers(live), finalizers(applied)), finalizers(expected), "{live:?} {applied:?}");
        }
    }

    #[test]
    fn items_of_the_same_key_are_replaced() {
        let env = |env: Value| json!({"spec": {"containers": [{"name": "a", "env": env}]}});
        let live = env(json!([{"name": "X", "value": "1"}, {"name": "Y"}, {"name": "X", "value": "2"}]));
        let out = merged(live, env(json!([{"name": "X", "valueFrom": {}}])));
        assert_eq!(out, env(json!([{"name": "X", "valueFrom": {}}, {"name": "Y"}])));
    }
}
