//! GET of one object: the stored bytes as they are.

use http::StatusCode;

use super::{Answer, Context};
use crate::cache;

/// `metadata.resourceVersion` of the query means "not older than"; the cache always has the newest.
pub(super) fn get(cx: &Context<'_>) -> Answer {
    if let Some(wanted) = cx.query.number("resourceVersion")? {
        let newest = cx.cache()?.revision();
        if wanted > 0 && wanted as u64 > newest {
            return Err(cache::too_large(wanted as u64, newest));
        }
    }
    cx.object(StatusCode::OK, cx.current()?.bytes.clone(), &[])
}
