//! What would run of a pod: the containers of a node that has no runtime. All that is known of them is what the pod's
//! status says, so that nothing is lost with the process.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use coracle_runtime::cri::{
    ContainerMetadata, ContainerState, ContainerStatus, NamespaceOptions, PodSandbox, PodSandboxMetadata, SandboxState,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as core, Container, Pod, PodStatus, Probe};

use super::lifetime::Lifetime;
use crate::images::Waiting;
use crate::pod::{PodExt, container_hash, ephemeral_as_container, is_sidecar};
use crate::sync::{HASH, IMAGE, Observed, ProbeState};

/// The sandbox's name: there is one a pod, and it ends with it.
const SANDBOX: &str = "hollow";
const SCHEME: &str = "coracle://";

/// A pod's containers, at one moment.
pub(super) struct Play<'a> {
    pub(super) pod: &'a Pod,
    pub(super) now: Timestamp,
    pub(super) observed: Observed,
    pub(super) waiting: BTreeMap<String, Waiting>,
    /// The next moment at which something happens by itself.
    pub(super) wake: Option<Timestamp>,
}

impl<'a> Play<'a> {
    /// What a status tells.
    pub(super) fn restore(pod: &'a Pod, status: &PodStatus, now: Timestamp) -> Play<'a> {
        let mut play = Play { pod, now, observed: Observed::default(), waiting: BTreeMap::new(), wake: None };
        // The first status of a pod tells of both.
        if status.start_time.is_some() {
            let ips = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
            play.make_sandbox(ips);
        }
        let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
        for told in lists.into_iter().flatten().flatten() {
            restored(told).into_iter().for_each(|container| play.observed.put(container));
        }
        play
    }

    pub(super) fn make_sandbox(&mut self, ips: Vec<IpAddr>) {
        self.observed.sandbox = Some(PodSandbox {
            id: SANDBOX.into(),
            metadata: PodSandboxMetadata { uid: self.pod.uid().into(), ..Default::default() },
            state: SandboxState::Ready,
            created_at: 0,
            ips: if self.pod.host_network() { Vec::new() } else { ips },
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            namespaces: NamespaceOptions::default(),
        });
    }

    /// Something will happen then.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |known| known.min(at)));
    }

    /// Starts a container; one that only prepares others has done so at once.
    pub(super) fn start(&mut self, name: &str) {
        let ephemeral = || {
            let mut list = self.pod.spec().ephemeral_containers.iter().flatten();
            list.find(|container| container.name == name).map(ephemeral_as_container)
        };
        let Some(container) = self.pod.container(name).cloned().or_else(ephemeral) else { return };
        let attempt = self.observed.latest(name).map_or(0, |known| known.metadata.attempt.saturating_add(1));
        let image = container.image.clone().unwrap_or_default();
        let now = nanos(self.now);
        let prepares = self.pod.init_containers().iter().any(|init| init.name == name) && !is_sidecar(&container);
        self.observed.put(ContainerStatus {
            id: id(self.pod.uid(), name, attempt),
            state: if prepares { ContainerState::Exited } else { ContainerState::Running },
            started_at: now,
            finished_at: if prepares { now } else { 0 },
            annotations: BTreeMap::from([(IMAGE.to_owned(), image), (HASH.to_owned(), container_hash(&container))]),
            ..bare(name, attempt)
        });
        self.waiting.remove(name);
    }

    /// Ends a container that runs.
    pub(super) fn end(&mut self, id: &str, code: i32, at: Timestamp) {
        let found = self.observed.containers.values_mut().flatten().find(|container| container.id == id);
        if let Some(container) = found.filter(|container| container.state == ContainerState::Running) {
            container.state = ContainerState::Exited;
            container.exit_code = code;
            container.finished_at = nanos(at);
        }
    }

    /// Ends whatever runs, as it was asked to.
    pub(super) fn end_all(&mut self) {
        let running: Vec<String> = self.observed.running().map(|container| container.id.clone()).collect();
        running.iter().for_each(|id| self.end(id, 0, self.now));
    }

    /// Ends the containers whose time is over, and notes when that of others will be.
    pub(super) fn end_what_is_due(&mut self, lifetime: &Lifetime) {
        let Some((time, code)) = lifetime.run else { return };
        for container in &self.pod.spec().containers {
            let Some(running) = self.observed.latest(&container.name).filter(is_running) else { continue };
            let (id, at) = (running.id.clone(), after(moment(running.started_at), time));
            if at <= self.now { self.end(&id, code, at) } else { self.wake_at(at) }
        }
    }

    /// What hooks and probes say: they pass as soon as they may.
    pub(super) fn probes(&mut self) -> HashMap<String, ProbeState> {
        let mut states = HashMap::new();
        for container in self.pod.init_containers().iter().chain(&self.pod.spec().containers) {
            let Some(running) = self.observed.latest(&container.name).filter(is_running) else { continue };
            let (started, ready) = passes(container, moment(running.started_at));
            states
                .insert(container.name.clone(), ProbeState { started: started <= self.now, ready: ready <= self.now });
            for at in [started, ready] {
                if at > self.now {
                    self.wake_at(at);
                }
            }
        }
        states
    }
}

fn is_running(container: &&ContainerStatus) -> bool {
    container.state == ContainerState::Running
}

/// When the startup probe of a container passes, and when its readiness probe does.
fn passes(container: &Container, start: Timestamp) -> (Timestamp, Timestamp) {
    let seconds = |value: Option<i32>, default: i32| {
        Duration::from_secs(value.filter(|value| *value > 0).unwrap_or(default).unsigned_abs().into())
    };
    let passed = |probe: &Probe, from: Timestamp| {
        let first = after(start, seconds(probe.initial_delay_seconds, 0)).max(from);
        let more = seconds(probe.success_threshold, 1).as_secs().saturating_sub(1);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        after(first, seconds(probe.period_seconds, 10).saturating_mul(more))
    };
    let started = container.startup_probe.as_ref().map_or(start, |probe| passed(probe, start));
    let ready = container.readiness_probe.as_ref().map_or(started, |probe| passed(probe, started));
    (started, ready)
}

/// A container of which nothing is known yet.
fn bare(name: &str, attempt: u32) -> ContainerStatus {
    ContainerStatus {
        id: String::new(),
        pod_sandbox_id: SANDBOX.into(),
        metadata: ContainerMetadata { name: name.to_owned(), attempt },
        state: ContainerState::Exited,
        created_at: 0,
        started_at: 0,
        finished_at: 0,
        exit_code: 0,
        reason: String::new(),
        message: String::new(),
        image: String::new(),
        // Nothing was pulled.
        image_ref: String::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        log_path: String::new(),
        pid: 0,
        user: None,
    }
}

/// The containers of which one of a pod's status tells: the newest one, and the one before it.
fn restored(told: &core::ContainerStatus) -> Vec<ContainerStatus> {
    let attempt = u32::try_from(told.restart_count).unwrap_or_default();
    let known = Container { name: told.name.clone(), image: Some(told.image.clone()), ..Default::default() };
    let annotations =
        BTreeMap::from([(IMAGE.to_owned(), told.image.clone()), (HASH.to_owned(), container_hash(&known))]);
    let plain = |attempt: u32, id: &Option<String>| {
        let id = id.as_deref().unwrap_or_default();
        let id = id.strip_prefix(SCHEME).unwrap_or(id).to_owned();
        ContainerStatus { id, annotations: annotations.clone(), ..bare(&told.name, attempt) }
    };
    let ended = |attempt: u32, state: &core::ContainerState| {
        let end = state.terminated.as_ref()?;
        Some(ContainerStatus {
            started_at: end.started_at.as_ref().map_or(0, |time| nanos(time.0)),
            finished_at: end.finished_at.as_ref().map_or(0, |time| nanos(time.0)),
            exit_code: end.exit_code,
            reason: end.reason.clone().unwrap_or_default(),
            message: end.message.clone().unwrap_or_default(),
            ..plain(attempt, &end.container_id)
        })
    };
    let state = told.state.as_ref();
    let before = told.last_state.as_ref();
    let runs = state.and_then(|state| state.running.as_ref()).map(|running| ContainerStatus {
        state: ContainerState::Running,
        started_at: running.started_at.as_ref().map_or(0, |time| nanos(time.0)),
        ..plain(attempt, &told.container_id)
    });
    let newest = runs.or_else(|| ended(attempt, state?));
    // One that waits for its next start is the one that ended last.
    let older = if newest.is_some() { attempt.checked_sub(1) } else { Some(attempt) };
    let older = older.and_then(|attempt| ended(attempt, before?));
    newest.into_iter().chain(older).collect()
}

/// A container's ID, of as many digits as others have.
fn id(uid: &str, name: &str, attempt: u32) -> String {
    let part = |number: u8| {
        let mut hasher = DefaultHasher::new();
        (number, uid, name, attempt).hash(&mut hasher);
        hasher.finish()
    };
    (0..4).map(|number| format!("{:016x}", part(number))).collect()
}

/// Nanoseconds since the epoch, as the runtime counts.
fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

/// The reverse.
pub(super) fn moment(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanos.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A moment some time later.
pub(super) fn after(at: Timestamp, time: Duration) -> Timestamp {
    at.checked_add(time).unwrap_or(Timestamp::MAX)
}
