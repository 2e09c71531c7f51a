//! Removes volumes whose claims are gone.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#delete>

use anyhow::Result;
use coracle_client::{EventType, is_not_found};
use coracle_matching::claims::{is_reachable, phase};
use coracle_matching::nodes::Place;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams, Preconditions};

use super::volume::{self, FINALIZER};
use super::{Provisioner, directory};

impl Provisioner {
    pub(super) async fn sync_volume(&self, name: &str) -> Result<()> {
        let Some(volume) = self.volumes.store().get("", name) else { return Ok(()) };
        if !volume::is_ours(&volume) || !self.is_here(&volume) {
            return Ok(());
        }
        let (is_kept, is_finalized) = (!deletes(&volume), has_finalizer(&volume));
        let is_deleting = volume.metadata.deletion_timestamp.is_some();
        if is_kept {
            // What is in the directory outlives the volume.
            return if is_finalized { self.let_go(&volume).await } else { Ok(()) };
        }
        if phase(&volume) != "Released" {
            return if is_finalized || is_deleting { Ok(()) } else { self.hold(&volume).await };
        }
        if is_deleting && !is_finalized {
            return Ok(());
        }
        // The cache may be behind somebody who gave the volume to another claim.
        match self.volumes_api().get_opt(name).await? {
            Some(now) if now.metadata.uid == volume.metadata.uid && phase(&now) == "Released" && deletes(&now) => {
                self.delete(&now).await
            }
            _ => Ok(()),
        }
    }

    /// Removes the directory first: as long as it is there, so is the volume, and nobody forgets it.
    async fn delete(&self, volume: &PersistentVolume) -> Result<()> {
        let name = volume.name_any();
        if let Err(error) = self.remove_directory(volume).await {
            self.recorder.event(volume, EventType::Warning, "VolumeFailedDelete", error.to_string());
            return Err(error.into());
        }
        if volume.metadata.deletion_timestamp.is_none() {
            let exactly = Preconditions { uid: volume.metadata.uid.clone(), resource_version: None };
            let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
            match self.volumes_api().delete(&name, &params).await {
                Err(error) if is_not_found(&error) => return Ok(()),
                done => drop(done?),
            }
        }
        // Its revision is another one by now.
        match self.volumes_api().get_opt(&name).await? {
            Some(now) if now.metadata.uid == volume.metadata.uid && has_finalizer(&now) => self.let_go(&now).await,
            _ => Ok(()),
        }
    }

    async fn remove_directory(&self, volume: &PersistentVolume) -> std::io::Result<()> {
        let path = volume.spec.as_ref().and_then(|spec| Some(spec.local.as_ref()?.path.as_str())).unwrap_or_default();
        // Where it was made may be elsewhere by now, but it had the volume's name.
        if std::path::Path::new(path).file_name() != Some(volume.name_any().as_ref()) {
            return Err(directory::foreign(path, &volume.name_any()));
        }
        self.directories.remove(&volume.name_any()).await
    }

    /// Whether the volume's directory is on this node.
    pub(super) fn is_here(&self, volume: &PersistentVolume) -> bool {
        self.node().is_some_and(|node| is_reachable(volume, Place { name: &self.node_name, labels: node.labels() }))
    }

    async fn hold(&self, volume: &PersistentVolume) -> Result<()> {
        let mut held = volume.clone();
        held.finalizers_mut().push(FINALIZER.into());
        self.volumes_api().replace(&held.name_any(), &PostParams::default(), &held).await?;
        Ok(())
    }

    async fn let_go(&self, volume: &PersistentVolume) -> Result<()> {
        let mut free = volume.clone();
        free.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
        match self.volumes_api().replace(&free.name_any(), &PostParams::default(), &free).await {
            Err(error) if is_not_found(&error) => Ok(()),
            done => Ok(done.map(drop)?),
        }
    }

    /// Removes a directory that never became a volume: the claim went before, or the provisioner was killed. What holds anything
    /// is left, as it may be of a volume that was to be retained.
    pub(super) async fn remove_leftover(&self, name: &str) -> Result<()> {
        let is_wanted = || self.claims.store().list().iter().any(|claim| volume::name(claim) == *name);
        if !self.directories.has(name) || self.volumes.store().get("", name).is_some() || is_wanted() {
            return Ok(());
        }
        if self.volumes_api().get_opt(name).await?.is_none() {
            self.directories.remove_empty(name).await?;
        }
        Ok(())
    }
}

fn deletes(volume: &PersistentVolume) -> bool {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy == Some("Delete")
}

fn has_finalizer(volume: &PersistentVolume) -> bool {
    volume.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}
