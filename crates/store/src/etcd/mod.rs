//! The etcd engine: a cluster of etcd 3.4 or younger as the store, spoken to over gRPC.
//! <https://etcd.io/docs/v3.5/learning/api/>
//!
//! A request goes to one member until it does not answer, then to the next. What surely was not done is tried again, or
//! told as refused; a write that may have been done is told as [`Error::Unknown`].

mod client;
mod compactor;
mod config;
mod connection;
mod failure;
mod health;
mod keys;
mod leases;
mod messages;
mod read_index;
mod watch;

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use self::client::{Client, Repeat};
use self::failure::Failure;
use self::health::Health;
use self::keys::{Keys, behind, end, revision, signed};
use self::leases::Leases;
use self::messages::{
    Against, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, Request,
    StatusRequest, StatusResponse, TxnRequest, TxnResponse,
};
use self::read_index::ReadIndex;
use self::watch::{Guard, Place, Watch};
use crate::feed::Subscriber;
use crate::{Compare, Error, Feed, KeyValue, Op, Outcome, Page, Result, Revision, Store, Subscription, Txn};

pub use config::Config;

const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
/// The key that is written so that feeds tell how far they are, below the root.
const MARK: &str = "coracle/progress";
/// How long a feed may be silent after that before it is taken to another member.
const SILENCE: Duration = Duration::from_secs(1);
/// Keys of a page at most.
const PAGE: usize = 10_000;

/// A cluster of etcd as the store of one process of several.
pub struct Etcd {
    inner: Arc<Inner>,
    tasks: Vec<AbortHandle>,
}

/// What the engine and its tasks share.
pub(crate) struct Inner {
    client: Client,
    keys: Keys,
    /// The key of [`MARK`].
    mark: Bytes,
    leases: Leases,
    read_index: ReadIndex,
    health: Health,
    feeds: Mutex<Vec<Weak<Place>>>,
}

impl Etcd {
    /// Connects to a cluster, follows how it is, and forgets old history of it.
    ///
    /// # Errors
    /// What is configured cannot be used, or no member answers.
    pub fn connect(config: &Config) -> BoxFuture<'_, Result<Etcd>> {
        Box::pin(Etcd::open(config))
    }

    async fn open(config: &Config) -> Result<Etcd> {
        let keys = Keys::new(&config.root, config.prefix.as_deref());
        let mark = keys.there(&format!("{}{MARK}", config.root));
        let inner = Arc::new(Inner {
            client: Client::new(config)?,
            keys,
            mark,
            leases: Leases::default(),
            read_index: ReadIndex::default(),
            health: Health::default(),
            feeds: Mutex::default(),
        });
        inner.current_revision().await?;
        let mut tasks = vec![tokio::spawn(health::run(Arc::downgrade(&inner))).abort_handle()];
        if !config.compaction.is_zero() {
            let compactor = compactor::run(Arc::downgrade(&inner), config.compaction);
            tasks.push(tokio::spawn(compactor).abort_handle());
        }
        Ok(Etcd { inner, tasks })
    }

    /// Forgets history up to a revision, which is to be one of the past.
    ///
    /// # Errors
    /// The cluster refuses, or cannot be reached.
    pub async fn compact(&self, at: Revision) -> Result<()> {
        let request = messages::CompactionRequest { revision: signed(at) };
        let asked = self.inner.client.ask("/etcdserverpb.KV/Compact", request, Repeat::Freely, at).await;
        asked.map(|_: messages::CompactionResponse| ()).map_err(told)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Inner {
    /// A read of the smallest key there is, or is not.
    fn mark(&self) -> RangeRequest {
        RangeRequest { key: self.mark.clone(), limit: 1, ..RangeRequest::default() }
    }

    async fn current_revision(&self) -> Result<Revision> {
        let ask = async || {
            let read = RangeRequest { keys_only: true, ..self.mark() };
            let answer: RangeResponse = self.client.ask(RANGE, read, Repeat::Freely, 0).await.map_err(told)?;
            Ok(answer.header.map_or(0, |header| revision(header.revision)))
        };
        self.read_index.of(ask).await
    }

    /// One page of a range, of as many keys as an answer holds.
    async fn page(&self, mut range: RangeRequest, at: Revision) -> Result<RangeResponse> {
        loop {
            match self.client.ask(RANGE, range.clone(), Repeat::Freely, at).await {
                Err(Failure::LargeAnswer) if range.limit > 1 => range.limit /= 2,
                other => return other.map_err(told),
            }
        }
    }

    async fn request(&self, op: &Op) -> Result<Request, Failure> {
        let key = self.keys.there(op.key());
        Ok(match op {
            Op::Delete { .. } => Request::Delete(DeleteRangeRequest { key }),
            Op::Put { value, ttl, .. } => {
                let lease = match ttl {
                    Some(ttl) => self.leases.of(&self.client, *ttl).await?,
                    None => 0,
                };
                Request::Put(PutRequest { key, value: value.clone(), lease })
            }
        })
    }

    fn compare(&self, compare: &Compare) -> messages::Compare {
        let Compare::ModRevision(key, at) = compare;
        messages::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: self.keys.there(key),
            against: Some(Against::ModRevision(signed(*at))),
        }
    }

    async fn try_txn(&self, txn: &Txn) -> Result<TxnResponse, Failure> {
        let mut success = Vec::with_capacity(txn.ops.len());
        for op in &txn.ops {
            success.push(self.request(op).await?.into());
        }
        let read = |Compare::ModRevision(key, _): &Compare| {
            Request::Range(RangeRequest { key: self.keys.there(key), ..RangeRequest::default() }).into()
        };
        let request = TxnRequest {
            compare: txn.compares.iter().map(|compare| self.compare(compare)).collect(),
            success,
            failure: txn.compares.iter().map(read).collect(),
        };
        self.client.ask(TXN, request, Repeat::Never, 0).await
    }

    /// Takes feeds to other members that stay behind a revision and are told nothing.
    async fn look_after_feeds(&self, newest: Revision) {
        let places: Vec<Arc<Place>> = {
            let mut feeds = self.feeds.lock();
            feeds.retain(|feed| feed.strong_count() > 0);
            feeds.iter().filter_map(Weak::upgrade).collect()
        };
        let behind: Vec<_> = places.into_iter().map(|place| (place.told(), place)).collect();
        sleep(SILENCE).await;
        for (before, place) in behind {
            if place.told() == before && before < newest {
                place.move_on();
            }
        }
    }
}

#[async_trait]
impl Store for Etcd {
    fn settled_revision(&self) -> Option<Revision> {
        None
    }

    async fn current_revision(&self) -> Result<Revision> {
        self.inner.current_revision().await
    }

    /// Writes a key: some versions say that they have told everything when they have not, so that asking them for their
    /// progress does not do.
    async fn hasten(&self) -> Result<()> {
        let put = PutRequest { key: self.inner.mark.clone(), value: Bytes::new(), lease: 0 };
        let txn = TxnRequest { success: vec![Request::Put(put).into()], ..TxnRequest::default() };
        let answer: TxnResponse = self.inner.client.ask(TXN, txn, Repeat::Freely, 0).await.map_err(told)?;
        let newest = answer.header.map_or(0, |header| revision(header.revision));
        let inner = self.inner.clone();
        tokio::spawn(async move { inner.look_after_feeds(newest).await });
        Ok(())
    }

    fn failure(&self) -> Option<Error> {
        self.inner.client.down().or_else(|| self.inner.health.alarm())
    }

    async fn failed(&self) -> Error {
        self.inner.client.failed().await
    }

    /// That of the member that is asked.
    async fn size(&self) -> Result<Option<u64>> {
        let asked = self.inner.client.ask("/etcdserverpb.Maintenance/Status", StatusRequest {}, Repeat::Freely, 0);
        let StatusResponse { db_size, .. } = asked.await.map_err(told)?;
        Ok(u64::try_from(db_size).ok())
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<KeyValue>> {
        let at = at.unwrap_or_default();
        let range = RangeRequest { key: self.inner.keys.there(key), revision: signed(at), ..RangeRequest::default() };
        let answer = self.inner.page(range, at).await?;
        Ok(answer.kvs.first().and_then(|kv| self.inner.keys.kept(kv)))
    }

    async fn list(
        &self,
        prefix: &str,
        at: Option<Revision>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Page> {
        let (keys, start) = (&self.inner.keys, self.inner.keys.there(prefix));
        let range_end = end(&start);
        let after = after.map(|after| behind(&keys.there(after))).filter(|after| *after > start);
        let mut key = after.unwrap_or(start);
        let mut at = at.unwrap_or_default();
        let mut items: Vec<KeyValue> = Vec::new();
        loop {
            let wanted = limit.map_or(PAGE, |limit| limit.saturating_sub(items.len()).clamp(1, PAGE));
            let range = RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: i64::try_from(wanted).unwrap_or(i64::MAX),
                revision: signed(at),
                ..RangeRequest::default()
            };
            let answer = self.inner.page(range, at).await?;
            if at == 0 {
                at = answer.header.map_or(0, |header| revision(header.revision));
            }
            items.extend(answer.kvs.iter().filter_map(|kv| keys.kept(kv)));
            let last = answer.kvs.last().filter(|_| answer.more);
            match last {
                Some(last) if limit.is_none_or(|limit| items.len() < limit) => key = behind(&last.key),
                _ => return Ok(Page { revision: at, items, more: last.is_some() }),
            }
        }
    }

    async fn txn(&self, txn: Txn) -> Result<Outcome> {
        let inner = &self.inner;
        let mut answer = inner.try_txn(&txn).await;
        if matches!(answer, Err(Failure::NoLease)) {
            inner.leases.forget().await;
            answer = inner.try_txn(&txn).await;
        }
        let answer = answer.map_err(told).inspect_err(|error| inner.health.note(error))?;
        let at = answer.header.map_or(0, |header| revision(header.revision));
        if answer.succeeded {
            if txn.ops.iter().any(|op| matches!(op, Op::Put { .. })) {
                inner.health.note_written();
            }
            return Ok(Outcome::Committed { revision: at });
        }
        let current = answer.responses.into_iter().map(|response| {
            let range = response.range.unwrap_or_default();
            range.kvs.first().and_then(|kv| inner.keys.kept(kv))
        });
        Ok(Outcome::Conflict { revision: at, current: current.collect() })
    }

    async fn subscribe(&self, prefix: &str, after: Revision, feed: Feed) -> Result<Subscription> {
        let subscriber = Subscriber::new(prefix, feed, Weak::new());
        let (watch, place, stream) = Watch::begin(&self.inner, subscriber, after).await?;
        self.inner.feeds.lock().push(Arc::downgrade(&place));
        let guard = Guard(self.inner.clone());
        let task = tokio::spawn(async move {
            let _guard = guard;
            watch.run(stream).await;
        });
        Ok(Subscription::holding(OnDrop(task.abort_handle())))
    }
}

/// Ends a task when it is dropped.
#[derive(Debug)]
struct OnDrop(AbortHandle);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What callers of the store are told.
fn told(failure: Failure) -> Error {
    match failure {
        Failure::Refused(error) => error,
        Failure::NoLease => Error::Refused("its lease is gone as soon as it was granted".into()),
        Failure::LargeAnswer => Error::Refused("one value is larger than is read".into()),
        Failure::Elsewhere(why) | Failure::Busy(why) | Failure::Token(why) => Error::Unavailable(why),
        Failure::Lost(why) | Failure::InDoubt(why) => Error::Unknown(why),
    }
}
