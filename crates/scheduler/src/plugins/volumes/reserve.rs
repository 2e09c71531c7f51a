//! What follows once a node is chosen: claims and volumes are taken for what they will be, written, and waited for.

use std::sync::Arc;
use std::time::Duration;

use super::Volumes;
use super::claims::{is_bound, named_volume};
use super::decide::Decisions;
use coracle_client::{ObjectKey, replace_claim, replace_volume};
use coracle_matching::annotations::SELECTED_NODE;
use coracle_matching::claims::{bound_to, claim_of, is_reachable};
use coracle_matching::nodes::Place;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{Client, ResourceExt};

/// What was taken for a pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Reserved {
    /// Volumes as they will be bound.
    volumes: Vec<Arc<PersistentVolume>>,
    /// Claims with the node for which their volumes will be made.
    claims: Vec<Arc<PersistentVolumeClaim>>,
    /// All claims that have to be bound before the pod is.
    wanted: Vec<ObjectKey>,
}

impl Volumes {
    /// Takes volumes and claims for what they will be, so that the next pod gets others.
    pub fn reserve(&self, pod: &str, decisions: &Decisions, node: &str) {
        let mut reserved = Reserved::default();
        for (claim, volume) in &decisions.bind {
            reserved.wanted.push(ObjectKey::of(&**claim));
            if let Some(bound) = bound_to(volume, claim).map(Arc::new) {
                self.volumes.assume(bound.clone());
                reserved.volumes.push(bound);
            }
        }
        for claim in &decisions.provision {
            reserved.wanted.push(ObjectKey::of(&**claim));
            let mut selected = (**claim).clone();
            selected.annotations_mut().insert(SELECTED_NODE.into(), node.to_owned());
            let selected = Arc::new(selected);
            self.claims.assume(selected.clone());
            reserved.claims.push(selected);
        }
        if !reserved.wanted.is_empty() {
            self.reserved.lock().insert(pod.to_owned(), reserved);
        }
    }

    /// Whether something was taken for a pod.
    pub fn has_reserved(&self, pod: &str) -> bool {
        self.reserved.lock().contains_key(pod)
    }

    /// Gives back what was taken, as the pod does not go there.
    pub fn unreserve(&self, pod: &str) {
        let Some(reserved) = self.reserved.lock().remove(pod) else { return };
        reserved.volumes.iter().for_each(|volume| self.volumes.forget(&ObjectKey::of(&**volume)));
        reserved.claims.iter().for_each(|claim| self.claims.forget(&ObjectKey::of(&**claim)));
    }

    /// Writes what was taken for a pod, and waits until its claims are bound.
    ///
    /// # Errors
    /// A write failed, somebody undid one, or it took too long. What was taken is given back then.
    pub async fn bind(&self, client: &Client, pod: &str, node: Place<'_>, timeout: Duration) -> Result<(), String> {
        let Some(reserved) = self.reserved.lock().get(pod).cloned() else { return Ok(()) };
        let binding = async {
            self.write(client, &reserved).await?;
            self.until_bound(&reserved, node).await
        };
        let bound = tokio::time::timeout(timeout, binding).await;
        let bound = bound.unwrap_or_else(|_| Err("context deadline exceeded".into()));
        match &bound {
            Ok(()) => drop(self.reserved.lock().remove(pod)),
            Err(_) => self.unreserve(pod),
        }
        bound
    }

    async fn write(&self, client: &Client, reserved: &Reserved) -> Result<(), String> {
        for volume in &reserved.volumes {
            let written = replace_volume(client.clone(), volume).await;
            self.volumes.assume(Arc::new(written.map_err(|error| error.to_string())?));
        }
        for claim in reserved.claims.iter().filter(|claim| self.is_to_be_written(claim)) {
            let written = replace_claim(client.clone(), claim).await;
            self.claims.assume(Arc::new(written.map_err(|error| error.to_string())?));
        }
        Ok(())
    }

    async fn until_bound(&self, reserved: &Reserved, node: Place<'_>) -> Result<(), String> {
        loop {
            let mut next = std::pin::pin!(self.changed.notified());
            next.as_mut().enable();
            if self.are_bound(reserved, node)? {
                return Ok(());
            }
            next.await;
        }
    }

    /// Whether a claim does not name its node yet.
    fn is_to_be_written(&self, claim: &PersistentVolumeClaim) -> bool {
        let key = ObjectKey::of(claim);
        let known = self.claims.store().get_key(&key);
        known.is_none_or(|known| known.annotations().get(SELECTED_NODE) != claim.annotations().get(SELECTED_NODE))
    }

    fn are_bound(&self, reserved: &Reserved, node: Place<'_>) -> Result<bool, String> {
        for volume in &reserved.volumes {
            let name = volume.name_any();
            let now = self.volumes.get("", &name).ok_or_else(|| format!("persistentvolume {name:?} not found"))?;
            let is_meant = claim_of(&now).is_some_and(|claim| claim.uid.as_deref().is_some_and(|uid| !uid.is_empty()));
            if !is_meant {
                return Err(format!("ClaimRef got reset for pv {name:?}"));
            }
        }
        for claim in &reserved.claims {
            self.is_on_its_way(claim, node)?;
        }
        let is_done =
            |key: &ObjectKey| self.claims.get(&key.namespace, &key.name).is_some_and(|claim| is_bound(&claim));
        Ok(reserved.wanted.iter().all(is_done))
    }

    /// Whoever makes the volume says by taking the node away that it cannot.
    fn is_on_its_way(&self, claim: &PersistentVolumeClaim, node: Place<'_>) -> Result<(), String> {
        let (key, name) = (ObjectKey::of(claim), claim.name_any());
        let now = self.claims.get(&key.namespace, &key.name);
        let now = now.ok_or_else(|| format!("persistentvolumeclaim {name:?} not found"))?;
        if now.annotations().get(SELECTED_NODE).is_none_or(|selected| selected != node.name) {
            return Err(format!("provisioning failed for PVC {name:?}"));
        }
        let volume = named_volume(&now).and_then(|volume| self.volumes.get("", volume));
        match volume.filter(|volume| !is_reachable(volume, node)) {
            Some(volume) => Err(format!("pv {:?} node affinity doesn't match node {:?}", volume.name_any(), node.name)),
            None => Ok(()),
        }
    }
}
