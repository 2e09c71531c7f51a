//! The claims of a pod, by whether they have a volume.

use std::sync::Arc;

use coracle_matching::annotations::BIND_COMPLETED;
use coracle_matching::claims::{class_of_claim, is_for_pod, of_pod};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;

use super::Volumes;

/// The claims of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodClaims {
    /// They have a volume.
    pub bound: Vec<Arc<PersistentVolumeClaim>>,
    /// Their volume is chosen or made along with the node.
    pub waiting: Vec<Arc<PersistentVolumeClaim>>,
}

impl Volumes {
    /// The claims of a pod; `None` when it has none.
    ///
    /// # Errors
    /// Why no node can take it for now.
    pub fn claims_of(&self, pod: &Pod) -> Result<Option<PodClaims>, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let (mut found, mut is_unbound, mut any) = (PodClaims::default(), false, false);
        for used in of_pod(pod) {
            any = true;
            let name = &used.name;
            let Some(claim) = self.claims.get(namespace, name) else {
                return Err(match used.is_ephemeral {
                    true => {
                        format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
                    }
                    false => format!("persistentvolumeclaim {name:?} not found"),
                });
            };
            check(pod, &claim, used.is_ephemeral)?;
            if is_bound(&claim) {
                found.bound.push(claim);
            } else if named_volume(&claim).is_none() && self.waits(&claim) {
                found.waiting.push(claim);
            } else {
                is_unbound = true;
            }
        }
        match is_unbound {
            true => Err("pod has unbound immediate PersistentVolumeClaims".into()),
            false => Ok(any.then_some(found)),
        }
    }

    /// Whether a claim's volume is chosen along with the node.
    fn waits(&self, claim: &PersistentVolumeClaim) -> bool {
        let class = self.classes.get("", class_of_claim(claim));
        class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
    }
}

fn check(pod: &Pod, claim: &PersistentVolumeClaim, is_ephemeral: bool) -> Result<(), String> {
    let name = claim.name_any();
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase == Some("Lost") {
        let volume = named_volume(claim).unwrap_or_default();
        return Err(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    if is_ephemeral { is_for_pod(pod, claim) } else { Ok(()) }
}

/// Whether binder and claim are done with each other.
pub(crate) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    named_volume(claim).is_some() && claim.annotations().contains_key(BIND_COMPLETED)
}

/// The volume that a claim names.
pub(crate) fn named_volume(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}
