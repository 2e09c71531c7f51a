//! Backups: everything a store has at one revision, in one file that either engine is filled from again.
//! `docs/backup-format.md` draws it.

mod read;
mod restore;
mod unfinished;
mod write;

use std::path::Path;
use std::time::Duration;

use crate::Revision;

pub use read::verify;
pub use restore::{LEAP, Restored, into_directory, into_store};
pub use unfinished::{KEY as UNFINISHED, check_finished};
pub use write::pieces;

/// What a backup begins with but for the digit of its format.
const MAGIC: &[u8; 7] = b"CORABKP";
/// The format that is written, and the newest that is read.
const FORMAT: u8 = b'1';
/// Bytes of records after which the next frame begins.
const FRAME_BYTES: usize = 1 << 20;
/// A frame has one record more than that at most, which is as large as a store takes.
const MAX_FRAME: usize = 16 << 20;

/// What a backup has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The revision at which it is exact.
    pub revision: Revision,
    /// How many keys.
    pub keys: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Their checksum, CRC-32.
    pub sum: u32,
}

/// What becomes of a key in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is kept as it is.
    Keep,
    /// It is kept, and goes by itself after this time where the store does not tell when it would have.
    Expire(Duration),
    /// It means something to the running servers only.
    LeaveOut,
}

/// Why there is no backup, or it is not restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is something else.
    #[error("{path} is no backup: it does not begin as one does")]
    Foreign {
        /// The file.
        path: String,
    },
    /// The file was made by a later version.
    #[error(
        "{path} is a backup of format {format}, and this version of Coracle reads format 1: restore it with a newer one"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        format: char,
    },
    /// The file is not what was written.
    #[error("{path} is damaged at offset {offset}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The end of the file is missing.
    #[error("{path} is cut off: it ends at offset {offset}, before the end of the backup")]
    Cut {
        /// The file.
        path: String,
        /// How much of it is there.
        offset: u64,
    },
    /// The file or directory cannot be read or written.
    #[error("{path}: {what}")]
    Io {
        /// The file or directory.
        path: String,
        /// What the system said.
        what: String,
    },
    /// Where the backup was to be restored, there is something.
    #[error("{place} has {found} already: a backup is restored only where nothing is")]
    NotEmpty {
        /// The directory, or the prefix.
        place: String,
        /// A file or key that is there.
        found: String,
    },
    /// What stands below the prefix is a part of a cluster.
    #[error(
        "a restore was interrupted: what etcd has below {place} is a part of a cluster. `coracle restore` with {backup} \
         goes on with it; to begin with something else, remove all of it first (`etcdctl del --prefix {place}`)"
    )]
    Unfinished {
        /// The prefix.
        place: String,
        /// Which backup it was.
        backup: String,
    },
    /// The revisions of the store are behind those of the backup, and would be used a second time.
    #[error(
        "etcd is at revision {now}, the backup at {backup}: clients that remember revisions of the old cluster would take \
         new ones for those they know"
    )]
    Behind {
        /// The newest revision of the store.
        now: Revision,
        /// That of the backup.
        backup: Revision,
    },
    /// A store refuses.
    #[error(transparent)]
    Store(#[from] crate::Error),
}

/// The result of what is done with a backup.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn io(path: &Path, error: &std::io::Error) -> Error {
        Error::Io { path: path.display().to_string(), what: error.to_string() }
    }
}

#[cfg(test)]
mod tests;
