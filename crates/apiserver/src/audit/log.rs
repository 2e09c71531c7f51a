//! The way of entries into the log: a thread writes them, and what waits for it is bounded in number and bytes.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::rotation::{Rotating, Rotation};
use super::webhook::{self, Webhook};
use crate::webhook_config;

/// How long a request waits at most until its entry is written.
const PATIENCE: Duration = Duration::from_secs(5);
/// KiB of entries that wait.
const ROOM: u32 = 64 << 10;
/// Bytes that are written at once.
const AT_ONCE: usize = 1 << 20;
/// How often a failure is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Whether requests wait for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A request waits until its entries are written, or it is known that they cannot be.
    #[default]
    Blocking,
    /// And is refused if the first of them is not written.
    BlockingStrict,
    /// No request waits; entries for which there is no room are dropped and counted.
    Batch,
}

/// Where entries go.
#[derive(Clone, Debug)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf, Rotation),
    /// Another server.
    Webhook(Webhook),
}

/// One of the places where entries go.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where they go.
    pub target: Target,
    /// Whether requests wait for it.
    pub mode: Mode,
    /// How many entries may wait.
    pub buffer: usize,
}

/// How many entries there were, and how many could not be written.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub events: Counter<u64, AtomicU64>,
    pub errors: Counter<u64, AtomicU64>,
    pub rejected: Counter<u64, AtomicU64>,
}

impl Counts {
    /// Shows them among the metrics, by upstream's names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("apiserver_audit_event", "Entries of the audit log", self.events.clone());
        registry.register("apiserver_audit_error", "Entries that could not be written", self.errors.clone());
        let help = "Requests that were refused as they could not be written down";
        registry.register("apiserver_audit_requests_rejected", help, self.rejected.clone());
    }
}

/// Takes entries.
pub(super) struct Log {
    mode: Mode,
    sender: mpsc::Sender<Entry>,
    room: Arc<Semaphore>,
    counts: Counts,
}

/// An entry on its way.
pub(super) struct Entry {
    pub line: Vec<u8>,
    written: Option<oneshot::Sender<bool>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Entry {
    /// One that nobody waits for.
    #[cfg(test)]
    pub fn of(line: Vec<u8>) -> Entry {
        Entry { line, written: None, _room: None }
    }

    /// Tells whoever waits what became of it; who asked may have gone.
    pub fn done(self, written: bool) {
        let _ = self.written.map(|waits| waits.send(written));
    }
}

/// Counts entries that are lost, and tells of it now and then.
pub(super) struct Failing {
    name: String,
    errors: Counter<u64, AtomicU64>,
    told: Mutex<Option<Instant>>,
}

impl Failing {
    pub fn tell(&self, count: usize, why: &str) {
        self.errors.inc_by(count as u64);
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::error!("failed to write to the audit log {}: {why}", self.name);
        }
    }
}

/// Counts an entry that did not come into the log.
struct Lost<'a>(Option<&'a Counts>);

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        if let Some(counts) = self.0 {
            counts.errors.inc();
        }
    }
}

/// What a thread writes to.
enum Sink {
    Stdout(io::Stdout),
    File(Rotating),
}

impl Sink {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout(out) => out.write_all(lines).and_then(|()| out.flush()),
            Sink::File(file) => file.append(lines),
        }
    }
}

impl Log {
    /// Opens the log. One that is another server needs a tokio runtime.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn open(backend: &Backend, counts: Counts) -> Result<Log> {
        let Backend { target, mode, buffer } = backend;
        let (sender, entries) = mpsc::channel((*buffer).max(1));
        let failing = |name: String| Arc::new(Failing { name, errors: counts.errors.clone(), told: Mutex::default() });
        match target {
            Target::Stdout => on_thread(Sink::Stdout(io::stdout()), entries, failing("-".into()))?,
            Target::File(path, rotation) => {
                let file = Rotating::open(path, rotation.clone());
                let file = file.with_context(|| format!("failed to open the audit log {}", path.display()))?;
                on_thread(Sink::File(file), entries, failing(path.display().to_string()))?;
            }
            Target::Webhook(options) => {
                let webhook = webhook_config::Webhook::read(&options.file)?;
                let failing = failing(options.file.display().to_string());
                tokio::spawn(webhook::send(options.clone(), webhook, *mode, entries, failing));
            }
        }
        Ok(Log { mode: *mode, sender, room: Arc::new(Semaphore::new(ROOM as usize)), counts })
    }

    /// Whether a request whose first entry is not written is refused.
    pub fn is_strict(&self) -> bool {
        self.mode == Mode::BlockingStrict
    }

    /// Hands an entry to the log; whether it is written, as far as anyone waits for that.
    pub async fn write(&self, line: Vec<u8>) -> bool {
        if self.mode == Mode::Batch {
            return self.try_write(line);
        }
        // Who goes while there is no room takes the entry along, which is counted.
        let mut lost = Lost(Some(&self.counts));
        let written = tokio::time::timeout(PATIENCE, self.written(line, &mut lost)).await;
        written.ok().flatten().unwrap_or(false)
    }

    /// `None` if the thread is gone.
    async fn written(&self, line: Vec<u8>, lost: &mut Lost<'_>) -> Option<bool> {
        let room = self.room.clone().acquire_many_owned(kib(&line)).await.ok()?;
        let (sender, written) = oneshot::channel();
        self.sender.send(Entry { line, written: Some(sender), _room: Some(room) }).await.ok()?;
        // From here on the thread counts.
        lost.0 = None;
        written.await.ok()
    }

    /// The same for who cannot wait.
    pub fn try_write(&self, line: Vec<u8>) -> bool {
        let room = self.room.clone().try_acquire_many_owned(kib(&line)).ok();
        let sent = room.and_then(|room| self.sender.try_send(Entry { line, written: None, _room: Some(room) }).ok());
        if sent.is_none() {
            self.counts.errors.inc();
        }
        sent.is_some()
    }
}

/// The room that an entry takes; a larger one than all of it takes all.
fn kib(line: &[u8]) -> u32 {
    u32::try_from(line.len() >> 10).unwrap_or(ROOM).saturating_add(1).min(ROOM)
}

fn on_thread(sink: Sink, entries: mpsc::Receiver<Entry>, failing: Arc<Failing>) -> Result<()> {
    let run = move || write(sink, entries, &failing);
    let started = std::thread::Builder::new().name("audit-log".into()).spawn(run);
    started.map(drop).context("failed to start the thread of the audit log")
}

/// Writes what comes until nobody is left who could send more.
fn write(mut sink: Sink, mut entries: mpsc::Receiver<Entry>, failing: &Failing) {
    while let Some(first) = entries.blocking_recv() {
        let mut together = vec![first];
        let mut lines = std::mem::take(&mut together[0].line);
        while lines.len() < AT_ONCE
            && let Ok(next) = entries.try_recv()
        {
            lines.extend_from_slice(&next.line);
            together.push(next);
        }
        let written = sink.append(&lines);
        if let Err(error) = &written {
            failing.tell(together.len(), &error.to_string());
        }
        together.into_iter().for_each(|entry| entry.done(written.is_ok()));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn file(path: &Path) -> Backend {
        let rotation = Rotation { max_size: 1 << 20, max_backups: 0, max_age: Duration::ZERO, compress: false };
        Backend { target: Target::File(path.to_owned(), rotation), mode: Mode::Blocking, buffer: 1 }
    }

    #[tokio::test]
    async fn who_waits_finds_its_entry_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let log = Log::open(&file(&path), Counts::default()).unwrap();
        for number in 0..3 {
            assert!(log.write(format!("{number}\n").into_bytes()).await);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n1\n2\n");
    }

    #[tokio::test]
    async fn a_full_disk_is_counted_and_holds_nobody_up() {
        let counts = Counts::default();
        let log = Log::open(&file(Path::new("/dev/full")), counts.clone()).unwrap();
        assert!(!log.write(b"x\n".to_vec()).await);
        assert_eq!(counts.errors.get(), 1);
    }

    #[tokio::test]
    async fn a_flood_is_dropped_where_nobody_waits() {
        let counts = Counts::default();
        let (sender, mut entries) = mpsc::channel(2);
        let room = Arc::new(Semaphore::new(ROOM as usize));
        let log = Log { mode: Mode::Batch, sender, room, counts: counts.clone() };
        let mut taken = Vec::new();
        for length in [10, 200 << 20, 10, 10] {
            taken.push(log.write(vec![0; length]).await);
        }
        // The second would take more room than is left, the last one the place of a third.
        assert_eq!((taken, counts.errors.get()), (vec![true, false, true, false], 2));
        drop(entries.try_recv());
        assert!(log.write(vec![0; 10]).await);
    }
}
