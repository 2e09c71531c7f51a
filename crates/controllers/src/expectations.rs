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
    creations: usize,
    /// By UID: the last change of an object that goes may be seen twice, as its deletion begins and as it is done.
    deletions: HashSet<String>,
    since: Instant,
}

/// The open expectations of each key.
#[derive(Default)]
pub(crate) struct Expectations(Mutex<HashMap<ObjectKey, Expected>>);

impl Expectations {
    /// Expects that many new objects, and those of these UIDs to go; what was expected before counts no more.
    pub fn expect(&self, key: &ObjectKey, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let deletions = deletions.into_iter().collect();
        self.0.lock().insert(key.clone(), Expected { creations, deletions, since: Instant::now() });
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

    /// Whether the cache shows all that was asked for.
    pub fn satisfied(&self, key: &ObjectKey) -> bool {
        self.0.lock().get(key).is_none_or(|expected| {
            (expected.creations == 0 && expected.deletions.is_empty()) || expected.since.elapsed() > TIMEOUT
        })
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
        assert!(expectations.satisfied(&key));
        expectations.expect(&key, 2, ["a".to_owned()]);
        expectations.creation_observed(&key);
        expectations.lower(&key, 1);
        assert!(!expectations.satisfied(&key));
        expectations.deletion_observed(&key, "b");
        assert!(!expectations.satisfied(&key));
        expectations.deletion_observed(&key, "a");
        assert!(expectations.satisfied(&key));
        expectations.deletion_observed(&key, "a");
        assert!(expectations.satisfied(&key));
    }
}
