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
mod time;
pub mod urls;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::function::{Function, Overload, declare};
use crate::types::Type;

/// Every function of every library.
fn all() -> impl Iterator<Item = &'static Function> {
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

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut functions: HashMap<_, Vec<_>> = HashMap::new();
    for function in all() {
        let (name, overload) = declare(function);
        functions.entry(name).or_default().push(overload);
    }
    functions
});

/// All functions of a name.
pub(crate) fn find(name: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(name).map(Vec::as_slice)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Type;

    #[test]
    fn every_signature_of_every_library_is_well_formed() {
        for function in all() {
            let (name, overload) = declare(function);
            let wrong = overload.parameters.iter().chain([&overload.result]).any(|of| matches!(of, Type::Error));
            assert!(!wrong && function.signature.contains(" -> "), "{}", function.signature);
            assert!(!name.contains(['(', ' ', ')']), "{}", function.signature);
            let printed: Vec<_> = overload.parameters.iter().map(ToString::to_string).collect();
            assert!(printed.iter().all(|p| !p.contains(' ') || p.contains("map(")), "{printed:?}");
        }
    }
}
