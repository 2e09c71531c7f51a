//! Finalizers that keep an object while it is used.

use kube::{Resource, ResourceExt};

use crate::common::is_deleting;

/// What an object misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// It is not protected yet: it was there before the protection.
    Finalizer,
    /// It is deleted, and only waits until nobody uses it.
    End,
}

/// What there is to do for an object; nothing for most.
pub(super) fn wants<K: Resource>(object: &K, finalizer: &str) -> Option<Wants> {
    let has = object.meta().finalizers.iter().flatten().any(|other| other == finalizer);
    match (is_deleting(object), has) {
        (true, true) => Some(Wants::End),
        (false, false) => Some(Wants::Finalizer),
        _ => None,
    }
}

/// The object with the finalizer.
pub(super) fn with<K: Resource + Clone>(object: &K, finalizer: &str) -> K {
    let mut object = object.clone();
    object.finalizers_mut().push(finalizer.to_owned());
    object
}

/// The object without the finalizer.
pub(super) fn without<K: Resource + Clone>(object: &K, finalizer: &str) -> K {
    let mut object = object.clone();
    object.finalizers_mut().retain(|other| other != finalizer);
    object
}
