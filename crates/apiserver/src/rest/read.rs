//! GET of one object: the stored bytes as they are.

use http::StatusCode;

use super::{Answer, Context};
use crate::cache;

/// `metadata.resourceVersion` of the query means "not older than"; the cache always has the newest.
pub(super) fn get(cx: &Context<'_>) -> Answer {
    let (wanted, newest) = (cx.query.revision()?, cx.cache()?.revision());
    if wanted > newest {
        return Err(cache::too_large(wanted, newest));
    }
    cx.object(StatusCode::OK, cx.current()?.bytes.clone(), &[])
}
