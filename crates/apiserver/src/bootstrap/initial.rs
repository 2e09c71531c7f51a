//! Objects that a cluster has from its first second, and its owner may remove.

use anyhow::{Result, anyhow};
use coracle_api::{kinds, meta};
use futures::future::try_join_all;
use serde_json::Value;

use super::{ensure, failed};
use crate::admission::SYSTEM_NAMESPACES;
use crate::objects::Objects;

/// Makes them if the cluster is new. They come before the namespaces by which that is known, so that a start that is cut
/// short begins anew.
///
/// # Errors
/// One is of no kind that there is, or the store refuses.
pub(super) async fn make(objects: &Objects, initial: Vec<Value>) -> Result<()> {
    if initial.is_empty() || !is_new(objects)? {
        return Ok(());
    }
    // Side by side, so that the disk syncs once.
    let made = initial.into_iter().map(|object| async move {
        let (group, version) = meta::api_version(&object).split_once('/').unwrap_or(("", meta::api_version(&object)));
        let kind = kinds::by_kind(group, version, meta::kind(&object))
            .ok_or_else(|| anyhow!("a new cluster cannot begin with {object}: there is no such kind"))?;
        ensure(objects, group, version, &kind.plural, object.clone()).await
    });
    try_join_all(made).await.map(drop)
}

fn is_new(objects: &Objects) -> Result<bool> {
    let kind = kinds::by_resource("", "v1", "namespaces").ok_or_else(|| anyhow!("there are no namespaces"))?;
    let cache = objects.storage.cache(kind).map_err(|status| failed("namespaces", &status))?;
    let has = |name: &str| cache.get(name).is_ok_and(|found| found.is_some());
    Ok(!SYSTEM_NAMESPACES.into_iter().any(has))
}
