//! The way of entries into the log: a thread writes them, and what waits for it is bounded in number and bytes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::rotation::{Rotating, Rotation};

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

struct Entry {
    line: Vec<u8>,
    written: Option<oneshot::Sender<bool>>,
    _room: OwnedSemaphorePermit,
}

enum Sink {
    Stdout(io::Stdout),
    File(Rotating),
}

impl Sink {
    fn open(target: &Target) -> Result<Sink> {
        match target {
            Target::Stdout => Ok(Sink::Stdout(io::stdout())),
            Target::File(path, rotation) => {
                let file = Rotating::open(path, rotation.clone());
                Ok(Sink::File(file.with_context(|| format!("failed to open the audit log {}", path.display()))?))
            }
        }
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout(out) => out.write_all(lines).and_then(|()| out.flush()),
            Sink::File(file) => file.append(lines),
        }
    }
}

impl Log {
    /// Opens the log; `buffer` is how many entries may wait.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn open(target: &Target, mode: Mode, buffer: usize, counts: Counts) -> Result<Log> {
        let sink = Sink::open(target)?;
        let (sender, entries) = mpsc::channel(buffer.max(1));
        let name = match target {
            Target::Stdout => PathBuf::from("-"),
            Target::File(path, _) => path.clone(),
        };
        let errors = counts.errors.clone();
        std::thread::Builder::new()
            .name("audit-log".into())
            .spawn(move || write(sink, entries, &name, &errors))
            .context("failed to start the thread of the audit log")?;
        Ok(Log { mode, sender, room: Arc::new(Semaphore::new(ROOM as usize)), counts })
    }

    /// Whether a request whose first entry is not written is refused.
    pub fn is_strict(&self) -> bool {
        self.mode == Mode::BlockingStrict
    }

    /// Counts a request that is refused for that.
    pub fn reject(&self) {
        self.counts.rejected.inc();
    }

    /// Hands an entry to the log; whether it is written, as far as anyone waits for that.
    pub async fn write(&self, line: Vec<u8>) -> bool {
        self.counts.events.inc();
        if self.mode == Mode::Batch {
            return self.try_write(line);
        }
        match tokio::time::timeout(PATIENCE, self.written(line)).await {
            Ok(Some(written)) => written,
            Ok(None) | Err(_) => {
                self.counts.errors.inc();
                false
            }
        }
    }

    /// `None` if the thread is gone.
    async fn written(&self, line: Vec<u8>) -> Option<bool> {
        let room = self.room.clone().acquire_many_owned(kib(&line)).await.ok()?;
        let (sender, written) = oneshot::channel();
        self.sender.send(Entry { line, written: Some(sender), _room: room }).await.ok()?;
        written.await.ok()
    }

    /// The same for who cannot wait.
    pub fn write_later(&self, line: Vec<u8>) -> bool {
        self.counts.events.inc();
        self.try_write(line)
    }

    fn try_write(&self, line: Vec<u8>) -> bool {
        let room = self.room.clone().try_acquire_many_owned(kib(&line)).ok();
        let sent = room.and_then(|room| self.sender.try_send(Entry { line, written: None, _room: room }).ok());
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

/// Writes what comes until nobody is left who could send more.
fn write(mut sink: Sink, mut entries: mpsc::Receiver<Entry>, name: &Path, errors: &Counter<u64, AtomicU64>) {
    let mut told: Option<Instant> = None;
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
            errors.inc_by(together.len() as u64);
            if told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
                told = Some(Instant::now());
                tracing::error!("failed to write to the audit log {}: {error}", name.display());
            }
        }
        for entry in together {
            // Who asked may have gone.
            let _ = entry.written.map(|waits| waits.send(written.is_ok()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path) -> Target {
        let rotation = Rotation { max_size: 1 << 20, max_backups: 0, max_age: Duration::ZERO, compress: false };
        Target::File(path.to_owned(), rotation)
    }

    #[tokio::test]
    async fn who_waits_finds_its_entry_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let log = Log::open(&file(&path), Mode::Blocking, 1, Counts::default()).unwrap();
        for number in 0..3 {
            assert!(log.write(format!("{number}\n").into_bytes()).await);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n1\n2\n");
    }

    #[tokio::test]
    async fn a_full_disk_is_counted_and_holds_nobody_up() {
        let counts = Counts::default();
        let log = Log::open(&file(Path::new("/dev/full")), Mode::Blocking, 1, counts.clone()).unwrap();
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
