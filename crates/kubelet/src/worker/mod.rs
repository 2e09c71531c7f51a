//! The worker of one pod: a state machine over what the API wants, what the runtime tells, and what probes find.
//!
//! Slow steps (making the sandbox, volumes, starting or stopping a container, writing the status) are jobs, so the
//! worker always listens. After every message it computes what is missing and starts it; every step is idempotent.

mod contest;
mod end;
mod job;
mod live;
mod resize;
mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{EventType, from_now, is_conflict, is_not_found, later, patch_status_strategic};
use coracle_runtime::cri::{
    ContainerEvent, ContainerEventType, ContainerState, ContainerStatus, CriError, PodSandbox, PodSandboxConfig,
    PodSandboxMetadata, PortMapping, SandboxState,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, PodStatus};
use kube::api::{Api, DeleteParams, Preconditions};
use parking_lot::RwLock;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoffs, go_duration};
use crate::container::{Start, start};
use crate::dns::{parse_resolv_conf, pod_dns};
use crate::hosts::sandbox_hostname;
use crate::images::Waiting;
use crate::kubelet::Kubelet;
use crate::lifecycle::{kill_container, run_hook, stop_container};
use crate::pod::{PodExt, ephemeral_as_container, is_sidecar};
use crate::pods::Desired;
use crate::probe::{Kind, Prober, Verdict};
use crate::resize::allocation::{ALLOCATION, Allocation};
use crate::resize::plan::Update;
use crate::resources::{cgroup_parent, pod_resources};
use crate::status::{Input, NODE_NOT_READY, container_id, own_condition, pod_status, status_patch};
use crate::sync::{Actions, Observed, ProbeState, compute};
use crate::termination::termination_message;
use crate::volumes::{Facts, Mounted, NotReady};
use crate::{admission, message_of, network, support};

use contest::Contest;
pub(crate) use end::clean_up;
use job::{Concern, Killing, Step, Sync};
use resize::Resize;

/// A first status is held back this long, so that a quick start is one write.
const FIRST_WRITE_DELAY: Duration = Duration::from_millis(60);
/// The pause after a container's configuration was refused.
const CONFIG_RETRY: Duration = Duration::from_secs(5);

/// How often is told that a pod waits for the same claim.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// What wakes a worker.
#[derive(Debug)]
pub(crate) enum Message {
    /// The runtime told something of the pod.
    Runtime(ContainerEvent),
    /// A ConfigMap or Secret of the pod changed.
    VolumesChanged,
    /// There may be room for what it asks for.
    Room,
    /// It uses more of the node than it may, or than the node has (`by_node`); with the message of its failure, and how long
    /// it has to end.
    Evict { message: String, grace: Duration, by_node: bool },
}

enum Done {
    Sandbox(Result<PodSandbox, String>),
    /// The pod ended before one could be made.
    NoSandbox,
    Volumes(Result<Mounted, NotReady>),
    Started(String, Box<Result<ContainerStatus, (Waiting, Option<ContainerStatus>)>>),
    PostStart(String, String, Result<(), String>),
    /// With the container as it is after it.
    Killed(String, Result<Option<Box<ContainerStatus>>, CriError>),
    TornDown(Result<(), String>),
    CleanedUp(Result<(), String>),
    /// What a generation of the pod is allocated was written down.
    Allocated(Option<i64>, Result<Box<Allocation>, String>),
    /// Containers got what is allocated.
    Actuated(Vec<Update>, Result<(), String>),
    /// With the version of the object that it made.
    Written(Box<PodStatus>, kube::Result<u64>),
    Deleted(kube::Result<()>),
}

/// The version of an object; versions can be compared as numbers.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>
fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

struct Probed {
    container_id: String,
    state: ProbeState,
    has_readiness: bool,
    has_startup: bool,
    hook_done: bool,
    startup_done: bool,
    started: watch::Sender<bool>,
    tasks: Vec<(Kind, AbortHandle)>,
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|(_, task)| task.abort());
    }
}

/// How far the end of a pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Live,
    /// Containers are being stopped.
    Stopping,
    /// The sandbox is stopped.
    TornDown,
    /// Nothing of the pod is left on the node.
    Clean,
    /// The API object was deleted (or is not ours to delete).
    Deleted,
}

pub(crate) struct Worker {
    k: Arc<Kubelet>,
    /// As the API wants it.
    wanted: Arc<Pod>,
    /// With the resources that it is allocated.
    pod: Arc<Pod>,
    resize: Resize,
    desired: watch::Receiver<Desired>,
    inbox: mpsc::Receiver<Message>,
    overflow: watch::Receiver<u64>,
    verdicts: (mpsc::Sender<Verdict>, mpsc::Receiver<Verdict>),
    observed: Observed,
    shared: Arc<RwLock<Observed>>,
    waiting: BTreeMap<String, Waiting>,
    probes: HashMap<String, Probed>,
    backoffs: Backoffs,
    /// When a container that waits is tried again.
    not_before: HashMap<String, Instant>,
    jobs: JoinSet<Done>,
    /// What each job is about.
    concerns: HashMap<tokio::task::Id, (Concern, AbortHandle)>,
    cancel: CancellationToken,
    sandbox: Step,
    volumes: Option<Mounted>,
    mounting: Step,
    volumes_stale: bool,
    /// Why they are not ready, as it was told last.
    volumes_told: Option<(String, Instant)>,
    starting: Option<String>,
    /// Containers that are to end, by ID, until their end was seen.
    killing: HashMap<String, Killing>,
    stage: Stage,
    ending: Step,
    /// The grace period with which containers are being stopped.
    stopping_with: Option<Duration>,
    gone: bool,
    failure: Option<(String, String)>,
    finished: bool,
    /// It ends within this grace period, whatever its own.
    evicted: Option<Duration>,
    /// It ends because the node has too little.
    disrupted: bool,
    /// It had ended before this worker began: its status says what cannot be observed any more.
    ended_before: bool,
    start_time: Timestamp,
    /// Nothing of it has run yet.
    is_new: bool,
    born: Instant,
    /// What goes on now, as metrics measure it, and what the next one is called.
    sync: Option<Arc<Sync>>,
    operation: &'static str,
    /// The status as last written or read.
    last: PodStatus,
    /// Up to which version of the object it was.
    version: u64,
    /// How often others wrote what is not so.
    contest: Contest,
    write: Step,
    wrote: bool,
}

impl Worker {
    pub(crate) fn new(
        k: Arc<Kubelet>,
        pod: Arc<Pod>,
        desired: watch::Receiver<Desired>,
        inbox: mpsc::Receiver<Message>,
        overflow: watch::Receiver<u64>,
        shared: Arc<RwLock<Observed>>,
    ) -> Worker {
        let last = pod.status.clone().unwrap_or_default();
        let start_time = last.start_time.as_ref().map_or_else(Timestamp::now, |time| time.0);
        Worker {
            k,
            desired,
            inbox,
            overflow,
            verdicts: mpsc::channel(16),
            observed: Observed::default(),
            shared,
            waiting: BTreeMap::new(),
            probes: HashMap::new(),
            backoffs: Backoffs::default(),
            not_before: HashMap::new(),
            jobs: JoinSet::new(),
            concerns: HashMap::new(),
            cancel: CancellationToken::new(),
            sandbox: Step::default(),
            volumes: None,
            mounting: Step::default(),
            volumes_stale: false,
            volumes_told: None,
            starting: None,
            killing: HashMap::new(),
            stage: Stage::Live,
            ending: Step::default(),
            stopping_with: None,
            gone: false,
            failure: None,
            finished: false,
            evicted: None,
            disrupted: false,
            ended_before: false,
            start_time,
            is_new: last.start_time.is_none(),
            born: Instant::now(),
            sync: None,
            operation: "create",
            wrote: last.start_time.is_some(),
            last,
            version: version(&pod),
            contest: Contest::default(),
            write: Step::default(),
            wanted: pod.clone(),
            resize: Resize::default(),
            pod,
        }
    }

    /// Works until nothing of the pod is left and its object is gone.
    pub(crate) async fn run(mut self) {
        self.look_at_everything().await;
        self.restore_allocation().await;
        self.admit();
        loop {
            let sync = self.sync();
            let wake = self.step();
            self.sync_began();
            drop(sync);
            *self.shared.write() = self.observed.clone();
            self.shared.write().ending = self.killing.keys().cloned().collect();
            if self.gone && self.stage >= Stage::Clean && self.jobs.is_empty() {
                self.probes.clear();
                self.k.metrics.probes.forget(&self.pod);
                return;
            }
            let timer = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.desired.changed() => match changed {
                    Ok(()) => self.on_desired(),
                    Err(_) => return self.let_go(),
                },
                Some(message) = self.inbox.recv() => self.on_message(message).await,
                Some(done) = self.jobs.join_next_with_id(), if !self.jobs.is_empty() => match done {
                    Ok((id, done)) => {
                        self.concerns.remove(&id);
                        self.on_done(done);
                    }
                    Err(error) => self.on_lost_job(&error),
                },
                Some(verdict) = self.verdicts.1.recv() => self.on_verdict(verdict),
                Ok(()) = self.overflow.changed() => {
                    self.resize.due = true;
                    self.look_at_everything().await;
                }
                () = timer => {}
            }
            // Everything that has come meanwhile is taken at once: fewer steps, fewer writes.
            while let Ok(message) = self.inbox.try_recv() {
                self.on_message(message).await;
            }
        }
    }

    // === what comes in ===

    fn on_desired(&mut self) {
        let pod = match self.desired.borrow_and_update().clone() {
            Desired::Pod(pod) => pod,
            Desired::Gone(pod) => {
                self.gone = true;
                pod
            }
        };
        let (old, new) = (&self.wanted, &pod);
        // The downward API tells of both; an ephemeral container may be the first that uses a volume.
        if old.metadata.labels != new.metadata.labels
            || old.metadata.annotations != new.metadata.annotations
            || old.spec().ephemeral_containers != new.spec().ephemeral_containers
        {
            self.volumes_stale = true;
        }
        let version = version(&pod);
        if version > self.version && !self.write.busy {
            // Somebody else wrote: what is not so is written anew.
            let had_news = self.pending_patch().is_some();
            self.version = version;
            self.last = pod.status.clone().unwrap_or_default();
            if !had_news && self.pending_patch().is_some() {
                let wait = self.contest.wait(Instant::now());
                if !wait.is_zero() {
                    self.write.retry.waits(wait);
                }
            }
        } else {
            // The rest of it may be older than what was written. Of others come conditions, and what was said of a node that was
            // not heard of, which is put right.
            let is_theirs = |condition: &PodCondition| {
                !own_condition(&condition.type_) || condition.reason.as_deref() == Some(NODE_NOT_READY)
            };
            let theirs = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let theirs: Vec<PodCondition> = theirs.filter(|condition| is_theirs(condition)).cloned().collect();
            let mut conditions = self.last.conditions.take().unwrap_or_default();
            conditions.retain(|own| own_condition(&own.type_) && theirs.iter().all(|their| their.type_ != own.type_));
            conditions.extend(theirs);
            self.last.conditions = Some(conditions).filter(|list| !list.is_empty());
        }
        self.operation = "update";
        self.want(pod);
    }

    async fn on_message(&mut self, message: Message) {
        match message {
            Message::VolumesChanged => {
                self.volumes_stale = true;
                // What waited for the object is tried at once.
                self.mounting.retry.at = None;
                let refused = |waiting: &Waiting| waiting.reason == "CreateContainerConfigError";
                let waiting = &self.waiting;
                self.not_before.retain(|name, _| !waiting.get(name).is_some_and(refused));
            }
            Message::Room => self.resize.due = true,
            Message::Runtime(event) => self.on_runtime_event(event).await,
            Message::Evict { message, grace, by_node } => self.evict(message, grace, by_node),
        }
    }

    async fn on_runtime_event(&mut self, event: ContainerEvent) {
        if event.container_id == event.sandbox_id {
            match self.k.runtime.pod_sandbox_status(&event.sandbox_id).await {
                Ok(sandbox) => self.see_sandbox(sandbox),
                Err(_) => {
                    if let Some(known) = self.observed.sandbox.as_mut().filter(|known| known.id == event.sandbox_id) {
                        known.state = SandboxState::NotReady;
                    }
                }
            }
            return;
        }
        if event.event == ContainerEventType::Deleted {
            self.forget(&event.container_id);
            return;
        }
        match self.k.runtime.container_status(&event.container_id).await {
            Ok(status) => self.see_container(status),
            Err(CriError::NotFound(_)) => self.forget(&event.container_id),
            Err(error) => tracing::warn!(pod = %self.pod.describe(), %error, "a container's status cannot be read"),
        }
    }

    /// A container was removed. Of a pod that has ended its status still tells.
    fn forget(&mut self, id: &str) {
        if self.stage < Stage::TornDown {
            self.observed.forget(id);
        }
    }

    fn see_sandbox(&mut self, sandbox: PodSandbox) {
        let newer = self.observed.sandbox.as_ref().is_none_or(|known| match known.id == sandbox.id {
            // A sandbox that has ended stays so, whatever arrives late.
            true => known.state == SandboxState::Ready || sandbox.state == SandboxState::NotReady,
            false => known.metadata.attempt < sandbox.metadata.attempt,
        });
        if newer {
            self.observed.sandbox = Some(sandbox);
        }
    }

    fn see_container(&mut self, mut status: ContainerStatus) {
        let name = status.metadata.name.clone();
        if status.state == ContainerState::Exited {
            if let Some(known) = self.observed.by_id(&status.id).filter(|known| known.state == ContainerState::Exited) {
                status.message.clone_from(&known.message);
            } else if let Some(container) = self.container(&name) {
                let file = self.k.termination_file(self.pod.uid(), &name, status.metadata.attempt);
                let text = termination_message(&container, &status, &file);
                if !text.is_empty() {
                    status.message = text;
                }
            }
        }
        let id = status.id.clone();
        let started_at = status.started_at;
        self.observed.put(status);
        let runs = |latest: &ContainerStatus| latest.id == id && latest.state == ContainerState::Running;
        if self.observed.latest(&name).is_some_and(runs) {
            self.waiting.remove(&name);
            if std::mem::take(&mut self.is_new) {
                self.k.metrics.pod_started(self.born.elapsed());
            }
            self.watch_container(&name, &id, started_at);
        } else if self.probes.get(&name).is_some_and(|probed| probed.container_id == id) {
            self.probes.remove(&name);
        }
    }

    /// Lists what the runtime has of the pod: at the start, and when events were lost.
    async fn look_at_everything(&mut self) {
        let (uid, began) = (self.pod.uid().to_owned(), std::time::Instant::now());
        let Ok((sandboxes, ours)) = self.k.runtime.list_pod(&uid).await else {
            tracing::warn!(pod = %self.pod.describe(), "the runtime does not list its containers");
            return;
        };
        self.observed.sandbox = sandboxes.into_iter().max_by_key(|sandbox| sandbox.metadata.attempt);
        let live: HashSet<&str> = ours.iter().map(|container| container.id.as_str()).collect();
        let lost: Vec<String> = self
            .observed
            .containers
            .values()
            .flatten()
            .filter(|known| !live.contains(known.id.as_str()))
            .map(|known| known.id.clone())
            .collect();
        lost.iter().for_each(|id| self.forget(id));
        ours.into_iter().for_each(|container| self.see_container(container));
        self.k.metrics.relisted(began);
    }

    fn on_verdict(&mut self, verdict: Verdict) {
        let Some(probed) =
            self.probes.get_mut(&verdict.name).filter(|probed| probed.container_id == verdict.container_id)
        else {
            return;
        };
        match (verdict.kind, verdict.passed) {
            (Kind::Readiness, passed) => probed.state.ready = passed,
            (Kind::Startup, true) => {
                probed.startup_done = true;
                self.update_started(&verdict.name);
            }
            (Kind::Liveness, true) => {}
            (kind, false) => {
                let what = kind.as_str().to_lowercase();
                let again = match self.container(&verdict.name).and_then(|container| container.restart_policy) {
                    Some(policy) => policy != "Never",
                    None => self.pod.restart_policy() != "Never",
                };
                let tail = if again { ", will be restarted" } else { "" };
                let message = format!("Container {} failed {what} probe{tail}", verdict.name);
                let probe_grace = self.container(&verdict.name).and_then(|container| {
                    let probe = if kind == Kind::Startup { container.startup_probe } else { container.liveness_probe };
                    probe?.termination_grace_period_seconds
                });
                let grace =
                    probe_grace.map_or_else(|| self.grace(), |seconds| Duration::from_secs(seconds.max(0) as u64));
                self.kill(&verdict.name.clone(), &verdict.container_id.clone(), grace, message);
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Sandbox(result) => {
                self.sandbox.busy = false;
                match result {
                    Ok(sandbox) => {
                        self.sandbox.retry.succeeded();
                        self.see_sandbox(sandbox);
                    }
                    Err(error) => {
                        self.k.recorder.event(
                            &*self.pod,
                            EventType::Warning,
                            "FailedCreatePodSandBox",
                            format!("Failed to create pod sandbox: {error}"),
                        );
                        self.sandbox.retry.failed();
                    }
                }
            }
            Done::NoSandbox => self.sandbox.busy = false,
            Done::Volumes(result) => {
                self.mounting.busy = false;
                match result {
                    Ok(mounted) => {
                        self.volumes = Some(mounted);
                        self.mounting.retry.succeeded();
                    }
                    Err(error) => self.on_volumes_not_ready(error),
                }
            }
            Done::Started(name, result) => match *result {
                Ok(status) => {
                    let id = status.id.clone();
                    self.starting = None;
                    self.waiting.remove(&name);
                    self.not_before.remove(&name);
                    self.see_container(status);
                    self.look_for_stragglers();
                    self.post_start(name, id);
                }
                Err((waiting, status)) => {
                    self.starting = None;
                    let ended = status.as_ref().is_some_and(|status| status.state == ContainerState::Exited);
                    status.into_iter().for_each(|status| self.see_container(status));
                    if ended {
                        // It counts as a crash: the next start backs off from its end.
                        self.waiting.insert(name, waiting);
                    } else if waiting.reason != "ContainerCreating" {
                        let delay = waiting.retry.unwrap_or(CONFIG_RETRY);
                        self.not_before.insert(name.clone(), from_now(delay));
                        self.waiting.insert(name, waiting);
                    }
                }
            },
            Done::PostStart(name, id, result) => {
                self.starting = None;
                match result {
                    Ok(()) => {
                        if let Some(probed) = self.probes.get_mut(&name).filter(|probed| probed.container_id == id) {
                            probed.hook_done = true;
                            self.update_started(&name);
                        }
                    }
                    Err(error) => {
                        self.k.recorder.record(
                            self.pod.container_reference(&name),
                            EventType::Warning,
                            "FailedPostStartHook",
                            format!("PostStartHook failed: {error}"),
                        );
                        self.kill(&name, &id, self.grace(), "FailedPostStartHook".to_owned());
                    }
                }
            }
            Done::Killed(id, result) => match result {
                Ok(status) => {
                    self.ending.retry.succeeded();
                    if let Some(killing) = self.killing.get_mut(&id) {
                        killing.jobs = killing.jobs.saturating_sub(1);
                    }
                    match status {
                        Some(status) => self.see_container(*status),
                        None => self.observed.forget(&id),
                    }
                }
                Err(error) => {
                    self.k.recorder.event(
                        &*self.pod,
                        EventType::Warning,
                        "FailedKillPod",
                        format!("error killing pod: {error}"),
                    );
                    self.kill_failed(&id);
                }
            },
            Done::Allocated(generation, result) => self.on_allocated(generation, result),
            Done::Actuated(done, result) => self.on_actuated(done, result),
            Done::TornDown(result) => self.stage_done(result, Stage::TornDown),
            Done::CleanedUp(result) => self.stage_done(result, Stage::Clean),
            Done::Written(status, result) => {
                self.write.busy = false;
                match result {
                    Ok(version) => {
                        self.last = *status;
                        self.version = self.version.max(version);
                        self.wrote = true;
                        self.write.retry.succeeded();
                    }
                    // The object is gone or another one has its name: there is nothing to write to.
                    Err(error) if is_not_found(&error) || is_conflict(&error) => {
                        self.last = *status;
                        self.write.retry.succeeded();
                    }
                    Err(error) => {
                        tracing::warn!(pod = %self.pod.describe(), "failed to write the pod's status: {}", message_of(&error));
                        self.write.retry.failed();
                    }
                }
            }
            Done::Deleted(result) => {
                self.ending.busy = false;
                match result {
                    Ok(()) => self.stage = Stage::Deleted,
                    Err(error) if is_not_found(&error) || is_conflict(&error) => self.stage = Stage::Deleted,
                    Err(error) => {
                        tracing::warn!(pod = %self.pod.describe(), "failed to delete the pod's object: {}", message_of(&error));
                        self.ending.retry.failed();
                    }
                }
            }
        }
    }

    fn on_volumes_not_ready(&mut self, error: NotReady) {
        match error.retry {
            Some(delay) => self.mounting.retry.waits(delay),
            None => self.mounting.retry.failed(),
        }
        // Who waits for a claim tries often, and tells of it now and then.
        let known = self
            .volumes_told
            .as_ref()
            .is_some_and(|(known, at)| error.retry.is_some() && *known == error.message && at.elapsed() < TELL_AGAIN);
        if !known {
            self.volumes_told = Some((error.message.clone(), Instant::now()));
            self.k.recorder.event(&*self.pod, EventType::Warning, "FailedMount", error.message);
        }
    }

    fn stage_done(&mut self, result: Result<(), String>, next: Stage) {
        self.ending.busy = false;
        match result {
            Ok(()) => {
                self.stage = next;
                self.ending.retry.succeeded();
                if let Some(sandbox) = &mut self.observed.sandbox {
                    sandbox.state = SandboxState::NotReady;
                }
            }
            Err(error) => {
                tracing::warn!(pod = %self.pod.describe(), error, "failed to clean up after a pod");
                self.ending.retry.failed();
            }
        }
    }
}
