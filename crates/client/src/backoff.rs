//! Exponential backoff with jitter.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Delays that double from `base` to `max`, each lengthened by a random share so that clients spread out.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// The first delay is about `base`; none is longer than twice `max`.
    pub fn new(base: Duration, max: Duration) -> Backoff {
        Backoff { base, max, failures: 0 }
    }

    /// The next delay.
    pub fn delay(&mut self) -> Duration {
        let plain = exponential(self.base, self.max, self.failures);
        self.failures = self.failures.saturating_add(1);
        plain.saturating_add(plain.mul_f64(random_unit()))
    }

    /// Starts again at the first delay.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Sleeps for the next delay.
    pub async fn sleep(&mut self) {
        tokio::time::sleep(self.delay()).await;
    }
}

/// `base` doubled `failures` times, at most `max`.
pub(crate) fn exponential(base: Duration, max: Duration, failures: u32) -> Duration {
    base.checked_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX)).unwrap_or(max).min(max)
}

/// A number from 0 to 1, different in each process and call; not for secrets.
pub(crate) fn random_unit() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum() {
        let (base, max) = (Duration::from_millis(5), Duration::from_secs(1000));
        assert_eq!(exponential(base, max, 0), base);
        assert_eq!(exponential(base, max, 3), Duration::from_millis(40));
        assert_eq!(exponential(base, max, 31), max);
        assert_eq!(exponential(base, max, 4000), max);
    }

    #[test]
    fn jitter_at_most_doubles_a_delay() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        for plain in [1, 2, 4, 8, 8] {
            let delay = backoff.delay();
            assert!(delay >= Duration::from_secs(plain) && delay <= Duration::from_secs(2 * plain), "{delay:?}");
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_secs(2));
    }
}
