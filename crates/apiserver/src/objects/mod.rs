//! The objects of the cluster, and the one path of all writes to them, whoever makes them: requests, and the server itself.

mod delete;
mod write;

use std::sync::Arc;

use coracle_api::status::Status;
use serde_json::Value;

use crate::admission::{Admission, Request, ResourceQuota};
use crate::operation::Operation;
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
        let quotas = ResourceQuota::new(storage.clone(), admission.counts_quotas);
        Objects { storage, services, admission, quotas }
    }

    /// Lets admission change and refuse what is sent to a subresource and not stored, as an eviction.
    pub async fn admit(&self, op: &Operation, sent: &mut Value) -> Result<(), Status> {
        let request = Request::new(op, None);
        self.admission.admit(&request, sent).await?;
        self.admission.validate(&request, sent).await
    }
}
