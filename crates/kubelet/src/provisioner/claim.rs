//! Makes the volume of a claim.

use anyhow::{Context, Result};
use coracle_client::{EventType, ObjectKey};
use coracle_matching::annotations::{BETA_STORAGE_PROVISIONER, SELECTED_NODE, STORAGE_PROVISIONER};
use coracle_matching::claims::{class_of_claim, requested};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, PostParams};

use super::{PROVISIONER, Provisioner, volume};
use crate::message_of;

impl Provisioner {
    pub(super) async fn sync_claim(&self, key: &ObjectKey) -> Result<()> {
        let Some(claim) = self.claims.store().get_key(key).filter(|claim| claim.metadata.deletion_timestamp.is_none())
        else {
            return Ok(());
        };
        if named_volume(&claim).is_some() {
            return self.grow(&claim).await;
        }
        let Some(class) = self.classes.store().get("", class_of_claim(&claim)) else { return Ok(()) };
        if class.provisioner != PROVISIONER || !is_asked(&claim) {
            return Ok(());
        }
        match claim.annotations().get(SELECTED_NODE) {
            Some(node) if *node == self.node_name => self.provision(&claim, &class).await,
            Some(_) => Ok(()),
            None if class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") => Ok(()),
            None if self.selects_itself => self.select_this_node(&claim).await,
            None => Ok(()),
        }
    }

    /// Takes a claim that any node may make a volume for. Of several nodes, the first to write has it.
    async fn select_this_node(&self, claim: &PersistentVolumeClaim) -> Result<()> {
        let mut taken = claim.clone();
        taken.annotations_mut().insert(SELECTED_NODE.into(), self.node_name.clone());
        self.write_claim(&taken).await
    }

    async fn provision(&self, claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<()> {
        let name = volume::name(claim);
        if self.volumes.store().get("", &name).is_some() {
            return Ok(());
        }
        let Some(node) = self.node() else { return Ok(()) };
        if let Err(why) = volume::check(claim, class) {
            // No other node could do it either, until somebody changes the claim or its class.
            self.failed(claim, class, &why);
            return Ok(());
        }
        let shown = ObjectKey::of(claim);
        let text = format!("External provisioner is provisioning volume for claim \"{shown}\"");
        self.recorder.event(claim, EventType::Normal, "Provisioning", text);
        let dir = match self.directories.make(&name, bytes(claim)).await {
            Ok(dir) => dir,
            Err(error) => {
                self.failed(claim, class, &error.to_string());
                return Err(error).context("failed to make a volume's directory");
            }
        };
        let made = volume::of_claim(claim, class, &node, &dir);
        match self.volumes_api().create(&PostParams::default(), &made).await {
            Ok(_) => {
                let text = format!("Successfully provisioned volume {name}");
                self.recorder.event(claim, EventType::Normal, "ProvisioningSucceeded", text);
                Ok(())
            }
            // It was made before, and the cache lags behind.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            Err(error) => {
                self.failed(claim, class, &message_of(&error));
                Err(error.into())
            }
        }
    }

    fn failed(&self, claim: &PersistentVolumeClaim, class: &StorageClass, why: &str) {
        let text = format!("failed to provision volume with StorageClass {:?}: {why}", class.name_any());
        self.recorder.event(claim, EventType::Warning, "ProvisioningFailed", text);
    }

    pub(super) async fn write_claim(&self, claim: &PersistentVolumeClaim) -> Result<()> {
        self.claims_api(claim).replace(&claim.name_any(), &PostParams::default(), claim).await?;
        Ok(())
    }

    pub(super) fn claims_api(&self, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), claim.metadata.namespace.as_deref().unwrap_or_default())
    }
}

/// How many bytes a claim asks for.
pub(super) fn bytes(claim: &PersistentVolumeClaim) -> u64 {
    u64::try_from(requested(claim).value()).unwrap_or(0)
}

/// Whether the binder found no volume, and asked this provisioner for one.
fn is_asked(claim: &PersistentVolumeClaim) -> bool {
    let asked =
        [STORAGE_PROVISIONER, BETA_STORAGE_PROVISIONER].into_iter().find_map(|name| claim.annotations().get(name));
    asked.is_some_and(|provisioner| provisioner == PROVISIONER)
}

/// The volume that a claim has.
pub(super) fn named_volume(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}
