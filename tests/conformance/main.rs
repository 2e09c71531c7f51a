//! Tests of upstream's conformance list that are younger than the suite of `docs/conformance.md` and need a node, under
//! upstream's names.
#![allow(missing_docs, reason = "tests are no interface")]

mod container_runtime;
mod containers;
mod ephemeral_containers;
mod hosts;
mod pods;
mod probing;
mod runtime_classes;
mod subpath;
mod users;
mod variable_expansion;
