//! What a Kubernetes object is: the kinds, their field schemas, metadata, selectors, quantities, how
//! bodies are decoded, defaulted, validated, patched, converted, printed as tables and documented.
//!
//! Objects are [`serde_json::Value`]s, and only while they are being read or written. This crate
//! does no I/O, keeps no state, and never panics on any input.
#![forbid(unsafe_code)]

pub mod admission_expressions;
pub mod amounts;
pub mod apply;
pub mod awaited;
pub mod config;
pub mod conversion_review;
pub mod convert;
pub mod cron;
pub mod custom;
pub mod decode;
pub mod field;
pub mod json;
pub mod jsonpath;
pub mod kind;
pub mod kinds;
pub mod labels;
pub mod meta;
pub mod meta_validate;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod registry;
pub mod scale;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod table;

pub use coracle_values::{addresses, hollow, quantity};
pub use kind::Kind;
pub use registry::Registry;
pub use status::Status;
pub use strategy::Strategy;
