//! The states of objects that a controller wrote and that its cache may not show yet.
//!
//! Caches of two kinds are not of one moment. A job whose status counts a pod that ended, or a cron job whose status names the
//! job that was started, would without this be read from the cache as it was before, beside pods and jobs as they are now: the
//! pod would look as if it were missing, and would be made anew.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_client::ObjectKey;
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;

use crate::common::uid;

/// The last written state of each object of a kind, until the cache has it.
pub(crate) struct Written<K>(Mutex<HashMap<ObjectKey, Arc<K>>>);

impl<K> Default for Written<K> {
    fn default() -> Self {
        Written(Mutex::default())
    }
}

impl<K: Resource> Written<K> {
    /// Keeps what the server answered to a write.
    pub fn keep(&self, key: &ObjectKey, object: K) {
        self.0.lock().insert(key.clone(), Arc::new(object));
    }

    /// The cached state, or the written one while the cache is behind it.
    pub fn newest(&self, key: &ObjectKey, cached: Arc<K>) -> Arc<K> {
        let mut written = self.0.lock();
        match written.get(key) {
            Some(newer) if uid(&**newer) == uid(&*cached) && revision(&**newer) > revision(&*cached) => newer.clone(),
            Some(_) => {
                written.remove(key);
                cached
            }
            None => cached,
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

/// Resource versions of one kind are numbers that grow.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>
fn revision<K: Resource>(object: &K) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;

    use super::*;

    fn job(version: &str, uid: &str) -> Job {
        let mut job = Job::default();
        job.metadata.resource_version = Some(version.into());
        job.metadata.uid = Some(uid.into());
        job
    }

    #[test]
    fn the_newer_of_two_states_counts_and_never_one_of_another_job() {
        let (written, key) = (Written::default(), ObjectKey::new("n", "j"));
        written.keep(&key, job("10", "a"));
        assert_eq!(written.newest(&key, Arc::new(job("9", "a"))).resource_version().as_deref(), Some("10"));
        assert_eq!(written.newest(&key, Arc::new(job("9", "b"))).resource_version().as_deref(), Some("9"));
        written.keep(&key, job("10", "a"));
        assert_eq!(written.newest(&key, Arc::new(job("11", "a"))).resource_version().as_deref(), Some("11"));
    }
}
