//! One pass over a job: look at its pods, make or delete some, and count those that ended.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_client::{EventType, ObjectKey, is_not_found};
use coracle_metrics::Counter;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, PostParams};

use super::JobController;
use super::backoff::Record;
use super::conditions::{self, SUSPENDED};
use super::observed::{Observed, as_i32};
use super::outcome::{Outcome, decide, seconds_left};
use super::plan::{Plan, plan};
use super::removals::remove_finalizer;
use super::template;
use super::tracking::{count_released, is_all_counted, nonzero, note};
use crate::common::{is_deleting, is_namespace_terminating, is_ready, namespace_of, now, secs, uid};
use crate::metrics::METRICS;
use crate::pod_control::{create_pod, delete_pod, slow_start};

/// Requests about pods of a job that are under way at once.
const CONCURRENCY: usize = 64;

/// What a pass did to the job's pods.
#[derive(Default)]
struct Managed {
    created: i32,
    deleted: i32,
    deleted_ready: i32,
    /// When there is more to do.
    again: Option<Duration>,
    error: Option<kube::Error>,
}

impl Managed {
    /// What upstream calls such a pass, for the metrics.
    fn action(&self) -> &'static str {
        match self {
            Managed { created: 1.., .. } => "pods_created",
            Managed { deleted: 1.., .. } => "pods_deleted",
            _ => "reconciling",
        }
    }
}

/// Whether a job's pods have numbers.
fn completion_mode(job: &Job) -> &str {
    let mode = job.spec.as_ref().and_then(|spec| spec.completion_mode.as_deref());
    mode.unwrap_or("NonIndexed")
}

/// Tells the metrics of pods that the status has counted now and had not before.
fn count_pods(job: &Job, status: &JobStatus) {
    let before = job.status.clone().unwrap_or_default();
    for (result, before, now) in
        [("succeeded", before.succeeded, status.succeeded), ("failed", before.failed, status.failed)]
    {
        let more = now.unwrap_or(0).saturating_sub(before.unwrap_or(0));
        if let Ok(more @ 1..) = u64::try_from(more) {
            METRICS.job_pods_finished.with([completion_mode(job), result], |counter| counter.add(more));
        }
    }
}

impl JobController {
    /// Brings a job that has not ended closer to its end. Returns when it is to be looked at again, if by the clock.
    pub(super) async fn sync(
        &self,
        key: &ObjectKey,
        job: &Job,
        pods: Vec<Arc<Pod>>,
        settled: bool,
    ) -> anyhow::Result<Option<Duration>> {
        let (began, mut action) = (Instant::now(), "reconciling");
        let done = self.pass(key, job, pods, settled, &mut action).await;
        let labels = [action, completion_mode(job), if done.is_ok() { "success" } else { "error" }];
        METRICS.job_syncs.with(labels, Counter::inc);
        METRICS.job_sync_durations.with(labels, |duration| duration.observe_since(began));
        done
    }

    async fn pass(
        &self,
        key: &ObjectKey,
        job: &Job,
        pods: Vec<Arc<Pod>>,
        settled: bool,
        action: &mut &'static str,
    ) -> anyhow::Result<Option<Duration>> {
        let observed = Observed::of(job, pods, self.removals.of(key, uid(job)));
        let mut status = job.status.clone().unwrap_or_default();
        if !observed.wanted.suspended {
            status.start_time.get_or_insert_with(now);
        }
        let record = self.records.get(key, uid(job)).with(&observed.new_succeeded, &observed.new_failed);
        let time = Timestamp::now();
        let mut outcome = decide(job, &status, &observed, time);
        let mut managed = Managed::default();
        if outcome.is_some() {
            managed = self.delete_active(job, &observed).await;
            // What the cache does not show, or what would not go, may still be counted.
            if !settled || as_i32(observed.active.len()) != managed.deleted {
                outcome = None;
            }
        } else {
            let manages = settled && !is_deleting(job);
            if manages {
                managed = self.manage(key, job, &observed, plan(&observed, record, time)).await;
            }
            if is_complete(&observed, active(&observed, &managed)) {
                outcome = Some(Outcome::completed());
            } else if manages {
                self.suspend_or_resume(job, &mut status, observed.wanted.suspended, time);
            }
        }
        *action = managed.action();
        status.active = nonzero(active(&observed, &managed));
        status.ready = Some(observed.ready().saturating_sub(managed.deleted_ready).max(0));
        status.terminating = Some(observed.terminating.saturating_add(managed.deleted));
        let again = [managed.again, seconds_left(&status, &observed, time).map(|left| secs(left.max(1)))];
        self.track(key, job, status, &observed, outcome, record).await?;
        let again = again.into_iter().flatten().min();
        match managed.error {
            Some(error) if !is_namespace_terminating(&error) => {
                // The deadline comes also while pods cannot be made.
                again.into_iter().for_each(|delay| self.queue.add_after(key.clone(), delay));
                Err(error.into())
            }
            _ => Ok(again),
        }
    }

    async fn manage(&self, key: &ObjectKey, job: &Job, observed: &Observed, plan: Plan) -> Managed {
        let mut managed = Managed { again: plan.wait, ..Managed::default() };
        if !plan.delete.is_empty() {
            return self.delete_surplus(key, job, &plan.delete).await;
        }
        if plan.create.is_empty() {
            return managed;
        }
        let per_index = observed.wanted.backoff_limit_per_index.is_some();
        self.expectations.expect(key, uid(job), plan.create.len(), []);
        let (created, error) = slow_start(plan.create.len(), |n| {
            let pod = match plan.create.get(n).copied().flatten() {
                Some(index) => {
                    template::indexed_pod(job, index, per_index, observed.to_replace.get(&index).map(|pod| &**pod))
                }
                None => template::pod(job),
            };
            async move { create_pod(&self.client, &self.recorder, job, &pod).await }
        })
        .await;
        self.expectations.lower(key, plan.create.len().saturating_sub(created));
        managed.created = as_i32(created);
        managed.error = error;
        managed
    }

    /// Deletes pods that the job has no use for. They are not to be counted as failed, so their finalizer goes first.
    async fn delete_surplus(&self, key: &ObjectKey, job: &Job, pods: &[Arc<Pod>]) -> Managed {
        self.expectations.expect(key, uid(job), 0, pods.iter().map(|pod| uid(&**pod).to_owned()));
        let delete = |pod: Arc<Pod>| async move {
            let outcome = match remove_finalizer(&self.client, &pod).await {
                Ok(()) => delete_pod(&self.client, &self.recorder, job, &pod).await,
                Err(error) => Err(error),
            };
            if !matches!(outcome, Ok(true)) {
                self.expectations.deletion_observed(key, uid(&*pod));
            }
            (pod, outcome)
        };
        sum(stream::iter(pods.iter().cloned()).map(delete).buffer_unordered(CONCURRENCY).collect().await)
    }

    /// Deletes the pods of a job that has come to its end; they keep their finalizer until they are counted.
    async fn delete_active(&self, job: &Job, observed: &Observed) -> Managed {
        let delete = |pod: Arc<Pod>| async move {
            let outcome = delete_pod(&self.client, &self.recorder, job, &pod).await;
            (pod, outcome)
        };
        sum(stream::iter(observed.active.iter().cloned()).map(delete).buffer_unordered(CONCURRENCY).collect().await)
    }

    fn suspend_or_resume(&self, job: &Job, status: &mut JobStatus, suspended: bool, time: Timestamp) {
        let words = if suspended { ("JobSuspended", "Job suspended") } else { ("JobResumed", "Job resumed") };
        if !conditions::set(status, SUSPENDED, suspended, words, time) {
            return;
        }
        let reason = if suspended { "Suspended" } else { "Resumed" };
        self.recorder.event(job, EventType::Normal, reason, words.1);
        if !suspended {
            // The deadline is for the time in which the job may run.
            status.start_time = Some(now());
        }
    }

    /// Notes what has ended, writes it, removes finalizers, and counts. Once nothing is left, the job has ended.
    async fn track(
        &self,
        key: &ObjectKey,
        job: &Job,
        mut status: JobStatus,
        observed: &Observed,
        outcome: Option<Outcome>,
        record: Record,
    ) -> anyhow::Result<()> {
        let time = Timestamp::now();
        let mut tracked: HashSet<String> = observed
            .pods
            .iter()
            .filter(|pod| observed.is_to_be_counted(pod))
            .map(|pod| uid(&**pod).to_owned())
            .collect();
        count_released(&mut status, &tracked);
        let noted = note(&mut status, job, observed, outcome.as_ref());
        if let Some(outcome) = &outcome {
            let words = (outcome.reason.as_str(), outcome.message.as_str());
            conditions::set(&mut status, outcome.interim_condition(), true, words, time);
        }
        let written = self.write_status(key, job, &status).await?;
        // With a limit for each index, failed pods stay and would be counted again.
        if observed.wanted.backoff_limit_per_index.is_none() {
            self.records.set(key, uid(job), record);
        }
        let (released, failure) = self.release(key, uid(job), &noted.release).await;
        tracked.retain(|uid| !released.contains(uid));
        count_released(&mut status, &tracked);
        let ended = outcome.filter(|_| {
            failure.is_none() && !noted.full && is_all_counted(&status) && status.terminating.unwrap_or(0) == 0
        });
        if let Some(outcome) = &ended {
            let words = (outcome.reason.as_str(), outcome.message.as_str());
            conditions::set(&mut status, outcome.final_condition(), true, words, time);
            // One that was suspended from its beginning may end without a run.
            status.start_time.get_or_insert_with(now);
            if outcome.succeeds {
                status.completion_time.get_or_insert_with(now);
            }
        }
        self.write_status(key, &written, &status).await?;
        count_pods(job, &status);
        if let Some(outcome) = ended {
            self.tell_end(job, &status, &outcome);
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    fn tell_end(&self, job: &Job, status: &JobStatus, outcome: &Outcome) {
        let result = if outcome.succeeds { "succeeded" } else { "failed" };
        METRICS.jobs_finished.with([completion_mode(job), &outcome.reason, result], Counter::inc);
        if !outcome.succeeds {
            return self.recorder.event(job, EventType::Warning, &outcome.reason, outcome.message.as_str());
        }
        let completions = job.spec.as_ref().and_then(|spec| spec.completions);
        if completions.is_some_and(|completions| status.succeeded.unwrap_or(0) > completions) {
            let text = "Too many succeeded pods running after completion count reached";
            self.recorder.event(job, EventType::Warning, "TooManySucceededPods", text);
        }
        self.recorder.event(job, EventType::Normal, "Completed", "Job completed");
    }

    /// Removes the finalizers of pods; returns the UIDs of those without, and the first failure.
    async fn release(&self, key: &ObjectKey, job: &str, pods: &[Arc<Pod>]) -> (HashSet<String>, Option<kube::Error>) {
        pods.iter().for_each(|pod| self.removals.expect(key, job, pod));
        let release = |pod: Arc<Pod>| async move {
            let outcome = remove_finalizer(&self.client, &pod).await;
            if outcome.is_err() {
                self.removals.settled(key, &pod);
            }
            outcome.map(|()| uid(&*pod).to_owned())
        };
        let outcomes: Vec<kube::Result<String>> =
            stream::iter(pods.iter().cloned()).map(release).buffer_unordered(CONCURRENCY).collect().await;
        let mut failure = None;
        let released =
            outcomes.into_iter().filter_map(|outcome| outcome.map_err(|error| failure.get_or_insert(error)).ok());
        let released = released.collect();
        (released, failure)
    }

    /// Writes a status that differs, over the state that it was made from.
    async fn write_status(&self, key: &ObjectKey, job: &Job, status: &JobStatus) -> kube::Result<Job> {
        if *status == normal(job.status.clone().unwrap_or_default()) {
            return Ok(job.clone());
        }
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace_of(job));
        let new = Job { status: Some(status.clone()), ..job.clone() };
        match api.replace_status(&job.name_any(), &PostParams::default(), &new).await {
            Ok(written) => {
                self.written.keep(key, written.clone());
                Ok(written)
            }
            // A job that is gone counts nothing.
            Err(error) if is_not_found(&error) => Ok(job.clone()),
            Err(error) => Err(error),
        }
    }
}

/// A status as passes make it, so that one that says the same is not written.
fn normal(mut status: JobStatus) -> JobStatus {
    status.uncounted_terminated_pods.get_or_insert_default();
    for counter in [&mut status.active, &mut status.succeeded, &mut status.failed] {
        *counter = counter.filter(|count| *count != 0);
    }
    status.conditions = status.conditions.filter(|all| !all.is_empty());
    status
}

/// How many pods are active after what a pass did.
fn active(observed: &Observed, managed: &Managed) -> i32 {
    as_i32(observed.active.len()).saturating_add(managed.created).saturating_sub(managed.deleted)
}

fn is_complete(observed: &Observed, active: i32) -> bool {
    active == 0
        && match observed.wanted.completions {
            Some(completions) => observed.succeeded >= completions,
            None => observed.succeeded > 0,
        }
}

/// What deletions came to. A pod that was gone already counts as deleted.
fn sum(outcomes: Vec<(Arc<Pod>, kube::Result<bool>)>) -> Managed {
    let mut managed = Managed::default();
    for (pod, outcome) in outcomes {
        match outcome {
            Ok(_) => {
                managed.deleted = managed.deleted.saturating_add(1);
                managed.deleted_ready = managed.deleted_ready.saturating_add(i32::from(is_ready(&pod)));
            }
            Err(error) => managed.error = managed.error.or(Some(error)),
        }
    }
    managed
}
