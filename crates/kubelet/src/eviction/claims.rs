//! Directories that were made for claims, on a node whose file system does not keep count of them: a pod that fills one beyond
//! what was claimed takes the room of others, and is evicted.
//!
//! What it wrote stays, as a claim outlives its pods. So the next pod is evicted only when it writes more: one that cleans up may.

use std::collections::HashMap;

use coracle_api::quantity::Quantity as Amount;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::Api;

use super::limits::Excess;
use crate::kubelet::Kubelet;
use crate::quantity::value;
use crate::stats::disk::PodDisk;
use crate::stats::volumes::Place;

/// Most volumes of which is remembered what was found in them.
const MAX: usize = 4096;

/// How many bytes were found, by volume, when a pod was evicted for them.
#[derive(Default)]
pub(super) struct Claims(HashMap<String, u64>);

impl Claims {
    /// The first claim of a pod that is exceeded.
    pub(super) async fn excess(&mut self, k: &Kubelet, disk: &PodDisk) -> Option<Excess> {
        for volume in &disk.volumes {
            let (Place::Claimed(room), Some(claim)) = (volume.place, &volume.claim) else { continue };
            let used = volume.usage.used;
            // A claim may have grown since its volume was set up.
            if !self.is_due(&claim.volume, used, room) {
                continue;
            }
            let Some(room) = capacity(k, &claim.volume).await else { continue };
            if self.is_due(&claim.volume, used, room) {
                self.note(&claim.volume, used);
                let limit = Amount::from_bytes(i64::try_from(room).unwrap_or(i64::MAX)).to_string();
                let message =
                    format!("Usage of PersistentVolumeClaim volume {:?} exceeds the limit {limit:?}. ", volume.name);
                return Some(("persistentvolumeclaimfs.limit", message));
            }
        }
        None
    }

    /// Whether more is in a volume than was claimed, and than was found there before.
    fn is_due(&mut self, volume: &str, used: u64, room: u64) -> bool {
        if used <= room {
            self.0.remove(volume);
        }
        used > self.0.get(volume).copied().unwrap_or(0).max(room)
    }

    fn note(&mut self, volume: &str, used: u64) {
        if self.0.len() >= MAX {
            self.0.clear();
        }
        self.0.insert(volume.to_owned(), used);
    }
}

/// What a volume has now, if the API server says so.
async fn capacity(k: &Kubelet, volume: &str) -> Option<u64> {
    let volume = Api::<PersistentVolume>::all(k.client.clone()).get(volume).await.ok()?;
    let capacity = volume.spec?.capacity?;
    u64::try_from(value(capacity.get("storage")?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_is_exceeded_ends_a_pod_and_the_next_one_only_when_it_writes_more() {
        let mut claims = Claims::default();
        assert!(!claims.is_due("v", 100, 100) && claims.is_due("v", 101, 100));
        claims.note("v", 150);
        assert!(!claims.is_due("v", 150, 100) && !claims.is_due("v", 120, 100) && claims.is_due("v", 151, 100));
        // Who cleaned up begins anew.
        assert!(!claims.is_due("v", 90, 100) && claims.is_due("v", 110, 100));
    }
}
