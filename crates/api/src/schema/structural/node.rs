//! Places in objects of custom resources, and how server-side apply sees them.

use std::borrow::Cow;

use serde_json::Value;
use smol_str::SmolStr;

use super::{Additional, Structural, TYPE_AND_METADATA, Type};
use crate::apply::node::{self, Merge, Place, Scalar};
use crate::schema::ListType;

/// A place in an object of a custom resource. At the root, and where an object is embedded, it has the type and metadata
/// that every object has.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    schema: &'a Structural,
    is_object: bool,
}

impl<'a> Node<'a> {
    /// The object.
    pub fn root(schema: &'a Structural) -> Node<'a> {
        Node { schema, is_object: true }
    }

    /// A place below the object.
    pub fn new(schema: &'a Structural) -> Node<'a> {
        Node { schema, is_object: schema.embedded }
    }

    /// What the schema says of the place.
    pub fn schema(self) -> &'a Structural {
        self.schema
    }

    /// Whether it is an object with type and metadata of its own.
    pub fn is_object(self) -> bool {
        self.is_object
    }

    /// What is under a key of the object or map, and whether the schema names it; `None` when the schema does not allow it.
    pub fn field(self, name: &str) -> Option<(Node<'a>, bool)> {
        if self.is_object && TYPE_AND_METADATA.contains(&name) {
            static TEXT: Structural = Structural::bare(Type::String, false);
            let schema = if name == "metadata" { Structural::metadata() } else { &TEXT };
            return Some((Node { schema, is_object: false }, true));
        }
        match (self.schema.property(name), &self.schema.additional) {
            (Some(schema), _) => Some((Node::new(schema), true)),
            (None, Additional::Schema(schema)) => Some((Node::new(schema), false)),
            (None, Additional::Any) => Some((Node::anything(), false)),
            (None, Additional::None) if self.schema.preserve_unknown => Some((Node::anything(), false)),
            (None, Additional::None) => None,
        }
    }

    /// The items of a list.
    pub fn items(self) -> Option<Node<'a>> {
        self.schema.items.as_deref().map(Node::new)
    }

    fn anything() -> Node<'a> {
        static ANYTHING: Structural = Structural::bare(Type::Any, true);
        Node { schema: &ANYTHING, is_object: false }
    }
}

impl<'a> node::Node<'a> for Node<'a> {
    type Key = SmolStr;

    fn place(self) -> Place<'a, Self, SmolStr> {
        let schema = self.schema;
        match schema.ty {
            _ if schema.int_or_string => Place::Scalar(Scalar::Any),
            Type::String => Place::Scalar(Scalar::Text),
            Type::Integer | Type::Number => Place::Scalar(Scalar::Number),
            Type::Boolean => Place::Scalar(Scalar::Bool),
            Type::Array => {
                let merge = match schema.list {
                    ListType::Set => Merge::Set,
                    ListType::Map if !schema.list_keys.is_empty() => Merge::Map(&schema.list_keys),
                    _ => Merge::Atomic,
                };
                Place::List(merge, self.items().unwrap_or_else(Node::anything))
            }
            Type::Object if self.is_object || !schema.properties.is_empty() => Place::Map { atomic: schema.atomic },
            Type::Object if !matches!(schema.additional, Additional::None) => Place::Map { atomic: schema.atomic },
            Type::Object | Type::Any => Place::Untyped { granular: !schema.atomic },
        }
    }

    fn field(self, name: &str) -> Option<node::Field<Self>> {
        let field = |(node, named)| node::Field { node, named, held: false };
        match node::Node::place(self) {
            Place::Untyped { .. } => Some(field(Node::field(self, name).unwrap_or((Node::anything(), false)))),
            _ => Node::field(self, name).map(field),
        }
    }

    fn default(self, name: &str) -> Option<Cow<'a, Value>> {
        self.schema.property(name)?.default.as_deref().map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::node::Node as _;
    use super::*;

    fn schema() -> Structural {
        Structural::parse(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                    "items": {"type": "object", "properties": {
                        "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}}}},
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "args": {"type": "array", "items": {"type": "string"}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "one": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                    "x-kubernetes-preserve-unknown-fields": true},
            }},
        }}))
    }

    #[test]
    fn places_are_walked() {
        let schema = schema();
        let spec = Node::root(&schema).field("spec").expect("it is there").0;
        let labels = spec.field("labels").unwrap().0;
        assert!(labels.field("any").is_some_and(|(node, named)| !named && node.schema().ty == Type::String));
        assert!(spec.field("nothing").is_none() && spec.field("metadata").is_none());
        for object in [Node::root(&schema), spec.field("template").unwrap().0] {
            let owners = object.field("metadata").unwrap().0.field("ownerReferences").unwrap().0;
            assert_eq!((owners.schema().list, &*owners.schema().list_keys[0]), (ListType::Map, "uid"));
        }
    }

    #[test]
    fn server_side_apply_sees_what_merges_how() {
        let schema = schema();
        let spec = Node::root(&schema).field("spec").expect("it is there").0;
        let place = |name: &str| spec.field(name).unwrap().0.place();
        assert!(matches!(place("ports"), Place::List(Merge::Map([port, _]), _) if port == "port"));
        assert!(matches!(place("tags"), Place::List(Merge::Set, _)));
        assert!(matches!(place("args"), Place::List(Merge::Atomic, _)));
        assert!(matches!(place("labels"), Place::Map { atomic: false }));
        assert!(matches!(place("one"), Place::Map { atomic: true }));
        assert!(matches!(place("free"), Place::Untyped { granular: true }));
        let port = spec.field("ports").unwrap().0.items().unwrap();
        assert_eq!(port.default("protocol").as_deref(), Some(&json!("TCP")));
    }
}
