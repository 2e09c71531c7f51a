//! Volumes that stay: who gets which volume, what is kept as long as it is used, and how volumes grow.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/>
//!
//! The volumes themselves are made and removed by provisioners, which watch the same objects.

pub(crate) mod attach;
pub(crate) mod attributes_protection;
pub(crate) mod binder;
pub(crate) mod claim_protection;
mod classes;
pub(crate) mod ephemeral;
pub(crate) mod expansion;
mod protection;
pub(crate) mod volume_protection;
