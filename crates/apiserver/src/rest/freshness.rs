//! How new what a request looks at must be. A store that others write to as well tells the caches later than it answers, so
//! whoever must see the newest state first waits until the caches have it.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>

use coracle_api::status::Status;

use crate::context::Context;

/// Waits until the caches are as new as a request must find them: a read may say that any state will do, or one that is not
/// older than a revision.
///
/// # Errors
/// The store does not answer, or does not tell the caches in time.
pub(super) async fn wait(cx: &Context<'_>, verb: &str) -> Result<(), Status> {
    let is_read = matches!(verb, "get" | "list" | "watch") && cx.query.get("continue").is_none();
    match cx.query.get("resourceVersion").filter(|version| is_read && !version.is_empty()) {
        None => cx.storage().freshen().await,
        // What is no number is refused by who reads it.
        Some(version) => cx.storage().reach(version.parse().unwrap_or(0)).await,
    }
}
