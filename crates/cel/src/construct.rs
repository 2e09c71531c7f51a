//! Objects that an expression makes, as those of mutating policies do: `Object.spec{replicas: 1}` and
//! `JSONPatch{op: 'remove', path: '/spec'}`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>

use std::sync::Arc;

use crate::types::{Type, TypeSource};

/// The name of the object itself; parts of it are named by the way to them, as `Object.spec`.
const OBJECT: &str = "Object";
const PATCH: &str = "JSONPatch";

/// A part of the object. What fields it has is only known when it is put into the object.
#[derive(Debug)]
struct Part(String);

impl TypeSource for Part {
    fn name(&self) -> &str {
        &self.0
    }

    fn field(&self, _property: &str) -> Option<Type> {
        Some(Type::Dyn)
    }
}

/// An operation of a JSON patch.
#[derive(Debug)]
struct Operation;

impl TypeSource for Operation {
    fn name(&self) -> &str {
        PATCH
    }

    fn field(&self, property: &str) -> Option<Type> {
        match property {
            "op" | "path" | "from" => Some(Type::String),
            "value" => Some(Type::Dyn),
            _ => None,
        }
    }
}

/// The type of a new object that changes the one there is.
pub fn object() -> Type {
    Type::Object(Arc::new(Part(OBJECT.into())))
}

/// The type of an operation of a JSON patch.
pub fn json_patch() -> Type {
    Type::Object(Arc::new(Operation))
}

/// The type that a name means of which expressions make objects.
pub(crate) fn named(name: &str) -> Option<Arc<dyn TypeSource>> {
    let is_part = name == OBJECT || name.strip_prefix(OBJECT).is_some_and(|rest| rest.starts_with('.'));
    match name {
        PATCH => Some(Arc::new(Operation)),
        _ if is_part => Some(Arc::new(Part(name.to_owned()))),
        _ => None,
    }
}
