//! Pods that wait for a node.
//!
//! A pod is *active* (to be scheduled now, by priority, then by age), in *backoff* (to be tried again, but not too
//! soon), or *unschedulable* (nothing changed that could help). An event in the cluster moves those that it may help by what
//! the plugins say that refused them. When nothing is active, pods in backoff after an unfit attempt are tried at once: an idle
//! scheduler has no reason to let them wait.
//!
//! Whoever decides sees the cluster as of the last event that was taken in, and the pod is back here before the next one is:
//! no event is missed in between.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{from_now, later};
use coracle_metrics::Counter;
use tokio::time::Instant;

use crate::framework::Actions;
use crate::framework::event::{OWN_ADD, OWN_GATES, OWN_UPDATE};
use crate::metrics::{Attempt, METRICS};
use crate::pod::PodInfo;

/// A pod is tried again after this even when no event came for it.
const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(300);

/// How long a pod waits before it is tried again: twice as long each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub initial: Duration,
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(10) }
    }
}

impl Backoff {
    fn after(self, attempts: u32) -> Duration {
        let doubled = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        self.initial.checked_mul(doubled).unwrap_or(self.max).min(self.max)
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
        wants: Actions,
    },
    /// Being scheduled or bound.
    InFlight,
    /// It has scheduling gates.
    Gated,
}

impl Place {
    /// What the metrics call it.
    fn name(&self) -> &'static str {
        match self {
            Place::Active | Place::InFlight => "active",
            Place::Backoff { .. } => "backoff",
            Place::Unschedulable { .. } => "unschedulable",
            Place::Gated => "gated",
        }
    }
}

/// Who keeps a pod from its node.
pub(crate) struct Refused {
    /// The place of the pod's profile.
    pub profile: usize,
    pub plugins: Vec<&'static str>,
    /// What they say may help.
    pub wants: Actions,
}

struct Waiting {
    pod: Arc<PodInfo>,
    added: u64,
    /// Since when it is to be scheduled.
    since: Instant,
    attempts: u32,
    last_attempt: Instant,
    refused: Option<Refused>,
    place: Place,
}

type Order = (Reverse<i32>, u64, String);

/// All pods without a node.
#[derive(Default)]
pub(crate) struct Queue {
    backoff_time: Backoff,
    pods: HashMap<String, Waiting>,
    active: BTreeSet<Order>,
    backoff: BTreeSet<(Instant, String)>,
    unschedulable: BTreeSet<(Instant, String)>,
    /// The same, by what they want: who wants nothing of what happened is not looked at.
    wanting: HashMap<Actions, BTreeSet<String>>,
    gated: usize,
    added: u64,
    /// The names of the profiles, by their places.
    profiles: Vec<String>,
}

impl Queue {
    pub fn new(backoff_time: Backoff, profiles: Vec<String>) -> Queue {
        let mut queue = Queue::default();
        (queue.backoff_time, queue.profiles) = (backoff_time, profiles);
        queue
    }

    /// Tells the metrics how many wait where.
    pub fn tell(&self) {
        for (gauge, count) in [
            (&METRICS.active, self.active.len()),
            (&METRICS.backoff, self.backoff.len()),
            (&METRICS.unschedulable, self.unschedulable.len()),
            (&METRICS.gated, self.gated),
        ] {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The attempt that a pod is at.
    pub fn attempt(&self, uid: &str) -> Attempt {
        match self.pods.get(uid) {
            Some(waiting) => Attempt { began: waiting.last_attempt, number: waiting.attempts, since: waiting.since },
            None => Attempt { began: Instant::now(), number: 1, since: Instant::now() },
        }
    }

    /// Takes in a new pod, or a pod's new state.
    pub fn set(&mut self, pod: Arc<PodInfo>, gated: bool) {
        let uid = pod.uid.clone();
        let Some(waiting) = self.pods.get_mut(&uid) else {
            self.added += 1;
            let waiting = Waiting {
                pod,
                added: self.added,
                since: Instant::now(),
                attempts: 0,
                last_attempt: Instant::now(),
                refused: None,
                place: Place::InFlight,
            };
            self.pods.insert(uid.clone(), waiting);
            return self.place(&uid, if gated { Place::Gated } else { Place::Active }, OWN_ADD);
        };
        let old = waiting.place;
        if old == Place::Active && waiting.pod.priority != pod.priority {
            self.detach(&uid);
            if let Some(waiting) = self.pods.get_mut(&uid) {
                waiting.pod = pod;
            }
            return self.place(&uid, Place::Active, OWN_UPDATE);
        }
        waiting.pod = pod;
        if old == Place::Gated && !gated {
            waiting.since = Instant::now();
            self.detach(&uid);
            self.place(&uid, Place::Active, OWN_GATES);
        }
    }

    /// Forgets a pod that was bound or deleted.
    pub fn remove(&mut self, uid: &str) {
        self.detach(uid);
        self.pods.remove(uid);
    }

    /// The pod as it was last seen, if it waits or is in flight.
    pub fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.pods.get(uid).map(|waiting| &waiting.pod)
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

    /// No node took the pod.
    pub fn unfit(&mut self, uid: &str, refused: Refused) {
        self.added += 1;
        if let Some(waiting) = self.pods.get_mut(uid) {
            let place = Place::Unschedulable { since: Instant::now(), wants: refused.wants };
            waiting.refused = Some(refused);
            // Those that came meanwhile go first.
            waiting.added = self.added;
            self.place(uid, place, "ScheduleAttemptFailure");
        }
    }

    /// Something went wrong: the pod is tried again after its backoff.
    pub fn failed(&mut self, uid: &str) {
        if let Some(waiting) = self.pods.get(uid) {
            let until = from_now(self.backoff_time.after(waiting.attempts));
            self.place(uid, Place::Backoff { until, failed: true }, "ScheduleAttemptFailure");
        }
    }

    /// Moves the unschedulable pods that what happened may help: those that want such events, and that `helps` agrees for.
    pub fn wake(&mut self, actions: Actions, helps: impl Fn(&PodInfo, &Refused) -> bool) {
        let is_helped = |waiting: &Waiting| waiting.refused.as_ref().is_none_or(|refused| helps(&waiting.pod, refused));
        let wanting = self.wanting.iter().filter(|(wants, _)| wants.meets(actions));
        let uids = wanting.flat_map(|(_, uids)| uids);
        let helped: Vec<String> = uids.filter(|uid| self.pods.get(*uid).is_some_and(is_helped)).cloned().collect();
        helped.iter().for_each(|uid| self.retry(uid, actions.name()));
    }

    /// Moves one pod, that was changed itself, if it is unschedulable and `helps` says so.
    pub fn wake_one(&mut self, uid: &str, event: &str, helps: impl Fn(&PodInfo, &Refused) -> bool) {
        let Some(waiting) = self.pods.get(uid) else { return };
        let is_unschedulable = matches!(waiting.place, Place::Unschedulable { .. });
        if is_unschedulable && waiting.refused.as_ref().is_none_or(|refused| helps(&waiting.pod, refused)) {
            self.retry(uid, event);
        }
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
            self.place(&uid, Place::Active, "BackoffComplete");
        }
        while let Some((since, uid)) = self.unschedulable.first().cloned()
            && later(since, MAX_UNSCHEDULABLE) <= now
        {
            self.retry(&uid, "UnschedulableTimeout");
        }
    }

    fn retry(&mut self, uid: &str, event: &str) {
        self.detach(uid);
        let Some(waiting) = self.pods.get(uid) else { return };
        let until = later(waiting.last_attempt, self.backoff_time.after(waiting.attempts));
        let place = if until <= Instant::now() { Place::Active } else { Place::Backoff { until, failed: false } };
        self.place(uid, place, event);
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
            Place::Unschedulable { since, wants } => {
                self.unschedulable.remove(&(since, uid.to_owned()));
                tell_of_plugins(&self.profiles, waiting.refused.as_ref(), -1);
                if let Some(uids) = self.wanting.get_mut(&wants) {
                    uids.remove(uid);
                    if uids.is_empty() {
                        self.wanting.remove(&wants);
                    }
                }
            }
            Place::Gated => self.gated = self.gated.saturating_sub(1),
            Place::InFlight => {}
        }
        waiting.place = Place::InFlight;
    }

    fn place(&mut self, uid: &str, place: Place, event: &str) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        waiting.place = place;
        METRICS.incoming.with([place.name(), event], Counter::inc);
        match place {
            Place::Active => {
                self.active.insert((Reverse(waiting.pod.priority), waiting.added, uid.to_owned()));
            }
            Place::Backoff { until, .. } => {
                self.backoff.insert((until, uid.to_owned()));
            }
            Place::Unschedulable { since, wants } => {
                self.unschedulable.insert((since, uid.to_owned()));
                tell_of_plugins(&self.profiles, waiting.refused.as_ref(), 1);
                self.wanting.entry(wants).or_default().insert(uid.to_owned());
            }
            Place::Gated => self.gated = self.gated.saturating_add(1),
            Place::InFlight => {}
        }
    }
}

/// Whoever schedules no more has none that wait.
impl Drop for Queue {
    fn drop(&mut self) {
        for waiting in self.pods.values().filter(|waiting| matches!(waiting.place, Place::Unschedulable { .. })) {
            tell_of_plugins(&self.profiles, waiting.refused.as_ref(), -1);
        }
        [&METRICS.active, &METRICS.backoff, &METRICS.unschedulable, &METRICS.gated]
            .iter()
            .for_each(|gauge| gauge.set(0));
    }
}

/// Tells the metrics of one pod more, or less, that plugins keep from its node.
fn tell_of_plugins(profiles: &[String], refused: Option<&Refused>, change: i64) {
    let Some(refused) = refused else { return };
    let profile = profiles.get(refused.profile).map(String::as_str).unwrap_or_default();
    for plugin in &refused.plugins {
        METRICS.refused_by.with([plugin, profile], |gauge| gauge.add(change));
    }
}
