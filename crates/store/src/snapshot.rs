//! Snapshots: all keys at one revision in one file, and the opening of a directory from the newest
//! snapshot and the segments behind it.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use crate::disk::Disk;
use crate::feed::{Change, Event};
use crate::format::{self, Frame, Record};
use crate::history::{Entry, History, View};
use crate::mark::{self, Mark};
use crate::{Error, Result, Revision};

/// Payload bytes after which a snapshot starts its next frame.
const FRAME_BYTES: usize = 1 << 20;
pub(crate) const TEMPORARY: &str = "snapshot.tmp";

pub(crate) fn segment_name(base: Revision) -> String {
    format!("log-{base:016x}")
}

pub(crate) fn snapshot_name(revision: Revision) -> String {
    format!("snapshot-{revision:016x}")
}

pub(crate) fn parse(name: &str, prefix: &str) -> Option<Revision> {
    name.strip_prefix(prefix).and_then(|hex| Revision::from_str_radix(hex, 16).ok())
}

pub(crate) fn io_error(disk: &dyn Disk, name: &str, error: &io::Error) -> Error {
    let path = disk.path(name);
    match error.kind() {
        // Which of the store's files could not grow is nobody's concern.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::DiskFull { path: path.parent().unwrap_or(&path).display().to_string() }
        }
        _ => Error::Io { path: path.display().to_string(), what: error.to_string() },
    }
}

/// Writes a snapshot and removes the segments and snapshots that it replaces. What was written of one that fails is
/// removed: on a full disk its space is what others wait for.
pub(crate) fn write(disk: &dyn Disk, view: &View) -> Result<()> {
    let written = write_file(disk, view);
    if written.is_err() {
        let _ = disk.remove(TEMPORARY);
    }
    written?;
    remove_replaced(disk, view.revision).map_err(|error| io_error(disk, &snapshot_name(view.revision), &error))
}

fn write_file(disk: &dyn Disk, view: &View) -> Result<()> {
    let fail = |error: io::Error| io_error(disk, TEMPORARY, &error);
    let mut file = disk.open(TEMPORARY).map_err(fail)?;
    file.truncate(0).map_err(fail)?;
    let mut buffer = Vec::with_capacity(FRAME_BYTES + 4096);
    let (mut offset, mut sequence) = (0, 0);
    format::put_file_header(&mut buffer, format::SNAPSHOT_MAGIC, view.revision);
    let mut keys = view.iter();
    loop {
        let frame = format::begin_frame(&mut buffer);
        let empty = buffer.len();
        while buffer.len() < FRAME_BYTES
            && let Some(kv) = keys.next()
        {
            format::put_kv(&mut buffer, kv);
        }
        let last = buffer.len() == empty;
        sequence += 1;
        format::end_frame(&mut buffer, frame, sequence);
        file.write_at(&buffer, offset).map_err(fail)?;
        offset += buffer.len() as u64;
        buffer.clear();
        if last {
            break;
        }
    }
    file.sync().map_err(fail)?;
    let name = snapshot_name(view.revision);
    disk.rename(TEMPORARY, &name).map_err(fail)?;
    disk.sync_dir().map_err(fail)
}

/// A segment can go once a later segment starts at or before the snapshot.
fn remove_replaced(disk: &dyn Disk, snapshot: Revision) -> io::Result<()> {
    let names = disk.list()?;
    let mut bases: Vec<_> = names.iter().filter_map(|name| parse(name, "log-")).collect();
    bases.sort_unstable();
    for pair in bases.windows(2).filter(|pair| pair[1] <= snapshot) {
        disk.remove(&segment_name(pair[0]))?;
    }
    for name in names.iter().filter(|name| parse(name, "snapshot-").is_some_and(|revision| revision < snapshot)) {
        disk.remove(name)?;
    }
    Ok(())
}

/// What opening a directory found.
pub(crate) struct Opened {
    pub view: View,
    pub history: History,
    /// The sequence number of the last frame.
    pub sequence: u64,
    /// The last segment; `None` when there is none.
    pub tail: Option<Tail>,
    /// How far the log was acknowledged; `None` in a directory that has no mark yet.
    pub marked: Option<Mark>,
    /// Bytes of log behind the snapshot.
    pub log_bytes: u64,
}

/// The last segment of a log.
pub(crate) struct Tail {
    pub name: String,
    /// The revision before its first record.
    pub base: Revision,
    /// Where its next frame goes.
    pub end: u64,
    /// The frames at its end that the mark does not vouch for.
    pub unmarked: Vec<u8>,
}

/// Reads the newest snapshot and replays the segments behind it.
pub(crate) fn open(disk: &dyn Disk) -> Result<Opened> {
    let names = disk.list().map_err(|error| io_error(disk, "", &error))?;
    if names.iter().any(|name| name == TEMPORARY) {
        disk.remove(TEMPORARY).map_err(|error| io_error(disk, TEMPORARY, &error))?;
    }
    let marked = mark::read(disk, &names)?;
    let view = match names.iter().filter_map(|name| parse(name, "snapshot-")).max() {
        Some(revision) => read(disk, revision)?,
        None => View { revision: 1, ..View::default() },
    };
    let start = view.revision;
    let history = History::starting_at(start);
    let mut opened = Opened { history, view, sequence: 0, tail: None, marked, log_bytes: 0 };
    let segments: BTreeMap<Revision, String> =
        names.iter().filter_map(|name| Some((parse(name, "log-")?, name.clone()))).collect();
    if let Some(marked) = marked.filter(|marked| marked.sequence > 0)
        && segments.keys().next_back().is_none_or(|newest| *newest < marked.base)
    {
        let what = format!("this segment has acknowledged writes up to offset {}, and is missing", marked.end);
        return Err(corrupt(disk, &segment_name(marked.base), 0, what));
    }
    let first = segments.range(..=start).next_back().map(|(base, _)| *base);
    if first.is_none() && !segments.is_empty() {
        let oldest = segments.values().next().map(String::as_str).unwrap_or_default();
        return Err(corrupt(disk, oldest, 0, format!("the log from revision {start} to this segment is missing")));
    }
    let mut replayed = segments.range(first.unwrap_or(start)..).peekable();
    let mut position = first.unwrap_or(start);
    while let Some((base, name)) = replayed.next() {
        if *base != position {
            return Err(corrupt(
                disk,
                name,
                8,
                format!("the segment starts at revision {base}, but the log before it ends at {position}"),
            ));
        }
        let last = replayed.peek().is_none();
        let (end, unmarked) = replay(disk, name, *base, last, &mut opened, &mut position)?;
        opened.tail = Some(Tail { name: name.clone(), base: *base, end, unmarked });
    }
    // The last segment may be new and empty, and those before it gone.
    opened.sequence = opened.sequence.max(marked.map_or(0, |marked| marked.sequence));
    Ok(opened)
}

pub(crate) fn corrupt(disk: &dyn Disk, name: &str, offset: usize, what: impl Into<String>) -> Error {
    Error::Corrupt { path: disk.path(name).display().to_string(), offset: offset as u64, what: what.into() }
}

fn read(disk: &dyn Disk, revision: Revision) -> Result<View> {
    let name = snapshot_name(revision);
    let bytes = disk.read(&name).map_err(|error| io_error(disk, &name, &error))?;
    if format::file_header(&bytes, format::SNAPSHOT_MAGIC) != Some(revision) {
        return Err(corrupt(disk, &name, 0, "this is not the header of this snapshot"));
    }
    let mut view = View { revision, ..View::default() };
    let (mut at, mut expected) = (format::FILE_HEADER, 1);
    loop {
        match format::frame(&bytes, at) {
            Frame::Good { sequence, payload, end } if sequence == expected => {
                if payload.is_empty() {
                    return Ok(view);
                }
                for record in format::records(payload).map_err(|what| corrupt(disk, &name, at, what))? {
                    if let Record::Put(kv) = record {
                        view.insert(kv);
                    }
                }
                (at, expected) = (end, expected + 1);
            }
            Frame::End => return Err(corrupt(disk, &name, at, "the snapshot ends too early")),
            _ => return Err(corrupt(disk, &name, at, "checksum mismatch")),
        }
    }
}

/// Replays one segment; answers with the offset behind its last good frame, and the frames behind the mark.
fn replay(
    disk: &dyn Disk,
    name: &str,
    base: Revision,
    last: bool,
    opened: &mut Opened,
    position: &mut Revision,
) -> Result<(u64, Vec<u8>)> {
    let bytes = disk.read(name).map_err(|error| io_error(disk, name, &error))?;
    let current = format::file_header(&bytes, format::SEGMENT_MAGIC) == Some(base);
    if !current && format::file_header(&bytes, format::UNMARKED_SEGMENT_MAGIC) != Some(base) {
        return Err(corrupt(disk, name, 0, "this is not the header of this segment"));
    }
    if current && opened.marked.is_none() {
        return Err(corrupt(disk, mark::NAME, 0, "the mark of the end of the log is missing"));
    }
    // Up to here every frame was synced, and its writers were told.
    let acknowledged = opened.marked.filter(|marked| marked.base == base).map_or(0, |marked| marked.end as usize);
    let unmarked = |end| bytes[acknowledged.clamp(format::FILE_HEADER, end)..end].to_vec();
    let mut at = format::FILE_HEADER;
    loop {
        match format::frame(&bytes, at) {
            Frame::Good { sequence, payload, end } => {
                if opened.sequence != 0 && sequence != opened.sequence + 1 {
                    return Err(corrupt(disk, name, at, format!("frame {} is missing", opened.sequence + 1)));
                }
                let records = format::records(payload).map_err(|what| corrupt(disk, name, at, what))?;
                for record in records {
                    *position = replay_record(record, opened);
                }
                opened.sequence = sequence;
                opened.log_bytes += (end - at) as u64;
                at = end;
            }
            Frame::End | Frame::Bad if at < acknowledged => {
                let what = format!("acknowledged writes from here up to offset {acknowledged} are damaged or missing");
                return Err(corrupt(disk, name, at, what));
            }
            Frame::End => return Ok((at as u64, unmarked(at))),
            Frame::Bad if !last || format::newer_frame_follows(&bytes, at, opened.sequence + 1) => {
                return Err(corrupt(disk, name, at, "checksum mismatch"));
            }
            Frame::Bad => {
                tracing::info!(file = %disk.path(name).display(), offset = at, "cut a torn write at the end of the log");
                let mut file = disk.open(name).map_err(|error| io_error(disk, name, &error))?;
                file.truncate(at as u64).and_then(|()| file.sync()).map_err(|error| io_error(disk, name, &error))?;
                return Ok((at as u64, unmarked(at)));
            }
        }
    }
}

fn replay_record(record: Record, opened: &mut Opened) -> Revision {
    let (revision, change) = match record {
        Record::Put(kv) => (kv.mod_revision(), Change::Put(kv)),
        Record::Delete { key, revision } => (revision, Change::Delete(key)),
    };
    if revision > opened.history.compacted {
        let event = Event { revision, change };
        let before = opened.view.get(event.key()).cloned();
        opened.view.apply(&event);
        opened.history.push(Entry::new(event, before, Instant::now()));
    }
    revision
}
