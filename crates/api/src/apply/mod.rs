//! Server-side apply: who owns which fields of an object, and how a configuration that somebody applies is merged.
//!
//! Every write but an apply goes through [`update()`], an apply through [`apply()`]. Both are pure. Specified in KEP-555
//! and in Kubernetes' documentation of server-side apply; they behave as structured-merge-diff v6 and apimachinery's
//! `managedfields` do.

pub mod applied;
mod builtin;
mod cap;
pub mod compare;
mod configuration;
pub mod conflict;
pub mod created;
pub mod element;
pub mod fields_v1;
mod items;
mod last_applied;
pub mod managed;
pub mod manager;
pub mod mask;
pub mod merge;
pub mod node;
mod prune;
pub mod remove;
pub mod reset;
pub mod scale;
pub mod set;
mod unowned;
mod update;
pub mod validate;
pub mod versions;

pub use builtin::Builtin;
pub use configuration::apply;
pub use reset::Reset;
pub use unowned::merge_unowned;
pub use update::{Live, Writer, is_too_long, update, update_text};
