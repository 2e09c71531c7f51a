//! What expressions know of the objects of a kind before they see one: the types of their fields.

use coracle_cel::{Type, TypeSource};

use super::structural::rules::Declared;
use super::{DefId, Schema, Ty};

/// The type of the objects of a kind.
pub fn of(schema: &Schema) -> Type {
    match schema {
        Schema::Generated(def) => of_definition(*def),
        Schema::Structural(definition) => {
            Declared::new(&definition.root, true).map_or(Type::Dyn, |declared| declared.ty.clone())
        }
    }
}

/// A generated definition; its fields are looked up when they are asked for, as definitions contain themselves.
#[derive(Debug)]
struct Object(DefId);

impl TypeSource for Object {
    fn name(&self) -> &str {
        self.0.def().name
    }

    fn field(&self, property: &str) -> Option<Type> {
        self.0.def().field(property).map(|field| of_field(field.ty))
    }
}

fn of_definition(def: DefId) -> Type {
    // Without fields it is a free form.
    if def.def().fields.is_empty() { Type::Dyn } else { Type::Object(std::sync::Arc::new(Object(def))) }
}

fn of_field(ty: Ty) -> Type {
    match ty {
        Ty::String | Ty::Quantity => Type::String,
        Ty::Bool => Type::Bool,
        Ty::Int32 | Ty::Int64 => Type::Int,
        Ty::Double => Type::Double,
        Ty::Time | Ty::MicroTime => Type::Timestamp,
        Ty::Bytes => Type::Bytes,
        Ty::IntOrString | Ty::Object | Ty::Any => Type::Dyn,
        Ty::Ref(def) => of_definition(def),
        Ty::Array(item) => Type::list(of_field(*item)),
        Ty::Map(value) => Type::map(Type::String, of_field(*value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use coracle_cel::{Environment, Program};

    fn error(expression: &str) -> Option<String> {
        let kind = kinds::by_kind("apps", "v1", "Deployment").expect("a kind of the table");
        let environment = Environment::new().variable("object", of(&kind.schema));
        Program::compile(expression, &environment).err().map(|errors| errors.to_string())
    }

    #[test]
    fn fields_of_built_in_kinds_have_types() {
        assert_eq!(
            error("object.spec.replicas > 1 && object.spec.template.spec.containers.all(c, c.image != '')"),
            None
        );
        assert_eq!(error("object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')"), None);
        assert_eq!(
            error("object.replicas > 1").as_deref(),
            Some("ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^")
        );
        assert!(error("object.spec.replicas == 'a'").is_some());
    }
}
