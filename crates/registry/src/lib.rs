//! A registry of images, as the OCI distribution specification has it, for one host: what a local cluster's nodes pull from and
//! what is pushed there.
//!
//! Owns: the HTTP API (pull, push, discovery of tags and repositories, deletion), blobs by digest in a directory, and the removal
//! of what no manifest names. Never: decides who may write; who serves a connection says so by [`Access`]. Nothing is
//! replaced in place and every blob is checked against its digest before it has a name, so a process that is killed leaves
//! nothing half made that anybody sees.
//!
//! ```text
//! DIR/blobs/sha256/HEX               blobs and manifests
//! DIR/repositories/NAME/layers/HEX   a blob that the repository has; empty
//! DIR/repositories/NAME/manifests/HEX  a manifest that it has, with its media type
//! DIR/repositories/NAME/tags/TAG     the digest that a tag names
//! DIR/uploads/ID                     what has come of a blob
//! ```
//! A repository's `/` is written `+`, which no name has.
//!
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>
#![forbid(unsafe_code)]

mod answer;
mod blobs;
mod error;
mod lists;
mod manifest;
mod manifests;
mod names;
mod route;
mod serve;
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod uploads;

pub use answer::Access;
pub use error::Error;
pub use names::{Digest, is_repository, is_tag};
pub use serve::{serve, serve_connection};
pub use store::{Config, Registry, Room};
