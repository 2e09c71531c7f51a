//! What the binder tells of claims and volumes.

use coracle_client::EventType::{Normal, Warning};
use coracle_matching::claims::of_pod;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use super::Binder;
use crate::common::{BY_NODE, is_terminal};

impl Binder {
    pub(super) fn tell_claim(&self, claim: &PersistentVolumeClaim, reason: &str, text: &str) {
        self.recorder.event(claim, Normal, reason, text);
    }

    pub(super) fn warn_claim(&self, claim: &PersistentVolumeClaim, reason: &str, text: &str) {
        self.recorder.event(claim, Warning, reason, text);
    }

    pub(super) fn warn_volume(&self, volume: &PersistentVolume, reason: &str, text: &str) {
        self.recorder.event(volume, Warning, reason, text);
    }

    /// One of the two is a file system, and the other a block device.
    pub(super) fn tell_mode_mismatch(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) {
        let text = format!(
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim {:?} due to incompatible volumeMode.",
            claim.name_any()
        );
        self.warn_volume(volume, "VolumeMismatch", &text);
        let text = format!(
            "Cannot bind PersistentVolume {:?} to requested PersistentVolumeClaim due to incompatible volumeMode.",
            volume.name_any()
        );
        self.warn_claim(claim, "VolumeMismatch", &text);
    }

    /// Which pods a claim waits for, if there are any that wait themselves.
    pub(super) fn tell_of_waiting(&self, claim: &PersistentVolumeClaim) {
        let pods = self.waiting_pods(claim);
        match pods.as_slice() {
            [] => {
                let text = "waiting for first consumer to be created before binding";
                self.tell_claim(claim, "WaitForFirstConsumer", text);
            }
            [pod] => {
                self.tell_claim(claim, "WaitForPodScheduled", &format!("waiting for pod {pod} to be scheduled"));
            }
            pods => {
                let text = format!("waiting for pods {} to be scheduled", pods.join(","));
                self.tell_claim(claim, "WaitForPodScheduled", &text);
            }
        }
    }

    /// Pods without a node that use a claim.
    fn waiting_pods(&self, claim: &PersistentVolumeClaim) -> Vec<String> {
        let mut pods = self.pods.store().by_index(BY_NODE, "").unwrap_or_default();
        pods.retain(|pod| pod.namespace() == claim.namespace() && !is_terminal(pod));
        pods.retain(|pod| of_pod(pod).any(|used| used.name == claim.name_any()));
        pods.iter().map(|pod| pod.name_any()).collect()
    }
}
