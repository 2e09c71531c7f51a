//! The embedded engine: one writer thread that commits whatever has queued up in one sync.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::thread::JoinHandle;

use async_trait::async_trait;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::disk::{Disk, FsDisk};
use crate::feed::Subscriber;
use crate::history::{History, View};
use crate::log::Log;
use crate::snapshot;
use crate::writer::Writer;
use crate::{Error, Event, Feed, KeyValue, Op, Outcome, Page, Result, Revision, Store, Subscription, Txn};

/// Transactions that wait at most; further callers wait for a place.
const QUEUE: usize = 4_096;
/// The largest key and value together, in bytes.
const MAX_WRITE: usize = 8 << 20;

/// How the embedded engine behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of a segment, reserved when it is made.
    pub segment_bytes: u64,
    /// Bytes of log behind the last snapshot after which the next one is written.
    pub snapshot_after: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 16 << 20, snapshot_after: 64 << 20 }
    }
}

/// A store in one directory of this machine, open in one process at a time.
pub struct Embedded {
    shared: Arc<Shared>,
    places: Semaphore,
    writer: Option<JoinHandle<()>>,
}

/// What callers and the writer's thread share.
pub(crate) struct Shared {
    pub disk: Box<dyn Disk>,
    pub options: Options,
    pub state: RwLock<State>,
    pub queue: Mutex<Queue>,
    pub wake: Condvar,
    /// Who is told of changes. The writer has the lock while it publishes and tells.
    pub subscribers: Mutex<Vec<Subscriber>>,
    /// The newest revision that they were told.
    pub told: AtomicU64,
    /// Why nothing is accepted any more. Changed under the lock of the queue.
    failure: watch::Sender<Option<Error>>,
    /// Why nothing that needs room is accepted, while the disk is full.
    full: Mutex<Option<Error>>,
    snapshot: Mutex<()>,
}

pub(crate) struct State {
    pub view: View,
    pub history: History,
}

#[derive(Default)]
pub(crate) struct Queue {
    pub jobs: VecDeque<Job>,
    pub closing: bool,
}

/// A transaction that waits for the writer.
pub(crate) struct Job {
    pub txn: Txn,
    pub reply: oneshot::Sender<Result<Outcome>>,
}

impl Embedded {
    /// Opens a directory, making it when it does not exist.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Corrupt`] or [`Error::Io`]; nothing was changed then.
    pub fn open(dir: &Path, options: Options) -> Result<Embedded> {
        let disk = FsDisk::open(dir).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::Locked { path: dir.display().to_string() },
            _ => Error::Io { path: dir.display().to_string(), what: error.to_string() },
        })?;
        Embedded::on(Box::new(disk), options)
    }

    /// Opens a store on any [`Disk`].
    pub fn on(disk: Box<dyn Disk>, options: Options) -> Result<Embedded> {
        let opened = snapshot::open(&*disk)?;
        let log = Log::new(&*disk, options.segment_bytes, &opened)?;
        let told = AtomicU64::new(opened.view.revision);
        let expiries = opened.view.iter().filter_map(Expiry::of).collect::<BTreeSet<_>>();
        let shared = Arc::new(Shared {
            disk,
            options,
            state: RwLock::new(State { view: opened.view, history: opened.history }),
            queue: Mutex::default(),
            wake: Condvar::new(),
            failure: watch::channel(None).0,
            subscribers: Mutex::default(),
            told,
            full: Mutex::default(),
            snapshot: Mutex::default(),
        });
        let writer = Writer::new(shared.clone(), log, expiries);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || writer.run());
        let writer = thread.map_err(|error| Error::Closed(error.to_string()))?;
        Ok(Embedded { shared, places: Semaphore::new(QUEUE), writer: Some(writer) })
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.shared.state.read().view.revision
    }

    /// Forgets history up to and including a revision. It is forgotten by itself after [`KEPT`](crate::history::KEPT).
    ///
    /// # Errors
    /// [`Error::Future`]
    pub fn compact(&self, revision: Revision) -> Result<()> {
        let mut state = self.shared.state.write();
        let newest = state.view.revision;
        if revision > newest {
            return Err(Error::Future { requested: revision, newest });
        }
        state.history.compact(revision);
        Ok(())
    }

    /// Writes a snapshot of everything, so that older parts of the log can go.
    ///
    /// # Errors
    /// The disk fails or is full.
    pub async fn snapshot(&self) -> Result<()> {
        let shared = self.shared.clone();
        let task = tokio::task::spawn_blocking(move || shared.write_snapshot());
        task.await.map_err(|error| Error::Closed(error.to_string()))?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.queue.lock().closing = true;
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    fn settled_revision(&self) -> Option<Revision> {
        Some(self.shared.told.load(Memory::Acquire))
    }

    async fn current_revision(&self) -> Result<Revision> {
        Ok(self.shared.told.load(Memory::Acquire))
    }

    async fn hasten(&self) -> Result<()> {
        // Every change is told at once.
        Ok(())
    }

    fn failure(&self) -> Option<Error> {
        self.shared.failure.borrow().clone().or_else(|| self.shared.full.lock().clone())
    }

    async fn failed(&self) -> Error {
        let mut failure = self.shared.failure.subscribe();
        match failure.wait_for(Option::is_some).await.map(|error| error.clone()) {
            Ok(Some(error)) => error,
            _ => Error::Closed("the store was closed".into()),
        }
    }

    async fn size(&self) -> Result<Option<u64>> {
        let disk = &self.shared.disk;
        let failed =
            |error: io::Error| Error::Io { path: disk.path("").display().to_string(), what: error.to_string() };
        // One that goes meanwhile takes no room.
        let size =
            |name: &String| std::fs::metadata(disk.path(name)).map_or(0, |file| file.blocks().saturating_mul(512));
        Ok(Some(disk.list().map_err(failed)?.iter().map(size).sum()))
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<KeyValue>> {
        Ok(self.shared.view_at(at)?.get(key).cloned())
    }

    async fn list(
        &self,
        prefix: &str,
        at: Option<Revision>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Page> {
        Ok(self.shared.view_at(at)?.page(prefix, after, limit))
    }

    async fn txn(&self, txn: Txn) -> Result<Outcome> {
        let size: usize = txn.ops.iter().map(write_size).sum();
        if size > MAX_WRITE {
            let why = format!("a write of {size} bytes is larger than the limit of {MAX_WRITE} bytes");
            return Err(Error::TooLarge(why));
        }
        let closed = || Error::Closed("the writer has ended".into());
        let _place = self.places.acquire().await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        {
            let mut queue = self.shared.queue.lock();
            if let Some(error) = &*self.shared.failure.borrow() {
                return Err(Error::Closed(error.to_string()));
            }
            queue.jobs.push_back(Job { txn, reply });
        }
        self.shared.wake.notify_one();
        answer.await.map_err(|_| closed())?
    }

    async fn subscribe(&self, prefix: &str, after: Revision, feed: Feed) -> Result<Subscription> {
        // The writer has this lock while it publishes, so nothing falls between what was and what comes.
        let mut subscribers = self.shared.subscribers.lock();
        let state = self.shared.state.read();
        let missed: Vec<Event> = state.history.after(after, state.view.revision)?.cloned().collect();
        drop(state);
        let (subscription, held) = Subscription::new();
        let subscriber = Subscriber::new(prefix, feed, held);
        subscriber.tell(&missed);
        subscribers.push(subscriber);
        Ok(subscription)
    }
}

pub(crate) fn write_size(op: &Op) -> usize {
    match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key } => key.len(),
    }
}

/// A key that goes by itself, in the order in which they go.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Expiry(pub KeyValue);

impl Expiry {
    pub fn of(kv: &KeyValue) -> Option<Expiry> {
        (kv.expires_millis() > 0).then(|| Expiry(kv.clone()))
    }

    fn order(&self) -> (u64, &[u8], Revision) {
        (self.0.expires_millis(), self.0.key_bytes(), self.0.mod_revision())
    }
}

impl PartialOrd for Expiry {
    fn partial_cmp(&self, other: &Expiry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Expiry {
    fn cmp(&self, other: &Expiry) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl Shared {
    fn view_at(&self, at: Option<Revision>) -> Result<View> {
        let state = self.state.read();
        match at {
            Some(revision) => state.history.at(&state.view, revision),
            None => Ok(state.view.clone()),
        }
    }

    pub fn write_snapshot(&self) -> Result<()> {
        let _one_at_a_time = self.snapshot.lock();
        let view = self.state.read().view.clone();
        snapshot::write(&*self.disk, &view)
    }

    /// Notes whether the disk is full; the log is told of the first and the last of it.
    pub fn set_full(&self, now: Option<&Error>) {
        let mut full = self.full.lock();
        match (&*full, now) {
            (None, Some(error)) => tracing::warn!("{error}"),
            (Some(_), None) => {
                tracing::info!(path = %self.disk.path("").display(), "there is room again for what is written")
            }
            _ => {}
        }
        if full.is_some() || now.is_some() {
            *full = now.cloned();
        }
    }

    /// From now on nothing is accepted; whatever waits is told.
    pub fn fail(&self, error: Error) {
        let waiting = {
            let mut queue = self.queue.lock();
            self.failure.send_if_modified(|failure| {
                let first = failure.is_none();
                failure.get_or_insert_with(|| error.clone());
                first
            });
            std::mem::take(&mut queue.jobs)
        };
        for job in waiting {
            let _ = job.reply.send(Err(Error::Closed(error.to_string())));
        }
        tracing::error!(%error, "the store has failed and accepts no more writes");
    }
}
