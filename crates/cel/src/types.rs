//! The types of expressions, as the checker knows them before anything is evaluated.

use std::fmt;
use std::sync::Arc;

/// An object type whose fields are declared, such as a structural schema with properties.
///
/// Expressions name fields as identifiers, so `field` is asked with the property's own name, after
/// [`crate::escape::unescape`]. What it does not know is a compile error: `undefined field`.
pub trait TypeSource: Send + Sync + fmt::Debug {
    /// How messages call this type. Two object types are one if their names are equal.
    fn name(&self) -> &str;

    /// The type of a property, or nothing if the schema has none of this name.
    fn field(&self, property: &str) -> Option<Type>;
}

/// How two lists of one schema compare and add up: `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// In order, item by item.
    #[default]
    Atomic,
    /// Without order; adding leaves out what is there.
    Set,
    /// Without order, items told apart by these keys; adding replaces the items whose keys are there.
    Map(Vec<String>),
}

/// A list's items and how it behaves.
#[derive(Clone, Debug)]
pub struct ListType {
    /// The type of every item.
    pub item: Type,
    /// Order and identity.
    pub kind: ListKind,
}

/// A type of the expression language.
#[derive(Clone, Debug)]
pub enum Type {
    /// Any value; checked when evaluated.
    Dyn,
    /// `null`
    Null,
    /// `bool`
    Bool,
    /// 64 bits with a sign.
    Int,
    /// 64 bits without a sign.
    Uint,
    /// IEEE 754, 64 bits.
    Double,
    /// Unicode text. A size is counted in code points.
    String,
    /// Octets; `format: byte` in a schema.
    Bytes,
    /// A span of time; `format: duration` in a schema.
    Duration,
    /// A point in time; `format: date-time` or `date` in a schema.
    Timestamp,
    /// A list.
    List(Arc<ListType>),
    /// A map from the first to the second.
    Map(Arc<(Type, Type)>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// The type of types.
    Type,
    /// An object with declared fields.
    Object(Arc<dyn TypeSource>),
    /// A type of a library, such as `kubernetes.URL`, that only its functions look into.
    Opaque(&'static str),
    /// A type variable: of a signature (`T`), or one that the checker made.
    Var(u32),
    /// What an expression has that is already reported as wrong.
    Error,
}

impl Type {
    /// An atomic list.
    pub fn list(item: Type) -> Self {
        Self::List(Arc::new(ListType { item, kind: ListKind::Atomic }))
    }

    /// A list of a schema that has a `x-kubernetes-list-type`.
    pub fn list_of_kind(item: Type, kind: ListKind) -> Self {
        Self::List(Arc::new(ListType { item, kind }))
    }

    /// A map.
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    /// An optional value.
    pub fn optional(of: Type) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// Whether anything is assignable to and from it.
    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// The types inside.
    pub(crate) fn parameters(&self) -> Vec<&Type> {
        match self {
            Self::List(list) => vec![&list.item],
            Self::Map(entry) => vec![&entry.0, &entry.1],
            Self::Optional(of) => vec![of],
            _ => Vec::new(),
        }
    }

    /// Whether both are the same constructor (`list`, `map`, ...) and, without parameters, the same type.
    pub(crate) fn same_kind(&self, other: &Type) -> bool {
        match (self, other) {
            (Self::Object(a), Self::Object(b)) => a.name() == b.name(),
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (Self::Var(a), Self::Var(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// Equal in every part; a list's kind does not count, as it is not part of the language.
impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        self.same_kind(other) && self.parameters() == other.parameters()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(list) => write!(f, "list({})", list.item),
            Self::Map(entry) => write!(f, "map({}, {})", entry.0, entry.1),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Type => f.write_str("type"),
            Self::Object(object) => f.write_str(object.name()),
            Self::Opaque(name) => f.write_str(name),
            Self::Var(number) => write!(f, "_var{number}"),
            Self::Error => f.write_str("!error!"),
        }
    }
}
