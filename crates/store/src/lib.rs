//! The revisioned key-value store under the API server.
//!
//! Owns: the [`Store`] trait (read, list a prefix at a revision, transactions with compares, feeds of changes that
//! resume at a revision, a read index, time to live) and two engines: [`Embedded`], a checksummed log in
//! segments with group commit and snapshots (`docs/store-format.md` draws the files), and [`etcd::Etcd`], a client of a
//! cluster of etcd.
//! Never: looks into values, or knows of Kubernetes objects.
#![forbid(unsafe_code)]

pub mod backup;
mod check;
mod copy;
pub mod disk;
mod embedded;
pub mod etcd;
mod feed;
mod format;
mod history;
mod key_value;
mod log;
mod mark;
mod snapshot;
mod survey;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use check::{Checked, check, damage};
pub use copy::copy;
pub use embedded::{Embedded, Options};
pub use feed::{Change, Event, Feed, Subscription, Update};
pub use key_value::{ByKey, KeyValue, Keyed};
pub use survey::Damage;

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
        value: Bytes,
        /// After what time without another write the store removes it by itself. It may take longer: an engine may
        /// let keys go together that were written about the same time.
        ttl: Option<Duration>,
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

impl Txn {
    /// Whether it is made only if a key is not there.
    pub fn is_new(&self, key: &str) -> bool {
        self.compares.iter().any(|Compare::ModRevision(other, at)| &**other == key && *at == 0)
    }
}

/// What became of a transaction.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All compares held; the changes are durable. Feeds may tell them later.
    Committed {
        /// The revision of the changes, or the current one when nothing changed.
        revision: Revision,
    },
    /// A compare failed; nothing changed.
    Conflict {
        /// The revision at which that was so.
        revision: Revision,
        /// What each compared key was then.
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
    #[error(
        "the file system of {path}, where the objects are stored, is full: free space on it, or delete objects, which is still \
         possible; until then nothing that needs room is written"
    )]
    DiskFull {
        /// The store's directory.
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
    #[error("{0}")]
    TooLarge(String),
    /// The store has used up the space that it may take. It can be read; writing works again once it was given space.
    #[error("etcd takes no writes as its space is used up: compact and defragment it, then disarm the alarm ({0})")]
    NoSpace(String),
    /// The store does not do that, here or at any time: what was asked for is not allowed, or makes no sense to it.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// Nobody knows whether the transaction was made: the store did not answer in time. It must not be told as a success,
    /// nor repeated as if nothing had happened.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The store cannot be reached, or does not answer; nothing was changed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
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

/// A revisioned key-value store, used by one process or by many.
///
/// Guarantees: one global order of revisions; a committed transaction is durable; what is read without a revision has every
/// transaction that was committed before the call, whoever made it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest revision that feeds have told, where this process is the only one that writes and so need ask nobody:
    /// every transaction that was answered has it or an older one. `None` where others write too.
    fn settled_revision(&self) -> Option<Revision>;
    /// The read index: a revision that is not older than any transaction that was answered before the call. Whoever has
    /// all changes up to it reads what is current.
    async fn current_revision(&self) -> Result<Revision>;
    /// Makes every feed tell soon that it has come to the newest revision, even if no change of its own is among the
    /// last ones. Not to be called often.
    async fn hasten(&self) -> Result<()>;
    /// Why no write is accepted now, as far as that is known.
    fn failure(&self) -> Option<Error>;
    /// Waits until no write will be accepted by this instance any more; answers why. A process should then end, so that the
    /// next one opens the store anew.
    async fn failed(&self) -> Error;
    /// How many bytes of disk all of it takes; `None` where that is not known.
    async fn size(&self) -> Result<Option<u64>> {
        Ok(None)
    }
    /// Reads one key, now or at a revision.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<KeyValue>>;
    /// Reads keys with a prefix in ascending order, now or at a revision, behind a key, at most `limit`.
    async fn list(&self, prefix: &str, at: Option<Revision>, after: Option<&str>, limit: Option<usize>)
    -> Result<Page>;
    /// Makes changes if compares hold. No key may be changed twice.
    async fn txn(&self, txn: Txn) -> Result<Outcome>;
    /// Tells `feed` every change of a key with the prefix after a revision, each once and in order, until the
    /// subscription is dropped. Where the connection to the store is lost, the feed resumes where it was.
    ///
    /// # Errors
    /// [`Error::Compacted`] when changes after the revision are gone already. A feed that is told so later, by
    /// [`Update::Ended`], has come to its end: only a list shows what is there now.
    async fn subscribe(&self, prefix: &str, after: Revision, feed: Feed) -> Result<Subscription>;
}
