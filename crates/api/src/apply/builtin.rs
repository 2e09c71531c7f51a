//! The built-in kinds' schema tables, as server-side apply asks for them.

use std::borrow::Cow;

use serde_json::Value;

use super::node::{self, Merge, Node, Place, Scalar};
use crate::schema::{DefId, Field, ListType, Ty};

/// A place in an object of a built-in kind.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    ty: Ty,
    /// The field that has the type; `None` for the object, an item or a map's entry.
    field: Option<&'static Field>,
}

impl Builtin {
    /// An object of the definition.
    pub fn new(def: DefId) -> Self {
        Self { ty: Ty::Ref(def), field: None }
    }

    fn inner(ty: &Ty) -> Self {
        Self { ty: *ty, field: None }
    }
}

impl<'a> Node<'a> for Builtin {
    type Key = &'static str;

    fn place(self) -> Place<'a, Self, &'static str> {
        let atomic = self.field.is_some_and(|field| field.atomic);
        match self.ty {
            Ty::Bool => Place::Scalar(Scalar::Bool),
            Ty::Int32 | Ty::Int64 | Ty::Double => Place::Scalar(Scalar::Number),
            Ty::String | Ty::Bytes => Place::Scalar(Scalar::Text),
            Ty::IntOrString | Ty::Quantity | Ty::Time | Ty::MicroTime => Place::Scalar(Scalar::Any),
            Ty::Object | Ty::Any => Place::Untyped { granular: false },
            Ty::Ref(def) if def.def().fields.is_empty() => Place::Untyped { granular: !atomic && !def.def().atomic },
            Ty::Ref(def) => Place::Map { atomic: atomic || def.def().atomic },
            Ty::Map(_) => Place::Map { atomic },
            Ty::Array(items) => {
                let merge = match self.field.map(|field| (field.list, field.list_keys)) {
                    Some((ListType::Set, _)) => Merge::Set,
                    Some((ListType::Map, keys)) if !keys.is_empty() => Merge::Map(keys),
                    _ => Merge::Atomic,
                };
                Place::List(merge, Self::inner(items))
            }
        }
    }

    fn field(self, name: &str) -> Option<node::Field<Self>> {
        match self.ty {
            Ty::Ref(def) if def.def().fields.is_empty() => {
                Some(node::Field { node: Self { field: None, ..self }, named: false, held: false })
            }
            Ty::Ref(def) => {
                let field = def.def().field(name)?;
                let node = Self { ty: field.ty, field: Some(field) };
                Some(node::Field { node, named: true, held: held(def, field) })
            }
            Ty::Map(inner) => Some(node::Field { node: Self::inner(inner), named: false, held: false }),
            _ => None,
        }
    }

    fn default(self, name: &str) -> Option<Cow<'a, Value>> {
        let Ty::Ref(def) = self.ty else { return None };
        let field = def.def().field(name)?;
        if let Some(text) = field.default {
            return serde_json::from_str(text).ok().map(Cow::Owned);
        }
        // What Go holds by value and always writes has its zero value.
        Some(Cow::Owned(match field.ty {
            Ty::String if field.required => Value::from(""),
            Ty::Int32 | Ty::Int64 if field.required => Value::from(0),
            Ty::Bool if field.required => Value::from(false),
            _ => return None,
        }))
    }
}

/// Required fields that Go types hold as pointers and omit.
const POINTED_TO: [(&str, &str); 3] = [
    ("io.k8s.api.core.v1.ScaleIOPersistentVolumeSource", "secretRef"),
    ("io.k8s.api.core.v1.ScaleIOVolumeSource", "secretRef"),
    ("io.k8s.api.networking.v1.IPAddressSpec", "parentRef"),
];

fn held(def: DefId, field: &Field) -> bool {
    match field.ty {
        Ty::Ref(_) if field.required => {
            !POINTED_TO.iter().any(|(of, name)| *name == field.name && *of == def.def().name)
        }
        _ => field.required || field.held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{self, id};

    fn field(def: DefId, path: &[&str]) -> node::Field<Builtin> {
        let (last, outer) = path.split_last().expect("the path is not empty");
        let mut node = Builtin::new(def);
        for name in outer {
            node = node.field(name).expect("the field is there").node;
        }
        node.field(last).expect("the field is there")
    }

    #[test]
    fn the_table_names_required_fields() {
        for (def, name) in POINTED_TO {
            let found = schema::by_name(def).and_then(|def| def.def().field(name));
            assert!(found.is_some_and(|field| field.required && matches!(field.ty, Ty::Ref(_))), "{def}.{name}");
        }
    }

    #[test]
    fn places_are_what_the_schema_says() {
        let place = |def, path: &[&str]| field(def, path).node.place();
        assert!(matches!(place(id::CORE_V1_CONFIG_MAP, &["data"]), Place::Map { atomic: false }));
        assert!(matches!(place(id::APPS_V1_DEPLOYMENT, &["spec", "selector"]), Place::Map { atomic: true }));
        assert!(matches!(place(id::CORE_V1_POD, &["spec", "containers"]), Place::List(Merge::Map(["name"]), _)));
        assert!(matches!(place(id::CORE_V1_POD, &["metadata", "finalizers"]), Place::List(Merge::Set, _)));
        assert!(field(id::APPS_V1_DEPLOYMENT, &["spec", "strategy"]).held);
        assert!(field(id::APPS_V1_DEPLOYMENT, &["status"]).held);
        assert!(!field(id::APPS_V1_DEPLOYMENT, &["spec", "strategy", "rollingUpdate"]).held);
        assert!(!field(id::CORE_V1_CONFIG_MAP, &["data"]).held);
    }

    #[test]
    fn the_default_of_a_key_is_upstreams() {
        let port = Builtin::new(schema::by_name("io.k8s.api.core.v1.ServicePort").expect("it is there"));
        assert_eq!(port.default("protocol").as_deref(), Some(&Value::from("TCP")));
        assert_eq!(port.default("port").as_deref(), Some(&Value::from(0)));
        assert_eq!(port.default("name"), None);
    }
}
