//! GET of one object: the stored bytes as they are.

use http::StatusCode;

use crate::cache;
use crate::context::{Answer, Context};

/// `metadata.resourceVersion` of the query means "not older than". The cache is fed by the one process that writes, before
/// its writers are answered, so it has whatever a client can know of; a store that others write to would have to be asked.
pub(super) fn get(cx: &Context<'_>) -> Answer {
    let (wanted, newest) = (cx.query.revision()?, cx.storage().caches.revision());
    if wanted > newest {
        return Err(cache::too_large(wanted, newest));
    }
    cx.object(StatusCode::OK, cx.current()?.json(), &[])
}
