//! Watchers that want a small part of a resource are found by what they want.
//!
//! A part is what one value stands for: a namespace, one object, the pods of a node. While somebody watches a part, it has a
//! ring of its own, with those changes of the resource's ring that concern it: the object belongs to it, or did before. Such
//! a watcher sleeps through all others, and need not fear that they push its own out of sight.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::Kind;
use coracle_api::status::Status;
use coracle_store::Revision;
use smol_str::SmolStr;
use tokio::sync::watch;

use super::Cache;
use super::ring::{Change, Ring};
use crate::object::Object;

/// What the parts of a resource are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The key below the resource: one object.
    Key,
    /// The namespace.
    Namespace,
    /// The field `spec.nodeName` of kinds that have it.
    Node,
}

const ALL: [By; 3] = [By::Key, By::Namespace, By::Node];
const NODE_NAME: &str = "spec.nodeName";

impl By {
    /// The value of an object.
    fn of<'a>(self, kind: &Kind, object: &'a Object) -> &'a str {
        match self {
            By::Key => object.key(),
            By::Namespace => object.namespace().unwrap_or_default(),
            By::Node => object.field(kind, NODE_NAME).unwrap_or_default(),
        }
    }
}

/// A part of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    by: By,
    value: SmolStr,
}

impl Part {
    pub fn of(by: By, value: &str) -> Part {
        Part { by, value: value.into() }
    }

    /// What belongs to a node, of kinds that tell which. Where a webhook makes versions, the one that is stored has perhaps
    /// another value than that which is shown.
    pub fn of_node(kind: &Kind, selected: impl FnOnce(&str) -> Option<SmolStr>) -> Option<Part> {
        let tells = kind.webhook.is_none() && kind.strategy.field_number(NODE_NAME).is_some();
        Some(Part { by: By::Node, value: selected(NODE_NAME).filter(|_| tells)? })
    }

    fn has(&self, kind: &Kind, change: &Change) -> bool {
        let objects = change.now.iter().chain(&change.before);
        objects.into_iter().any(|object| self.by.of(kind, object) == self.value)
    }
}

/// A part that somebody watches.
struct Watched {
    ring: Ring,
    changed: watch::Sender<()>,
    watchers: usize,
    /// It is among those to be woken.
    is_due: bool,
}

/// The parts of a resource that somebody watches.
#[derive(Default)]
pub(super) struct Parts {
    parts: [HashMap<SmolStr, Watched>; ALL.len()],
    /// Those that have changed since their watchers were woken.
    due: Vec<Part>,
}

impl Parts {
    fn get(&self, part: &Part) -> Option<&Watched> {
        self.parts[part.by as usize].get(&part.value)
    }

    /// Does something with every watched part that a change concerns.
    fn of_change(&mut self, kind: &Kind, change: &Change, mut each: impl FnMut(&mut Watched, By, &str)) {
        for by in ALL {
            let parts = &mut self.parts[by as usize];
            if parts.is_empty() {
                continue;
            }
            let now = change.now.as_ref().map(|object| by.of(kind, object));
            let before = change.before.as_ref().map(|object| by.of(kind, object)).filter(|before| now != Some(*before));
            for value in now.into_iter().chain(before) {
                if let Some(watched) = parts.get_mut(value) {
                    each(watched, by, value);
                }
            }
        }
    }

    /// Takes in a change of the resource.
    pub fn push(&mut self, kind: &Kind, change: &Arc<Change>) {
        let mut due = std::mem::take(&mut self.due);
        self.of_change(kind, change, |watched, by, value| {
            watched.ring.changes.push_back(change.clone());
            if !std::mem::replace(&mut watched.is_due, true) {
                due.push(Part::of(by, value));
            }
        });
        self.due = due;
    }

    /// Forgets the oldest change of the resource.
    pub fn forget(&mut self, kind: &Kind, change: &Arc<Change>) {
        self.of_change(kind, change, |watched, _, _| {
            if watched.ring.changes.front().is_some_and(|oldest| Arc::ptr_eq(oldest, change)) {
                watched.ring.forget_oldest();
            }
        });
    }

    /// Forgets all changes, as everything was read anew at a revision.
    pub fn begin_anew(&mut self, revision: Revision) {
        for watched in self.parts.iter_mut().flat_map(HashMap::values_mut) {
            watched.ring = Ring::starting_at(revision);
        }
    }

    /// Whether there are watchers to be woken.
    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Wakes the watchers of parts that have changed.
    pub fn wake(&mut self) {
        for part in std::mem::take(&mut self.due) {
            if let Some(watched) = self.parts[part.by as usize].get_mut(&part.value) {
                watched.is_due = false;
                watched.changed.send_replace(());
            }
        }
    }

    /// Gives back memory that a load has left.
    pub fn shrink(&mut self) {
        for watched in self.parts.iter_mut().flat_map(HashMap::values_mut) {
            watched.ring.shrink();
        }
        self.parts.iter_mut().for_each(HashMap::shrink_to_fit);
    }

    pub fn wake_all(&self) {
        self.parts.iter().flat_map(HashMap::values).for_each(|watched| watched.changed.send_replace(()));
    }

    /// Counts in a watcher of what comes after a revision, which the resource's ring knows unless the part's does. Up to the
    /// revision `seen` somebody has looked through the ring already.
    fn join(
        &mut self,
        kind: &Kind,
        part: &Part,
        ring: &Ring,
        after: Revision,
        (seen, mut missing): (Revision, Vec<Arc<Change>>),
    ) -> watch::Receiver<()> {
        let watched = self.parts[part.by as usize].entry(part.value.clone()).or_insert_with(|| Watched {
            ring: Ring::starting_at(Revision::MAX),
            changed: watch::channel(()).0,
            watchers: 0,
            is_due: false,
        });
        watched.watchers += 1;
        let known = watched.ring.compacted;
        let from = after.max(ring.compacted);
        if from < known {
            missing.extend(ring.after(seen).filter(|change| part.has(kind, change)).cloned());
            let missing = missing.into_iter().filter(|change| change.revision > from && change.revision <= known);
            missing.rev().for_each(|change| watched.ring.changes.push_front(change));
            watched.ring.compacted = from;
        }
        watched.changed.subscribe()
    }

    fn leave(&mut self, part: &Part) {
        let parts = &mut self.parts[part.by as usize];
        if let Some(watched) = parts.get_mut(&part.value) {
            watched.watchers = watched.watchers.saturating_sub(1);
            if watched.watchers == 0 {
                parts.remove(&part.value);
            }
        }
    }
}

/// Follows the changes of a resource, or of a part of it.
pub struct Follower {
    cache: Arc<Cache>,
    part: Option<Part>,
    changed: watch::Receiver<()>,
}

impl Cache {
    /// Follows what comes after a revision.
    pub fn follow(self: &Arc<Self>, part: Option<Part>, after: Revision) -> Follower {
        let changed = match &part {
            None => self.changed.subscribe(),
            Some(part) => {
                // The long look does not keep who writes waiting.
                let state = self.state.read();
                let missing = state.ring.after(after).filter(|change| part.has(&self.kind, change)).cloned().collect();
                let seen = (state.last, missing);
                drop(state);
                let state = &mut *self.state.write();
                state.parts.join(&self.kind, part, &state.ring, after, seen)
            }
        };
        Follower { cache: self.clone(), part, changed }
    }
}

impl Follower {
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// At most `limit` changes after a revision, the oldest first, and no more than fit into memory; whoever waits next waits
    /// for others than these. All that there are up to the revision of the cache before the call are seen.
    ///
    /// # Errors
    /// 410 when some are forgotten.
    pub fn changes(&mut self, after: Revision, limit: usize) -> Result<Vec<Arc<Change>>, Status> {
        self.changed.borrow_and_update();
        let state = self.cache.state.read();
        match self.part.as_ref().and_then(|part| state.parts.get(part)) {
            Some(watched) => watched.ring.pull(after, limit),
            None => state.ring.pull(after, limit),
        }
    }

    /// Waits for changes; false when none will come.
    pub async fn changed(&mut self) -> bool {
        self.changed.changed().await.is_ok()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            self.cache.state.write().parts.leave(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use coracle_store::{Change, Event, KeyValue};
    use serde_json::json;

    use super::super::{RING_CHANGES, State};
    use super::*;

    fn cache() -> Arc<Cache> {
        let kind = coracle_api::kinds::by_kind("", "v1", "Pod").expect("a kind of the table");
        Cache::new(kind, &Arc::new(AtomicU64::new(0)), State::default())
    }

    /// A pod of a node is written, or goes if there is no node.
    fn write(cache: &Cache, revision: Revision, name: &str, node: Option<&str>) {
        let (key, change) = (format!("/registry/pods/d/{name}"), |node: &str| {
            let metadata = json!({"name": name, "namespace": "d", "resourceVersion": ""});
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node}}).to_string()
        });
        let change = match node {
            Some(node) => Change::Put(KeyValue::new(&key, change(node).as_bytes(), revision, revision)),
            None => Change::Delete(key.as_str().into()),
        };
        cache.apply(std::iter::once((&Event { revision, change }, &*format!("d/{name}"))));
        cache.wake();
    }

    fn seen(follower: &mut Follower, after: Revision) -> Vec<Revision> {
        follower.changes(after, 100).unwrap().iter().map(|change| change.revision).collect()
    }

    #[test]
    fn who_follows_a_part_is_woken_by_what_comes_into_it_changes_in_it_and_leaves_it() {
        let cache = cache();
        let mut node = cache.follow(Some(Part::of(By::Node, "a")), 0);
        let mut key = cache.follow(Some(Part::of(By::Key, "d/x")), 0);
        let mut namespace = cache.follow(Some(Part::of(By::Namespace, "d")), 0);
        let mut all = cache.follow(None, 0);
        let mut woken = Vec::new();
        let steps =
            [("x", Some("")), ("x", Some("a")), ("y", Some("b")), ("x", Some("b")), ("x", Some("b")), ("x", None)];
        for (revision, (name, at)) in (1..).zip(steps) {
            write(&cache, revision, name, at);
            let followers = [&mut node, &mut key, &mut namespace, &mut all];
            woken.push(followers.map(|follower| {
                let woken = follower.changed.has_changed().unwrap();
                follower.changed.borrow_and_update();
                woken
            }));
        }
        assert_eq!(woken.iter().map(|woken| woken[0]).collect::<Vec<_>>(), [false, true, false, true, false, false]);
        assert_eq!(woken.iter().map(|woken| woken[1]).collect::<Vec<_>>(), [true, true, false, true, true, true]);
        assert!(woken.iter().all(|woken| woken[2] && woken[3]));
        assert_eq!((seen(&mut node, 0), seen(&mut node, 2)), (vec![2, 4], vec![4]));
        assert_eq!(seen(&mut key, 0), [1, 2, 4, 5, 6]);
        assert_eq!(seen(&mut namespace, 0), seen(&mut all, 0));
    }

    #[test]
    fn who_comes_later_is_told_the_same_as_who_was_there() {
        let cache = cache();
        let part = || Some(Part::of(By::Node, "a"));
        (1..=9).for_each(|revision| write(&cache, revision, "x", Some(if revision % 3 == 0 { "a" } else { "b" })));
        let mut late = cache.follow(part(), 7);
        assert_eq!(seen(&mut late, 7), [9]);
        let mut early = cache.follow(part(), 2);
        assert_eq!((seen(&mut early, 2), seen(&mut late, 7)), (vec![3, 4, 6, 7, 9], vec![9]));
        drop((early, late));
        assert!(cache.state.read().parts.get(&part().unwrap()).is_none(), "nobody follows it");
    }

    #[test]
    fn what_others_write_pushes_nothing_of_a_part_out_of_sight_but_what_is_forgotten_is_told() {
        let cache = cache();
        let mut quiet = cache.follow(Some(Part::of(By::Node, "a")), 0);
        let mut busy = cache.follow(Some(Part::of(By::Node, "b")), 0);
        let writes = RING_CHANGES as u64 + 10;
        (1..=writes).for_each(|revision| write(&cache, revision, "x", Some("b")));
        assert!(seen(&mut quiet, 0).is_empty());
        assert_eq!(busy.changes(0, 1).unwrap_err().code, 410);
        assert_eq!(seen(&mut busy, writes - 1), [writes]);
        assert_eq!(cache.follow(Some(Part::of(By::Node, "c")), 0).changes(0, 1).unwrap_err().code, 410);
        write(&cache, writes + 1, "y", Some("a"));
        assert_eq!(seen(&mut quiet, 0), [writes + 1]);
        cache.state.write().replace(State::starting_at(writes + 5));
        assert_eq!(quiet.changes(writes, 1).unwrap_err().code, 410);
        assert!(seen(&mut quiet, writes + 5).is_empty());
    }
}
