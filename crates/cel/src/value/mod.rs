//! Values while an expression is evaluated. What comes from an object is borrowed from it: nothing is copied
//! until an expression makes something new.

pub mod authorization;
mod compare;
mod json;
mod list;
mod map;
pub(crate) mod named_format;
mod text;
mod to_json;
pub(crate) mod url;

use std::net::IpAddr;
use std::sync::Arc;

pub use authorization::Authorization;
pub(crate) use compare::contains;
pub use list::List;
pub use map::{Key, Map};
pub use named_format::NamedFormat;
pub use text::Text;
pub use url::Url;

use crate::types::Type;

/// A value.
#[derive(Clone, Debug)]
pub enum CelValue<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// `1`
    Int(i64),
    /// `1u`
    Uint(u64),
    /// `1.0`
    Double(f64),
    /// `'text'`
    String(Text<'a>),
    /// `b'octets'`
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// A point in time.
    Timestamp(jiff::Timestamp),
    /// `[1, 2]`
    List(List<'a>),
    /// `{'a': 1}`, or an object.
    Map(Map<'a>),
    /// `optional.of(1)` or `optional.none()`
    Optional(Option<Arc<CelValue<'a>>>),
    /// `int`, or `type(1)`
    Type(Type),
    /// A value of one of Kubernetes' libraries.
    Extension(Extension<'a>),
}

/// Values that only the functions of their library look into.
#[derive(Clone, Debug)]
pub enum Extension<'a> {
    /// `ip('10.0.0.1')`
    Ip(IpAddr),
    /// `cidr('10.0.0.0/8')`: address and length of the prefix, host bits kept.
    Cidr(ipnet::IpNet),
    /// `url('https://example.com')`
    Url(Arc<Url>),
    /// `quantity('1Gi')`
    Quantity(coracle_values::quantity::Quantity),
    /// `semver('1.2.3')`
    Semver(Arc<semver::Version>),
    /// `format.dns1123Label()`
    Format(&'static NamedFormat),
    /// `authorizer` and what its functions make.
    Authorization(Authorization<'a>),
}

impl<'a> CelValue<'a> {
    /// A string that the expression made.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Owned(text.into()))
    }

    /// A list that the expression made.
    pub fn list(items: Vec<CelValue<'a>>) -> Self {
        Self::List(List::Made(Arc::new(items)))
    }

    /// `optional.of(value)`
    pub fn some(value: CelValue<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// `optional.none()`
    pub fn none() -> Self {
        Self::Optional(None)
    }

    /// Its type as `type(value)` says: without what is inside a list or a map.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Duration(_) => Type::Duration,
            Self::Timestamp(_) => Type::Timestamp,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(map) => map.object_type().unwrap_or_else(|| Type::map(Type::Dyn, Type::Dyn)),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Type(_) => Type::Type,
            Self::Extension(extension) => Type::Opaque(extension.type_name()),
        }
    }

    /// What `type(value)` prints as, and error messages call it.
    pub fn type_name(&self) -> String {
        runtime_name(&self.type_of())
    }

    /// The size that cost is counted by: code points, octets, items; 1 for all else.
    pub fn cost_size(&self) -> usize {
        match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Optional(Some(value)) => value.cost_size(),
            Self::Extension(Extension::Ip(ip)) => {
                if ip.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Extension(Extension::Cidr(net)) => usize::from(net.prefix_len()).div_ceil(8),
            _ => 1,
        }
    }

    /// Whether it is what a new value of its type would be, as `optional.ofNonZeroValue` asks.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Null | Self::Optional(None) => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Duration(nanos) => *nanos == 0,
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Timestamp(_) | Self::Optional(Some(_)) | Self::Type(_) | Self::Extension(_) => false,
        }
    }

    /// The truth, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The whole number, if it is one with a sign.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(value) = self { Some(*value) } else { None }
    }
}

/// The name of a type where its parameters do not count.
pub(crate) fn runtime_name(of: &Type) -> String {
    match of {
        Type::List(_) => "list".into(),
        Type::Map(_) => "map".into(),
        Type::Optional(_) => "optional_type".into(),
        Type::Null => "null_type".into(),
        Type::Duration => "google.protobuf.Duration".into(),
        Type::Timestamp => "google.protobuf.Timestamp".into(),
        other => other.to_string(),
    }
}

impl Extension<'_> {
    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Authorization(authorization) => authorization.type_name(),
        }
    }
}

impl From<bool> for CelValue<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for CelValue<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl<'a> From<&'a str> for CelValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }
}
