//! The writer's thread: it takes whatever has queued up, commits it in one sync, and publishes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use crate::embedded::{Expiry, Job, Shared, write_size};
use crate::feed::Subscriber;
use crate::history::{Entry, View};
use crate::key_value::millis_after;
use crate::log::{Failure, Log};
use crate::{Change, Compare, Error, Event, KeyValue, Op, Outcome, Result, Txn, format};

/// Transactions committed in one sync.
const BATCH: usize = 512;
/// Bytes after which a batch is closed.
const BATCH_BYTES: usize = 8 << 20;
/// How often room is looked for while the disk is full.
const RETRY: Duration = Duration::from_secs(1);
/// How long a disk is said to be full after it refused something that segments had no room for.
const SAID: Duration = Duration::from_secs(10);
/// Bytes that a change of a key may add while the disk is full: enough for the marks of a deletion and its progress.
const GROWTH: usize = 1024;

/// The disk has no space for the next segment, and when that is tried again.
struct Full {
    error: Error,
    retry: Instant,
}

/// The disk had no space for a batch, and until when that is told of.
struct Refused {
    error: Error,
    until: Instant,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    expiries: BTreeSet<Expiry>,
    /// Those whose deletion is part of the batch at hand.
    expiring: Vec<Expiry>,
    /// Until when nothing expires: the disk took no deletion.
    paused: Option<Instant>,
    full: Option<Full>,
    refused: Option<Refused>,
    /// When history was last looked through, while there is some.
    tidied: Option<Instant>,
}

/// Tells the callers when the thread ends by a panic, its own or the feed's.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::Closed("its writer panicked; see the log".into()));
        }
    }
}

impl Writer {
    pub fn new(shared: Arc<Shared>, log: Log, expiries: BTreeSet<Expiry>) -> Writer {
        Writer { shared, log, expiries, expiring: Vec::new(), paused: None, full: None, refused: None, tidied: None }
    }

    /// Commits until the store closes or fails.
    pub fn run(mut self) {
        let _guard = Guard(self.shared.clone());
        while let Some(jobs) = self.next_batch() {
            if !self.commit(jobs) {
                return;
            }
        }
    }

    /// Waits for transactions or for a key to expire; `None` once the store closes.
    fn next_batch(&mut self) -> Option<Vec<Job>> {
        let shared = self.shared.clone();
        let mut queue = shared.queue.lock();
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
            let wait = self.expire(&mut jobs);
            let retry = self.retry();
            // Room is looked for also when nobody writes: whoever asks how the store is should hear what is so.
            if !jobs.is_empty() || retry.is_some_and(|wait| wait.is_zero()) {
                return Some(jobs);
            }
            let wait = [wait, retry, self.forget_history()].into_iter().flatten().min();
            match wait {
                Some(wait) => drop(shared.wake.wait_for(&mut queue, wait.max(Duration::from_millis(1)))),
                None => shared.wake.wait(&mut queue),
            }
        }
    }

    /// How long until it is seen to whether the disk still is full, while it is.
    fn retry(&self) -> Option<Duration> {
        let full = self.full.as_ref().map(|full| full.retry);
        let next = full.into_iter().chain(self.refused.as_ref().map(|refused| refused.until)).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Forgets old history, once in a while; answers when to look again, as long as there is some.
    fn forget_history(&mut self) -> Option<Duration> {
        const EVERY: Duration = Duration::from_secs(10);
        let now = Instant::now();
        if let Some(wait) = self.tidied.and_then(|last| EVERY.checked_sub(now.duration_since(last))) {
            return Some(wait.max(Duration::from_millis(1)));
        }
        let more = self.shared.state.write().history.forget_old(now);
        self.tidied = more.then_some(now);
        more.then_some(EVERY)
    }

    /// Adds the deletion of what has expired; answers how long until there is more, if there is.
    fn expire(&mut self, jobs: &mut Vec<Job>) -> Option<Duration> {
        if let Some(wait) = self.paused.and_then(|until| until.checked_duration_since(Instant::now())) {
            return Some(wait);
        }
        let now = SystemTime::now();
        while let Some(Expiry(kv)) = self.expiries.first() {
            if let Some(when) = kv.expires()
                && let Ok(wait) = when.duration_since(now)
                && !wait.is_zero()
            {
                return Some(wait);
            }
            if jobs.len() >= BATCH {
                break;
            }
            let Some(expiry) = self.expiries.pop_first() else { break };
            let key: Arc<str> = expiry.0.key().into();
            let compares = vec![Compare::ModRevision(key.clone(), expiry.0.mod_revision())];
            jobs.push(Job { txn: Txn { compares, ops: vec![Op::Delete { key }] }, reply: oneshot::channel().0 });
            self.expiring.push(expiry);
        }
        None
    }

    /// False is the end of the writer: nobody knows what the disk holds.
    fn commit(&mut self, jobs: Vec<Job>) -> bool {
        let mut view = self.shared.state.read().view.clone();
        let mut buffer = Vec::with_capacity(64 << 10);
        let start = format::begin_frame(&mut buffer);
        let now = SystemTime::now();
        let mut changes = Changes::default();
        let mut replies = Vec::with_capacity(jobs.len());
        for job in jobs {
            let outcome = match &self.full {
                Some(full) if !makes_room(&job.txn, &view) => Err(full.error.clone()),
                _ => Ok(evaluate(job.txn, now, &mut view, &mut buffer, &mut changes)),
            };
            replies.push((job.reply, outcome));
        }
        if !changes.events.is_empty() {
            format::end_frame(&mut buffer, start, self.log.next_sequence());
            match self.write(&buffer) {
                Ok(()) => self.publish(view, changes),
                Err(Failure::Refused(error)) => {
                    self.expiries.extend(std::mem::take(&mut self.expiring));
                    self.paused = Some(Instant::now() + RETRY);
                    self.refused = Some(Refused { error: error.clone(), until: Instant::now() + SAID });
                    replies.iter_mut().for_each(|(_, outcome)| *outcome = Err(error.clone()));
                }
                Err(Failure::Fatal(error)) => {
                    // Whoever is told finds the store failed.
                    self.shared.fail(error.clone());
                    for (reply, _) in replies {
                        let _ = reply.send(Err(error.clone()));
                    }
                    return false;
                }
            }
        }
        self.expiring.clear();
        for (reply, outcome) in replies {
            let _ = reply.send(outcome);
        }
        self.log.write_ahead();
        self.look_for_room();
        self.refused.take_if(|refused| Instant::now() >= refused.until);
        let full = self.full.as_ref().map(|full| &full.error);
        self.shared.set_full(full.or(self.refused.as_ref().map(|refused| &refused.error)));
        true
    }

    fn publish(&mut self, view: View, changes: Changes) {
        let Changes { events, before } = changes;
        let mut subscribers = self.shared.subscribers.lock();
        let mut state = self.shared.state.write();
        let (revision, now) = (view.revision, Instant::now());
        state.view = view;
        for (event, before) in events.iter().zip(before) {
            // What is written anew goes later, and its old state is not kept until then.
            if let Some(before) = before.as_ref().and_then(Expiry::of) {
                self.expiries.remove(&before);
            }
            self.expiries.extend(event.now().and_then(Expiry::of));
            state.history.push(Entry::new(event.clone(), before, now));
        }
        drop(state);
        subscribers.retain(Subscriber::is_held);
        subscribers.iter().for_each(|subscriber| subscriber.tell(&events));
        self.shared.told.store(revision, Ordering::Release);
    }

    /// Appends a frame durably.
    fn write(&mut self, frame: &[u8]) -> Result<(), Failure> {
        let shared = self.shared.clone();
        if self.log.is_full(frame.len()) {
            let revision = shared.state.read().view.revision;
            self.log.rotate(&*shared.disk, revision)?;
            if self.log.since_snapshot > shared.options.snapshot_after {
                self.log.since_snapshot = 0;
                std::thread::spawn(move || {
                    if let Err(error) = shared.write_snapshot() {
                        tracing::error!(%error, "failed to write a snapshot");
                    }
                });
            }
        }
        self.log.append(&*self.shared.disk, frame)
    }

    /// Reserves the next segment in time. When the disk has no space for it, a snapshot lets older segments go; while
    /// that does not help either, only changes that make room are taken.
    fn look_for_room(&mut self) {
        if !self.log.wants_spare() {
            self.full = None;
            return;
        }
        if self.full.as_ref().is_some_and(|full| Instant::now() < full.retry) {
            return;
        }
        let disk = &*self.shared.disk;
        let first = self.full.is_none();
        let prepared = self.log.prepare_spare(disk).or_else(|error| {
            if !self.log.has_older_segments() {
                return Err(error);
            }
            if first {
                tracing::warn!(%error, "no space for the next segment of the log: a snapshot lets older ones go");
            }
            self.shared.write_snapshot()?;
            self.log.since_snapshot = 0;
            self.log.prepare_spare(disk)
        });
        // What is left of this segment is kept for what makes room.
        self.full = prepared.err().map(|error| Full { error, retry: Instant::now() + RETRY });
    }
}

/// Whether a transaction only deletes, or changes keys without adding much to them.
fn makes_room(txn: &Txn, view: &View) -> bool {
    txn.ops.iter().all(|op| match op {
        Op::Delete { .. } => true,
        Op::Put { key, value, .. } => view.get(key).is_some_and(|kv| value.len() <= kv.value().len() + GROWTH),
    })
}

/// What a batch changes.
#[derive(Default)]
struct Changes {
    events: Vec<Event>,
    /// What each changed key was before its event.
    before: Vec<Option<KeyValue>>,
}

fn evaluate(txn: Txn, now: SystemTime, view: &mut View, buffer: &mut Vec<u8>, changes: &mut Changes) -> Outcome {
    let holds = |compare: &Compare| {
        let Compare::ModRevision(key, expected) = compare;
        view.get(key).map_or(0, KeyValue::mod_revision) == *expected
    };
    if !txn.compares.iter().all(holds) {
        let current = txn.compares.iter().map(|Compare::ModRevision(key, _)| view.get(key).cloned()).collect();
        return Outcome::Conflict { revision: view.revision, current };
    }
    let revision = view.revision + 1;
    for op in txn.ops {
        let before = view.get(op.key()).cloned();
        let change = match op {
            Op::Put { key, value, ttl } => {
                // What stays is made by this thread alone, whose memory the C library keeps apart from that of requests:
                // what stays among that which goes would keep a page of it.
                let create_revision = before.as_ref().map_or(revision, KeyValue::create_revision);
                let expires = ttl.map_or(0, |ttl| millis_after(now, ttl));
                let kv = KeyValue::expiring(&key, &value, create_revision, revision, expires);
                format::put_kv(buffer, &kv);
                Change::Put(kv)
            }
            Op::Delete { .. } if before.is_none() => continue,
            Op::Delete { key } => {
                format::put_delete(buffer, &key, revision);
                Change::Delete(key)
            }
        };
        let event = Event { revision, change };
        view.apply(&event);
        changes.events.push(event);
        changes.before.push(before);
    }
    Outcome::Committed { revision: view.revision }
}
