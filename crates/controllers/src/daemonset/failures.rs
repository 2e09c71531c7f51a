//! How long a failed pod of a DaemonSet stays before it is deleted: its successor may be refused by the kubelet as fast.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use parking_lot::Mutex;

use crate::common::uid;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// After so long without another failure it begins anew, and is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(2 * 15 * 60);

/// A generation of a DaemonSet on a node.
type Key = (String, Option<i64>, String);

struct Failure {
    wait: Duration,
    at: Instant,
}

impl Failure {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= FORGOTTEN
    }
}

/// How often old failures are looked for; there may be very many.
const PURGE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Known {
    failures: HashMap<Key, Failure>,
    purged: Option<Instant>,
}

impl Known {
    fn purge(&mut self, now: Instant) {
        if self.purged.is_none_or(|purged| now.saturating_duration_since(purged) >= PURGE) {
            self.failures.retain(|_, failure| !failure.is_forgotten(now));
            self.purged = Some(now);
        }
    }
}

/// The failures of the last half hour.
#[derive(Default)]
pub(super) struct Failures(Mutex<Known>);

impl Failures {
    /// Whether the failed pod on a node has still to wait, and how long; otherwise the next one waits twice as long.
    pub fn next(&self, ds: &DaemonSet, node: &str, now: Instant) -> Option<Duration> {
        let observed = ds.status.as_ref().and_then(|status| status.observed_generation);
        let mut known = self.0.lock();
        known.purge(now);
        let key = (uid(ds).to_owned(), observed, node.to_owned());
        let Some(failure) = known.failures.get_mut(&key).filter(|failure| !failure.is_forgotten(now)) else {
            known.failures.insert(key, Failure { wait: FIRST, at: now });
            return None;
        };
        let left = failure.wait.saturating_sub(now.saturating_duration_since(failure.at));
        if left.is_zero() {
            *failure = Failure { wait: failure.wait.saturating_mul(2).min(LONGEST), at: now };
            return None;
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_waits_twice_as_long_as_the_one_before() {
        let (failures, ds) = (Failures::default(), DaemonSet::default());
        let start = Instant::now();
        let at = |seconds| failures.next(&ds, "a", start + Duration::from_secs(seconds));
        assert_eq!(at(0), None);
        assert_eq!(at(0), Some(Duration::from_secs(1)));
        assert_eq!(at(1), None);
        assert_eq!(at(2), Some(Duration::from_secs(1)));
        assert_eq!(at(3), None);
        assert_eq!(failures.next(&ds, "b", start), None);
        assert_eq!(at(3 + 1800), None);
        assert_eq!(at(3 + 1801), None);
    }

    #[test]
    fn old_failures_count_no_more_and_go_once_a_minute() {
        let (failures, ds) = (Failures::default(), DaemonSet::default());
        let start = Instant::now();
        let at = |node, seconds| failures.next(&ds, node, start + Duration::from_secs(seconds));
        let known = || failures.0.lock().failures.len();
        assert_eq!((at("a", 0), at("b", 0), at("c", 1799)), (None, None, None));
        assert_eq!((at("a", 1801), known()), (None, 3));
        assert_eq!((at("a", 1801), at("c", 1860), known()), (Some(FIRST), None, 2));
    }
}
