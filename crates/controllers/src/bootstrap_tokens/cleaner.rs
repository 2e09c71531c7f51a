//! Deletes tokens that have expired.

use coracle_client::{Event, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::Api;

use super::{Left, NAMESPACE, left, secrets};
use crate::common::{Context, delete_exactly};
use crate::run::reconcile_all;

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let queue: WorkQueue<String> = WorkQueue::named("token_cleaner");
    let secrets = secrets(&context);
    let changed = queue.clone();
    secrets.subscribe(move |event| {
        if let Event::Added(secret) | Event::Updated { new: secret, .. } = event {
            changed.add(secret.name_any());
        }
    });
    secrets.start();
    let (tokens, api): (_, Api<Secret>) = (secrets.store(), Api::namespaced(context.client, NAMESPACE));
    reconcile_all(&[&secrets], &queue, 1, move |name| {
        let (secret, api) = (tokens.get(NAMESPACE, &name), api.clone());
        async move {
            let Some(secret) = secret else { return Ok(None) };
            match left(&secret, Timestamp::now()) {
                Left::Always => return Ok(None),
                Left::Some(left) => return Ok(Some(left)),
                Left::None => {}
            }
            // Of a token that was made anew meanwhile, nothing is known.
            delete_exactly(&api, &*secret).await.map(|_| None)
        }
    })
    .await
}
