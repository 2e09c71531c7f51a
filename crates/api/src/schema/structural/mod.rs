//! The schema of a custom resource: `openAPIV3Schema` of a CustomResourceDefinition, as all that walks its objects needs it.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>

mod checks;
mod defaults;
mod format;
mod node;
mod prune;
pub mod rules;
mod validate;

pub use checks::{Checks, compile};
pub use format::is_supported as is_supported_format;
pub use node::Node;

use std::sync::OnceLock;

use serde_json::Value;
use smol_str::SmolStr;

use rules::Rules;

use super::{ListType, id};
use crate::field::FieldError;
use crate::meta::{list, text};

/// The schema of one version of a custom resource.
#[derive(Debug)]
pub struct Definition {
    /// What its objects are.
    pub root: Structural,
    /// The schema as it was given, in JSON, for those who describe it.
    pub source: Box<str>,
    /// The rules, compiled when an object is first checked.
    rules: OnceLock<Option<Box<Rules>>>,
}

impl Definition {
    /// Reads `openAPIV3Schema`.
    pub fn new(schema: &Value) -> Definition {
        Definition { root: Structural::parse(schema), source: schema.to_string().into(), rules: OnceLock::new() }
    }

    /// Checks an object by schema and rules. What is as it was in `old` is not checked again.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = self.root.validate(object, old);
        if let Some(rules) = self.rules() {
            if errors.iter().any(validate::is_blocking) {
                errors.push(validate::not_checked());
            } else {
                errors.extend(rules.evaluate(&self.root, object, old));
            }
        }
        errors
    }

    fn rules(&self) -> Option<&Rules> {
        let compile = || {
            // Most definitions have none, and need not be read again.
            let schema = self.source.contains(rules::RULES).then(|| serde_json::from_str(&self.source).ok())??;
            Rules::compile(&schema, &self.root).map(Box::new)
        };
        self.rules.get_or_init(compile).as_deref()
    }
}

/// What may be at one place of an object, and what is below it. Kept small: a definition has thousands of them.
#[derive(Debug, Default)]
pub struct Structural {
    /// The type; [`Type::Any`] where none is said.
    pub ty: Type,
    /// Whether it may be `null`.
    pub nullable: bool,
    /// Whether fields that it does not name are kept.
    pub preserve_unknown: bool,
    /// Whether it is an object with type and metadata of its own.
    pub embedded: bool,
    /// An integer or a string.
    pub int_or_string: bool,
    /// Whether server-side apply treats an object as one value.
    pub atomic: bool,
    /// How a list merges.
    pub list: ListType,
    /// The keys of a [`ListType::Map`].
    pub list_keys: Vec<SmolStr>,
    /// What stands where nothing is given.
    pub default: Option<Box<Value>>,
    /// The fields, sorted by name.
    pub properties: Vec<(SmolStr, Structural)>,
    /// What other fields are.
    pub additional: Additional,
    /// What the items of a list are.
    pub items: Option<Box<Structural>>,
    /// Whether there are embedded objects at or below it.
    embeds: bool,
    /// What else must hold.
    pub checks: Option<Box<Checks>>,
}

/// Types of JSON values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// Any.
    #[default]
    Any,
    /// A map or struct.
    Object,
    /// A list.
    Array,
    /// A string.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A boolean.
    Boolean,
}

impl Type {
    fn parse(name: &str) -> Type {
        match name {
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            _ => Type::Any,
        }
    }

    /// The name in OpenAPI.
    pub fn name(self) -> &'static str {
        match self {
            Type::Any => "",
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
        }
    }
}

/// What fields are that are not named.
#[derive(Debug, Default)]
pub enum Additional {
    /// There are none.
    #[default]
    None,
    /// Anything.
    Any,
    /// Values of the schema.
    Schema(Box<Structural>),
}

/// The fields that an object has by being one.
pub const TYPE_AND_METADATA: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Structural {
    /// Reads a schema. What is not understood is left out: whoever stores a definition checks it before.
    pub fn parse(schema: &Value) -> Structural {
        let flag = |name: &str| schema[name] == true;
        let mut properties: Vec<(SmolStr, Structural)> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, schema)| (SmolStr::new(name), Structural::parse(schema)))
            .collect();
        properties.sort_by(|a, b| a.0.cmp(&b.0));
        let items = schema["items"].is_object().then(|| Box::new(Structural::parse(&schema["items"])));
        let additional = match &schema["additionalProperties"] {
            Value::Bool(true) => Additional::Any,
            schema @ Value::Object(_) => Additional::Schema(Box::new(Structural::parse(schema))),
            _ => Additional::None,
        };
        let below = properties.iter().any(|(_, schema)| schema.embeds)
            || items.as_ref().is_some_and(|schema| schema.embeds)
            || matches!(&additional, Additional::Schema(schema) if schema.embeds);
        Structural {
            ty: Type::parse(text(schema, &["type"])),
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            atomic: schema["x-kubernetes-map-type"] == "atomic",
            list: match text(schema, &["x-kubernetes-list-type"]) {
                "atomic" => ListType::Atomic,
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::None,
            },
            list_keys: texts(schema, "x-kubernetes-list-map-keys"),
            default: schema.get("default").filter(|value| !value.is_null()).map(|value| Box::new(value.clone())),
            properties,
            additional,
            items,
            embeds: below || flag("x-kubernetes-embedded-resource"),
            checks: Checks::parse(schema).map(Box::new),
        }
    }

    /// The schema of the metadata of any object, made of the generated one.
    pub fn metadata() -> &'static Structural {
        static METADATA: std::sync::LazyLock<Structural> =
            std::sync::LazyLock::new(|| Structural::of_def(super::Ty::Ref(id::META_V1_OBJECT_META)));
        &METADATA
    }

    fn of_def(ty: super::Ty) -> Structural {
        use super::Ty;
        let scalar = |ty| Structural { ty, ..Structural::default() };
        match ty {
            Ty::String | Ty::Bytes | Ty::Time | Ty::MicroTime => scalar(Type::String),
            Ty::Bool => scalar(Type::Boolean),
            Ty::Int32 | Ty::Int64 => scalar(Type::Integer),
            Ty::Double => scalar(Type::Number),
            Ty::IntOrString | Ty::Quantity => Structural { int_or_string: true, ..Structural::default() },
            Ty::Any => Structural { preserve_unknown: true, ..Structural::default() },
            Ty::Object => Structural { preserve_unknown: true, ..scalar(Type::Object) },
            Ty::Array(items) => Structural { items: Some(Box::new(Structural::of_def(*items))), ..scalar(Type::Array) },
            Ty::Map(values) => Structural {
                additional: Additional::Schema(Box::new(Structural::of_def(*values))),
                ..scalar(Type::Object)
            },
            Ty::Ref(def) if def.def().fields.is_empty() => Structural::of_def(Ty::Object),
            Ty::Ref(def) => {
                let field = |field: &super::Field| {
                    let schema = Structural {
                        atomic: field.atomic,
                        list: field.list,
                        list_keys: field.list_keys.iter().copied().map(SmolStr::new_static).collect(),
                        ..Structural::of_def(field.ty)
                    };
                    (SmolStr::new_static(field.name), schema)
                };
                let properties = def.def().fields.iter().map(field).collect();
                Structural { properties, atomic: def.def().atomic, ..scalar(Type::Object) }
            }
        }
    }

    /// Whether there are embedded objects at or below the place.
    pub fn has_embedded(&self) -> bool {
        self.embeds
    }

    /// The field of that name, where the schema names it.
    pub fn property(&self, name: &str) -> Option<&Structural> {
        let found = self.properties.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        self.properties.get(found).map(|(_, schema)| schema)
    }

    /// What is under a key, named or not; `None` when the schema says nothing of it.
    fn below(&self, name: &str) -> Option<&Structural> {
        self.property(name).or(match &self.additional {
            Additional::Schema(schema) => Some(schema),
            _ => None,
        })
    }
}

/// The strings of a list.
fn texts(schema: &Value, key: &str) -> Vec<SmolStr> {
    list(schema, &[key]).iter().filter_map(Value::as_str).map(SmolStr::new).collect()
}

impl Structural {
    /// A schema that says no more than a type, or that anything is kept.
    const fn bare(ty: Type, keeps_all: bool) -> Structural {
        Structural {
            ty,
            nullable: keeps_all,
            preserve_unknown: keeps_all,
            embedded: false,
            int_or_string: false,
            atomic: false,
            list: ListType::None,
            list_keys: Vec::new(),
            default: None,
            properties: Vec::new(),
            additional: Additional::None,
            items: None,
            embeds: false,
            checks: None,
        }
    }
}
