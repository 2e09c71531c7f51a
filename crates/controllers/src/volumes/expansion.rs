//! Claims that ask for more than they have. All volumes grow by whoever made them; this says so.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims>

use coracle_client::Store;
use coracle_client::{Event, EventType, Informer};
use coracle_matching::claims::{capacity, claim_of, requested};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use crate::common::{Context, uid};
use crate::run::Cache;

const WAITING: &str = "Ignoring the PVC: didn't find a plugin capable of expanding the volume; waiting for an external controller to process this PVC.";

/// Runs until its caches end, which they do not.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let claims: Informer<PersistentVolumeClaim> = context.informers.all();
    let volumes: Informer<PersistentVolume> = context.informers.all();
    volumes.filled().await;
    let (recorder, store) = (context.recorder("volume_expand"), volumes.store());
    claims.subscribe(move |event| {
        let claim = match event {
            Event::Added(claim) => claim,
            Event::Updated { old, new } if requested(new) > requested(old) => new,
            _ => return,
        };
        if grows(claim, &store) {
            recorder.event(&**claim, EventType::Normal, "ExternalExpanding", WAITING);
        }
    });
    std::future::pending().await
}

/// Whether a claim asks for more than its volume has.
fn grows(claim: &PersistentVolumeClaim, volumes: &Store<PersistentVolume>) -> bool {
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
    volumes.get("", name).is_some_and(|volume| {
        let is_its = claim_of(&volume).and_then(|other| other.uid.as_deref()) == Some(uid(claim));
        is_its && requested(claim) > capacity(&volume)
    })
}
