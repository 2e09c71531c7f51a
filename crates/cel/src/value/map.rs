//! Maps, objects of a schema among them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{CelValue, Text};
use crate::error::EvalError;
use crate::types::{Type, TypeSource};

/// What a map can be asked for. Whole numbers are one key whether they have a sign or not.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// `true`
    Bool(bool),
    /// `1`
    Int(i64),
    /// `1u`
    Uint(u64),
    /// `'a'`
    String(Text<'a>),
}

impl<'a> Key<'a> {
    /// The key that a value is; a whole double is a number, all else is no key.
    pub fn new(value: &CelValue<'a>) -> Option<Self> {
        match value {
            CelValue::Bool(value) => Some(Self::Bool(*value)),
            CelValue::Int(value) => Some(Self::Int(*value)),
            CelValue::Uint(value) => Some(Self::Uint(*value)),
            CelValue::String(text) => Some(Self::String(text.clone())),
            CelValue::Double(value) if value.fract() == 0.0 && value.abs() < 9.2e18 => Some(Self::Int(*value as i64)),
            _ => None,
        }
    }

    /// The key as a value.
    pub fn value(&self) -> CelValue<'a> {
        match self {
            Self::Bool(value) => CelValue::Bool(*value),
            Self::Int(value) => CelValue::Int(*value),
            Self::Uint(value) => CelValue::Uint(*value),
            Self::String(text) => CelValue::String(text.clone()),
        }
    }

    fn number(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(i128::from(*value)),
            Self::Uint(value) => Some(i128::from(*value)),
            Self::Bool(_) | Self::String(_) => None,
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Bool(_), _) | (_, Self::String(_)) => Ordering::Less,
            (_, Self::Bool(_)) | (Self::String(_), _) => Ordering::Greater,
            _ => self.number().cmp(&other.number()),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

/// The types of what is in a map of an object.
#[derive(Clone, Debug)]
pub enum Fields {
    /// No schema says.
    Any,
    /// `additionalProperties`
    Values(Arc<(Type, Type)>),
    /// `properties`. Fields that are not declared are not seen.
    Declared(Arc<dyn TypeSource>),
}

/// A map; a copy of it costs nothing. Keys of equal maps come in one order.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Of an object.
    Json(&'a serde_json::Map<String, Value>, Fields),
    /// Of the expression.
    Made(Arc<BTreeMap<Key<'a>, CelValue<'a>>>),
    /// An object of a type that the expression made.
    Object(Arc<dyn TypeSource>, Arc<BTreeMap<Key<'a>, CelValue<'a>>>),
}

impl<'a> Map<'a> {
    /// How many entries it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map, Fields::Declared(_)) => map.keys().filter(|name| self.field(name).is_some()).count(),
            Self::Json(map, _) => map.len(),
            Self::Made(map) | Self::Object(_, map) => map.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of an object with declared fields.
    pub(crate) fn object_type(&self) -> Option<Type> {
        match self {
            Self::Json(_, Fields::Declared(source)) | Self::Object(source, _) => Some(Type::Object(source.clone())),
            _ => None,
        }
    }

    fn field(&self, name: &str) -> Option<Type> {
        match self {
            Self::Json(_, Fields::Any) => Some(Type::Dyn),
            Self::Json(_, Fields::Values(of)) => Some(of.1.clone()),
            Self::Json(_, Fields::Declared(source)) => source.field(name),
            Self::Made(_) | Self::Object(..) => None,
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// If it does not fit its type.
    pub fn get(&self, key: &Key<'_>) -> Option<Result<CelValue<'a>, EvalError>> {
        match (self, key) {
            (Self::Made(map) | Self::Object(_, map), key) => map.get(key).cloned().map(Ok),
            (Self::Json(map, _), Key::String(name)) => {
                let value = map.get(&**name)?;
                Some(CelValue::from_json(value, &self.field(name)?))
            }
            (Self::Json(..), _) => None,
        }
    }

    /// Whether it has a key, whatever the value.
    pub fn contains(&self, key: &Key<'_>) -> bool {
        match (self, key) {
            (Self::Made(map) | Self::Object(_, map), key) => map.contains_key(key),
            (Self::Json(map, _), Key::String(name)) => map.contains_key(&**name) && self.field(name).is_some(),
            (Self::Json(..), _) => false,
        }
    }

    /// Its keys in order.
    pub fn keys(&self) -> Vec<Key<'a>> {
        match self {
            Self::Json(map, _) => map
                .keys()
                .filter(|name| self.field(name).is_some())
                .map(|name| Key::String(Text::Borrowed(name)))
                .collect(),
            Self::Made(map) | Self::Object(_, map) => map.keys().cloned().collect(),
        }
    }
}
