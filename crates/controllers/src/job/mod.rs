//! Jobs: run pods until enough of them have succeeded.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/job/>
//!
//! A pass (`sync`) looks at the job's pods (`observed`), decides whether the job has come to its end (`outcome`) and else which
//! pods to make or delete (`plan`), and counts what ended so that each pod counts once (`tracking`).

mod backoff;
pub(crate) mod conditions;
mod failure_policy;
mod indexes;
mod observed;
mod outcome;
mod plan;
mod pod;
mod removals;
mod success_policy;
mod sync;
mod template;
#[cfg(test)]
mod testing;
mod tracking;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue};
use coracle_metrics::Counter;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{Selector, SelectorExt};
use kube::{Client, ResourceExt};

use self::backoff::Records;
use self::conditions::finished;
use self::pod::{TRACKING, is_tracked, waits_to_be_counted};
use self::removals::{Removals, remove_finalizer};
use crate::adoption::claim_with_finalizer;
use crate::common::*;
use crate::expectations::Expectations;
use crate::metrics::METRICS;
use crate::run::{Cache, Controller, reconcile_all};
use crate::written::Written;

/// Jobs whose spec names another controller are left alone.
const CONTROLLER_NAME: &str = "kubernetes.io/job-controller";
/// How long changes of pods are gathered, so that a thousand pods that end do not mean a thousand writes of the status.
const BATCH: Duration = Duration::from_millis(50);
/// Finalizers that are removed at once: a job may leave thousands of pods.
const ORPHAN_WORKERS: usize = 8;

struct JobController {
    client: Client,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    recorder: EventRecorder,
    expectations: Expectations,
    removals: Removals,
    records: Records,
    written: Written<Job>,
    queue: WorkQueue<ObjectKey>,
    /// Pods that no job counts, and whose finalizer goes.
    orphans: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queues are closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let recorder = context.recorder("job-controller");
    let controller = JobController::new(context.client.clone(), context.jobs(), context.pods(), recorder);
    let controller = Arc::new(controller);
    let c = controller.clone();
    controller.jobs.subscribe(move |event| c.job_changed(event));
    let c = controller.clone();
    controller.pods.subscribe(move |event| c.pod_changed(event));
    let c = controller.clone();
    let release = move |key| {
        let controller = c.clone();
        async move { controller.release_orphan(key).await }
    };
    let caches = controller.caches();
    let orphans = reconcile_all(&caches, &controller.orphans, ORPHAN_WORKERS, release);
    tokio::try_join!(crate::run::run(controller.clone()), orphans).map(drop)
}

impl Controller for JobController {
    type Key = ObjectKey;
    const WORKERS: usize = 5;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.jobs, &self.pods]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(cached) = self.jobs.store().get_key(&key) else {
            // What a pass noted while the job went.
            self.forget(&key);
            return Ok(None);
        };
        let job = self.written.newest(&key, cached);
        if is_managed_elsewhere(&job) {
            return Ok(None);
        }
        if finished(&job).is_some() {
            // Its pods are counted: what the cache is yet to show of them does not matter. What was written still does.
            self.forget_pods(&key);
            return Ok(None);
        }
        if !matches!(
            job.spec.as_ref().and_then(|spec| spec.completion_mode.as_deref()),
            None | Some("NonIndexed" | "Indexed")
        ) {
            let text = "Skipped Job sync because completion mode is unknown";
            self.recorder.event(&*job, EventType::Warning, "UnknownCompletionMode", text);
            return Ok(None);
        }
        let Some(selector) = selector(&job) else { return Ok(None) };
        // Before the pods are read: one that comes in between is then waited for, not missed.
        let pending = self.expectations.pending(&key, uid(&*job));
        let matches = |pod: &Pod| selector.matches(pod.labels());
        let pods =
            claim_with_finalizer(&self.client, &*job, &self.pods.store(), Some(TRACKING), matches, |_| true).await?;
        // A pass that waits is made again when nothing is waited for any longer, even if it fails on the way.
        pending.into_iter().for_each(|left| self.queue.add_after(key.clone(), left));
        self.sync(&key, &job, pods, pending.is_none()).await
    }
}

impl JobController {
    fn new(client: Client, jobs: Informer<Job>, pods: Informer<Pod>, recorder: EventRecorder) -> JobController {
        JobController {
            client,
            jobs,
            pods,
            recorder,
            expectations: Expectations::default(),
            removals: Removals::default(),
            records: Records::default(),
            written: Written::default(),
            queue: WorkQueue::named("job"),
            orphans: WorkQueue::named("job_orphan_pod"),
        }
    }

    fn job_changed(&self, event: &Event<Job>) {
        match event {
            Event::Added(job) => self.queue.add(ObjectKey::of(&**job)),
            Event::Updated { old, new } if uid(&**old) != uid(&**new) => {
                self.job_gone(old);
            }
            Event::Updated { old, new } => {
                let delay = if old.metadata.generation == new.metadata.generation { BATCH } else { Duration::ZERO };
                self.queue.add_after(ObjectKey::of(&**new), delay);
                if finished(new).is_some() {
                    self.queue_tracked_pods(new);
                }
            }
            Event::Deleted(job) => self.job_gone(job),
        }
    }

    /// Nothing of a job that is gone is kept for one of its name that may come.
    fn job_gone(&self, job: &Job) {
        let key = ObjectKey::of(job);
        self.forget(&key);
        // A pass that is under way may note something yet, which the next one forgets.
        self.queue.add(key);
        self.queue_tracked_pods(job);
    }

    fn forget(&self, key: &ObjectKey) {
        self.forget_pods(key);
        self.written.forget(key);
    }

    fn forget_pods(&self, key: &ObjectKey) {
        self.expectations.forget(key);
        self.removals.forget(key);
        self.records.forget(key);
    }

    fn pod_changed(&self, event: &Event<Pod>) {
        let waits = |pod: &Arc<Pod>| waits_to_be_counted(pod);
        let (before, now) = match event {
            Event::Added(pod) => (false, waits(pod)),
            Event::Updated { old, new } => (waits(old), waits(new)),
            Event::Deleted(pod) => (waits(pod), false),
        };
        if before != now {
            METRICS.job_pods_to_count.with([if now { "add" } else { "delete" }], Counter::inc);
        }
        match event {
            Event::Added(pod) if is_deleting(&**pod) => self.pod_deleted(pod, false),
            Event::Added(pod) => match self.job_of(pod) {
                Some(job) => {
                    let key = ObjectKey::of(&*job);
                    self.expectations.creation_observed(&key);
                    self.queue.add_after(key, BATCH);
                }
                None => self.stray(pod),
            },
            Event::Updated { old, new } => self.pod_updated(old, new),
            Event::Deleted(pod) => self.pod_deleted(pod, true),
        }
    }

    fn pod_updated(&self, old: &Pod, new: &Pod) {
        if is_deleting(new) {
            return self.pod_deleted(new, false);
        }
        let moved = controller_of(&old.metadata) != controller_of(&new.metadata);
        let before = self.job_of(old).filter(|_| moved);
        let now = self.job_of(new);
        for job in before.iter().chain(&now) {
            let key = ObjectKey::of(&**job);
            if !is_tracked(new) {
                self.removals.settled(&key, new);
            }
            self.queue.add_after(key, BATCH);
        }
        if now.is_none() && (moved || old.metadata.labels != new.metadata.labels || is_tracked(new)) {
            self.stray(new);
        }
    }

    /// The deletion of a pod was asked for, or it is gone.
    fn pod_deleted(&self, pod: &Pod, gone: bool) {
        let Some(job) = self.job_of(pod).filter(|job| finished(job).is_none()) else {
            return self.queue_orphan(pod);
        };
        let key = ObjectKey::of(&*job);
        self.expectations.deletion_observed(&key, uid(pod));
        if gone || !is_tracked(pod) {
            self.removals.settled(&key, pod);
        }
        self.queue.add_after(key, BATCH);
    }

    /// A pod that belongs to no job: its finalizer goes, and a job may adopt it.
    fn stray(&self, pod: &Pod) {
        self.queue_orphan(pod);
        if controller_of(&pod.metadata).is_some() {
            return;
        }
        for job in self.jobs.store().list_namespace(namespace_of(pod)) {
            if selector(&job).is_some_and(|selector| selector.matches(pod.labels())) {
                self.queue.add_after(ObjectKey::of(&*job), BATCH);
            }
        }
    }

    fn job_of(&self, pod: &Pod) -> Option<Arc<Job>> {
        resolve(&self.jobs.store(), namespace_of(pod), controller_of(&pod.metadata)?)
    }

    fn queue_orphan(&self, pod: &Pod) {
        if is_tracked(pod) {
            self.orphans.add(ObjectKey::of(pod));
        }
    }

    fn queue_tracked_pods(&self, job: &Job) {
        match self.pods.store().by_index(BY_CONTROLLER, uid(job)) {
            Ok(pods) => pods.iter().for_each(|pod| self.queue_orphan(pod)),
            Err(error) => tracing::error!(%error, "finalizers of a job's pods stay"),
        }
    }

    /// Removes the finalizer of a pod, unless a job is still to count it.
    async fn release_orphan(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(pod) = self.pods.store().get_key(&key) else { return Ok(None) };
        if let Some(owner) = controller_of(&pod.metadata) {
            if owner.kind != "Job" || owner.api_version != "batch/v1" {
                return Ok(None);
            }
            if self.job_of(&pod).is_some_and(|job| is_managed_elsewhere(&job) || finished(&job).is_none()) {
                return Ok(None);
            }
        }
        remove_finalizer(&self.client, &pod).await?;
        Ok(None)
    }
}

fn is_managed_elsewhere(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref()).is_some_and(|name| name != CONTROLLER_NAME)
}

fn selector(job: &Job) -> Option<Selector> {
    selector_of(job.spec.as_ref()?.selector.as_ref()?)
}

#[cfg(test)]
mod tests {
    use kube::Api;
    use kube::client::Body;
    use serde_json::json;

    use super::backoff::Record;
    use super::*;

    /// A controller whose cache has this job only, of a server that has no more to tell.
    async fn controller(job: Option<Job>) -> JobController {
        let list = json!({"metadata": {"resourceVersion": "5"}, "items": Vec::from_iter(job)}).to_string();
        let client = coracle_client::in_process(tower::service_fn(move |request: http::Request<Body>| {
            let list = list.clone();
            async move {
                if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                    std::future::pending::<()>().await;
                }
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(list.into_bytes())))
            }
        }));
        let (jobs, pods) = (Informer::new(Api::all(client.clone())), Informer::new(Api::all(client.clone())));
        let recorder = EventRecorder::new(client.clone(), "job-controller", "");
        jobs.start();
        jobs.synced().await;
        JobController::new(client, jobs, pods, recorder)
    }

    /// Notes what a pass may, and has the next pass look.
    async fn noted(controller: &JobController) -> (bool, usize, Record) {
        let (key, pod) = (ObjectKey::new("n", "j"), testing::pod("p", None, "Failed"));
        controller.expectations.expect(&key, "job", 1, []);
        controller.removals.expect(&key, "job", &pod);
        controller.records.set(&key, "job", Record::default().with(&[], &[pod]));
        assert_ne!(controller.records.get(&key, "job"), Record::default());
        controller.reconcile(key.clone()).await.unwrap();
        let left = controller.removals.of(&key, "job").len();
        (controller.expectations.pending(&key, "job").is_none(), left, controller.records.get(&key, "job"))
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_job_that_is_gone_or_has_ended() {
        let forgotten = (true, 0, Record::default());
        assert_eq!(noted(&controller(None).await).await, forgotten);
        let status = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        assert_eq!(noted(&controller(Some(testing::job(json!({}), status))).await).await, forgotten);
    }

    #[tokio::test]
    async fn a_job_that_goes_is_looked_at_once_more() {
        let controller = controller(None).await;
        controller.job_gone(&testing::job(json!({}), json!({})));
        assert_eq!(controller.queue.len(), 1);
    }
}
