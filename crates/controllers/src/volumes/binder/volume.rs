//! What becomes of a volume.

use std::sync::Arc;

use coracle_client::ObjectKey;
use coracle_matching::annotations::PROVISIONED_BY;
use coracle_matching::claims::{claim_of, phase, same_mode};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use super::{Binder, Key, key_of, named_volume};
use crate::common::uid;

impl Binder {
    pub(super) async fn sync_volume(&self, volume: &Arc<PersistentVolume>) -> kube::Result<()> {
        // One that is meant for a claim is free until the claim takes it.
        let Some(reference) = claim_of(volume).filter(|claim| claim.uid.as_deref().is_some_and(|uid| !uid.is_empty()))
        else {
            return self.set_volume_phase(volume, "Available", "").await.map(drop);
        };
        let Some(claim) = self.living_claim(reference).await? else {
            return self.release(volume).await;
        };
        match named_volume(&claim) {
            None => {
                match same_mode(volume, &claim) {
                    true => self.queue.add(Key::Claim(ObjectKey::of(&*claim))),
                    false => self.tell_mode_mismatch(volume, &claim),
                }
                Ok(())
            }
            Some(name) if name == volume.name_any() => self.set_volume_phase(volume, "Bound", "").await.map(drop),
            // It was made for a claim that took another one, and nobody else can have it.
            Some(_) if is_provisioned(volume) && reclaim_policy(volume) == "Delete" => self.release(volume).await,
            Some(_) => self.unbind(volume).await,
        }
    }

    /// The claim that a volume is bound to, unless that is gone. Another one may have its name.
    async fn living_claim(&self, reference: &ObjectReference) -> kube::Result<Option<Arc<PersistentVolumeClaim>>> {
        let key = key_of(reference);
        let is_meant = |claim: &PersistentVolumeClaim| Some(uid(claim)) == reference.uid.as_deref();
        if let Some(claim) = self.claim(&key).filter(|claim| is_meant(claim)) {
            return Ok(Some(claim));
        }
        // The cache of claims may be behind that of volumes, and data would be lost.
        Ok(self.writer.read_claim(&key).await?.filter(is_meant).map(Arc::new))
    }

    async fn release(&self, volume: &Arc<PersistentVolume>) -> kube::Result<()> {
        let released = match phase(volume) {
            "Released" | "Failed" => volume.clone(),
            _ => self.set_volume_phase(volume, "Released", "").await?,
        };
        self.reclaim(&released).await
    }
}

/// Whether a volume was made for a claim.
pub(super) fn is_provisioned(volume: &PersistentVolume) -> bool {
    volume.annotations().contains_key(PROVISIONED_BY)
}

pub(super) fn reclaim_policy(volume: &PersistentVolume) -> &str {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy.unwrap_or("Retain")
}
