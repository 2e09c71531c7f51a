//! What is done with a volume whose claim is gone.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#reclaiming>

use std::sync::Arc;

use coracle_matching::annotations::MIGRATED_TO;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt;

use super::Binder;
use super::volume::{is_provisioned, reclaim_policy};
use crate::common::is_deleting;

impl Binder {
    pub(super) async fn reclaim(&self, volume: &Arc<PersistentVolume>) -> kube::Result<()> {
        if volume.annotations().contains_key(MIGRATED_TO) || is_deleting(&**volume) {
            return Ok(());
        }
        match reclaim_policy(volume) {
            "Retain" => Ok(()),
            // Who made it deletes it.
            "Delete" if is_provisioned(volume) => Ok(()),
            "Delete" => {
                let text = format!(
                    "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
                    volume.name_any()
                );
                self.fail(volume, "VolumeFailedDelete", &text).await
            }
            "Recycle" => self.fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!").await,
            _ => {
                let text = "Volume has an unrecognized PersistentVolumeReclaimPolicy";
                self.fail(volume, "VolumeUnknownReclaimPolicy", text).await
            }
        }
    }

    async fn fail(&self, volume: &Arc<PersistentVolume>, reason: &str, text: &str) -> kube::Result<()> {
        let is_new = coracle_matching::claims::phase(volume) != "Failed";
        self.set_volume_phase(volume, "Failed", text).await?;
        if is_new {
            self.warn_volume(volume, reason, text);
        }
        Ok(())
    }
}
