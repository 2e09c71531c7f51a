//! The objects of the cluster, and the one path of all writes to them, whoever makes them: requests, and the server itself.

mod delete;
mod unchanged;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::status::Status;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::admission::{Admission, Request, ResourceQuota};
use crate::conversion::Conversions;
use crate::operation::Operation;
use crate::services::Allocator;
use crate::storage::Storage;
use crate::version::between;

pub(crate) use delete::{Deleted, Options as DeleteOptions, check_preconditions};

/// Objects whose checks take long that are checked at the same time.
const SLOW: usize = 2;

/// Attempts at a write that others are faster than.
pub(crate) const ATTEMPTS: usize = 16;

/// Makes, changes and deletes objects.
pub(crate) struct Objects {
    pub storage: Arc<Storage>,
    pub services: Allocator,
    pub conversions: Arc<Conversions>,
    admission: Admission,
    quotas: ResourceQuota,
    /// Held by who checks an object whose checks take long.
    slow: Semaphore,
}

impl Objects {
    /// On a storage, under the rules of admission.
    pub fn new(
        storage: Arc<Storage>,
        services: Allocator,
        conversions: Arc<Conversions>,
        admission: Admission,
    ) -> Objects {
        let quotas = ResourceQuota::new(storage.clone(), admission.counts_quotas);
        Objects { storage, services, conversions, admission, quotas, slow: Semaphore::new(SLOW) }
    }

    /// Lets admission change and refuse what is sent to a subresource and not stored, as an eviction.
    pub async fn admit(&self, op: &Operation, sent: &mut Value) -> Result<(), Status> {
        let request = Request::new(op, None);
        self.admission.admit(&request, sent).await?;
        self.admission.validate(&request, sent).await
    }
}

/// What is not stored now, in the version of the request.
fn shown_anew(op: &Operation, object: &Value) -> Result<Bytes, Status> {
    let object = between(op.worked(), &op.kind, object.clone());
    serde_json::to_vec(&object).map(Bytes::from).map_err(Status::internal)
}
