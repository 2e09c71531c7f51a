//! CronJobs: make jobs by a schedule, and keep a few of those that ended.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>
//!
//! A schedule without a time zone is by UTC, which is the clock of upstream's controller manager in its usual container.

mod due;
mod run;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::cron::Schedule;
use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue, is_not_found, object_reference};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Client, ResourceExt};

use self::due::{Clock, Due, job_name};
use crate::common::*;
use crate::job::conditions::finished;
use crate::metrics::METRICS;
use crate::run::{Cache, Controller};
use crate::written::Written;

struct CronJobController {
    client: Client,
    cron_jobs: Informer<CronJob>,
    jobs: Informer<Job>,
    recorder: EventRecorder,
    written: Written<CronJob>,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = CronJobController {
        client: context.client.clone(),
        cron_jobs: context.informers.all(),
        jobs: context.jobs(),
        recorder: context.recorder("cronjob-controller"),
        written: Written::default(),
        queue: WorkQueue::named("cronjob"),
    };
    let queue = controller.queue.clone();
    controller.cron_jobs.subscribe(move |event| {
        let (Event::Added(cron_job) | Event::Updated { new: cron_job, .. } | Event::Deleted(cron_job)) = event;
        queue.add(ObjectKey::of(&**cron_job));
    });
    let (queue, owners) = (controller.queue.clone(), controller.cron_jobs.store());
    controller.jobs.subscribe(move |event| {
        let jobs = match event {
            Event::Added(job) | Event::Deleted(job) => [Some(job), None],
            Event::Updated { old, new } => [Some(old), Some(new)],
        };
        for job in jobs.into_iter().flatten() {
            let owner = controller_of(&job.metadata);
            if let Some(owner) = owner.and_then(|owner| resolve(&owners, namespace_of(&**job), owner)) {
                queue.add(ObjectKey::of(&*owner));
            }
        }
    });
    crate::run::run(Arc::new(controller)).await
}

impl Controller for CronJobController {
    type Key = ObjectKey;
    const WORKERS: usize = 5;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.cron_jobs, &self.jobs]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(cached) = self.cron_jobs.store().get_key(&key) else {
            self.written.forget(&key);
            return Ok(None);
        };
        let cron_job = self.written.newest(&key, cached);
        let jobs = self.jobs.store().by_index(BY_CONTROLLER, uid(&*cron_job))?;
        let mut pass = Pass { controller: self, cron_job: (*cron_job).clone() };
        // What was learned is written also when the next run could not be started.
        let outcome = pass.sync(&jobs).await;
        pass.clean_up(&jobs).await;
        pass.write_status(&cron_job).await?;
        outcome
    }
}

/// One look at a CronJob, whose status changes on the way.
struct Pass<'a> {
    controller: &'a CronJobController,
    cron_job: CronJob,
}

impl Pass<'_> {
    fn spec(&self) -> CronJobSpec {
        self.cron_job.spec.clone().unwrap_or_default()
    }

    fn status(&mut self) -> &mut CronJobStatus {
        self.cron_job.status.get_or_insert_default()
    }

    fn tell(&self, kind: EventType, reason: &str, message: impl Into<String>) {
        self.controller.recorder.event(&self.cron_job, kind, reason, message);
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.controller.client.clone(), namespace_of(&self.cron_job))
    }

    fn is_active(&self, uid: &str) -> bool {
        self.active().any(|job| job.uid.as_deref() == Some(uid))
    }

    fn active(&self) -> impl Iterator<Item = &k8s_openapi::api::core::v1::ObjectReference> {
        self.cron_job.status.iter().flat_map(|status| status.active.iter().flatten())
    }

    fn forget_active(&mut self, uid: &str) {
        self.status().active.iter_mut().for_each(|active| active.retain(|job| job.uid.as_deref() != Some(uid)));
    }

    async fn sync(&mut self, jobs: &[Arc<Job>]) -> anyhow::Result<Option<Duration>> {
        self.look_at_jobs(jobs);
        self.forget_missing(jobs).await?;
        let spec = self.spec();
        if is_deleting(&self.cron_job) {
            return Ok(None);
        }
        let Some(clock) = self.clock(&spec) else { return Ok(None) };
        if spec.suspend == Some(true) {
            return Ok(None);
        }
        let now = Timestamp::now();
        if let Some(due) = clock.due(&self.cron_job, now) {
            self.start(&spec, &clock, due, now).await?;
        } else if clock.until_next(&self.cron_job, now).is_none() {
            let text = format!("invalid schedule: {} : there is no such time", spec.schedule);
            self.tell(EventType::Warning, "InvalidSchedule", text);
        }
        Ok(clock.until_next(&self.cron_job, now))
    }

    /// The schedule and its zone; events say what is wrong with them.
    fn clock(&self, spec: &CronJobSpec) -> Option<Clock> {
        let zone = match spec.time_zone.as_deref().map(TimeZone::get) {
            None => TimeZone::UTC,
            Some(Ok(zone)) => zone,
            Some(Err(error)) => {
                let name = spec.time_zone.as_deref().unwrap_or_default();
                self.tell(EventType::Warning, "UnknownTimeZone", format!("invalid timeZone: {name:?}: {error}"));
                return None;
            }
        };
        match Schedule::parse(&spec.schedule) {
            Ok(schedule) => Some(Clock { schedule, zone }),
            Err(error) => {
                let text = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                self.tell(EventType::Warning, "UnparseableSchedule", text);
                None
            }
        }
    }

    /// Brings the list of active jobs, and the time of the last success, to what the jobs say.
    fn look_at_jobs(&mut self, jobs: &[Arc<Job>]) {
        for job in jobs {
            let (known, ended) = (self.is_active(uid(&**job)), finished(job));
            if !known && ended.is_none() {
                let text = format!("Saw a job that the controller did not create or forgot: {}", job.name_any());
                self.tell(EventType::Warning, "UnexpectedJob", text);
            } else if let Some(condition) = ended.filter(|_| known) {
                self.forget_active(uid(&**job));
                let text = format!("Saw completed job: {}, condition: {}", job.name_any(), condition.type_);
                self.tell(EventType::Normal, "SawCompletedJob", text);
            }
            let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
            if ended.is_some_and(|condition| condition.type_ == "Complete")
                && completed > self.status().last_successful_time
            {
                self.status().last_successful_time = completed;
            }
        }
    }

    /// Forgets active jobs that are gone; the cache may only be late, so the server is asked.
    async fn forget_missing(&mut self, jobs: &[Arc<Job>]) -> kube::Result<()> {
        let known: HashSet<&str> = jobs.iter().map(|job| uid(&**job)).collect();
        let active: Vec<_> = self.active().cloned().collect();
        for missing in active {
            let (name, uid) = (missing.name.unwrap_or_default(), missing.uid.unwrap_or_default());
            if known.contains(uid.as_str()) || self.jobs().get_opt(&name).await?.is_some() {
                continue;
            }
            self.tell(EventType::Normal, "MissingJob", format!("Active job went missing: {name}"));
            self.forget_active(&uid);
        }
        Ok(())
    }

    /// Starts a run, unless it is too late for it, it was started, or the policy for runs side by side says no.
    async fn start(&mut self, spec: &CronJobSpec, clock: &Clock, due: Due, now: Timestamp) -> anyhow::Result<()> {
        if due.missed_many {
            let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.tell(EventType::Warning, "TooManyMissedTimes", text);
        }
        if is_too_late(spec, due.at, now) {
            let at = due.at.strftime("%a, %d %b %Y %H:%M:%S +0000");
            self.tell(EventType::Warning, "MissSchedule", format!("Missed scheduled time to start a job: {at}"));
            return Ok(());
        }
        let (name, last) = (job_name(&self.cron_job, due.at), self.status().last_schedule_time.clone());
        if last == Some(Time(due.at)) || self.active().any(|job| job.name.as_ref() == Some(&name)) {
            return Ok(());
        }
        let active = self.active().count();
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if active > 0 => {
                let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.tell(EventType::Normal, "JobAlreadyActive", text);
                return Ok(());
            }
            Some("Replace") => self.delete_active().await?,
            _ => {}
        }
        self.create(clock, due.at).await
    }

    async fn delete_active(&mut self) -> anyhow::Result<()> {
        let active: Vec<_> = self.active().cloned().collect();
        for reference in active {
            match self.jobs().get(&reference.name.unwrap_or_default()).await {
                Ok(job) => anyhow::ensure!(
                    self.delete(&job).await,
                    "could not replace job {}/{}",
                    namespace_of(&job),
                    job.name_any()
                ),
                Err(error) => {
                    self.tell(EventType::Warning, "FailedGet", format!("Get job: {}", message(&error)));
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Makes the job of a run and notes it. One that is there already was made before this process could note it.
    async fn create(&mut self, clock: &Clock, at: Timestamp) -> anyhow::Result<()> {
        let wanted = run::job(&self.cron_job, at, &clock.zone);
        let job = match self.jobs().create(&PostParams::default(), &wanted).await {
            Ok(job) => {
                METRICS.cron_job_skew.observe(Timestamp::now().duration_since(at).as_secs_f64().max(0.0));
                self.tell(EventType::Normal, "SuccessfulCreate", format!("Created job {}", job.name_any()));
                job
            }
            Err(error) if is_namespace_terminating(&error) => return Ok(()),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                let job = self.jobs().get(&wanted.name_any()).await?;
                let ours = controller_of(&job.metadata).is_some_and(|owner| owner.uid == uid(&self.cron_job));
                if !ours || self.is_active(uid(&job)) {
                    return Ok(());
                }
                job
            }
            Err(error) => {
                self.tell(EventType::Warning, "FailedCreate", format!("Error creating job: {}", message(&error)));
                return Err(error.into());
            }
        };
        self.status().last_schedule_time = Some(Time(at));
        if finished(&job).is_none() {
            self.status().active.get_or_insert_default().push(object_reference(&job));
        }
        Ok(())
    }

    /// Deletes the oldest of the jobs that ended, beyond those that are kept.
    async fn clean_up(&mut self, jobs: &[Arc<Job>]) {
        let spec = self.spec();
        for (kind, kept) in
            [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)]
        {
            let Some(kept) = kept.and_then(|kept| usize::try_from(kept).ok()) else { continue };
            for job in beyond(jobs, kind, kept) {
                self.delete(&job).await;
            }
        }
    }

    /// Deletes a job and, later, its pods; whether it is gone.
    async fn delete(&mut self, job: &Job) -> bool {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: job.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.jobs().delete(&job.name_any(), &params).await {
            Ok(_) => self.tell(EventType::Normal, "SuccessfulDelete", format!("Deleted job {}", job.name_any())),
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                self.tell(EventType::Warning, "FailedDelete", format!("Deleted job: {}", message(&error)));
                return false;
            }
        }
        self.forget_active(uid(job));
        true
    }

    async fn write_status(&mut self, before: &CronJob) -> kube::Result<()> {
        self.status().active = self.status().active.take().filter(|active| !active.is_empty());
        if self.cron_job.status.clone().unwrap_or_default() == before.status.clone().unwrap_or_default() {
            return Ok(());
        }
        let api: Api<CronJob> = Api::namespaced(self.controller.client.clone(), namespace_of(before));
        match api.replace_status(&before.name_any(), &PostParams::default(), &self.cron_job).await {
            Ok(written) => {
                self.controller.written.keep(&ObjectKey::of(before), written);
                Ok(())
            }
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn is_too_late(spec: &CronJobSpec, at: Timestamp, now: Timestamp) -> bool {
    let latest = spec.starting_deadline_seconds.map(|seconds| at.checked_add(SignedDuration::from_secs(seconds)));
    latest.is_some_and(|latest| latest.is_ok_and(|latest| latest < now))
}

/// The jobs that ended in this way, without the `kept` youngest.
fn beyond(jobs: &[Arc<Job>], kind: &str, kept: usize) -> Vec<Arc<Job>> {
    let mut ended: Vec<Arc<Job>> = jobs
        .iter()
        .filter(|job| finished(job).is_some_and(|condition| condition.type_ == kind) && !is_deleting(&***job))
        .cloned()
        .collect();
    // One that never started counts as the youngest.
    let started = |job: &Job| job.status.as_ref().and_then(|status| status.start_time.clone());
    ended.sort_by_key(|job| (Reverse(started(job).is_some()), started(job), job.name_any()));
    ended.truncate(ended.len().saturating_sub(kept));
    ended
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let job = |name: &str, start: Option<&str>, kind: &str| {
            let conditions = json!([{"type": kind, "status": "True"}]);
            let value = json!({"metadata": {"name": name}, "status": {"startTime": start, "conditions": conditions}});
            Arc::new(serde_json::from_value(value).unwrap())
        };
        let jobs = [
            job("c", Some("2026-07-09T11:02:00Z"), "Complete"),
            job("a", Some("2026-07-09T11:01:00Z"), "Complete"),
            job("b", Some("2026-07-09T11:01:00Z"), "Complete"),
            job("d", None, "Complete"),
            job("e", Some("2026-07-09T11:00:00Z"), "Failed"),
        ];
        let names = |kept| beyond(&jobs, "Complete", kept).iter().map(|job| job.name_any()).collect::<Vec<_>>();
        assert_eq!(names(1), ["a", "b", "c"]);
        assert_eq!(names(0), ["a", "b", "c", "d"]);
        assert_eq!(names(9), [] as [&str; 0]);
    }
}
