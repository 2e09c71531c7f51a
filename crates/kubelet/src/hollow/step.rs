//! What is next for a pod of a hollow node: a pure function of its object and the moment.

use std::net::IpAddr;
use std::time::Duration;

use coracle_client::EventType;
use coracle_matching::pods::is_terminal;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodStatus};
use serde_json::Value;

use super::lifetime::Lifetime;
use super::play::{Play, after, moment};
use crate::backoff::{MAX, go_duration};
use crate::images::Waiting;
use crate::pod::PodExt;
use crate::resize::Resizes;
use crate::resize::allocation::Allocation;
use crate::status::{Input, pod_status, status_patch};
use crate::sync::compute;

/// The pause before the second restart of a container; the first has none.
const RESTART: Duration = Duration::from_secs(10);
/// More turns than any pod needs.
const MOST_TURNS: usize = 1000;

/// What the pod's node says.
pub(super) struct Facts {
    /// The node's addresses.
    pub(super) host_ips: Vec<IpAddr>,
    /// Those that the pod has, or gets now.
    pub(super) pod_ips: Vec<IpAddr>,
    /// Reason and message of why the pod may not run on the node.
    pub(super) refusal: Option<(String, String)>,
    pub(super) now: Timestamp,
}

/// What is told of the pod beside its status.
pub(super) struct Told {
    pub(super) about: ObjectReference,
    pub(super) kind: EventType,
    pub(super) reason: String,
    pub(super) message: String,
}

/// What is to be done.
#[derive(Default)]
pub(super) struct Next {
    /// The patch of its status.
    pub(super) patch: Option<Value>,
    /// When to look again.
    pub(super) wake: Option<Timestamp>,
    /// Once the status is written, the object goes.
    pub(super) delete: bool,
    pub(super) events: Vec<Told>,
}

/// Looks at a pod.
pub(super) fn step(pod: &Pod, facts: Facts) -> Next {
    let old = pod.status.clone().unwrap_or_default();
    // What a finalizer keeps was deleted already.
    let delete = pod.is_deleted() && pod.metadata.deletion_grace_period_seconds != Some(0);
    if is_terminal(pod) {
        return Next { delete, ..Next::default() };
    }
    let mut scene = Scene { play: Play::restore(pod, &old, facts.now), old, facts, failure: None, events: Vec::new() };
    let finished = pod.is_deleted() || scene.fails() || scene.go_on();
    if finished {
        scene.play.end_all();
    }
    let patch = scene.patch(finished);
    let wake = scene.play.wake.filter(|_| !finished);
    Next { patch, wake, delete, events: scene.events }
}

struct Scene<'a> {
    play: Play<'a>,
    old: PodStatus,
    facts: Facts,
    failure: Option<(String, String)>,
    events: Vec<Told>,
}

impl Scene<'_> {
    fn pod(&self) -> &Pod {
        self.play.pod
    }

    fn start_time(&self) -> Timestamp {
        self.old.start_time.as_ref().map_or(self.facts.now, |time| time.0)
    }

    fn tell(&mut self, about: ObjectReference, kind: EventType, reason: &str, message: String) {
        self.events.push(Told { about, kind, reason: reason.to_owned(), message });
    }

    /// Whether the pod fails as a whole.
    fn fails(&mut self) -> bool {
        let about = coracle_client::object_reference(self.pod());
        if let Some((reason, message)) = self.facts.refusal.take() {
            let message = format!("Pod was rejected: {message}");
            self.tell(about, EventType::Warning, &reason, message.clone());
            self.failure = Some((reason, message));
            return true;
        }
        let Some(seconds) = self.pod().spec().active_deadline_seconds else { return false };
        let deadline = after(self.start_time(), Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
        if self.facts.now < deadline {
            self.play.wake_at(deadline);
            return false;
        }
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        self.tell(about, EventType::Normal, "DeadlineExceeded", message.clone());
        self.failure = Some(("DeadlineExceeded".to_owned(), message));
        true
    }

    /// Does everything that happens until now; whether nothing runs any more, nor will.
    fn go_on(&mut self) -> bool {
        let lifetime = Lifetime::of(self.pod());
        for _ in 0..MOST_TURNS {
            if let Ok(lifetime) = &lifetime {
                self.play.end_what_is_due(lifetime);
            }
            let probes = self.play.probes();
            let actions = compute(self.pod(), &self.play.observed, &probes);
            if actions.finished {
                return true;
            }
            let mut progress = actions.create_sandbox;
            if actions.create_sandbox {
                let ips = self.facts.pod_ips.clone();
                self.play.make_sandbox(ips);
            }
            for kill in actions.kill {
                self.play.end(&kill.id, 0, self.facts.now);
                self.play.observed.replaced.insert(kill.id);
                progress = true;
            }
            for name in actions.start {
                progress |= self.start(&name, &lifetime);
            }
            if !progress {
                return false;
            }
        }
        tracing::error!(pod = %self.pod().describe(), "the containers of a hollow node's pod come and go without end");
        false
    }

    /// Starts a container if it need not wait.
    fn start(&mut self, name: &str, lifetime: &Result<Lifetime, String>) -> bool {
        let lifetime = match lifetime {
            Ok(lifetime) => lifetime,
            Err(why) => {
                let waiting = Waiting::new("CreateContainerConfigError", why.clone());
                self.play.waiting.insert(name.to_owned(), waiting);
                return false;
            }
        };
        let begin = after(self.start_time(), lifetime.start);
        if self.facts.now < begin {
            self.play.wake_at(begin);
            return false;
        }
        if let Some((delay, until)) = self.back_off(name) {
            self.play.wake_at(until);
            self.tell_of_back_off(name, delay);
            return false;
        }
        self.play.start(name);
        true
    }

    /// How long the next start of a container is put off, and until when.
    fn back_off(&self, name: &str) -> Option<(Duration, Timestamp)> {
        let observed = &self.play.observed;
        let last = observed.latest(name).filter(|last| !observed.replaced.contains(&last.id))?;
        let doublings = last.metadata.attempt.checked_sub(1)?;
        let (started, ended) = (moment(last.started_at), moment(last.finished_at));
        // Twice the maximum without an end starts over.
        if ended > after(started, MAX.saturating_mul(2)) {
            return None;
        }
        let delay = RESTART.saturating_mul(1 << doublings.min(10)).min(MAX);
        Some((delay, after(ended, delay))).filter(|(_, until)| self.facts.now < *until)
    }

    fn tell_of_back_off(&mut self, name: &str, delay: Duration) {
        const REASON: &str = "CrashLoopBackOff";
        let describe = self.pod().describe();
        let message = format!("back-off {} restarting failed container={name} pod={describe}", go_duration(delay));
        self.play.waiting.insert(name.to_owned(), Waiting::new(REASON, message));
        let lists = [&self.old.init_container_statuses, &self.old.container_statuses];
        let known = lists.into_iter().flatten().flatten().find(|status| status.name == name);
        let waits = known.and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
        if waits != Some(REASON) {
            let event = format!("Back-off restarting failed container {name} in pod {describe}");
            let about = self.pod().container_reference(name);
            self.tell(about, EventType::Warning, "BackOff", event);
        }
    }

    fn patch(&mut self, terminal: bool) -> Option<Value> {
        let probes = self.play.probes();
        let status = pod_status(&Input {
            pod: self.play.pod,
            old: &self.old,
            // What a pod is resized to, it has at once.
            allocation: &Allocation::default(),
            resizes: &Resizes::default(),
            observed: &self.play.observed,
            waiting: &self.play.waiting,
            probes: &probes,
            host_ips: self.facts.host_ips.clone(),
            start_time: self.start_time(),
            terminal,
            failure: self.failure.as_ref(),
            disrupted: false,
            now: self.facts.now,
        });
        status_patch(self.play.pod, &self.old, &status)
    }
}
