//! What a Job asks for, with the defaults that the API server fills in.

use k8s_openapi::api::batch::v1::Job;

/// The numbers and switches of a Job's spec.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// How many pods run side by side at most.
    pub parallelism: i32,
    /// How many pods must succeed; `None` when one success of any is enough.
    pub completions: Option<i32>,
    /// Whether each completion has an index.
    pub indexed: bool,
    pub suspended: bool,
    pub backoff_limit: i32,
    /// The same for each index.
    pub backoff_limit_per_index: Option<i32>,
    pub max_failed_indexes: Option<i32>,
    pub active_deadline_seconds: Option<i64>,
    /// Whether a pod that is being deleted is replaced only once it has ended.
    pub replaces_only_failed: bool,
    /// Whether containers are restarted in their pod, which then counts restarts as failures.
    pub restarts_on_failure: bool,
}

impl Wanted {
    pub fn of(job: &Job) -> Wanted {
        let spec = job.spec.clone().unwrap_or_default();
        let restart_policy = spec.template.spec.and_then(|pod| pod.restart_policy);
        let indexed = spec.completion_mode.as_deref() == Some("Indexed");
        Wanted {
            parallelism: spec.parallelism.unwrap_or(1).max(0),
            completions: spec.completions.map(|n| n.max(0)).or(indexed.then_some(0)),
            indexed,
            suspended: spec.suspend.unwrap_or(false),
            backoff_limit: spec.backoff_limit.unwrap_or(6),
            backoff_limit_per_index: spec.backoff_limit_per_index.filter(|_| indexed),
            max_failed_indexes: spec.max_failed_indexes,
            active_deadline_seconds: spec.active_deadline_seconds,
            replaces_only_failed: spec.pod_failure_policy.is_some()
                || spec.pod_replacement_policy.as_deref() == Some("Failed"),
            restarts_on_failure: restart_policy.as_deref() == Some("OnFailure"),
        }
    }

    /// Whether an index is one of the job's.
    pub fn has_index(&self, index: i32) -> bool {
        index >= 0 && self.completions.is_none_or(|completions| index < completions)
    }
}
