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

/// UIDs of pods, by the job that they belong to.
#[derive(Default)]
pub(super) struct Removals(Mutex<HashMap<ObjectKey, HashSet<String>>>);

impl Removals {
    pub fn expect(&self, key: &ObjectKey, pod: &Pod) {
        self.0.lock().entry(key.clone()).or_default().insert(uid(pod).to_owned());
    }

    /// The cache shows the pod without its finalizer, or the finalizer could not be removed.
    pub fn settled(&self, key: &ObjectKey, pod: &Pod) {
        let mut all = self.0.lock();
        if let Some(uids) = all.get_mut(key) {
            uids.remove(uid(pod));
            if uids.is_empty() {
                all.remove(key);
            }
        }
    }

    pub fn of(&self, key: &ObjectKey) -> HashSet<String> {
        self.0.lock().get(key).cloned().unwrap_or_default()
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
