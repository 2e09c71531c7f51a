//! Which thresholds are passed, since when, and what that makes of the node: a function of what was seen and of time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::config::{Amount, Eviction, Signal};

/// What there is of something, and what there could be at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) available: u64,
    pub(super) capacity: u64,
}

/// What was seen; what could not be seen is not there.
pub(super) type Observations = BTreeMap<Signal, Observation>;

/// A limit of one signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Threshold {
    pub(super) signal: Signal,
    pub(super) amount: Amount,
    /// For how long it may be passed; none for a hard one.
    pub(super) grace: Option<Duration>,
}

impl Threshold {
    fn key(&self) -> (Signal, bool) {
        (self.signal, self.grace.is_some())
    }
}

/// What was seen before.
#[derive(Default)]
pub(super) struct Tracker {
    /// Thresholds that are passed, by signal and whether they are soft, and since when.
    passed: BTreeMap<(Signal, bool), Instant>,
    /// When each condition held last.
    conditions: BTreeMap<&'static str, Instant>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Finding {
    /// Conditions of the node.
    pub(super) conditions: BTreeSet<&'static str>,
    /// Thresholds that are passed for longer than they may be, the one to be taken care of first.
    pub(super) due: Vec<Threshold>,
}

impl Tracker {
    /// Looks at what was seen now.
    pub(super) fn observe(&mut self, config: &Eviction, seen: &Observations, now: Instant) -> Finding {
        let passed: Vec<Threshold> = all(config).filter(|threshold| self.is_passed(config, threshold, seen)).collect();
        let before = std::mem::take(&mut self.passed);
        for threshold in &passed {
            let since = before.get(&threshold.key()).copied().unwrap_or(now);
            self.passed.insert(threshold.key(), since);
            self.conditions.insert(threshold.signal.condition(), now);
        }
        let stays = |at: &Instant| *at == now || now.duration_since(*at) < config.pressure_transition_period;
        self.conditions.retain(|_, at| stays(at));
        let is_due = |threshold: &Threshold| {
            let since = self.passed.get(&threshold.key());
            since.is_some_and(|since| now.duration_since(*since) >= threshold.grace.unwrap_or_default())
        };
        let mut due: Vec<Threshold> = passed.into_iter().filter(is_due).collect();
        // Memory comes first, as the kernel would not wait; of one signal the hard one.
        due.sort_by_key(|threshold| threshold.key());
        Finding { conditions: self.conditions.keys().copied().collect(), due }
    }

    /// Whether a threshold is passed; one that was stays so until as much more was won back as is asked for.
    fn is_passed(&self, config: &Eviction, threshold: &Threshold, seen: &Observations) -> bool {
        let Some(seen) = seen.get(&threshold.signal) else { return false };
        let mut limit = threshold.amount.of(seen.capacity);
        if self.passed.contains_key(&threshold.key())
            && let Some(more) = config.minimum_reclaim.get(&threshold.signal)
        {
            limit = limit.saturating_add(more.of(seen.capacity));
        }
        seen.available < limit
    }

    /// Whether a resource that was short is so still.
    pub(super) fn is_short(&self, config: &Eviction, seen: &Observations, resource: &str) -> bool {
        all(config).any(|threshold| {
            threshold.signal.resource() == resource
                && self.passed.contains_key(&threshold.key())
                && self.is_passed(config, &threshold, seen)
        })
    }
}

fn all(config: &Eviction) -> impl Iterator<Item = Threshold> {
    let hard = config.hard.iter().map(|(signal, amount)| Threshold { signal: *signal, amount: *amount, grace: None });
    hard.chain(config.soft.iter().map(|(signal, amount)| {
        let grace = config.soft_grace_period.get(signal).copied().unwrap_or_default();
        Threshold { signal: *signal, amount: *amount, grace: Some(grace) }
    }))
}

#[cfg(test)]
mod tests {
    use super::super::config::{amounts, thresholds};
    use super::*;

    fn seen(memory: u64, disk: u64) -> Observations {
        let of = |available| Observation { available, capacity: 100 };
        [(Signal::MemoryAvailable, of(memory)), (Signal::NodeFsAvailable, of(disk))].into()
    }

    fn due(finding: &Finding) -> Vec<(&'static str, bool)> {
        finding.due.iter().map(|threshold| (threshold.signal.name(), threshold.grace.is_some())).collect()
    }

    #[test]
    fn a_hard_threshold_acts_at_once_and_its_condition_stays_for_a_while() {
        let config =
            Eviction { hard: thresholds("memory.available<10,nodefs.available<10%").unwrap(), ..Default::default() };
        let (mut tracker, start) = (Tracker::default(), Instant::now());
        assert_eq!(tracker.observe(&config, &seen(10, 10), start), Finding::default());
        let finding = tracker.observe(&config, &seen(9, 9), start);
        assert_eq!(due(&finding), [("memory.available", false), ("nodefs.available", false)]);
        assert_eq!(finding.conditions, ["DiskPressure", "MemoryPressure"].into());
        let later = start + Duration::from_secs(299);
        let finding = tracker.observe(&config, &seen(50, 50), later);
        assert!(finding.due.is_empty() && finding.conditions.len() == 2);
        let finding = tracker.observe(&config, &seen(50, 50), start + Duration::from_secs(300));
        assert_eq!(finding, Finding::default());
        // What cannot be seen is not short.
        assert_eq!(tracker.observe(&config, &Observations::new(), later), Finding::default());
    }

    #[test]
    fn a_soft_threshold_acts_after_its_grace_period_without_a_break() {
        let config = Eviction {
            hard: Default::default(),
            soft: thresholds("memory.available<20").unwrap(),
            soft_grace_period: [(Signal::MemoryAvailable, Duration::from_secs(30))].into(),
            ..Default::default()
        };
        let (mut tracker, start) = (Tracker::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let finding = tracker.observe(&config, &seen(15, 50), start);
        assert!(finding.due.is_empty() && finding.conditions.contains("MemoryPressure"));
        assert!(tracker.observe(&config, &seen(25, 50), at(20)).due.is_empty());
        assert!(tracker.observe(&config, &seen(15, 50), at(31)).due.is_empty());
        assert_eq!(due(&tracker.observe(&config, &seen(15, 50), at(61))), [("memory.available", true)]);
    }

    #[test]
    fn what_was_short_is_so_until_enough_was_won_back() {
        let config = Eviction {
            hard: thresholds("nodefs.available<10").unwrap(),
            minimum_reclaim: amounts("nodefs.available=5").unwrap(),
            ..Default::default()
        };
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        assert!(tracker.observe(&config, &seen(50, 12), now).due.is_empty());
        assert_eq!(tracker.observe(&config, &seen(50, 9), now).due.len(), 1);
        assert!(tracker.is_short(&config, &seen(50, 14), "ephemeral-storage"));
        assert!(!tracker.is_short(&config, &seen(50, 15), "ephemeral-storage"));
        assert_eq!(tracker.observe(&config, &seen(50, 14), now).due.len(), 1);
        assert!(tracker.observe(&config, &seen(50, 15), now).due.is_empty());
        assert!(tracker.observe(&config, &seen(50, 14), now).due.is_empty());
    }
}
