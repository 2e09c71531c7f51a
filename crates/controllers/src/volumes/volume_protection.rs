//! Keeps a volume that is deleted as long as it is bound.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection>

use coracle_client::{Event, Informer, ObjectKey, WorkQueue};
use coracle_matching::claims::phase;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Api, PostParams};

use super::protection::{self, Wants};
use crate::common::{Context, is_outdated};
use crate::run::reconcile_all;

const FINALIZER: &str = "kubernetes.io/pv-protection";

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let (volumes, queue): (Informer<PersistentVolume>, _) = (context.informers.all(), WorkQueue::named("pvprotection"));
    let changed = queue.clone();
    volumes.subscribe(move |event| {
        if let Event::Added(volume) | Event::Updated { new: volume, .. } = event
            && changed_to(volume).is_some()
        {
            changed.add(ObjectKey::of(&**volume));
        }
    });
    let (cached, api) = (volumes.store(), Api::<PersistentVolume>::all(context.client));
    reconcile_all(&[&volumes], &queue, 2, move |key: ObjectKey| {
        let (changed, api) = (cached.get_key(&key).and_then(|volume| changed_to(&volume)), api.clone());
        async move {
            let Some(changed) = changed else { return Ok(None) };
            match api.replace(&key.name, &PostParams::default(), &changed).await {
                Err(error) if !is_outdated(&error, &["persistentvolumes"]) => Err(error),
                _ => Ok(None),
            }
        }
    })
    .await
}

/// The volume as it should be, if it is not.
fn changed_to(volume: &PersistentVolume) -> Option<PersistentVolume> {
    match protection::wants(volume, FINALIZER)? {
        Wants::Finalizer => Some(protection::with(volume, FINALIZER)),
        Wants::End if phase(volume) == "Bound" => None,
        Wants::End => Some(protection::without(volume, FINALIZER)),
    }
}
