//! The functions that expressions may call: CEL's own, cel-go's extensions and Kubernetes' libraries, a table each.

pub mod authorizer;
mod conversions;
mod durations;
pub mod format;
pub(crate) mod json_patch;
mod lists;
mod network;
mod operators;
mod optional;
mod print;
mod quantity;
pub(crate) mod regex;
mod semantic_version;
mod sets;
mod strings;
pub(crate) mod time;
pub mod urls;

use crate::function::Function;
use crate::types::Type;

/// Every function of every library.
pub(crate) fn all() -> impl Iterator<Item = &'static Function> {
    let libraries: [&'static [Function]; 18] = [
        operators::FUNCTIONS,
        conversions::FUNCTIONS,
        strings::FUNCTIONS,
        print::FUNCTIONS,
        time::FUNCTIONS,
        durations::FUNCTIONS,
        lists::FUNCTIONS,
        lists::ORDERED,
        sets::FUNCTIONS,
        optional::FUNCTIONS,
        regex::FUNCTIONS,
        urls::FUNCTIONS,
        network::FUNCTIONS,
        quantity::FUNCTIONS,
        semantic_version::FUNCTIONS,
        format::FUNCTIONS,
        authorizer::FUNCTIONS,
        json_patch::FUNCTIONS,
    ];
    libraries.into_iter().flatten()
}

/// The type that a name in an expression is, as in `type(self) == int`.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "null_type" => Type::Null,
        "type" => Type::Type,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "net.IP" => Type::Opaque("net.IP"),
        "net.CIDR" => Type::Opaque("net.CIDR"),
        "kubernetes.URL" => Type::Opaque("kubernetes.URL"),
        "kubernetes.Quantity" => Type::Opaque("kubernetes.Quantity"),
        "kubernetes.Semver" => Type::Opaque("kubernetes.Semver"),
        "kubernetes.NamedFormat" => Type::Opaque("kubernetes.NamedFormat"),
        _ => return None,
    })
}
