//! What fits what: nodes to node selectors, tolerations to taints, volumes to claims, and what pods take of a node.
//!
//! Controllers, scheduler and kubelet have to agree on these, so each is here once, as a function of objects. Nothing here
//! does I/O or keeps state.
#![forbid(unsafe_code)]

pub mod amounts;
pub mod annotations;
pub mod claims;
pub mod nodes;
pub mod pods;
pub mod taints;
