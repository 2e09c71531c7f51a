//! Takes fields out of an object.

use serde_json::Value;

use super::element::Element;
use super::items;
use super::node::{Merge, Node, Place};
use super::set::Set;

/// Removes every item and field of the set, with all that is below it. A map or list that loses all it had becomes null.
pub fn remove<'n, N: Node<'n>>(node: N, value: &mut Value, set: &Set<'_>) {
    if set.is_empty() {
        return;
    }
    let emptied = match (node.place(), &mut *value) {
        (Place::Map { atomic: false } | Place::Untyped { granular: true }, Value::Object(map)) if !map.is_empty() => {
            map.retain(|name, value| match set.get(&Element::Field(name.into())) {
                None => true,
                Some(entry) if entry.member => false,
                Some(entry) => {
                    if let Some(field) = node.field(name) {
                        remove(field.node, value, &entry.below);
                    }
                    true
                }
            });
            map.is_empty()
        }
        (Place::List(merge @ (Merge::Set | Merge::Map(_)), item), Value::Array(list)) if !list.is_empty() => {
            list.retain_mut(|value| {
                let name = items::owned_element(merge, item, value).ok();
                match name.and_then(|name| set.get(&name)) {
                    None => true,
                    Some(entry) if entry.member => false,
                    Some(entry) => {
                        remove(item, value, &entry.below);
                        true
                    }
                }
            });
            list.is_empty()
        }
        _ => false,
    };
    if emptied {
        *value = Value::Null;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::{Builtin, fields_v1};
    use crate::schema::id;
    use serde_json::json;

    #[test]
    fn items_and_fields_go_with_all_below_them() {
        let mut pod = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y"]}, "spec": {
            "nodeName": "n", "containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}});
        let fields = json!({"f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x\"": {}, "v:\"y\"": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}}, "k:{\"name\":\"b\"}": {"f:image": {}}}}});
        remove(Builtin::new(id::CORE_V1_POD), &mut pod, &fields_v1::parse(&fields).expect("it parses"));
        let expected = json!({"metadata": {"labels": {"b": "2"}, "finalizers": null},
            "spec": {"nodeName": "n", "containers": [{"name": "b"}]}});
        assert_eq!(pod, expected);
    }
}
