//! Deletes the objects of a definition that has been deleted, and then lets it go.

use std::sync::{Arc, Weak};
use std::time::Duration;

use coracle_api::status::Status;
use coracle_api::strategy::crd::{CLEANUP, condition};
use coracle_api::{Kind, meta};
use futures::StreamExt;
use serde_json::Value;

use super::definitions;
use crate::objects::{DeleteOptions, Objects};
use crate::operation::{Operation, Part, Verb};

/// Deletions at once: the store writes them together.
const AT_ONCE: usize = 64;
/// How long to wait for a change before looking again.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until the definition may go, or the server is dropped. Objects with finalizers are waited for.
pub(super) async fn run(objects: Weak<Objects>, name: String, stored: Option<Arc<Kind>>) {
    let mut told = false;
    loop {
        let Some(objects) = objects.upgrade() else { return };
        let left = match &stored {
            Some(kind) => delete_all(&objects, kind).await,
            None => Ok(0),
        };
        let done = match left {
            Ok(0) => finish(&objects, &name).await,
            Ok(_) if told => Ok(false),
            Ok(_) => {
                told = true;
                let message = "CustomResource deletion is in progress";
                tell(&objects, &name, "InstanceDeletionInProgress", message).await.map(|()| false)
            }
            Err(status) => Err(status),
        };
        match done {
            Ok(true) => return,
            Ok(false) => {}
            Err(status) if status.code == 404 => return,
            Err(status) => tracing::warn!("failed to clean up after {name}: {}", status.message),
        }
        let changed = stored.as_ref().and_then(|kind| objects.storage.caches.of(kind)).map(|cache| cache.subscribe());
        drop(objects);
        match changed {
            Some(mut changed) => drop(tokio::time::timeout(AGAIN, changed.changed()).await),
            None => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Begins to delete all objects; how many are still there.
async fn delete_all(objects: &Arc<Objects>, kind: &Arc<Kind>) -> Result<usize, Status> {
    let Some(cache) = objects.storage.caches.of(kind) else { return Ok(0) };
    let snapshot = cache.snapshot();
    let keys: Vec<String> = snapshot
        .range("", None)
        .filter(|object| !meta::is_deleting(&object.value()))
        .map(|object| object.key().to_owned())
        .collect();
    drop(snapshot);
    let deletions = keys.into_iter().map(|key| {
        let (objects, op) = (objects.clone(), Operation::by_server(kind, Verb::Delete));
        async move { objects.delete(&op, &key, &DeleteOptions::default()).await }
    });
    let mut deletions = futures::stream::iter(deletions).buffer_unordered(AT_ONCE);
    while let Some(deleted) = deletions.next().await {
        match deleted {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(cache.snapshot().len())
}

async fn tell(objects: &Arc<Objects>, name: &str, reason: &str, message: &str) -> Result<(), Status> {
    let mut make = |current: &Value| {
        let mut new = current.clone();
        condition::set(&mut new, "Terminating", true, reason, message);
        Ok(new)
    };
    objects.update(&Operation::status_by_server(definitions()), name, &mut make).await.map(|_| ())
}

/// Takes the finalizer off the definition.
async fn finish(objects: &Arc<Objects>, name: &str) -> Result<bool, Status> {
    let mut make = |current: &Value| {
        let mut new = current.clone();
        let finalizers: Vec<&str> = meta::finalizers(current).into_iter().filter(|other| *other != CLEANUP).collect();
        meta::set_finalizers(&mut new, &finalizers);
        condition::set(&mut new, "Terminating", false, "InstanceDeletionCompleted", "removed all instances");
        Ok(new)
    };
    let op = Operation::by_server(definitions(), Verb::Update).part(Part::Whole);
    objects.update(&op, name, &mut make).await.map(|_| true)
}
