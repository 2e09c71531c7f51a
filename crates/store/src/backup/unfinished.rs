//! A restore into a store that is not of this process takes many transactions. While it goes on, a key says so: what was
//! interrupted is never taken for a whole cluster, and the same backup goes on where it stopped.

use std::sync::Arc;

use super::{Error, Result, Summary};
use crate::{Compare, KeyValue, Op, Outcome, Store, Txn};

/// The key, below the prefix, that is there while what else there is may be a part only.
pub const KEY: &str = "coracle/restoring";

/// Checks that what a store has with a prefix is no part of a backup that is being restored.
///
/// # Errors
/// [`Error::Unfinished`] if it is, or the store cannot be read.
pub async fn check_finished(store: &dyn Store, prefix: &str) -> Result<()> {
    match store.get(&key(prefix), None).await? {
        None => Ok(()),
        Some(mark) => Err(unfinished(prefix, &mark)),
    }
}

/// The mark of a restore that goes on.
pub(super) struct Mark {
    key: Arc<str>,
    revision: crate::Revision,
}

impl Mark {
    /// Marks what has nothing yet, or takes up the restore of the same backup.
    ///
    /// # Errors
    /// There is something with the prefix that is no part of this backup, or `may_begin` refuses the store as it is.
    pub async fn set(
        store: &dyn Store,
        prefix: &str,
        backup: &Summary,
        may_begin: impl FnOnce(&crate::Page) -> Result<()>,
    ) -> Result<Mark> {
        let (key, value) = (key(prefix), name(backup));
        if let Some(mark) = store.get(&key, None).await? {
            return match mark.value() == value.as_bytes() {
                true => Ok(Mark { key, revision: mark.mod_revision() }),
                false => Err(unfinished(prefix, &mark)),
            };
        }
        let there = store.list(prefix, None, None, Some(1)).await?;
        if let Some(first) = there.items.first() {
            return Err(Error::NotEmpty { place: prefix.to_owned(), found: first.key().to_owned() });
        }
        may_begin(&there)?;
        let put = Op::Put { key: key.clone(), value: value.into(), ttl: None };
        let txn = Txn { compares: vec![Compare::ModRevision(key.clone(), 0)], ops: vec![put] };
        match store.txn(txn).await? {
            Outcome::Committed { revision } => Ok(Mark { key, revision }),
            Outcome::Conflict { .. } => Err(Error::NotEmpty { place: prefix.to_owned(), found: key.to_string() }),
        }
    }

    /// Says that all of the backup is there.
    pub async fn remove(self, store: &dyn Store) -> Result<()> {
        let compares = vec![Compare::ModRevision(self.key.clone(), self.revision)];
        let txn = Txn { compares, ops: vec![Op::Delete { key: self.key.clone() }] };
        match store.txn(txn).await? {
            Outcome::Committed { .. } => Ok(()),
            Outcome::Conflict { .. } => {
                let what = "somebody else restores a backup there".to_owned();
                Err(crate::Error::Refused(what).into())
            }
        }
    }
}

fn key(prefix: &str) -> Arc<str> {
    format!("{prefix}{KEY}").into()
}

/// How a backup is told from others.
fn name(backup: &Summary) -> String {
    let Summary { revision, keys, bytes, sum } = backup;
    format!("the backup of revision {revision} with {keys} keys, {bytes} bytes and the checksum {sum:08x}")
}

fn unfinished(prefix: &str, mark: &KeyValue) -> Error {
    Error::Unfinished { place: prefix.to_owned(), backup: String::from_utf8_lossy(mark.value()).into_owned() }
}
