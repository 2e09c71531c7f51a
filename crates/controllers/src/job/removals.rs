//! Finalizers of pods that were removed, until the cache shows it: such a pod is counted and not to be counted again.

use std::collections::{HashMap, HashSet};

use coracle_client::{ObjectKey, is_not_found};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::pod::{TRACKING, is_tracked};
use crate::common::{namespace_of, uid};

/// UIDs of pods, by the job that they belong to and with its UID: another job of the name has other pods.
#[derive(Default)]
pub(super) struct Removals(Mutex<HashMap<ObjectKey, (String, HashSet<String>)>>);

impl Removals {
    pub fn expect(&self, key: &ObjectKey, job: &str, pod: &Pod) {
        let mut all = self.0.lock();
        let (owner, pods) = all.entry(key.clone()).or_default();
        if owner != job {
            *owner = job.to_owned();
            pods.clear();
        }
        pods.insert(uid(pod).to_owned());
    }

    /// The cache shows the pod without its finalizer, or the finalizer could not be removed.
    pub fn settled(&self, key: &ObjectKey, pod: &Pod) {
        let mut all = self.0.lock();
        if let Some((_, pods)) = all.get_mut(key) {
            pods.remove(uid(pod));
            if pods.is_empty() {
                all.remove(key);
            }
        }
    }

    pub fn of(&self, key: &ObjectKey, job: &str) -> HashSet<String> {
        let all = self.0.lock();
        all.get(key).filter(|(owner, _)| owner == job).map(|(_, pods)| pods.clone()).unwrap_or_default()
    }

    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

/// Removes the finalizer of a pod. One that is gone has none any more.
pub(super) async fn remove_finalizer(client: &Client, pod: &Pod) -> kube::Result<()> {
    if !is_tracked(pod) {
        return Ok(());
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace_of(pod));
    let patch = json!({"metadata": {"uid": uid(pod), "$deleteFromPrimitiveList/finalizers": [TRACKING]}});
    match api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Err(error) if is_not_found(&error) => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::pod;
    use super::*;

    #[test]
    fn another_job_of_the_name_has_other_pods() {
        let (removals, key) = (Removals::default(), ObjectKey::new("n", "j"));
        let (first, second) = (pod("a", None, "Succeeded"), pod("b", None, "Succeeded"));
        removals.expect(&key, "1", &first);
        assert_eq!((removals.of(&key, "1").len(), removals.of(&key, "2").len()), (1, 0));
        removals.expect(&key, "2", &second);
        assert_eq!(removals.of(&key, "2"), HashSet::from([uid(&*second).to_owned()]));
        removals.settled(&key, &second);
        assert!(removals.0.lock().is_empty());
    }
}
