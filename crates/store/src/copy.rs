//! Copies what one store has to another.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{Compare, Error, KeyValue, Op, Outcome, Result, Store, Txn};

/// Keys read at once.
const PAGE: usize = 1_000;
/// Keys and bytes written at once, which every etcd takes by default.
const KEYS: usize = 64;
const BYTES: usize = 512 << 10;

/// Copies all keys with a prefix to a store that has none, and nobody else writes to. What is there already must be the same:
/// so a copy that was interrupted goes on. Answers with the number of keys.
///
/// Values are the same afterwards, and to a minute when keys go by themselves; revisions are not.
///
/// # Errors
/// A store refuses, or a key has another value there already, which is left as it is.
pub async fn copy(from: &dyn Store, to: &dyn Store, prefix: &str) -> Result<usize> {
    let mut page = from.list(prefix, None, None, Some(PAGE)).await?;
    let revision = page.revision;
    let mut count = 0usize;
    loop {
        write_all(to, &page.items).await?;
        count = count.saturating_add(page.items.len());
        let Some(last) = page.items.last().filter(|_| page.more) else { return Ok(count) };
        page = from.list(prefix, Some(revision), Some(last.key()), Some(PAGE)).await?;
    }
}

/// Writes keys that are not there, or have the same value.
pub(crate) async fn write_all(to: &dyn Store, mut items: &[KeyValue]) -> Result<()> {
    while !items.is_empty() {
        let (some, behind) = items.split_at(portion(items));
        write(to, some).await?;
        items = behind;
    }
    Ok(())
}

/// How many keys to write at once, one at least.
fn portion(items: &[KeyValue]) -> usize {
    let mut bytes = 0usize;
    let fits = |kv: &&KeyValue| {
        bytes = bytes.saturating_add(kv.key().len()).saturating_add(kv.value().len());
        bytes <= BYTES
    };
    items.iter().take(KEYS).take_while(fits).count().max(1).min(items.len())
}

async fn write(to: &dyn Store, items: &[KeyValue]) -> Result<()> {
    let absent = |kv: &KeyValue| Compare::ModRevision(kv.key().into(), 0);
    let txn = |items: &[&KeyValue]| Txn {
        compares: items.iter().copied().map(absent).collect(),
        ops: items.iter().copied().map(put).collect(),
    };
    let all: Vec<&KeyValue> = items.iter().collect();
    let found = match made(to, txn(&all), &all).await? {
        Outcome::Committed { .. } => return Ok(()),
        Outcome::Conflict { current, .. } => current,
    };
    let mut missing = Vec::new();
    for (kv, found) in items.iter().zip(found) {
        match found {
            None => missing.push(kv),
            Some(found) if found.value() == kv.value() => {}
            Some(_) => return Err(Error::Refused(format!("{} is there already, with another value", kv.key()))),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    match made(to, txn(&missing), &missing).await? {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Conflict { .. } => Err(Error::Refused("somebody else writes there".into())),
    }
}

async fn made(to: &dyn Store, txn: Txn, items: &[&KeyValue]) -> Result<Outcome> {
    let named = |what: String| match items {
        [one] => format!("{}: {what}", one.key()),
        _ => what,
    };
    to.txn(txn).await.map_err(|error| match error {
        Error::TooLarge(what) => Error::TooLarge(named(what)),
        other => other,
    })
}

/// Whole minutes, so that those share a lease that go about the same time.
fn left(expires: SystemTime) -> Duration {
    let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
    Duration::from_secs((left.as_secs() / 60).saturating_add(1).saturating_mul(60))
}

fn put(kv: &KeyValue) -> Op {
    let key: Arc<str> = kv.key().into();
    Op::Put { key, value: kv.value().to_vec().into(), ttl: kv.expires().map(left) }
}
