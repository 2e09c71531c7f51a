//! Deletes jobs some time after they ended, with their pods, when they ask for it by `ttlSecondsAfterFinished`.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/>

use std::time::Duration;

use coracle_client::{Event, ObjectKey, WorkQueue, is_conflict, is_not_found};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams, Preconditions, PropagationPolicy};

use crate::common::{Context, is_deleting};
use crate::job::conditions::finished;
use crate::metrics::METRICS;
use crate::run::reconcile_all;

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let (jobs, queue) = (context.jobs(), WorkQueue::named("ttl_jobs_to_delete"));
    let changed = queue.clone();
    jobs.subscribe(move |event| {
        if let Event::Added(job) | Event::Updated { new: job, .. } = event
            && left(job, Timestamp::now()).is_some()
        {
            changed.add(ObjectKey::of(&**job));
        }
    });
    let (cached, client) = (jobs.store(), context.client);
    reconcile_all(&[&jobs], &queue, 5, move |key: ObjectKey| {
        let job = cached.get_key(&key);
        let api: Api<Job> = Api::namespaced(client.clone(), &key.namespace);
        async move {
            match job.and_then(|job| left(&job, Timestamp::now())) {
                None => Ok(None),
                Some(Duration::ZERO) => delete_expired(&api, &key.name).await,
                Some(left) => Ok(Some(left)),
            }
        }
    })
    .await
}

/// Deletes a job whose time is over also by what the server knows of it: it may have been given more.
async fn delete_expired(api: &Api<Job>, name: &str) -> kube::Result<Option<Duration>> {
    let Some(job) = api.get_opt(name).await? else { return Ok(None) };
    match left(&job, Timestamp::now()) {
        Some(Duration::ZERO) => {}
        other => return Ok(other),
    }
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions {
            uid: job.metadata.uid.clone(),
            resource_version: job.metadata.resource_version.clone(),
        }),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => {
            if let Some(since) = expired(&job) {
                METRICS.job_deletions.observe(Timestamp::now().duration_since(since).as_secs_f64().max(0.0));
            }
            Ok(None)
        }
        // Its change comes through the informer.
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How long a job that ended is kept; `None` when it is not deleted at all, or is already.
fn left(job: &Job, now: Timestamp) -> Option<Duration> {
    let until = expired(job).filter(|_| !is_deleting(job))?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// When the time of a job that ended is over.
fn expired(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let ended = finished(job)?.last_transition_time.as_ref()?.0;
    ended.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(ttl: Value, condition: &str) -> Job {
        let conditions = json!([{"type": condition, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let spec = json!({"ttlSecondsAfterFinished": ttl, "template": {}});
        serde_json::from_value(json!({"spec": spec, "status": {"conditions": conditions}})).unwrap()
    }

    #[test]
    fn the_time_counts_from_the_end() {
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        assert_eq!(left(&job(json!(30), "Failed"), now), Some(Duration::from_secs(20)));
        assert_eq!(left(&job(json!(10), "Complete"), now), Some(Duration::ZERO));
        assert_eq!(left(&job(json!(0), "Complete"), now), Some(Duration::ZERO));
        assert_eq!(left(&job(Value::Null, "Complete"), now), None);
        assert_eq!(left(&job(json!(0), "SuccessCriteriaMet"), now), None, "it has not ended yet");
    }
}
