//! A store is read at one revision and becomes the bytes of a backup, piece by piece.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::stream::{self, Stream};

use super::{FORMAT, FRAME_BYTES, Fate, MAGIC};
use crate::key_value::millis_after;
use crate::{KeyValue, Result, Revision, Store, format};

/// Keys read at once from a store that is not of this process.
const PAGE: usize = 1_000;

/// The bytes of a backup of all keys with a prefix, at the revision that is the newest when the first are asked for. Writes go on
/// meanwhile. What is held in memory is a page of keys, and of an engine of this process where they are.
///
/// # Errors
/// The store cannot be read, or has forgotten the revision before all was read; the bytes so far are no backup then.
pub fn pieces(
    store: Arc<dyn Store>,
    prefix: &str,
    fate: fn(&str) -> Fate,
) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
    let writing =
        Writing { store, prefix: prefix.to_owned(), fate, keys: VecDeque::new(), last: None, at: None, sequence: 0 };
    stream::try_unfold(Some(writing), |writing| async move {
        let Some(mut writing) = writing else { return Ok(None) };
        let (piece, is_last) = writing.piece().await?;
        Ok(Some((piece, (!is_last).then_some(writing))))
    })
}

/// How far a backup is written.
struct Writing {
    store: Arc<dyn Store>,
    prefix: String,
    fate: fn(&str) -> Fate,
    /// Keys that were read and are not written yet.
    keys: VecDeque<KeyValue>,
    /// The key behind which to read on, if there is more.
    last: Option<String>,
    /// The revision of all that is read, once the first keys were.
    at: Option<Revision>,
    sequence: u64,
}

impl Writing {
    /// The next frame, with the head of the file before the first; whether it is the last one.
    async fn piece(&mut self) -> Result<(Bytes, bool)> {
        let mut bytes = Vec::with_capacity(FRAME_BYTES + 4096);
        if self.at.is_none() {
            let revision = self.read().await?;
            let [a, b, c, d, e, f, g] = *MAGIC;
            format::put_file_header(&mut bytes, &[a, b, c, d, e, f, g, FORMAT], revision);
        }
        let start = format::begin_frame(&mut bytes);
        let empty = bytes.len();
        while bytes.len() - empty < FRAME_BYTES {
            let Some(kv) = self.keys.pop_front() else {
                if self.last.is_none() {
                    break;
                }
                self.read().await?;
                continue;
            };
            if let Some(kv) = self.kept(kv) {
                format::put_kv(&mut bytes, &kv);
            }
        }
        let is_last = bytes.len() == empty;
        self.sequence += 1;
        format::end_frame(&mut bytes, start, self.sequence);
        Ok((bytes.into(), is_last))
    }

    /// Reads more keys; answers with the revision at which they are read. An engine of this process gives all of them at once,
    /// which are only shared: its history is too short for pages.
    async fn read(&mut self) -> Result<Revision> {
        let limit = self.store.settled_revision().is_none().then_some(PAGE);
        let page = self.store.list(&self.prefix, self.at, self.last.as_deref(), limit).await?;
        self.at = Some(page.revision);
        self.last = page.items.last().filter(|_| page.more).map(|last| last.key().to_owned());
        self.keys = page.items.into();
        Ok(page.revision)
    }

    fn kept(&self, kv: KeyValue) -> Option<KeyValue> {
        match (self.fate)(kv.key()) {
            Fate::LeaveOut => None,
            Fate::Expire(after) if kv.expires_millis() == 0 => {
                let (made, changed) = (kv.create_revision(), kv.mod_revision());
                let expires = millis_after(SystemTime::now(), after);
                Some(KeyValue::expiring(kv.key(), kv.value(), made, changed, expires))
            }
            _ => Some(kv),
        }
    }
}
