//! The revisioned key-value store under the API server.
//!
//! Owns: the [`Store`] trait (read, list a prefix at a revision, transactions with compares, an ordered
//! feed of changes, compaction, time to live) and its embedded engine [`Embedded`], a checksummed log in
//! segments with group commit and snapshots (`docs/store-format.md` draws the files).
//! Never: looks into values, knows of Kubernetes objects, or opens a socket.
#![forbid(unsafe_code)]

pub mod disk;
mod embedded;
mod format;
mod history;
mod key_value;
mod log;
mod mark;
mod snapshot;
mod writer;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

pub use embedded::{Embedded, Options};
pub use history::{Event, View};
pub use key_value::{ByKey, KeyValue, Keyed};

/// A point in the store's one global order of changes. The first change makes revision 2, as with etcd,
/// so that 0 can mean "does not exist" and 1 "the empty store".
pub type Revision = u64;

/// A condition of a transaction.
#[derive(Clone, Debug)]
pub enum Compare {
    /// The key was last changed by this revision; 0 stands for a key that does not exist.
    ModRevision(Arc<str>, Revision),
}

/// A change of one key.
#[derive(Clone, Debug)]
pub enum Op {
    /// Writes a value.
    Put {
        /// Where.
        key: Arc<str>,
        /// What.
        value: Vec<u8>,
        /// When the store removes it by itself.
        expires: Option<SystemTime>,
    },
    /// Removes a key; nothing happens when it does not exist.
    Delete {
        /// Which.
        key: Arc<str>,
    },
}

impl Op {
    /// The key that the operation changes.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }
}

/// Changes made together if all compares hold.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// All are made, at one revision.
    pub ops: Vec<Op>,
}

/// What became of a transaction.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All compares held; the changes are durable and the feed has seen them.
    Committed {
        /// The revision of the changes, or the current one when nothing changed.
        revision: Revision,
        /// For each operation, what it wrote; `None` for deletions.
        written: Vec<Option<KeyValue>>,
    },
    /// A compare failed; nothing changed.
    Conflict {
        /// What each compared key is now.
        current: Vec<Option<KeyValue>>,
    },
}

/// Why the store refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// History up to this revision is gone.
    #[error("required revision {requested} has been compacted, the oldest is {oldest}")]
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest revision that can be read.
        oldest: Revision,
    },
    /// A revision that was not made yet.
    #[error("required revision {requested} is in the future, the newest is {newest}")]
    Future {
        /// The revision asked for.
        requested: Revision,
        /// The newest revision.
        newest: Revision,
    },
    /// The disk is full; nothing was written, and writing works again once there is space.
    #[error("the disk of {path} is full: free space there and try again")]
    DiskFull {
        /// The file that could not grow.
        path: String,
    },
    /// A file is not what was written. The store does not open.
    #[error("{path} is corrupt at offset {offset}: {what}; restore the data directory from a copy")]
    Corrupt {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Another process has the data directory open.
    #[error("{path} is in use by another process; stop it first")]
    Locked {
        /// The directory.
        path: String,
    },
    /// The disk failed. After a failed sync nothing further is accepted: what the disk holds is unknown.
    #[error("{path}: {what}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        what: String,
    },
    /// The value or key is larger than the store takes.
    #[error("a write of {size} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The store was closed or has failed before.
    #[error("the store is closed: {0}")]
    Closed(String),
}

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The revision at which the page is exact.
    pub revision: Revision,
    /// Keys in ascending order.
    pub items: Vec<KeyValue>,
    /// There are more keys behind the last one.
    pub more: bool,
}

/// Receives every change in the order of revisions, each exactly once, on the store's own thread: it must
/// be quick and must not call the store.
pub type Feed = Box<dyn Fn(&[Arc<Event>]) + Send + Sync>;

/// A revisioned key-value store.
///
/// Guarantees: one global order of revisions; a committed transaction is durable; reads without a revision see every
/// committed transaction. Of the one process that has the store open: a transaction has passed through the feed before
/// [`Store::txn`] returns, which those rely on who read from what the feed fills.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest revision.
    fn revision(&self) -> Revision;
    /// Why no write is accepted any more, once that is so.
    fn failure(&self) -> Option<Error>;
    /// Waits until no write is accepted any more; answers why. A process should then end, so that the next one opens
    /// the store anew.
    async fn failed(&self) -> Error;
    /// Reads one key, now or at a revision.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<KeyValue>>;
    /// Reads keys with a prefix in ascending order, now or at a revision, behind a key, at most `limit`.
    async fn list(&self, prefix: &str, at: Option<Revision>, after: Option<&str>, limit: Option<usize>)
    -> Result<Page>;
    /// Makes changes if compares hold.
    async fn txn(&self, txn: Txn) -> Result<Outcome>;
    /// Changes with a prefix after a revision that are still in the history, the oldest first.
    async fn changes(&self, prefix: &str, after: Revision) -> Result<Vec<Arc<Event>>>;
    /// Makes the state at once known to `start` and everything after it to `feed`, without a gap between.
    fn subscribe(&self, start: &mut dyn FnMut(&View), feed: Feed);
    /// Forgets history up to and including a revision.
    async fn compact(&self, revision: Revision) -> Result<()>;
    /// Writes a snapshot of everything, so that older parts of the log can go.
    async fn snapshot(&self) -> Result<()>;
}
