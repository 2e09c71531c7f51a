//! GET of one object: the stored bytes as they are.

use http::StatusCode;

use crate::cache;
use crate::context::{Answer, Context};
use crate::version::in_version;

/// `metadata.resourceVersion` of the query means "not older than". Without it the cache has
/// whatever any client was told of; see `freshness`.
pub(super) fn get(cx: &Context<'_>) -> Answer {
    let (wanted, newest) = (cx.query.revision()?, cx.storage().caches.revision());
    if wanted > newest {
        return Err(cache::too_large(wanted, newest));
    }
    cx.object(StatusCode::OK, in_version(&cx.target.kind, cx.current()?.json()), &[])
}
