//! Pods that wait for a node.
//!
//! A pod is *active* (to be scheduled now, by priority, then by age), in *backoff* (to be tried again, but not too
//! soon), or *unschedulable* (nothing changed that could help). An event in the cluster moves those that it might
//! help. When nothing is active, pods in backoff after an unfit attempt are tried at once: an idle scheduler
//! has no reason to let them wait.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{from_now, later};
use tokio::time::Instant;

use crate::plugins::Reason;
use crate::pod::PodInfo;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// A pod is tried again after this even when no event came for it.
const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(300);

/// A set of things that happen in a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Happened(u16);

impl Happened {
    pub const NODE_ADDED: Happened = Happened(1);
    pub const NODE_ALLOCATABLE: Happened = Happened(2);
    pub const NODE_LABELS: Happened = Happened(4);
    pub const NODE_TAINTS: Happened = Happened(8);
    pub const POD_GONE: Happened = Happened(16);
    pub const POD_PLACED: Happened = Happened(32);
    pub const POD_LABELS: Happened = Happened(64);
    pub const NAMESPACE_LABELS: Happened = Happened(128);

    pub const fn and(self, other: Happened) -> Happened {
        Happened(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn meets(self, other: Happened) -> bool {
        self.0 & other.0 != 0
    }

    /// What might make a node that gave this reason take the pod.
    fn helps(reason: &Reason) -> Happened {
        let added = Happened::NODE_ADDED;
        match reason {
            Reason::Unschedulable | Reason::Taint(..) => added.and(Happened::NODE_TAINTS),
            Reason::NodeName => added,
            Reason::NodeAffinity | Reason::NotNamed => added.and(Happened::NODE_LABELS),
            Reason::Ports => added.and(Happened::POD_GONE),
            Reason::TooManyPods | Reason::Insufficient(_) => {
                added.and(Happened::NODE_ALLOCATABLE).and(Happened::POD_GONE)
            }
            Reason::Spread
            | Reason::SpreadLabel
            | Reason::PodAffinity
            | Reason::PodAntiAffinity
            | Reason::ExistingAntiAffinity => Happened(u16::MAX),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// Until then. `failed` says that an error sent it here, and not a cluster that was full.
    Backoff {
        until: Instant,
        failed: bool,
    },
    Unschedulable {
        since: Instant,
    },
    /// Being scheduled or bound.
    InFlight,
    /// It has scheduling gates.
    Gated,
}

struct Waiting {
    pod: Arc<PodInfo>,
    added: u64,
    attempts: u32,
    last_attempt: Instant,
    wants: Happened,
    place: Place,
}

type Order = (Reverse<i32>, u64, String);

/// All pods without a node.
#[derive(Default)]
pub(crate) struct Queue {
    pods: HashMap<String, Waiting>,
    active: BTreeSet<Order>,
    backoff: BTreeSet<(Instant, String)>,
    unschedulable: BTreeSet<(Instant, String)>,
    added: u64,
}

impl Queue {
    /// Takes in a new pod, or a pod's new state: `retry` says that the change might make it fit.
    pub fn set(&mut self, pod: Arc<PodInfo>, gated: bool, retry: bool) {
        let uid = pod.uid.clone();
        if let Some(waiting) = self.pods.get_mut(&uid) {
            let old = waiting.place;
            let reordered = waiting.pod.priority != pod.priority;
            if reordered && old == Place::Active {
                self.detach(&uid);
                self.pods.get_mut(&uid).expect("it was there").pod = pod;
                self.place(&uid, Place::Active);
                return;
            }
            waiting.pod = pod;
            match old {
                Place::Gated if !gated => self.place(&uid, Place::Active),
                Place::Unschedulable { .. } if retry => self.retry(&uid),
                _ => {}
            }
            return;
        }
        self.added += 1;
        let waiting = Waiting {
            pod,
            added: self.added,
            attempts: 0,
            last_attempt: Instant::now(),
            wants: Happened::default(),
            place: Place::InFlight,
        };
        self.pods.insert(uid.clone(), waiting);
        self.place(&uid, if gated { Place::Gated } else { Place::Active });
    }

    /// Forgets a pod that was bound or deleted.
    pub fn remove(&mut self, uid: &str) {
        self.detach(uid);
        self.pods.remove(uid);
    }

    /// The next pod to schedule. It stays known until [`Queue::remove`], [`Queue::unfit`] or [`Queue::failed`].
    pub fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.flush(now);
        let uid = match self.active.first() {
            Some((_, _, uid)) => uid.clone(),
            None => {
                let failed = |uid: &str| {
                    matches!(self.pods.get(uid), Some(Waiting { place: Place::Backoff { failed: true, .. }, .. }))
                };
                self.backoff.iter().map(|(_, uid)| uid).find(|uid| !failed(uid)).cloned()?
            }
        };
        self.detach(&uid);
        let waiting = self.pods.get_mut(&uid)?;
        waiting.attempts = waiting.attempts.saturating_add(1);
        waiting.last_attempt = now;
        Some(waiting.pod.clone())
    }

    /// No node took the pod; what would help is in the reasons.
    pub fn unfit<'a>(&mut self, uid: &str, reasons: impl Iterator<Item = &'a Reason>) {
        let wants = reasons.map(Happened::helps).fold(Happened::NODE_ADDED, Happened::and);
        if let Some(waiting) = self.pods.get_mut(uid) {
            waiting.wants = wants;
            self.place(uid, Place::Unschedulable { since: Instant::now() });
        }
    }

    /// Something went wrong: the pod is tried again after its backoff.
    pub fn failed(&mut self, uid: &str) {
        if let Some(waiting) = self.pods.get(uid) {
            let until = from_now(backoff(waiting.attempts));
            self.place(uid, Place::Backoff { until, failed: true });
        }
    }

    /// Wakes the pods that an event might help.
    pub fn wake(&mut self, event: Happened) {
        if event.is_empty() || self.unschedulable.is_empty() {
            return;
        }
        let helped: Vec<String> = self
            .unschedulable
            .iter()
            .map(|(_, uid)| uid)
            .filter(|uid| self.pods.get(*uid).is_some_and(|waiting| waiting.wants.meets(event)))
            .cloned()
            .collect();
        helped.iter().for_each(|uid| self.retry(uid));
    }

    /// When the queue has to be looked at although nothing happened.
    pub fn next_due(&self) -> Option<Instant> {
        let backoff = self.backoff.first().map(|(until, _)| *until);
        let unschedulable = self.unschedulable.first().map(|(since, _)| later(*since, MAX_UNSCHEDULABLE));
        backoff.into_iter().chain(unschedulable).min()
    }

    fn flush(&mut self, now: Instant) {
        while let Some((until, uid)) = self.backoff.first().cloned()
            && until <= now
        {
            self.detach(&uid);
            self.place(&uid, Place::Active);
        }
        while let Some((since, uid)) = self.unschedulable.first().cloned()
            && later(since, MAX_UNSCHEDULABLE) <= now
        {
            self.retry(&uid);
        }
    }

    fn retry(&mut self, uid: &str) {
        self.detach(uid);
        let Some(waiting) = self.pods.get(uid) else { return };
        let until = later(waiting.last_attempt, backoff(waiting.attempts));
        let place = if until <= Instant::now() { Place::Active } else { Place::Backoff { until, failed: false } };
        self.place(uid, place);
    }

    fn detach(&mut self, uid: &str) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        match waiting.place {
            Place::Active => {
                self.active.remove(&(Reverse(waiting.pod.priority), waiting.added, uid.to_owned()));
            }
            Place::Backoff { until, .. } => {
                self.backoff.remove(&(until, uid.to_owned()));
            }
            Place::Unschedulable { since } => {
                self.unschedulable.remove(&(since, uid.to_owned()));
            }
            Place::InFlight | Place::Gated => {}
        }
        waiting.place = Place::InFlight;
    }

    fn place(&mut self, uid: &str, place: Place) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        waiting.place = place;
        match place {
            Place::Active => {
                self.active.insert((Reverse(waiting.pod.priority), waiting.added, uid.to_owned()));
            }
            Place::Backoff { until, .. } => {
                self.backoff.insert((until, uid.to_owned()));
            }
            Place::Unschedulable { since } => {
                self.unschedulable.insert((since, uid.to_owned()));
            }
            Place::InFlight | Place::Gated => {}
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    let doubled = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_BACKOFF.checked_mul(doubled).unwrap_or(MAX_BACKOFF).min(MAX_BACKOFF)
}
