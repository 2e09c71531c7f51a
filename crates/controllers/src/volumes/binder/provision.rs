//! Volumes that are made for a claim, by whom its class names.
//! <https://kubernetes.io/docs/concepts/storage/dynamic-provisioning/>

use coracle_matching::annotations::{BETA_STORAGE_PROVISIONER, STORAGE_PROVISIONER};
use coracle_matching::claims::class_of_claim;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use super::Binder;
use crate::volumes::classes::{default_class, of_claim};

impl Binder {
    /// Asks the provisioner of the claim's class for a volume.
    pub(super) async fn provision(&self, claim: &PersistentVolumeClaim) -> kube::Result<()> {
        let Some(class) = of_claim(&self.classes.store(), claim) else {
            let text = format!("storageclass.storage.k8s.io {:?} not found", class_of_claim(claim));
            self.warn_claim(claim, "ProvisioningFailed", &text);
            return self.set_claim_phase(claim, "Pending").await.map(drop);
        };
        let provisioner = class.provisioner.as_str();
        if provisioner.starts_with("kubernetes.io/") {
            let text = format!("no volume plugin matched name: {provisioner}");
            self.warn_claim(claim, "ProvisioningFailed", &text);
            return self.set_claim_phase(claim, "Pending").await.map(drop);
        }
        self.ask(claim, provisioner).await?;
        let text = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        self.tell_claim(claim, "ExternalProvisioning", &text);
        Ok(())
    }

    async fn ask(&self, claim: &PersistentVolumeClaim, provisioner: &str) -> kube::Result<()> {
        let mut asked = claim.clone();
        let annotations = asked.metadata.annotations.get_or_insert_default();
        for name in [BETA_STORAGE_PROVISIONER, STORAGE_PROVISIONER] {
            annotations.insert(name.into(), provisioner.into());
        }
        if asked != *claim {
            self.writer.write_claim(&asked).await?;
        }
        Ok(())
    }

    /// Gives a claim that names no class the default one, which may have come after it. Returns whether it did.
    pub(super) async fn assign_default_class(&self, claim: &PersistentVolumeClaim) -> kube::Result<bool> {
        let has_class = claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_some());
        if has_class || !class_of_claim(claim).is_empty() {
            return Ok(false);
        }
        let Some(class) = default_class(&self.classes.store()) else { return Ok(false) };
        let mut assigned = claim.clone();
        assigned.spec.get_or_insert_default().storage_class_name = Some(class.name_any());
        self.writer.write_claim(&assigned).await?;
        Ok(true)
    }
}
