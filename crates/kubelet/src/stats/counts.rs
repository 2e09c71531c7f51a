//! Figures that take long to find out, or for ever: each is looked for once at a time, few are at the same time, and who waits no
//! longer is told what was known last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

/// How many are looked for at the same time.
const PLACES: usize = 4;
/// How long one waits for its place before it is given up.
const WAIT: Duration = Duration::from_secs(60);
/// What takes long is not looked for again before so many times that have passed, so that it does not keep the disk busy.
const REST: u32 = 4;

/// Who wants figures, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// They were found out at most so long ago.
    pub(crate) at_most: Duration,
    /// Then older ones, or none, will do.
    pub(crate) patience: Duration,
}

/// Figures by key.
pub(crate) struct Counts<T> {
    known: Mutex<HashMap<String, Entry<T>>>,
    places: Semaphore,
}

struct Entry<T> {
    last: Option<Found<T>>,
    /// Closed when nobody looks for it any more.
    looks: Option<watch::Receiver<()>>,
}

struct Found<T> {
    what: Arc<T>,
    at: Instant,
    took: Duration,
}

// A derived one would ask that `T` has a default.
impl<T> Default for Counts<T> {
    fn default() -> Counts<T> {
        Counts { known: Mutex::default(), places: Semaphore::new(PLACES) }
    }
}

impl<T: Send + Sync + 'static> Counts<T> {
    /// The figures of a key, which `count` finds out if they are not known well enough; `None` while nothing is known.
    pub(crate) async fn of<F>(self: &Arc<Self>, key: &str, wish: Wish, count: F) -> Option<Arc<T>>
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let mut looks = match self.begin(key, wish.at_most, count) {
            Ok(known) => return Some(known),
            Err(looks) => looks,
        };
        let _ = tokio::time::timeout(wish.patience, looks.changed()).await;
        self.known.lock().get(key)?.last.as_ref().map(|found| found.what.clone())
    }

    /// What is known well enough, or who looks for it.
    fn begin<F>(self: &Arc<Self>, key: &str, at_most: Duration, count: F) -> Result<Arc<T>, watch::Receiver<()>>
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let mut known = self.known.lock();
        let entry = known.entry(key.to_owned()).or_insert(Entry { last: None, looks: None });
        let is_new = |found: &&Found<T>| found.at.elapsed() < at_most.max(found.took.saturating_mul(REST));
        if let Some(found) = entry.last.as_ref().filter(is_new) {
            return Ok(found.what.clone());
        }
        if let Some(looks) = entry.looks.as_ref().filter(|looks| looks.has_changed().is_ok()) {
            return Err(looks.clone());
        }
        let (ended, looks) = watch::channel(());
        entry.looks = Some(looks.clone());
        let (counts, key) = (self.clone(), key.to_owned());
        tokio::spawn(async move {
            counts.look(&key, count).await;
            drop(ended);
        });
        Err(looks)
    }

    async fn look<F: Future<Output = Option<T>>>(&self, key: &str, count: F) {
        let Ok(Ok(_place)) = tokio::time::timeout(WAIT, self.places.acquire()).await else { return };
        let began = Instant::now();
        let Some(what) = count.await else { return };
        let found = Found { what: Arc::new(what), at: Instant::now(), took: began.elapsed() };
        // What was forgotten meanwhile is not wanted any more.
        if let Some(entry) = self.known.lock().get_mut(key) {
            entry.last = Some(found);
        }
    }

    /// Forgets all others.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.known.lock().retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    const NEVER: Wish = Wish { at_most: Duration::ZERO, patience: Duration::from_millis(20) };
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn who_is_never_answered_goes_by_what_was_known_and_keeps_nobody_else_waiting() {
        let counts = Arc::new(Counts::default());
        let wish = Wish { at_most: LONG, patience: LONG };
        assert_eq!(counts.of("a", wish, ready(Some(1))).await.as_deref(), Some(&1));
        assert_eq!(counts.of("a", wish, ready(Some(2))).await.as_deref(), Some(&1));
        assert_eq!(counts.of("a", NEVER, pending()).await.as_deref(), Some(&1));
        // The one that is under way is waited for, and no second one begun.
        assert_eq!(counts.of("a", NEVER, ready(Some(3))).await.as_deref(), Some(&1));
        assert_eq!(counts.of("b", wish, ready(Some(4))).await.as_deref(), Some(&4));
        assert_eq!(counts.of("c", NEVER, pending()).await, None);
        counts.retain(|key| key == "a");
        assert_eq!(counts.of("b", wish, ready(Some(5))).await.as_deref(), Some(&5));
    }

    #[tokio::test]
    async fn no_more_than_a_few_are_under_way() {
        let counts = Arc::new(Counts::<u32>::default());
        for key in ["a", "b", "c", "d"] {
            assert_eq!(counts.of(key, NEVER, pending()).await, None);
        }
        let begun = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = begun.clone();
        let count = async move {
            told.store(true, std::sync::atomic::Ordering::Relaxed);
            Some(1)
        };
        assert_eq!(counts.of("e", NEVER, count).await, None);
        assert!(!begun.load(std::sync::atomic::Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_count_that_panicked_is_begun_anew() {
        let counts = Arc::new(Counts::default());
        let wish = Wish { at_most: LONG, patience: LONG };
        let first = counts.of("a", wish, async { panic!("as the test asked for") }).await;
        assert_eq!(first, None::<Arc<u32>>);
        assert_eq!(counts.of("a", wish, ready(Some(1))).await.as_deref(), Some(&1));
    }
}
