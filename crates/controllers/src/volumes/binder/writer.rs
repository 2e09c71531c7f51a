//! Writes claims and volumes, and remembers what was written until the caches show it: the binder sees each step that it
//! took.

use std::sync::Arc;

use coracle_client::ObjectKey;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use crate::common::namespace_of;
use crate::written::Written;

pub(super) struct Writer {
    client: Client,
    claims: Written<PersistentVolumeClaim>,
    volumes: Written<PersistentVolume>,
}

impl Writer {
    pub fn new(client: Client) -> Writer {
        Writer { client, claims: Written::default(), volumes: Written::default() }
    }

    pub fn newest_claim(&self, cached: Arc<PersistentVolumeClaim>) -> Arc<PersistentVolumeClaim> {
        self.claims.newest(&ObjectKey::of(&*cached), cached)
    }

    pub fn newest_volume(&self, cached: Arc<PersistentVolume>) -> Arc<PersistentVolume> {
        self.volumes.newest(&ObjectKey::of(&*cached), cached)
    }

    pub fn forget_claim(&self, key: &ObjectKey) {
        self.claims.forget(key);
    }

    pub fn forget_volume(&self, name: &str) {
        self.volumes.forget(&ObjectKey::new("", name));
    }

    /// The claim as the server has it now.
    pub async fn read_claim(&self, key: &ObjectKey) -> kube::Result<Option<PersistentVolumeClaim>> {
        Api::namespaced(self.client.clone(), &key.namespace).get_opt(&key.name).await
    }

    pub async fn write_claim(&self, claim: &PersistentVolumeClaim) -> kube::Result<Arc<PersistentVolumeClaim>> {
        let written = self.claims_of(claim).replace(&claim.name_any(), &PostParams::default(), claim).await?;
        Ok(self.keep_claim(written))
    }

    pub async fn write_claim_status(&self, claim: &PersistentVolumeClaim) -> kube::Result<Arc<PersistentVolumeClaim>> {
        let written = self.claims_of(claim).replace_status(&claim.name_any(), &PostParams::default(), claim).await?;
        Ok(self.keep_claim(written))
    }

    pub async fn write_volume(&self, volume: &PersistentVolume) -> kube::Result<Arc<PersistentVolume>> {
        let written = self.volumes().replace(&volume.name_any(), &PostParams::default(), volume).await?;
        Ok(self.keep_volume(written))
    }

    pub async fn write_volume_status(&self, volume: &PersistentVolume) -> kube::Result<Arc<PersistentVolume>> {
        let written = self.volumes().replace_status(&volume.name_any(), &PostParams::default(), volume).await?;
        Ok(self.keep_volume(written))
    }

    fn claims_of(&self, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace_of(claim))
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    fn keep_claim(&self, claim: PersistentVolumeClaim) -> Arc<PersistentVolumeClaim> {
        self.claims.keep(&ObjectKey::of(&claim), claim.clone());
        Arc::new(claim)
    }

    fn keep_volume(&self, volume: PersistentVolume) -> Arc<PersistentVolume> {
        self.volumes.keep(&ObjectKey::of(&volume), volume.clone());
        Arc::new(volume)
    }
}
