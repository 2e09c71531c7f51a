//! What a controller has asked for and not yet seen in its cache.
//!
//! A controller that counts a stale cache makes a replica twice. So before it creates or deletes it notes what it
//! expects, and it does nothing more for that key until its informer has shown it all (or five minutes passed).

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use coracle_client::ObjectKey;
use parking_lot::Mutex;

const TIMEOUT: Duration = Duration::from_secs(300);

struct Expected {
    /// The UID of the owner that asked: another one of its name has asked for nothing.
    owner: String,
    creations: usize,
    /// By UID: the last change of an object that goes may be seen twice, as its deletion begins and as it is done.
    deletions: HashSet<String>,
    since: Instant,
}

/// The open expectations of each key.
#[derive(Default)]
pub(crate) struct Expectations(Mutex<HashMap<ObjectKey, Expected>>);

impl Expectations {
    /// Expects, for the owner of this UID, that many new objects, and those of these UIDs to go; what was expected before
    /// counts no more.
    pub fn expect(&self, key: &ObjectKey, owner: &str, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let (owner, deletions) = (owner.to_owned(), deletions.into_iter().collect());
        self.0.lock().insert(key.clone(), Expected { owner, creations, deletions, since: Instant::now() });
    }

    /// One new object was seen, or one could not be made.
    pub fn creation_observed(&self, key: &ObjectKey) {
        self.lower(key, 1);
    }

    /// Objects that will not be made after all.
    pub fn lower(&self, key: &ObjectKey, creations: usize) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.creations = expected.creations.saturating_sub(creations);
        }
    }

    /// An object was seen to go, or could not be deleted.
    pub fn deletion_observed(&self, key: &ObjectKey, uid: &str) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.deletions.remove(uid);
        }
    }

    /// How long to wait, at most, for what the owner of this UID asked for and the cache does not show; `None` when it
    /// shows all of it, or nobody waits any longer. What another owner of this name asked for is forgotten.
    pub fn pending(&self, key: &ObjectKey, owner: &str) -> Option<Duration> {
        self.pending_at(key, owner, Instant::now())
    }

    fn pending_at(&self, key: &ObjectKey, owner: &str, now: Instant) -> Option<Duration> {
        let mut all = self.0.lock();
        let expected = all.get(key)?;
        let left = TIMEOUT.saturating_sub(now.saturating_duration_since(expected.since));
        let settled = expected.creations == 0 && expected.deletions.is_empty();
        if settled || left.is_zero() || expected.owner != owner {
            all.remove(key);
            return None;
        }
        Some(left)
    }

    /// Forgets a key whose owner is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_until_everything_was_seen() {
        let expectations = Expectations::default();
        let key = ObjectKey::new("n", "web");
        let settled = || expectations.pending(&key, "u").is_none();
        assert!(settled());
        expectations.expect(&key, "u", 2, ["a".to_owned()]);
        expectations.creation_observed(&key);
        expectations.lower(&key, 1);
        assert!(!settled());
        expectations.deletion_observed(&key, "b");
        assert!(!settled());
        expectations.deletion_observed(&key, "a");
        assert!(settled());
        expectations.deletion_observed(&key, "a");
        assert!(settled());
    }

    #[test]
    fn nothing_is_held_for_ever_and_the_time_left_is_told() {
        let expectations = Expectations::default();
        let key = ObjectKey::new("n", "web");
        expectations.expect(&key, "u", 1, []);
        let soon = Instant::now() + Duration::from_secs(60);
        let left = expectations.pending_at(&key, "u", soon).unwrap();
        assert!(left > Duration::ZERO && left <= TIMEOUT - Duration::from_secs(60) + Duration::from_secs(1));
        assert_eq!(expectations.pending_at(&key, "u", soon + left), None);
    }

    #[test]
    fn what_an_owner_asked_for_holds_no_other_one_of_its_name() {
        let expectations = Expectations::default();
        let key = ObjectKey::new("n", "web");
        expectations.expect(&key, "before", 1, []);
        assert_eq!(expectations.pending(&key, "u"), None);
        assert_eq!(expectations.pending(&key, "before"), None, "it is forgotten");
    }
}
