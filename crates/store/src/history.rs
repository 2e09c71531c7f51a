//! The state at the newest revision and the recent changes that lead to it.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

use crate::{ByKey, Error, KeyValue, Page, Result, Revision};

/// One change of one key.
#[derive(Clone, Debug)]
pub struct Event {
    /// The revision of the change.
    pub revision: Revision,
    /// What the key is now; `None` when it was removed.
    pub now: Option<KeyValue>,
    /// What it was before; `None` when it did not exist.
    pub before: Option<KeyValue>,
}

impl Event {
    /// The key.
    pub fn key(&self) -> &str {
        self.now.as_ref().or(self.before.as_ref()).map_or("", KeyValue::key)
    }

    fn size(&self) -> usize {
        self.now.as_ref().map_or(0, |kv| kv.key_bytes().len() + kv.value().len()) + 64
    }
}

/// Everything the store holds at one revision, with recent history. Cloning shares all of it.
#[derive(Clone, Default)]
pub struct View {
    pub(crate) keys: OrdSet<ByKey<KeyValue>>,
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

    pub(crate) fn insert(&mut self, kv: KeyValue) {
        self.keys.insert(ByKey(kv));
    }

    /// Makes one change.
    pub(crate) fn apply(&mut self, event: &Event) {
        self.set(event.key(), event.now.as_ref());
        self.revision = event.revision;
    }

    /// Takes one change back.
    fn undo(&mut self, event: &Event) {
        self.set(event.key(), event.before.as_ref());
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

/// The most events and bytes of values that history keeps.
pub(crate) const MAX_EVENTS: usize = 8_192;
pub(crate) const MAX_BYTES: usize = 16 << 20;

/// Recent changes, bounded in number and bytes.
#[derive(Default)]
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Revisions up to this one cannot be read any more, except the newest state.
    pub compacted: Revision,
}

impl History {
    /// Starts with the state of a snapshot at `revision`, before which nothing is known.
    pub fn starting_at(revision: Revision) -> History {
        History { compacted: revision, ..History::default() }
    }

    pub fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.size();
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.bytes -= oldest.size();
            self.compacted = self.compacted.max(oldest.revision);
        }
    }

    pub fn compact(&mut self, revision: Revision) {
        while self.events.front().is_some_and(|event| event.revision <= revision) {
            self.drop_oldest();
        }
        self.compacted = self.compacted.max(revision);
    }

    /// The state at an earlier revision.
    pub fn at(&self, view: &View, revision: Revision) -> Result<View> {
        self.check(revision, view.revision)?;
        let mut past = view.clone();
        for event in self.events.iter().rev().take_while(|event| event.revision > revision) {
            past.undo(event);
        }
        past.revision = revision;
        Ok(past)
    }

    /// Changes after a revision, the oldest first.
    pub fn after(&self, revision: Revision, newest: Revision) -> Result<impl Iterator<Item = &Arc<Event>>> {
        self.check(revision, newest)?;
        let from = self.events.partition_point(|event| event.revision <= revision);
        Ok(self.events.range(from..))
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
