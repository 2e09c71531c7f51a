//! Makes the default roles and bindings that are missing, and completes those that lack something.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use coracle_api::status::Status;
use coracle_api::{Kind, kinds, meta};
use serde_json::Value;

use crate::authz::bootstrap::{Plan, binding_plan, objects, role_plan};
use crate::authz::rbac::GROUP;
use crate::objects::{DeleteOptions, Objects};
use crate::operation::{Operation, Verb};
use crate::storage;

/// Attempts at an object that others change at the same time.
const ATTEMPTS: usize = 4;

/// Makes and completes all of them.
///
/// # Errors
/// The store refuses.
pub(super) async fn run(cluster: &Objects) -> Result<()> {
    let all = objects().into_iter().map(|object| ensure(cluster, object));
    futures::future::try_join_all(all).await.map(drop)
}

async fn ensure(cluster: &Objects, expected: Value) -> Result<()> {
    let kind = kinds::by_kind(GROUP, "v1", meta::kind(&expected)).ok_or_else(|| anyhow!("a role's kind is missing"))?;
    for _ in 0..ATTEMPTS {
        match attempt(cluster, kind, &expected).await {
            Ok(()) => return Ok(()),
            // The next attempt must see what others have done.
            Err(status) if matches!(status.code, 404 | 409) => {
                cluster.storage.freshen().await.map_err(|status| failed(&expected, &status.message))?;
            }
            Err(status) => return Err(failed(&expected, &status.message)),
        }
    }
    Err(failed(&expected, "others change it at the same time"))
}

fn failed(expected: &Value, why: &str) -> anyhow::Error {
    anyhow!("failed to make the default {} {:?}: {why}", meta::kind(expected), meta::name(expected))
}

async fn attempt(cluster: &Objects, kind: &Arc<Kind>, expected: &Value) -> Result<(), Status> {
    let namespace = Some(meta::namespace(expected)).filter(|namespace| !namespace.is_empty());
    let key = storage::key(namespace, meta::name(expected));
    let Some(existing) = cluster.storage.cache(kind)?.get(&key)? else {
        return cluster.create(&Operation::by_server(kind, Verb::Create), expected.clone()).await.map(drop);
    };
    let existing = existing.value();
    let plan = match &*kind.kind {
        "Role" | "ClusterRole" => role_plan(&existing, expected),
        _ => binding_plan(&existing, expected),
    };
    match plan {
        Plan::Keep => Ok(()),
        // It names the version it was made of: a change meanwhile is a conflict.
        Plan::Update(new) => {
            let mut make = |_: &Value| Ok(new.clone());
            cluster.update(&Operation::by_server(kind, Verb::Update), &key, &mut make).await.map(drop)
        }
        Plan::Replace => {
            let options = DeleteOptions { uid: Some(meta::uid(&existing).into()), ..DeleteOptions::default() };
            cluster.delete(&Operation::by_server(kind, Verb::Delete), &key, &options).await?;
            cluster.create(&Operation::by_server(kind, Verb::Create), expected.clone()).await.map(drop)
        }
    }
}
