//! How often a status is put right that somebody else writes again and again, as another kubelet of the same node's name does: at once at
//! first, and then only so often that it is no flood for the API. Upstream's kubelet looks every ten seconds.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How often within which time.
const OFTEN: usize = 5;
const WITHIN: Duration = Duration::from_secs(10);

/// When it was put right last.
#[derive(Default)]
pub(super) struct Contest(VecDeque<Instant>);

impl Contest {
    /// It is to be put right: how long that has to wait.
    pub fn wait(&mut self, now: Instant) -> Duration {
        if self.0.len() < OFTEN {
            self.0.push_back(now);
            return Duration::ZERO;
        }
        let due = self.0.pop_front().and_then(|first| first.checked_add(WITHIN)).map_or(now, |due| due.max(now));
        self.0.push_back(due);
        due.duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_again_and_again_is_put_right_ever_less_often() {
        let start = Instant::now();
        let (mut contest, mut now) = (Contest::default(), start);
        for _ in 0..100 {
            now += contest.wait(now);
        }
        assert_eq!(now - start, WITHIN * (100 / OFTEN as u32 - 1));
        assert!(contest.wait(now + WITHIN).is_zero(), "after a while it is put right at once");
    }
}
