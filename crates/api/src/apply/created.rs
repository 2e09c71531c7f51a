//! What the creator of an object owns, printed in one walk over the object.
//!
//! The same as [`super::compare::compare`] with an object that is not there, without the sets: creates are the most
//! frequent of all writes.

use serde_json::Value;

use super::compare::is_zero;
use super::element;
use super::items;
use super::mask::{Mask, Masks, SYSTEM};
use super::node::{Merge, Node, Place};

/// Appends the FieldsV1 of what the creator owns, but for what the server keeps itself and what is reset anyway. Tells
/// whether there is anything.
pub fn print<'a, N: Node<'a>>(node: N, object: &'a Value, reset: &'static Mask, out: &mut String) -> bool {
    out.push('{');
    let start = out.len();
    if let Value::Object(map) = object {
        let masks = Masks::new(SYSTEM, reset);
        for (name, value) in map {
            field(node, name, value, true, Some(masks), out);
        }
    }
    let any = out.len() > start;
    out.push('}');
    any
}

/// `held`: whether what the field is in was there before.
fn field<'a, N: Node<'a>>(node: N, name: &str, value: &'a Value, held: bool, masks: Option<Masks>, out: &mut String) {
    let Some(field) = node.field(name) else { return };
    let masks = match masks {
        Some(masks) => match masks.enter(name) {
            None => return,
            below => below,
        },
        None => None,
    };
    entry(|out| element::field_key(name, field.named, out), field.node, value, held && field.held, masks, out);
}

fn entry<'a, N: Node<'a>>(
    key: impl FnOnce(&mut String),
    node: N,
    value: &'a Value,
    held: bool,
    masks: Option<Masks>,
    out: &mut String,
) {
    let start = out.len();
    // An object just begun ends with a brace, an entry with another.
    if !out.ends_with('{') {
        out.push(',');
    }
    key(out);
    out.push_str(":{");
    let inner = out.len();
    let is_hidden = masks.is_some_and(Masks::hide_place);
    // What nobody owns itself is as if it had been there.
    let was_there = held || is_hidden;
    let dot = |out: &mut String| {
        if !was_there {
            out.push_str("\".\":{}");
        }
        out.len()
    };
    let owned = match (node.place(), value) {
        (Place::Map { atomic: false } | Place::Untyped { granular: true }, Value::Object(map)) if !map.is_empty() => {
            let before = dot(out);
            for (name, value) in map {
                field(node, name, value, held, masks, out);
            }
            nested(before, inner, was_there, out)
        }
        (Place::List(merge @ (Merge::Set | Merge::Map(_)), item), Value::Array(list)) if !list.is_empty() => {
            let before = dot(out);
            list_items(merge, item, list, out);
            nested(before, inner, was_there, out)
        }
        (_, value) => !is_hidden && (!held || !is_zero(value)),
    };
    if owned { out.push('}') } else { out.truncate(start) }
}

/// Whether there is anything of a map or list. One that is owned alone needs no dot.
fn nested(before: usize, inner: usize, held: bool, out: &mut String) -> bool {
    let empty = out.len() == before;
    if empty {
        out.truncate(inner);
    }
    !empty || !held
}

fn list_items<'a, N: Node<'a>>(merge: Merge<'a, N::Key>, node: N, list: &'a [Value], out: &mut String) {
    let items = items::sorted(merge, node, list);
    for group in items.chunk_by(|a, b| a.0 == b.0) {
        match group {
            [(element, item)] => entry(|out| element.print(out), node, item, false, None, out),
            [(element, _), ..] => {
                let null = &Value::Null;
                entry(|out| element.print(out), node, null, false, None, out);
            }
            [] => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::mask::Hidden;
    use crate::apply::{Builtin, compare, fields_v1, mask};
    use crate::schema::{DefId, id};
    use serde_json::json;

    static STATUS: &Mask = &[("status", Hidden::All)];

    fn printed(def: DefId, object: &Value) -> String {
        let mut out = String::new();
        print(Builtin::new(def), object, STATUS, &mut out);
        let comparison = compare::compare(Builtin::new(def), None, object);
        let set = comparison.modified.union(&comparison.added);
        assert_eq!(out, fields_v1::print(&mask::hide(&mask::hide(&set, STATUS), SYSTEM)));
        out
    }

    #[test]
    fn the_creator_of_a_config_map_owns_its_data() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "b\"": ""},
            "metadata": {"name": "x", "namespace": "y", "uid": "u", "creationTimestamp": "t"}});
        assert_eq!(printed(id::CORE_V1_CONFIG_MAP, &object), r#"{"f:data":{".":{},"f:a":{},"f:b\"":{}}}"#);
        let nothing = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
        assert!(!print(Builtin::new(id::CORE_V1_CONFIG_MAP), &nothing, &[], &mut String::new()));
    }

    #[test]
    fn the_creator_of_a_service_owns_its_ports() {
        let object = json!({"metadata": {"labels": {"app": "x"}}, "status": {"loadBalancer": {"ingress": [{}]}},
            "spec": {"selector": {"app": "x"}, "type": "ClusterIP", "ports": [
                {"port": 443, "protocol": "TCP", "targetPort": 1}, {"port": 80, "targetPort": "http"}]}});
        assert_eq!(
            printed(id::CORE_V1_SERVICE, &object),
            concat!(
                r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:ports":{".":{},"#,
                r#""k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:targetPort":{}},"#,
                r#""k:{\"port\":443,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:protocol":{},"f:targetPort":{}}},"#,
                r#""f:selector":{},"f:type":{}}}"#
            )
        );
    }

    #[test]
    fn nobody_owns_the_metadata_of_a_custom_resource_as_a_whole() {
        use crate::schema::structural::{self, Definition};

        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}});
        let definition = Definition::new(&schema);
        let of = |object: Value| {
            let node = structural::Node::root(&definition.root);
            let mut out = String::new();
            print(node, &object, &[], &mut out);
            let comparison = compare::compare(node, None, &object);
            let set = comparison.modified.union(&comparison.added);
            assert_eq!(out, fields_v1::print(&mask::hide(&set, SYSTEM)));
            out
        };
        assert_eq!(of(json!({"metadata": {"name": "x", "uid": "u"}})), "{}");
        let object = json!({"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"a": "b"}});
        let owned = r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{".":{},"f:a":{}}}"#;
        assert_eq!(of(object), owned);
    }

    #[test]
    fn empty_objects_and_items_of_the_same_key_are_one_value() {
        let object = json!({"spec": {"securityContext": {}, "volumes": [], "containers": [
            {"name": "a", "resources": {}, "ports": [{"containerPort": 1}, {"containerPort": 1}]}, {"name": "b", "env": []}]}});
        assert_eq!(
            printed(id::CORE_V1_POD, &object),
            concat!(
                r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:name":{},"f:ports":{".":{},"#,
                r#""k:{\"containerPort\":1,\"protocol\":\"TCP\"}":{}},"f:resources":{}},"#,
                r#""k:{\"name\":\"b\"}":{".":{},"f:env":{},"f:name":{}}},"f:securityContext":{},"f:volumes":{}}}"#
            )
        );
    }
}
