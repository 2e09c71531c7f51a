//! Recent changes, the oldest of which are forgotten.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use coracle_api::status::Status;
use coracle_store::Revision;

use crate::object::Object;

/// What a change costs besides its objects' bytes.
const OVERHEAD: usize = 500;
/// Bytes of objects after which a watcher has enough for one look into the ring.
const PULLED: usize = 256 << 10;

/// One change of one object.
#[derive(Debug)]
pub struct Change {
    pub revision: Revision,
    pub now: Option<Object>,
    pub before: Option<Object>,
    /// What a watch shows of a deletion: the last state at the revision of the deletion.
    pub gone: Option<Object>,
    pub(super) at: Instant,
}

impl Change {
    /// The key below the resource.
    pub fn key(&self) -> &str {
        self.now.as_ref().or(self.before.as_ref()).map_or("", Object::key)
    }

    /// Bytes that it keeps in memory. What was before an update is the previous change's, or soon nobody's.
    pub(super) fn size(&self) -> usize {
        let length = |object: &Option<Object>| object.as_ref().map_or(0, |object| object.stored().len());
        let before = if self.now.is_none() { length(&self.before) } else { 0 };
        length(&self.now).saturating_add(before).saturating_add(OVERHEAD)
    }
}

/// The changes after a revision, in their order: all of a resource, or those of a part of it.
#[derive(Default)]
pub(super) struct Ring {
    pub changes: VecDeque<Arc<Change>>,
    /// Changes up to this revision are no longer here.
    pub compacted: Revision,
}

impl Ring {
    pub fn starting_at(revision: Revision) -> Ring {
        Ring { changes: VecDeque::new(), compacted: revision }
    }

    /// Whether every change after a revision is here.
    ///
    /// # Errors
    /// 410 if some are forgotten.
    pub fn check(&self, after: Revision) -> Result<(), Status> {
        match after < self.compacted {
            true => {
                let oldest = self.compacted;
                Err(Status::expired(format!("too old resource version: {after} ({oldest})")))
            }
            false => Ok(()),
        }
    }

    /// All changes after a revision that are here.
    pub fn after(&self, revision: Revision) -> impl DoubleEndedIterator<Item = &Arc<Change>> {
        self.changes.range(self.changes.partition_point(|change| change.revision <= revision)..)
    }

    /// At most `limit` changes after a revision, the oldest first, and no more than hold about [`PULLED`] bytes: whoever
    /// has them keeps them in memory.
    pub fn pull(&self, after: Revision, limit: usize) -> Result<Vec<Arc<Change>>, Status> {
        self.check(after)?;
        let from = self.changes.partition_point(|change| change.revision <= after);
        let mut bytes = 0usize;
        let fits = |change: &&Arc<Change>| {
            let fits = bytes < PULLED;
            bytes = bytes.saturating_add(change.size());
            fits
        };
        let mut to = from.saturating_add(self.changes.range(from..).take(limit).take_while(fits).count());
        // Changes of one revision belong together: a watcher remembers only the revision.
        while to > from && to < self.changes.len() && self.changes[to].revision == self.changes[to - 1].revision {
            to += 1;
        }
        Ok(self.changes.range(from..to).cloned().collect())
    }

    pub fn forget_oldest(&mut self) -> Option<Arc<Change>> {
        let oldest = self.changes.pop_front()?;
        self.compacted = oldest.revision;
        Some(oldest)
    }

    /// Gives back memory that a load has left.
    pub fn shrink(&mut self) {
        let room = self.changes.len().saturating_mul(2).max(64);
        self.changes.shrink_to(room);
    }
}
