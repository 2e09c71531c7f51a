//! What a worker's jobs are about. Each concern has a state of its own, so that a job that is lost (it panicked) is
//! tried again without a second one being started beside those that go on.

use super::*;
use crate::metrics::Shared;

/// The pause after a failed sandbox, volume or API call; doubled up to the maximum.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(120);

/// A pause that doubles.
#[derive(Default)]
pub(super) struct Retry {
    pub(super) failures: u32,
    pub(super) at: Option<Instant>,
}

impl Retry {
    pub(super) fn failed(&mut self) {
        let delay = RETRY.saturating_mul(1 << self.failures.min(10)).min(MAX_RETRY);
        self.failures += 1;
        self.at = Some(from_now(delay));
    }
    /// It waits for what others are about to do.
    pub(super) fn waits(&mut self, delay: Duration) {
        self.at = Some(from_now(delay));
    }
    pub(super) fn succeeded(&mut self) {
        *self = Retry::default();
    }
    pub(super) fn is_due(&self) -> bool {
        self.at.is_none_or(|at| at <= Instant::now())
    }
}

/// Something that one job at a time takes care of.
#[derive(Default)]
pub(super) struct Step {
    pub(super) busy: bool,
    pub(super) retry: Retry,
}

impl Step {
    /// Whether a job may be started.
    pub(super) fn is_free(&self) -> bool {
        !self.busy && self.retry.is_due()
    }

    /// The job was lost.
    fn lost(&mut self) {
        self.busy = false;
        self.retry.failed();
    }
}

/// A container that is to end: its hook ran and its event was told once, whatever it takes to end it.
#[derive(Default)]
pub(super) struct Killing {
    /// Jobs that stop it: a shorter grace period adds one.
    pub(super) jobs: u32,
    /// It could not be stopped, which is to be tried again.
    pub(super) failed: bool,
    /// The grace period of the newest job.
    pub(super) grace: Duration,
}

/// What one job is about.
#[derive(Clone, Debug)]
pub(super) enum Concern {
    Sandbox,
    Volumes,
    /// A container is being started, or its postStart hook runs.
    Start(String),
    /// A container is being stopped.
    Kill(String),
    Stage,
    /// The pod is resized.
    Resize,
    Write,
}

/// A sync of the pod: it ends with the last job that it began, and is measured then.
pub(super) struct Sync {
    operation: &'static str,
    began: std::time::Instant,
    metrics: Shared,
}

impl Drop for Sync {
    fn drop(&mut self) {
        self.metrics.worked(self.operation, self.began);
    }
}

impl Worker {
    /// The sync that goes on, or a new one.
    pub(super) fn sync(&mut self) -> Arc<Sync> {
        let ends = self.pod.is_deleted() || self.gone || self.finished;
        let operation = match self.stage {
            Stage::TornDown | Stage::Clean | Stage::Deleted => "terminated",
            Stage::Live | Stage::Stopping if ends => "kill",
            Stage::Live | Stage::Stopping => self.operation,
        };
        let begin = || Sync { operation, began: std::time::Instant::now(), metrics: self.k.metrics.clone() };
        self.sync.get_or_insert_with(|| Arc::new(begin())).clone()
    }

    /// Nothing more belongs to the sync: what comes next is another one.
    pub(super) fn sync_began(&mut self) {
        self.sync = None;
        self.operation = "sync";
    }

    /// Starts a job, as a part of the sync that goes on.
    pub(super) fn spawn(&mut self, concern: Concern, job: impl Future<Output = Done> + Send + 'static) {
        let sync = self.sync();
        let handle = self.jobs.spawn(async move {
            let done = job.await;
            drop(sync);
            done
        });
        self.concerns.insert(handle.id(), (concern, handle));
    }

    /// The node ends: nothing is begun any more, but containers that are ending go on with their hooks.
    pub(super) fn let_go(&mut self) {
        let others = self.concerns.values().filter(|(concern, _)| !matches!(concern, Concern::Kill(_)));
        others.for_each(|(_, handle)| handle.abort());
        self.jobs.detach_all();
    }

    /// A job panicked: what it was about is tried again.
    pub(super) fn on_lost_job(&mut self, error: &tokio::task::JoinError) {
        let concern = self.concerns.remove(&error.id()).map(|(concern, _)| concern);
        tracing::error!(pod = %self.pod.describe(), %error, ?concern, "a job of the pod's worker failed");
        match concern {
            Some(Concern::Sandbox) => self.sandbox.lost(),
            Some(Concern::Volumes) => self.mounting.lost(),
            Some(Concern::Start(name)) => {
                self.starting = None;
                self.not_before.insert(name, from_now(CONFIG_RETRY));
            }
            Some(Concern::Kill(id)) => self.kill_failed(&id),
            Some(Concern::Stage) => self.ending.lost(),
            Some(Concern::Resize) => {
                self.resize.due = true;
                self.resize.step.lost();
            }
            Some(Concern::Write) => self.write.lost(),
            None => {}
        }
    }

    pub(super) fn kill_failed(&mut self, id: &str) {
        if let Some(killing) = self.killing.get_mut(id) {
            killing.jobs = killing.jobs.saturating_sub(1);
            killing.failed = true;
        }
        self.ending.retry.failed();
    }

    /// Forgets containers that have ended and that no job stops any more; stops those again that could not be stopped.
    pub(super) fn settle_kills(&mut self) {
        let observed = &self.observed;
        let runs = |id: &str| observed.by_id(id).is_some_and(|status| status.state == ContainerState::Running);
        self.killing.retain(|id, killing| killing.jobs > 0 || runs(id));
        if self.ending.retry.is_due() {
            let failed = self.killing.iter().filter(|(_, killing)| killing.failed && killing.jobs == 0);
            let failed: Vec<_> = failed.map(|(id, killing)| (id.clone(), killing.grace)).collect();
            failed.into_iter().for_each(|(id, grace)| self.spawn_stop(&id, grace));
        }
    }
}
