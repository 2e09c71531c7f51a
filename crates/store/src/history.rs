//! The state at the newest revision and the recent changes that lead to it.

use std::collections::VecDeque;
use std::ops::Bound;
use std::time::{Duration, Instant};

use imbl::OrdSet;

use crate::feed::Event;
use crate::{ByKey, Error, KeyValue, Page, Result, Revision};

/// An event, and what undoes it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub event: Event,
    /// What the key was before; `None` when it did not exist.
    pub before: Option<KeyValue>,
    at: Instant,
}

impl Entry {
    pub fn new(event: Event, before: Option<KeyValue>, at: Instant) -> Entry {
        Entry { event, before, at }
    }

    fn size(&self) -> usize {
        self.event.now().map_or(0, |kv| kv.key_bytes().len() + kv.value().len()) + 64
    }
}

/// Everything the store holds at one revision, with recent history. Cloning shares all of it.
#[derive(Clone, Default)]
pub(crate) struct View {
    pub keys: OrdSet<ByKey<KeyValue>>,
    /// The newest revision.
    pub revision: Revision,
}

impl View {
    /// What a key is.
    pub fn get(&self, key: &str) -> Option<&KeyValue> {
        self.keys.get(key.as_bytes()).map(|kv| &kv.0)
    }

    /// All keys in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &KeyValue> {
        self.keys.iter().map(|kv| &kv.0)
    }

    pub fn insert(&mut self, kv: KeyValue) {
        self.keys.insert(ByKey(kv));
    }

    /// Makes one change.
    pub fn apply(&mut self, event: &Event) {
        self.set(event.key(), event.now());
        self.revision = event.revision;
    }

    /// Takes one change back.
    fn undo(&mut self, entry: &Entry) {
        self.set(entry.event.key(), entry.before.as_ref());
    }

    fn set(&mut self, key: &str, kv: Option<&KeyValue>) {
        match kv {
            Some(kv) => self.insert(kv.clone()),
            None => drop(self.keys.remove(key.as_bytes())),
        }
    }

    /// Keys with a prefix in ascending order.
    pub fn page(&self, prefix: &str, after: Option<&str>, limit: Option<usize>) -> Page {
        let start = match after {
            Some(key) if key >= prefix => Bound::Excluded(key.as_bytes()),
            _ => Bound::Included(prefix.as_bytes()),
        };
        let mut found = self
            .keys
            .range::<_, [u8]>((start, Bound::Unbounded))
            .map(|kv| kv.0.clone())
            .take_while(|kv| kv.key_bytes().starts_with(prefix.as_bytes()));
        let items: Vec<_> = found.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
        Page { revision: self.revision, items, more: found.next().is_some() }
    }
}

/// The most events and bytes of values that history keeps, and for how long: nobody asks for it but who subscribes or
/// reads the pages of a list.
const MAX_EVENTS: usize = 8_192;
const MAX_BYTES: usize = 16 << 20;
pub(crate) const KEPT: Duration = Duration::from_secs(40);

/// Recent changes, bounded in number, bytes and age.
#[derive(Default)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Revisions up to this one cannot be read any more, except the newest state.
    pub compacted: Revision,
}

impl History {
    /// Starts with the state of a snapshot at `revision`, before which nothing is known.
    pub fn starting_at(revision: Revision) -> History {
        History { compacted: revision, ..History::default() }
    }

    pub fn push(&mut self, entry: Entry) {
        self.bytes += entry.size();
        self.entries.push_back(entry);
        while self.entries.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.size();
            self.compacted = self.compacted.max(oldest.event.revision);
        }
    }

    pub fn compact(&mut self, revision: Revision) {
        while self.entries.front().is_some_and(|entry| entry.event.revision <= revision) {
            self.drop_oldest();
        }
        self.compacted = self.compacted.max(revision);
    }

    /// Forgets what is older than [`KEPT`]; whether there is more that will be.
    pub fn forget_old(&mut self, now: Instant) -> bool {
        let old = self.entries.partition_point(|entry| now.saturating_duration_since(entry.at) >= KEPT);
        if let Some(last) = old.checked_sub(1).and_then(|last| self.entries.get(last)) {
            self.compact(last.event.revision);
        }
        self.entries.shrink_to(self.entries.len() * 2);
        !self.entries.is_empty()
    }

    /// The state at an earlier revision.
    pub fn at(&self, view: &View, revision: Revision) -> Result<View> {
        self.check(revision, view.revision)?;
        let mut past = view.clone();
        for entry in self.entries.iter().rev().take_while(|entry| entry.event.revision > revision) {
            past.undo(entry);
        }
        past.revision = revision;
        Ok(past)
    }

    /// Changes after a revision, the oldest first.
    pub fn after(&self, revision: Revision, newest: Revision) -> Result<impl Iterator<Item = &Event>> {
        self.check(revision, newest)?;
        let from = self.entries.partition_point(|entry| entry.event.revision <= revision);
        Ok(self.entries.range(from..).map(|entry| &entry.event))
    }

    fn check(&self, requested: Revision, newest: Revision) -> Result<()> {
        if requested > newest {
            return Err(Error::Future { requested, newest });
        }
        if requested < self.compacted {
            return Err(Error::Compacted { requested, oldest: self.compacted });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Change;

    #[test]
    fn history_is_forgotten_when_it_is_old() {
        let start = Instant::now();
        let mut history = History::starting_at(1);
        for second in 0..50 {
            let event = Event { revision: second + 2, change: Change::Delete("/a".into()) };
            history.push(Entry::new(event, None, start + Duration::from_secs(second)));
        }
        assert!(history.forget_old(start + Duration::from_secs(49)));
        assert_eq!((history.compacted, history.entries.len()), (11, 40));
        assert!(!history.forget_old(start + Duration::from_secs(100)));
        assert_eq!(history.compacted, 51);
    }
}
