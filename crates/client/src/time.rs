//! Sums of times that clients can name: none leaves the range of the clock.

use std::time::Duration;

use tokio::time::Instant;

/// Longer waits than this are this long; whoever wakes then looks again.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The instant that comes `delay` after another, at most a year.
pub fn later(from: Instant, delay: Duration) -> Instant {
    from.checked_add(delay.min(LONGEST)).unwrap_or(from)
}

/// The instant that comes `delay` from now, at most a year.
pub fn from_now(delay: Duration) -> Instant {
    later(Instant::now(), delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_that_no_clock_reaches_is_a_year() {
        let now = Instant::now();
        assert_eq!(later(now, Duration::MAX), later(now, LONGEST));
        assert_eq!(later(now, Duration::from_secs(5)).duration_since(now), Duration::from_secs(5));
    }
}
