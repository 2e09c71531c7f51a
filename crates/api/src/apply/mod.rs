//! Server-side apply: who owns which fields of an object, and how a configuration that somebody applies is merged.
//!
//! Specified in KEP-555 and in Kubernetes' documentation of server-side apply; behaves as structured-merge-diff v6 and
//! apimachinery's `managedfields` do.

pub mod applied;
mod builtin;
pub mod compare;
pub mod created;
pub mod element;
pub mod fields_v1;
mod items;
pub mod mask;
pub mod node;
pub mod set;

pub use builtin::Builtin;
