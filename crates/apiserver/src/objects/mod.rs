//! The objects of the cluster, and the one path of all writes to them, whoever makes them: requests, and the server itself.

mod delete;
mod write;

use std::sync::Arc;

use crate::admission::{Admission, ResourceQuota};
use crate::services::Allocator;
use crate::storage::Storage;

pub(crate) use delete::{Deleted, Options as DeleteOptions, check_preconditions};

/// Attempts at a write that others are faster than.
pub(crate) const ATTEMPTS: usize = 16;

/// Makes, changes and deletes objects.
pub(crate) struct Objects {
    pub storage: Arc<Storage>,
    pub services: Allocator,
    admission: Admission,
    quotas: ResourceQuota,
}

impl Objects {
    /// On a storage, under the rules of admission.
    pub fn new(storage: Arc<Storage>, services: Allocator, admission: Admission) -> Objects {
        let quotas = ResourceQuota::new(storage.clone());
        Objects { storage, services, admission, quotas }
    }
}
