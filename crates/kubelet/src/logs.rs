//! Container logs in the CRI format: reading, tailing and following.
//!
//! A line is `TIME STREAM TAGS CONTENT`; the tag `P` says that the line goes on in the next one.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use coracle_runtime::cri::ContainerEvent;
use jiff::Timestamp;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::sync::{broadcast, mpsc};

const CHUNK: usize = 64 << 10;
/// Most files of a log: the one written, and those that it was before (`X.1` the newest).
const MAX_FILES: u32 = 5;
/// A line longer than this is cut into pieces.
const MAX_LINE: usize = 1 << 20;

/// One line of a log file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) time: &'a str,
    pub(crate) stderr: bool,
    pub(crate) partial: bool,
    pub(crate) content: &'a [u8],
}

/// Reads one line, with or without its newline; `None` when it is not of the format.
pub(crate) fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stderr = match parts.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let tags = parts.next()?;
    let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Line { time, stderr, partial, content: parts.next().unwrap_or_default() })
}

/// What part of a log is wanted, as PodLogOptions says it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogOptions {
    pub(crate) follow: bool,
    pub(crate) tail: Option<usize>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) timestamps: bool,
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// Where the last `lines` lines begin.
fn tail_offset(file: &mut File, lines: usize) -> Result<u64> {
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut buffer = vec![0; CHUNK];
    let (mut end, mut left) = (length, lines);
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let chunk = &mut buffer[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(chunk)?;
        for (index, byte) in chunk.iter().enumerate().rev() {
            let at = start + index as u64;
            // The newline that ends the file ends the last line.
            if *byte == b'\n' && at + 1 != length {
                left -= 1;
                if left == 0 {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

struct Sink {
    out: mpsc::Sender<Bytes>,
    options: LogOptions,
    left: Option<u64>,
    buffer: BytesMut,
    /// The last line written was a partial one: its time is not repeated.
    continues: bool,
}

impl Sink {
    /// Whether more is wanted.
    fn line(&mut self, raw: &[u8]) -> bool {
        let Some(line) = parse_line(raw) else { return true };
        let wanted = if line.stderr { self.options.stderr } else { self.options.stdout };
        let early =
            self.options.since.is_some_and(|since| line.time.parse::<Timestamp>().is_ok_and(|time| time < since));
        if !wanted || early {
            return true;
        }
        let before = self.buffer.len();
        if self.options.timestamps && !self.continues {
            self.buffer.extend_from_slice(line.time.as_bytes());
            self.buffer.extend_from_slice(b" ");
        }
        self.buffer.extend_from_slice(line.content);
        if !line.partial {
            self.buffer.extend_from_slice(b"\n");
        }
        self.continues = line.partial;
        if let Some(left) = &mut self.left {
            let added = (self.buffer.len() - before) as u64;
            if added >= *left {
                self.buffer.truncate(before + *left as usize);
                *left = 0;
                return false;
            }
            *left -= added;
        }
        true
    }

    async fn flush(&mut self) -> bool {
        self.buffer.is_empty() || self.out.send(self.buffer.split().freeze()).await.is_ok()
    }
}

/// Sends a log into `out` until its end, or with `follow` until the container ended (`running` says so) or nobody
/// listens. `events` wakes a follower when the container ends.
///
/// # Errors
/// When the file cannot be read.
pub(crate) async fn read_log<F, Fut>(
    path: PathBuf,
    options: LogOptions,
    out: mpsc::Sender<Bytes>,
    mut events: broadcast::Receiver<ContainerEvent>,
    running: F,
) -> Result<()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let mut watch = if options.follow { Some(Watch::new(&path)?) } else { None };
    let mut file = File::open(&path)?;
    let start = match options.tail {
        Some(lines) => tail_offset(&mut file, lines)?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start))?;
    let left = options.limit_bytes;
    let mut sink = Sink { out, options, left, buffer: BytesMut::new(), continues: false };
    let mut pending: Vec<u8> = Vec::new();
    let mut chunk = vec![0; CHUNK];
    let (mut ended, mut complete) = (false, false);
    loop {
        let count = file.read(&mut chunk)?;
        if count > 0 {
            complete = false;
            pending.extend_from_slice(&chunk[..count]);
            let mut consumed = 0;
            while let Some(end) = pending[consumed..].iter().position(|byte| *byte == b'\n') {
                let more = sink.line(&pending[consumed..consumed + end + 1]);
                consumed += end + 1;
                if !more {
                    sink.flush().await;
                    return Ok(());
                }
            }
            pending.drain(..consumed);
            if pending.len() > MAX_LINE {
                sink.line(&pending);
                pending.clear();
            }
            if !sink.flush().await {
                return Ok(());
            }
            continue;
        }
        if !sink.flush().await {
            return Ok(());
        }
        // The log may have been rotated, also more than once. Nothing is written to the old file any more, so that when
        // it is read to its end again, it has been read whole, and the next one follows.
        if watch.is_some()
            && let Some(next) = following(&path, &file)?
        {
            if complete {
                file = next;
            }
            complete = !complete;
            continue;
        }
        let Some(watch) = watch.as_mut().filter(|_| !ended) else { break };
        if !running().await {
            // What was written before the end is still to be read.
            ended = true;
            continue;
        }
        tokio::select! {
            changed = watch.changed() => changed?,
            _ = events.recv() => {}
            () = sink.out.closed() => return Ok(()),
        }
    }
    if !pending.is_empty() {
        sink.line(&pending);
        sink.flush().await;
    }
    Ok(())
}

/// The file of a rotated log that was begun after this one; the oldest one when this one is not there any more. `None`
/// while this one is the last.
fn following(path: &Path, file: &File) -> Result<Option<File>> {
    let own = file.metadata()?;
    let mut later: Option<File> = None;
    // From the newest to the oldest, the way the names of files change: so none is passed over meanwhile.
    for number in 0..MAX_FILES {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let Ok(found) = File::open(&name) else { continue };
        let meta = found.metadata()?;
        if (meta.dev(), meta.ino()) == (own.dev(), own.ino()) {
            return Ok(later);
        }
        later = Some(found);
    }
    Ok(later)
}

/// Waits for changes of a file, and for another one in its place.
struct Watch(AsyncFd<std::os::fd::OwnedFd>);

impl Watch {
    fn new(path: &Path) -> Result<Watch> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, directory, flags)?;
        // SAFETY: the descriptor is owned by the `AsyncFd` from here on, so it is neither closed nor exchanged before
        // it is deregistered.
        Ok(Watch(unsafe { AsyncFd::register(fd)? }))
    }

    async fn changed(&mut self) -> Result<()> {
        let mut guard = self.0.readable().await?;
        let mut buffer = [0u8; 4096];
        // All events mean the same: look again.
        while rustix::io::read(guard.get_inner(), &mut buffer).is_ok_and(|count| count > 0) {}
        guard.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const LOG: &str = "2024-01-01T00:00:00.000000001Z stdout F one\n\
        2024-01-01T00:00:01Z stderr F two\n\
        2024-01-01T00:00:02Z stdout P thr\n\
        2024-01-01T00:00:02Z stdout F ee\n";

    async fn read(options: LogOptions) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(LOG.as_bytes()).unwrap();
        let (out, mut lines) = mpsc::channel(16);
        let (_keep, events) = broadcast::channel(1);
        read_log(file.path().to_owned(), options, out, events, || async { false }).await.unwrap();
        let mut text = Vec::new();
        while let Some(part) = lines.recv().await {
            text.extend_from_slice(&part);
        }
        String::from_utf8(text).unwrap()
    }

    fn both() -> LogOptions {
        LogOptions { stdout: true, stderr: true, ..Default::default() }
    }

    #[test]
    fn lines_are_parsed() {
        let line = parse_line(b"t stdout P a b\n").unwrap();
        assert_eq!((line.partial, line.stderr, line.content), (true, false, &b"a b"[..]));
        assert!(parse_line(b"garbage").is_none());
        assert!(parse_line(b"").is_none());
        assert_eq!(parse_line(b"t stderr F\n").unwrap().content, b"");
    }

    #[tokio::test]
    async fn options_choose_what_is_read() {
        assert_eq!(read(both()).await, "one\ntwo\nthree\n");
        assert_eq!(read(LogOptions { tail: Some(3), ..both() }).await, "two\nthree\n");
        assert_eq!(read(LogOptions { tail: Some(0), ..both() }).await, "");
        assert_eq!(read(LogOptions { limit_bytes: Some(6), ..both() }).await, "one\ntw");
        assert_eq!(read(LogOptions { stdout: false, ..both() }).await, "two\n");
        let since = "2024-01-01T00:00:01Z".parse().ok();
        assert_eq!(read(LogOptions { since, ..both() }).await, "two\nthree\n");
        assert!(read(LogOptions { timestamps: true, ..both() }).await.ends_with("2024-01-01T00:00:02Z three\n"));
    }

    #[tokio::test]
    async fn a_follower_sees_new_lines_rotation_and_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "t stdout F one\n").unwrap();
        let (out, mut lines) = mpsc::channel(16);
        let (events, receiver) = broadcast::channel(16);
        let alive = Arc::new(AtomicBool::new(true));
        let (told, log) = (alive.clone(), path.clone());
        let task = tokio::spawn(async move {
            let running = || {
                let alive = told.load(Ordering::SeqCst);
                async move { alive }
            };
            read_log(log, LogOptions { follow: true, ..both() }, out, receiver, running).await
        });
        assert_eq!(lines.recv().await.unwrap(), "one\n");
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"t stdout F two\n").unwrap();
        assert_eq!(lines.recv().await.unwrap(), "two\n");
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        std::fs::write(&path, "t stdout F three\n").unwrap();
        assert_eq!(lines.recv().await.unwrap(), "three\n");
        alive.store(false, Ordering::SeqCst);
        let event = coracle_runtime::cri::ContainerEvent {
            container_id: "c".into(),
            sandbox_id: "s".into(),
            pod_uid: "u".into(),
            event: coracle_runtime::cri::ContainerEventType::Stopped,
        };
        events.send(event).unwrap();
        assert!(lines.recv().await.is_none());
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_follower_loses_no_line_over_several_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let name = |number: u32| if number == 0 { path.clone() } else { dir.path().join(format!("0.log.{number}")) };
        std::fs::write(&path, "t stdout F 0\n").unwrap();
        let (out, mut lines) = mpsc::channel(1);
        let (events, receiver) = broadcast::channel(16);
        let log = path.clone();
        let options = LogOptions { follow: true, ..both() };
        let task = tokio::spawn(async move { read_log(log, options, out, receiver, || async { true }).await });
        assert_eq!(lines.recv().await.unwrap(), "0\n");
        // All of it happens before the follower looks again.
        for line in 1..4 {
            std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"t stdout F more\n").unwrap();
            for number in (0..3).rev() {
                let _ = std::fs::rename(name(number), name(number + 1));
            }
            std::fs::write(&path, format!("t stdout F {line}\n")).unwrap();
        }
        let mut text = String::new();
        while !text.ends_with("3\n") {
            text += std::str::from_utf8(&lines.recv().await.unwrap()).unwrap();
        }
        assert_eq!(text, "more\n1\nmore\n2\nmore\n3\n");
        drop((lines, events));
        task.await.unwrap().unwrap();
    }

    proptest::proptest! {
        /// Containers cannot write the file's format, but a disk can rot.
        #[test]
        fn any_bytes_of_a_log_are_read_without_panic(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), lines in 0usize..5,
        ) {
            let _ = parse_line(&bytes);
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &bytes).unwrap();
            proptest::prop_assert!(tail_offset(&mut file, lines).unwrap() <= bytes.len() as u64);
        }
    }
}
