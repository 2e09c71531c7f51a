//! What server-side apply asks a schema about one place in an object.

use std::borrow::Cow;

use serde_json::Value;

/// A place in an object, as its schema describes it. Cheap to copy; `'a` is the schema's lifetime.
///
/// Implemented for the built-in kinds by [`super::Builtin`]. Anything that describes objects (a structural schema of a
/// custom resource, for example) can implement it.
pub trait Node<'a>: Copy {
    /// How the keys of a list-map are held.
    type Key: AsRef<str> + 'a;

    /// What may be at the place, and how it merges.
    fn place(self) -> Place<'a, Self, Self::Key>;

    /// What is under a key of the map or struct. `None` when the schema does not allow the key.
    fn field(self, name: &str) -> Option<Field<Self>>;

    /// The default of a field, which stands in for a key that a list item does not have.
    fn default(self, name: &str) -> Option<Cow<'a, Value>>;
}

/// What may be at a place.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a, N, K> {
    /// A scalar: one value.
    Scalar(Scalar),
    /// A list of the items.
    List(Merge<'a, K>, N),
    /// A struct or a map. An atomic one is one value.
    Map {
        /// Whether it is one value.
        atomic: bool,
    },
    /// Anything. Its lists are one value; so are its maps unless they are granular.
    Untyped {
        /// Whether maps merge key by key.
        granular: bool,
    },
}

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A string.
    Text,
    /// An integer or a float.
    Number,
    /// A boolean.
    Bool,
    /// Any of them.
    Any,
}

/// How a list merges: `x-kubernetes-list-type`.
#[derive(Debug)]
pub enum Merge<'a, K> {
    /// It is one value.
    Atomic,
    /// A set of scalars.
    Set,
    /// Items are found by these keys.
    Map(&'a [K]),
}

impl<K> Clone for Merge<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Merge<'_, K> {}

/// What is under a key.
#[derive(Clone, Copy, Debug)]
pub struct Field<N> {
    /// The place there.
    pub node: N,
    /// Whether the schema names the field. One that it does not name is an entry of a map.
    pub named: bool,
    /// Whether the field is there with its zero value when an object does not show it, as a struct or scalar that its Go
    /// type neither points to nor omits. So the field itself is nobody's: it is never added or removed.
    pub held: bool,
}
