//! What is in an object that somebody applies, as a field set.

use std::borrow::Cow;

use serde_json::Value;

use super::element::Element;
use super::items;
use super::node::{Merge, Node, Place};
use super::set::{Entry, Set};

/// Every leaf, item and map entry of a value.
pub fn fields<'a, N: Node<'a>>(node: N, value: &'a Value) -> Set<'a> {
    walk(node, value).1
}

/// Whether the place itself is one value, and what is below it.
fn walk<'a, N: Node<'a>>(node: N, value: &'a Value) -> (bool, Set<'a>) {
    match (node.place(), value) {
        (Place::Map { atomic: false } | Place::Untyped { granular: true }, Value::Object(map)) => {
            let entries = map.iter().filter_map(|(name, value)| {
                let field = node.field(name)?;
                let (leaf, below) = walk(field.node, value);
                let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                let member = leaf || empty || !field.named;
                Some(Entry { element: Element::Field(Cow::Borrowed(name)), member, below })
            });
            (false, entries.collect())
        }
        (Place::List(merge @ (Merge::Set | Merge::Map(_)), item), Value::Array(list)) => {
            let items = items::sorted(merge, item, list);
            let entries = items.chunk_by(|a, b| a.0 == b.0).filter_map(|group| match group {
                [(element, value)] => {
                    Some(Entry { element: element.clone(), member: true, below: walk(item, value).1 })
                }
                _ => Some(Entry { element: group.first()?.0.clone(), member: true, below: Set::default() }),
            });
            (false, entries.collect())
        }
        // A null of what merges is nobody's by itself.
        (Place::Map { atomic: false } | Place::List(Merge::Set | Merge::Map(_), _), _) => (false, Set::default()),
        _ => (true, Set::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::{Builtin, fields_v1};
    use crate::schema::id;
    use serde_json::json;

    #[test]
    fn leaves_items_and_entries_are_in_the_set() {
        let pod = json!({"metadata": {"labels": {"a": "1"}, "annotations": {}, "finalizers": []},
            "spec": {"containers": [{"name": "a", "args": ["x"], "resources": {}}], "nodeName": null, "volumes": null}});
        assert_eq!(
            fields_v1::print(&fields(Builtin::new(id::CORE_V1_POD), &pod)),
            concat!(
                r#"{"f:metadata":{"f:annotations":{},"f:labels":{"f:a":{}}},"f:spec":{"f:containers":{"#,
                r#""k:{\"name\":\"a\"}":{".":{},"f:args":{},"f:name":{},"f:resources":{}}},"f:nodeName":{},"f:volumes":{}}}"#
            )
        );
    }
}
