//! GET of one object: the stored bytes as they are.

use coracle_api::status::Status;
use http::StatusCode;

use crate::cache;
use crate::context::{Answer, Context};
use crate::object::Object;
use crate::version::in_version;

/// `metadata.resourceVersion` of the query means "not older than". Without it the cache has
/// whatever any client was told of; see `freshness`.
pub(super) fn get(cx: &Context<'_>) -> Answer {
    let object = found(cx)?;
    cx.object(StatusCode::OK, in_version(&cx.target.kind, object.json()), &[])
}

/// The same of a kind that a webhook may convert.
pub(super) async fn converted(cx: &Context<'_>) -> Answer {
    let (object, kind) = (found(cx)?, &cx.target.kind);
    cx.conversions().objects(kind, std::slice::from_ref(&object)).await?;
    let shown = object.version(kind).filter(|_| kind.webhook.is_some());
    let bytes = shown.map_or_else(|| in_version(kind, object.json()), |shown| shown.json());
    cx.object(StatusCode::OK, bytes, &[])
}

fn found(cx: &Context<'_>) -> Result<Object, Status> {
    let (wanted, newest) = (cx.query.revision()?, cx.storage().caches.revision());
    if wanted > newest {
        return Err(cache::too_large(wanted, newest));
    }
    cx.current()
}
