//! Feeds: what tells others of every change.

use std::any::Any;
use std::sync::{Arc, Weak};

use crate::{Error, KeyValue, Revision};

/// One change of one key.
#[derive(Clone, Debug)]
pub struct Event {
    /// The revision of the change.
    pub revision: Revision,
    /// What changed.
    pub change: Change,
}

/// What a change makes of a key.
#[derive(Clone, Debug)]
pub enum Change {
    /// The key is this now.
    Put(KeyValue),
    /// The key was removed.
    Delete(Arc<str>),
}

impl Event {
    /// The key.
    pub fn key(&self) -> &str {
        match &self.change {
            Change::Put(now) => now.key(),
            Change::Delete(key) => key,
        }
    }

    /// What the key is now; `None` when it was removed.
    pub fn now(&self) -> Option<&KeyValue> {
        match &self.change {
            Change::Put(now) => Some(now),
            Change::Delete(_) => None,
        }
    }
}

/// What a feed is told.
#[derive(Debug)]
pub enum Update<'a> {
    /// The next changes, the oldest first; those of one revision come together.
    Changes(&'a [Event]),
    /// All changes up to this revision have been told.
    Progress(Revision),
    /// The feed cannot go on: what follows is gone ([`Error::Compacted`]).
    Ended(Error),
}

/// Receives updates, one after the other, on the store's own thread: it must be quick and must not call the store.
pub type Feed = Box<dyn Fn(Update<'_>) + Send + Sync>;

/// A feed that goes on until this is dropped.
#[derive(Debug)]
#[must_use = "the feed ends when it is dropped"]
pub struct Subscription {
    _held: Arc<dyn Any + Send + Sync>,
}

impl Subscription {
    /// One, and what tells the engine whether it is still held.
    pub(crate) fn new() -> (Subscription, Weak<()>) {
        let held = Arc::new(());
        let watched = Arc::downgrade(&held);
        (Subscription { _held: held }, watched)
    }

    /// One that drops what ends the feed.
    pub(crate) fn holding(ends: impl Any + Send + Sync) -> Subscription {
        Subscription { _held: Arc::new(ends) }
    }
}

/// A feed as an engine keeps it.
pub(crate) struct Subscriber {
    prefix: Box<str>,
    feed: Feed,
    held: Weak<()>,
}

impl Subscriber {
    pub fn new(prefix: &str, feed: Feed, held: Weak<()>) -> Subscriber {
        Subscriber { prefix: prefix.into(), feed, held }
    }

    /// Whether anyone still wants it.
    pub fn is_held(&self) -> bool {
        self.held.strong_count() > 0
    }

    /// What is told.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Tells the changes that concern it, or that there are none.
    pub fn tell(&self, events: &[Event]) {
        let Some(last) = events.last() else { return };
        let concerns = |event: &&Event| event.key().starts_with(&*self.prefix);
        let count = events.iter().filter(concerns).count();
        if count == events.len() {
            return (self.feed)(Update::Changes(events));
        }
        if count > 0 {
            let some: Vec<Event> = events.iter().filter(concerns).cloned().collect();
            (self.feed)(Update::Changes(&some));
        }
        (self.feed)(Update::Progress(last.revision));
    }
}
