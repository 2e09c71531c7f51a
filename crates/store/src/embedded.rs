//! The embedded engine: one writer thread that commits whatever has queued up in one sync.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot};

use crate::disk::{Disk, DiskFile, FsDisk};
use crate::history::{Event, History, View};
use crate::snapshot::{self, io_error, segment_name};
use crate::{Compare, Error, Feed, KeyValue, Op, Outcome, Page, Result, Revision, Store, Txn, Value, format};

/// Transactions committed in one sync.
const BATCH: usize = 512;
/// Bytes after which a batch is closed.
const BATCH_BYTES: usize = 8 << 20;
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

struct Shared {
    disk: Box<dyn Disk>,
    options: Options,
    state: RwLock<State>,
    queue: Mutex<Queue>,
    wake: Condvar,
    feed: Mutex<Option<Feed>>,
    snapshot: Mutex<()>,
}

struct State {
    view: View,
    history: History,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closing: bool,
    /// Why nothing is accepted any more.
    failed: Option<Error>,
}

struct Job {
    txn: Txn,
    reply: oneshot::Sender<Result<Outcome>>,
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
        let log = Log::new(&*disk, &options, opened.tail, opened.view.revision, opened.sequence, opened.log_bytes)?;
        let expiries = opened.view.keys.values().filter_map(expiry).collect();
        let shared = Arc::new(Shared {
            disk,
            options,
            state: RwLock::new(State { view: opened.view, history: opened.history }),
            queue: Mutex::default(),
            wake: Condvar::new(),
            feed: Mutex::default(),
            snapshot: Mutex::default(),
        });
        let writer = Writer { shared: shared.clone(), log, expiries };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || writer.run());
        let writer = thread.map_err(|error| Error::Closed(error.to_string()))?;
        Ok(Embedded { shared, places: Semaphore::new(QUEUE), writer: Some(writer) })
    }

    /// Bytes of all keys and values.
    pub fn live_bytes(&self) -> u64 {
        let view = self.shared.state.read().view.clone();
        view.keys.values().map(|kv| (kv.key.len() + kv.value.len()) as u64).sum()
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
    fn revision(&self) -> Revision {
        self.shared.state.read().view.revision
    }

    fn failure(&self) -> Option<Error> {
        self.shared.queue.lock().failed.clone()
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<KeyValue>>> {
        Ok(self.shared.view_at(at)?.keys.get(key).cloned())
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
        let size = txn.ops.iter().map(write_size).sum();
        if size > MAX_WRITE {
            return Err(Error::TooLarge { size, limit: MAX_WRITE });
        }
        let closed = || Error::Closed("the writer has ended".into());
        let _place = self.places.acquire().await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        {
            let mut queue = self.shared.queue.lock();
            if let Some(error) = &queue.failed {
                return Err(Error::Closed(error.to_string()));
            }
            queue.jobs.push_back(Job { txn, reply });
        }
        self.shared.wake.notify_one();
        answer.await.map_err(|_| closed())?
    }

    async fn changes(&self, prefix: &str, after: Revision) -> Result<Vec<Arc<Event>>> {
        let state = self.shared.state.read();
        let events = state.history.after(after, state.view.revision)?;
        Ok(events.filter(|event| event.key.starts_with(prefix)).cloned().collect())
    }

    fn subscribe(&self, start: &mut dyn FnMut(&View), feed: Feed) {
        // The writer takes the feed's lock before it publishes, so holding it makes state and feed meet.
        let mut slot = self.shared.feed.lock();
        start(&self.shared.state.read().view);
        *slot = Some(feed);
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let mut state = self.shared.state.write();
        let newest = state.view.revision;
        if revision > newest {
            return Err(Error::Future { requested: revision, newest });
        }
        state.history.compact(revision);
        Ok(())
    }

    async fn snapshot(&self) -> Result<()> {
        let shared = self.shared.clone();
        let task = tokio::task::spawn_blocking(move || shared.write_snapshot());
        task.await.map_err(|error| Error::Closed(error.to_string()))?
    }
}

fn write_size(op: &Op) -> usize {
    match op {
        Op::Put { key, value, .. } => key.len() + value.bytes.len(),
        Op::Delete { key } => key.len(),
    }
}

type Expiry = Reverse<(SystemTime, Arc<str>, Revision)>;

fn expiry(kv: &Arc<KeyValue>) -> Option<Expiry> {
    Some(Reverse((kv.expires?, kv.key.clone(), kv.mod_revision)))
}

impl Shared {
    fn view_at(&self, at: Option<Revision>) -> Result<View> {
        let state = self.state.read();
        match at {
            Some(revision) => state.history.at(&state.view, revision),
            None => Ok(state.view.clone()),
        }
    }

    fn write_snapshot(&self) -> Result<()> {
        let _one_at_a_time = self.snapshot.lock();
        let view = self.state.read().view.clone();
        snapshot::write(&*self.disk, &view)
    }
}

/// The segment being written.
struct Log {
    file: Box<dyn DiskFile>,
    name: String,
    offset: u64,
    sequence: u64,
    since_snapshot: u64,
}

impl Log {
    fn new(
        disk: &dyn Disk,
        options: &Options,
        tail: Option<(String, u64)>,
        revision: Revision,
        sequence: u64,
        since_snapshot: u64,
    ) -> Result<Log> {
        let Some((name, offset)) = tail else {
            let (file, name, offset) = Log::segment(disk, options, revision)?;
            return Ok(Log { file, name, offset, sequence, since_snapshot });
        };
        let fail = |error: io::Error| io_error(disk, &name, &error);
        let mut file = disk.open(&name).map_err(fail)?;
        file.allocate(options.segment_bytes).map_err(fail)?;
        Ok(Log { file, name, offset, sequence, since_snapshot })
    }

    fn segment(disk: &dyn Disk, options: &Options, base: Revision) -> Result<(Box<dyn DiskFile>, String, u64)> {
        let name = segment_name(base);
        let mut header = Vec::new();
        format::put_file_header(&mut header, format::SEGMENT_MAGIC, base);
        let make = || {
            let mut file = disk.open("segment.tmp")?;
            file.truncate(0)?;
            file.allocate(options.segment_bytes)?;
            file.write_at(&header, 0)?;
            file.sync()?;
            disk.rename("segment.tmp", &name)?;
            disk.sync_dir()?;
            Ok(file)
        };
        let file = make().map_err(|error| io_error(disk, &name, &error))?;
        Ok((file, name, header.len() as u64))
    }
}

struct Writer {
    shared: Arc<Shared>,
    log: Log,
    expiries: BinaryHeap<Expiry>,
}

impl Writer {
    fn run(mut self) {
        while let Some(jobs) = self.next_batch() {
            self.commit(jobs);
        }
    }

    /// Waits for transactions or for a key to expire; `None` once the store closes.
    fn next_batch(&mut self) -> Option<Vec<Job>> {
        let mut queue = self.shared.queue.lock();
        loop {
            if queue.closing {
                return None;
            }
            let mut room = BATCH_BYTES;
            let mut jobs = Vec::new();
            while jobs.len() < BATCH
                && room > 0
                && let Some(job) = queue.jobs.pop_front()
            {
                room = room.saturating_sub(job.txn.ops.iter().map(write_size).sum());
                jobs.push(job);
            }
            let now = SystemTime::now();
            while jobs.len() < BATCH
                && let Some(Reverse((when, ..))) = self.expiries.peek()
                && *when <= now
                && let Some(Reverse((_, key, revision))) = self.expiries.pop()
            {
                let txn =
                    Txn { compares: vec![Compare::ModRevision(key.clone(), revision)], ops: vec![Op::Delete { key }] };
                jobs.push(Job { txn, reply: oneshot::channel().0 });
            }
            if !jobs.is_empty() {
                return Some(jobs);
            }
            match self.expiries.peek() {
                Some(Reverse((when, ..))) => {
                    let wait = when.duration_since(now).unwrap_or(Duration::ZERO);
                    self.shared.wake.wait_for(&mut queue, wait);
                }
                None => self.shared.wake.wait(&mut queue),
            }
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let mut view = self.shared.state.read().view.clone();
        let mut buffer = Vec::with_capacity(64 << 10);
        let start = format::begin_frame(&mut buffer);
        let mut events = Vec::new();
        let mut replies = Vec::with_capacity(jobs.len());
        for job in jobs {
            let outcome = evaluate(job.txn, &mut view, &mut buffer, &mut events);
            replies.push((job.reply, outcome));
        }
        if !events.is_empty() {
            format::end_frame(&mut buffer, start, self.log.sequence + 1);
            if let Err(error) = self.write(&buffer) {
                for (reply, _) in replies {
                    let _ = reply.send(Err(error.clone()));
                }
                return;
            }
            self.publish(view, &events);
        }
        for (reply, outcome) in replies {
            let _ = reply.send(Ok(outcome));
        }
    }

    fn publish(&mut self, view: View, events: &[Arc<Event>]) {
        let feed = self.shared.feed.lock();
        let mut state = self.shared.state.write();
        state.view = view;
        for event in events {
            state.history.push(event.clone());
            self.expiries.extend(event.now.as_ref().and_then(expiry));
        }
        drop(state);
        if let Some(feed) = &*feed {
            feed(events);
        }
    }

    /// Appends a frame durably.
    fn write(&mut self, frame: &[u8]) -> Result<()> {
        if self.log.offset + frame.len() as u64 > self.shared.options.segment_bytes {
            self.rotate()?;
        }
        let shared = self.shared.clone();
        let disk = &*shared.disk;
        let offset = self.log.offset;
        if let Err(error) = self.log.file.write_at(frame, offset) {
            let error = io_error(disk, &self.log.name, &error);
            // What part of the frame reached the file must not look like damage later.
            if let Err(cut) = self.log.file.truncate(offset) {
                self.fail(io_error(disk, &self.log.name, &cut));
            }
            return Err(error);
        }
        if let Err(error) = self.log.file.sync() {
            let error = io_error(disk, &self.log.name, &error);
            self.fail(error.clone());
            return Err(error);
        }
        self.log.offset += frame.len() as u64;
        self.log.sequence += 1;
        self.log.since_snapshot += frame.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let revision = self.shared.state.read().view.revision;
        let (file, name, offset) = Log::segment(&*self.shared.disk, &self.shared.options, revision)?;
        (self.log.file, self.log.name, self.log.offset) = (file, name, offset);
        if self.log.since_snapshot > self.shared.options.snapshot_after {
            self.log.since_snapshot = 0;
            let shared = self.shared.clone();
            std::thread::spawn(move || {
                if let Err(error) = shared.write_snapshot() {
                    tracing::error!(%error, "failed to write a snapshot");
                }
            });
        }
        Ok(())
    }

    /// Nothing is accepted any more: after a failed sync nobody knows what the disk holds.
    fn fail(&self, error: Error) {
        tracing::error!(%error, "the store has failed and accepts no more writes");
        self.shared.queue.lock().failed = Some(error);
    }
}

fn evaluate(txn: Txn, view: &mut View, buffer: &mut Vec<u8>, events: &mut Vec<Arc<Event>>) -> Outcome {
    let holds = |compare: &Compare| {
        let Compare::ModRevision(key, expected) = compare;
        view.keys.get(key).map_or(0, |kv| kv.mod_revision) == *expected
    };
    if !txn.compares.iter().all(holds) {
        let current = txn.compares.iter().map(|Compare::ModRevision(key, _)| view.keys.get(key).cloned()).collect();
        return Outcome::Conflict { current };
    }
    let revision = view.revision + 1;
    let mut written = Vec::with_capacity(txn.ops.len());
    for op in txn.ops {
        let before = view.keys.get(op.key()).cloned();
        let (key, now) = match op {
            Op::Put { key, value, expires } => {
                let create_revision = before.as_ref().map_or(revision, |kv| kv.create_revision);
                let kv = KeyValue {
                    key: key.clone(),
                    value: stamp(value, revision).into(),
                    create_revision,
                    mod_revision: revision,
                    expires,
                };
                format::put_kv(buffer, &kv);
                (key, Some(Arc::new(kv)))
            }
            Op::Delete { key } if before.is_none() => {
                written.push(None);
                drop(key);
                continue;
            }
            Op::Delete { key } => {
                format::put_delete(buffer, &key, revision);
                (key, None)
            }
        };
        written.push(now.clone());
        let event = Arc::new(Event { revision, key, now, before });
        view.apply(&event);
        events.push(event);
    }
    Outcome::Committed { revision: view.revision, written }
}

/// The bytes of a value with its revision inserted.
fn stamp(value: Value, revision: Revision) -> Vec<u8> {
    let Value { mut bytes, stamp_at } = value;
    if let Some(at) = stamp_at.filter(|at| *at <= bytes.len()) {
        bytes.splice(at..at, revision.to_string().into_bytes());
    }
    bytes
}
