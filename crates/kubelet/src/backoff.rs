//! Backoff of container restarts and image pulls: 10 s, doubled up to 5 min, forgotten after 10 min of peace.

use std::collections::HashMap;
use std::time::{Duration, Instant};

const BASE: Duration = Duration::from_secs(10);
/// The longest backoff.
pub const MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: Duration,
    updated: Instant,
}

/// Backoffs by key.
#[derive(Debug, Default)]
pub struct Backoffs(HashMap<String, Entry>);

impl Backoffs {
    /// The delay in force for a key and what is left of it, when something that ended `since` ago must wait.
    pub fn in_backoff(&self, key: &str, since: Duration) -> Option<(Duration, Duration)> {
        let entry = self.0.get(key)?;
        if entry.updated.elapsed() > 2 * MAX {
            return None;
        }
        let left = entry.delay.checked_sub(since).filter(|left| !left.is_zero())?;
        Some((entry.delay, left))
    }

    /// The delay in force for a key and what is left of it, counted from the last failure.
    pub fn in_backoff_since_update(&self, key: &str) -> Option<(Duration, Duration)> {
        self.in_backoff(key, self.0.get(key)?.updated.elapsed())
    }

    /// Lengthens the backoff of a key: called when it is tried again (restarts) or failed (pulls).
    pub fn next(&mut self, key: &str) -> Duration {
        let now = Instant::now();
        let entry = self
            .0
            .entry(key.to_owned())
            .and_modify(|entry| {
                // Twice the maximum without a failure starts over.
                entry.delay = if entry.updated.elapsed() > 2 * MAX { BASE } else { (entry.delay * 2).min(MAX) };
                entry.updated = now;
            })
            .or_insert(Entry { delay: BASE, updated: now });
        entry.delay
    }

    /// Forgets a key.
    pub fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Forgets what has been at peace for long enough.
    pub fn collect(&mut self) {
        self.0.retain(|_, entry| entry.updated.elapsed() <= 2 * MAX);
    }
}

/// A duration as Go prints it (`10s`, `2m40s`, `5m0s`).
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_doubles_and_is_forgotten_after_ten_minutes() {
        let mut backoffs = Backoffs::default();
        assert!(backoffs.in_backoff("a", Duration::ZERO).is_none());
        let delays: Vec<u64> = (0..7).map(|_| backoffs.next("a").as_secs()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoffs.in_backoff("a", Duration::from_secs(100)).unwrap().1.as_secs(), 200);
        assert!(backoffs.in_backoff("a", Duration::from_secs(300)).is_none());
        backoffs.0.get_mut("a").unwrap().updated -= Duration::from_secs(601);
        assert!(backoffs.in_backoff("a", Duration::ZERO).is_none());
        assert_eq!(backoffs.next("a").as_secs(), 10);
        assert_eq!(go_duration(Duration::from_secs(160)), "2m40s");
        assert_eq!(go_duration(Duration::from_secs(300)), "5m0s");
    }
}
