//! The steps of a binding, and back.

use std::sync::Arc;

use coracle_matching::annotations::{BIND_COMPLETED, BOUND_BY_CONTROLLER};
use coracle_matching::claims::{bound_to, claim_of, phase};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use super::{Binder, named_volume};

impl Binder {
    /// Binds a volume and a claim to each other, or finishes what somebody began.
    pub(super) async fn bind(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        let mut volume = Arc::new(volume.clone());
        if let Some(bound) = bound_to(&volume, claim) {
            volume = self.writer.write_volume(&bound).await?;
        }
        volume = self.set_volume_phase(&volume, "Bound", "").await?;
        let claim = self.name_volume(claim, &volume).await?;
        self.set_claim_bound(&claim, &volume).await
    }

    /// Lets the claim name its volume.
    async fn name_volume(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> kube::Result<Arc<PersistentVolumeClaim>> {
        let mut named = claim.clone();
        let annotations = named.metadata.annotations.get_or_insert_default();
        if named_volume(claim) != Some(&volume.name_any()) {
            named.spec.get_or_insert_default().volume_name = Some(volume.name_any());
            annotations.entry(BOUND_BY_CONTROLLER.into()).or_insert_with(|| "yes".into());
        }
        annotations.entry(BIND_COMPLETED.into()).or_insert_with(|| "yes".into());
        match named == *claim {
            true => Ok(Arc::new(named)),
            false => self.writer.write_claim(&named).await,
        }
    }

    /// Says of a claim that it is bound, and what it has of the volume. How large it is is only taken over once: later a file
    /// system may lag behind the volume that it is on.
    async fn set_claim_bound(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> kube::Result<()> {
        let spec = volume.spec.clone().unwrap_or_default();
        let mut bound = claim.clone();
        let status = bound.status.get_or_insert_default();
        status.access_modes = spec.access_modes;
        if status.phase.as_deref() != Some("Bound") {
            status.phase = Some("Bound".into());
            status.capacity = spec.capacity;
            let class = spec.volume_attributes_class_name.filter(|class| !class.is_empty());
            status.current_volume_attributes_class_name = class;
        }
        if bound != *claim {
            self.writer.write_claim_status(&bound).await?;
        }
        Ok(())
    }

    /// Says of a claim that it has no volume. Returns whether it was said before.
    pub(super) async fn set_claim_phase(&self, claim: &PersistentVolumeClaim, phase: &str) -> kube::Result<bool> {
        let mut changed = claim.clone();
        let status = changed.status.get_or_insert_default();
        let is_new = status.phase.as_deref() != Some(phase);
        status.phase = Some(phase.into());
        (status.access_modes, status.capacity) = (None, None);
        if changed != *claim {
            self.writer.write_claim_status(&changed).await?;
        }
        Ok(is_new)
    }

    /// Says what became of a volume.
    pub(super) async fn set_volume_phase(
        &self,
        volume: &Arc<PersistentVolume>,
        to: &str,
        message: &str,
    ) -> kube::Result<Arc<PersistentVolume>> {
        if phase(volume) == to {
            return Ok(volume.clone());
        }
        let mut changed = (**volume).clone();
        let status = changed.status.get_or_insert_default();
        status.phase = Some(to.into());
        status.message = Some(message.to_owned()).filter(|message| !message.is_empty());
        self.writer.write_volume_status(&changed).await
    }

    /// Takes the claim that was chosen back from a volume. Whoever made the volume for a claim of this name still wants that.
    pub(super) async fn unbind(&self, volume: &PersistentVolume) -> kube::Result<()> {
        let mut free = volume.clone();
        let chosen = free.metadata.annotations.as_mut().and_then(|all| all.remove(BOUND_BY_CONTROLLER)).is_some();
        let spec = free.spec.get_or_insert_default();
        match &mut spec.claim_ref {
            Some(claim) if !chosen => claim.uid = None,
            claim => *claim = None,
        }
        let free = self.writer.write_volume(&free).await?;
        debug_assert!(claim_of(&free).is_none_or(|claim| claim.uid.is_none()));
        self.set_volume_phase(&free, "Available", "").await.map(drop)
    }
}
