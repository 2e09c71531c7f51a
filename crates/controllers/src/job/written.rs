//! The states of jobs that were written and that the cache may not show yet.
//!
//! A pod that ended leaves the cache's sum only when the status that counts it is seen. Between the two, a job that is read
//! from the cache would look as if a pod were missing, and would get another.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_client::ObjectKey;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use parking_lot::Mutex;

use crate::common::uid;

#[derive(Default)]
pub(super) struct Written(Mutex<HashMap<ObjectKey, Arc<Job>>>);

impl Written {
    pub fn keep(&self, key: &ObjectKey, job: Job) {
        self.0.lock().insert(key.clone(), Arc::new(job));
    }

    /// The cached state, or the written one while the cache is behind it.
    pub fn newest(&self, key: &ObjectKey, cached: Arc<Job>) -> Arc<Job> {
        let mut jobs = self.0.lock();
        match jobs.get(key) {
            Some(job) if uid(&**job) == uid(&*cached) && revision(job) > revision(&cached) => job.clone(),
            Some(_) => {
                jobs.remove(key);
                cached
            }
            None => cached,
        }
    }

    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

/// Resource versions of one kind are numbers that grow.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>
fn revision(job: &Job) -> u64 {
    job.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
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
