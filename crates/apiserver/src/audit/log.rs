//! The way of entries into the log: a thread writes them, and what waits for it is bounded in number and bytes.

use std::io::{self, Write};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coracle_metrics::{Counter, Family, Page};
use parking_lot::Mutex;
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

impl Target {
    /// What upstream calls such a place.
    fn plugin(&self) -> &'static str {
        match self {
            Target::Stdout | Target::File(..) => "log",
            Target::Webhook(_) => "webhook",
        }
    }
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

/// How many entries there were, and how many could not be written. Copies count together.
#[derive(Clone)]
pub(crate) struct Counts(Arc<Counted>);

pub(crate) struct Counted {
    pub events: Counter,
    /// By the backend that could not write them.
    pub errors: Family<Counter, 1>,
    pub rejected: Counter,
    /// Requests by what a policy wants of them.
    pub levels: Family<Counter, 1>,
}

impl Default for Counts {
    fn default() -> Counts {
        let (events, rejected) = Default::default();
        Counts(Arc::new(Counted { events, errors: Family::new(["plugin"]), rejected, levels: Family::new(["level"]) }))
    }
}

impl Deref for Counts {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.0
    }
}

impl Counts {
    /// Shows them among the metrics, by upstream's names.
    pub fn write(&self, page: &mut Page) {
        page.single("apiserver_audit_event_total", "counter", "Entries of the audit log", self.events.get());
        self.errors.write("apiserver_audit_error_total", "Entries that could not be written", page);
        let help = "Requests that were refused as they could not be written down";
        page.single("apiserver_audit_requests_rejected_total", "counter", help, self.rejected.get());
        self.levels.write("apiserver_audit_level_total", "Requests by what the policy wants of them", page);
    }
}

/// Takes entries.
pub(super) struct Log {
    mode: Mode,
    sender: mpsc::Sender<Entry>,
    room: Arc<Semaphore>,
    errors: Arc<Counter>,
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
    errors: Arc<Counter>,
    told: Mutex<Option<Instant>>,
}

impl Failing {
    pub fn tell(&self, count: usize, why: &str) {
        self.errors.add(count as u64);
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::error!("failed to write to the audit log {}: {why}", self.name);
        }
    }
}

/// Counts an entry that did not come into the log.
struct Lost<'a>(Option<&'a Counter>);

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        if let Some(errors) = self.0 {
            errors.inc();
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
    pub fn open(backend: &Backend, counts: &Counts) -> Result<Log> {
        let Backend { target, mode, buffer } = backend;
        let errors = counts.errors.get([target.plugin()]);
        let (sender, entries) = mpsc::channel((*buffer).max(1));
        let failing = |name: String| Arc::new(Failing { name, errors: errors.clone(), told: Mutex::default() });
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
        Ok(Log { mode: *mode, sender, room: Arc::new(Semaphore::new(ROOM as usize)), errors })
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
        let mut lost = Lost(Some(&self.errors));
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
            self.errors.inc();
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
        let log = Log::open(&file(&path), &Counts::default()).unwrap();
        for number in 0..3 {
            assert!(log.write(format!("{number}\n").into_bytes()).await);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n1\n2\n");
    }

    #[tokio::test]
    async fn a_full_disk_is_counted_and_holds_nobody_up() {
        let counts = Counts::default();
        let log = Log::open(&file(Path::new("/dev/full")), &counts).unwrap();
        assert!(!log.write(b"x\n".to_vec()).await);
        assert_eq!(counts.errors.get(["log"]).get(), 1);
    }

    #[tokio::test]
    async fn a_flood_is_dropped_where_nobody_waits() {
        let errors = Arc::<Counter>::default();
        let (sender, mut entries) = mpsc::channel(2);
        let room = Arc::new(Semaphore::new(ROOM as usize));
        let log = Log { mode: Mode::Batch, sender, room, errors: errors.clone() };
        let mut taken = Vec::new();
        for length in [10, 200 << 20, 10, 10] {
            taken.push(log.write(vec![0; length]).await);
        }
        // The second would take more room than is left, the last one the place of a third.
        assert_eq!((taken, errors.get()), (vec![true, false, true, false], 2));
        drop(entries.try_recv());
        assert!(log.write(vec![0; 10]).await);
    }
}
