//! What becomes of a claim.

use std::sync::Arc;

use coracle_matching::annotations::{BIND_COMPLETED, BOUND_BY_CONTROLLER, SELECTED_NODE};
use coracle_matching::claims::{Search, claim_of, class_of_claim, find, is_bound_to, satisfies};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use super::{BY_CLAIM, Binder, FREE, key_of, named_volume, shown};
use crate::common::uid;
use crate::volumes::classes::{of_claim, waits_for_consumer};

impl Binder {
    pub(super) async fn sync_claim(&self, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        match claim.annotations().contains_key(BIND_COMPLETED) {
            true => self.sync_bound_claim(claim).await,
            false => self.sync_unbound_claim(claim).await,
        }
    }

    async fn sync_unbound_claim(&self, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        match named_volume(claim) {
            None => self.choose_volume(claim).await,
            Some(name) => self.take_named_volume(claim, name).await,
        }
    }

    /// Binds a claim that may have any volume, or sees to it that one is made.
    async fn choose_volume(&self, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        let waits = of_claim(&self.classes.store(), claim).is_some_and(|class| waits_for_consumer(&class));
        let search = Search { node: None, only_meant: waits };
        if let Some(volume) = find(claim, self.candidates(claim)?, search) {
            return self.bind(&volume, claim).await;
        }
        if self.assign_default_class(claim).await? {
            // The claim comes again with its class.
            return Ok(());
        }
        if waits && !claim.annotations().contains_key(SELECTED_NODE) {
            self.tell_of_waiting(claim);
        } else if !class_of_claim(claim).is_empty() {
            return self.provision(claim).await;
        } else {
            let text = "no persistent volumes available for this claim and no storage class is set";
            self.tell_claim(claim, "FailedBinding", text);
        }
        self.set_claim_phase(claim, "Pending").await.map(drop)
    }

    /// Volumes that a claim could have: those that are for it, and those of its class that are free.
    fn candidates(&self, claim: &PersistentVolumeClaim) -> kube::Result<Vec<Arc<PersistentVolume>>> {
        let volumes = self.volumes.store();
        let meant = volumes.by_index(BY_CLAIM, &shown(claim))?;
        let free = volumes.by_index(FREE, class_of_claim(claim))?;
        Ok(meant.into_iter().chain(free).map(|volume| self.writer.newest_volume(volume)).collect())
    }

    /// Binds a claim that names its volume, if it can have it.
    async fn take_named_volume(&self, claim: &PersistentVolumeClaim, name: &str) -> kube::Result<()> {
        let Some(volume) = self.volume(name) else {
            return self.set_claim_phase(claim, "Pending").await.map(drop);
        };
        match claim_of(&volume) {
            None => match satisfies(&volume, claim) {
                Ok(()) => return self.bind(&volume, claim).await,
                Err(why) => {
                    let text = format!("Cannot bind to requested volume {name:?}: {why}");
                    self.warn_claim(claim, "VolumeMismatch", &text);
                }
            },
            Some(_) if is_bound_to(&volume, claim) => return self.bind(&volume, claim).await,
            Some(other) => {
                if claim.annotations().contains_key(BOUND_BY_CONTROLLER) {
                    // Somebody took away what says that the binding was done.
                    tracing::warn!(claim = shown(claim), volume = name, other = %key_of(other), "a claim is bound to a volume that another claim has");
                    return Ok(());
                }
                let text = format!("volume {name:?} already bound to a different claim.");
                self.warn_claim(claim, "FailedBinding", &text);
            }
        }
        self.set_claim_phase(claim, "Pending").await.map(drop)
    }

    /// A claim that was bound stays so as long as both name each other.
    async fn sync_bound_claim(&self, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        let Some(name) = named_volume(claim) else {
            let text = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
            return self.lose(claim, "ClaimLost", text).await;
        };
        let Some(volume) = self.volume(name) else {
            let text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
            return self.lose(claim, "ClaimLost", text).await;
        };
        match claim_of(&volume).map(|other| other.uid.as_deref().unwrap_or_default()) {
            None => self.bind(&volume, claim).await,
            Some(other) if other == uid(claim) => self.bind(&volume, claim).await,
            Some(_) => {
                let text = "Two claims are bound to the same volume, this one is bound incorrectly";
                self.lose(claim, "ClaimMisbound", text).await
            }
        }
    }

    async fn lose(&self, claim: &PersistentVolumeClaim, reason: &str, text: &str) -> kube::Result<()> {
        if self.set_claim_phase(claim, "Lost").await? {
            self.warn_claim(claim, reason, text);
        }
        Ok(())
    }
}
