//! All that is wrong with the files of a directory. Opening stops at the first damage; who decides what to do about it wants to
//! know of the others.

use std::collections::BTreeMap;

use crate::disk::Disk;
use crate::format::{self, FILE_HEADER, Frame};
use crate::mark::{self, Mark};
use crate::snapshot::{corrupt, io_error, parse, segment_name, snapshot_name};
use crate::{Error, Revision};

/// Damages that are told of at most; the others are counted.
const MOST: usize = 100;

/// What is wrong with the files of a directory, each with file and offset.
#[derive(Debug, Default)]
pub struct Damage {
    /// The first that were found, in the order of files and offsets.
    pub places: Vec<Error>,
    /// How many more there are.
    pub more: usize,
}

impl Damage {
    fn add(&mut self, error: Error) {
        match self.places.len() < MOST {
            true => self.places.push(error),
            false => self.more += 1,
        }
    }
}

/// Reads all files as far as they can be read.
pub(crate) fn survey(disk: &dyn Disk) -> Damage {
    let mut damage = Damage::default();
    let names = match disk.list() {
        Ok(names) => names,
        Err(error) => {
            damage.add(io_error(disk, "", &error));
            return damage;
        }
    };
    let marked = mark::read(disk, &names).unwrap_or_else(|error| {
        damage.add(error);
        None
    });
    let snapshot = names.iter().filter_map(|name| parse(name, "snapshot-")).max();
    if let Some(revision) = snapshot {
        of_snapshot(disk, revision, &mut damage);
    }
    let segments: BTreeMap<Revision, String> =
        names.iter().filter_map(|name| Some((parse(name, "log-")?, name.clone()))).collect();
    of_segments(disk, &segments, snapshot.unwrap_or(1), marked, &mut damage);
    damage
}

fn of_snapshot(disk: &dyn Disk, revision: Revision, damage: &mut Damage) {
    let name = snapshot_name(revision);
    let Some(bytes) = read(disk, &name, damage) else { return };
    if format::file_header(&bytes, format::SNAPSHOT_MAGIC) != Some(revision) {
        damage.add(corrupt(disk, &name, 0, "this is not the header of this snapshot"));
    }
    let mut file = Walk { disk, name: &name, bytes: &bytes, sequence: 0, last: None, ended: false };
    let end = file.frames(damage);
    match format::frame(&bytes, end) {
        _ if file.ended => {}
        Frame::End => damage.add(corrupt(disk, &name, end, "the snapshot ends too early")),
        _ => damage.add(corrupt(disk, &name, end, "checksum mismatch, and nothing behind it can be read")),
    }
}

fn of_segments(
    disk: &dyn Disk,
    segments: &BTreeMap<Revision, String>,
    start: Revision,
    marked: Option<Mark>,
    damage: &mut Damage,
) {
    let first = segments.range(..=start).next_back().map(|(base, _)| *base);
    if let (None, Some(oldest)) = (first, segments.values().next()) {
        let what = format!("the log from revision {start} to this segment is missing");
        damage.add(corrupt(disk, oldest, 0, what));
    }
    // Where the log goes on, as far as that is known.
    let mut position = first;
    let mut sequence = 0;
    for (base, name) in segments.range(first.unwrap_or(0)..) {
        if let Some(position) = position.filter(|position| position != base) {
            let what = format!("the segment starts at revision {base}, but the log before it ends at {position}");
            damage.add(corrupt(disk, name, 8, what));
            sequence = 0;
        }
        position = None;
        let Some(bytes) = read(disk, name, damage) else {
            sequence = 0;
            continue;
        };
        let magics = [format::SEGMENT_MAGIC, format::UNMARKED_SEGMENT_MAGIC];
        if !magics.into_iter().any(|magic| format::file_header(&bytes, magic) == Some(*base)) {
            damage.add(corrupt(disk, name, 0, "this is not the header of this segment"));
        }
        let mut file = Walk { disk, name, bytes: &bytes, sequence, last: Some(*base), ended: false };
        let end = file.frames(damage);
        let acknowledged = marked.filter(|marked| marked.base == *base).map_or(0, |marked| marked.end as usize);
        let is_last = segments.keys().next_back() == Some(base);
        let is_torn = matches!(format::frame(&bytes, end), Frame::Bad);
        if end < acknowledged {
            let what = format!("acknowledged writes from here up to offset {acknowledged} are damaged or missing");
            damage.add(corrupt(disk, name, end, what));
        } else if is_torn && !is_last {
            damage.add(corrupt(disk, name, end, "checksum mismatch"));
        }
        (position, sequence) = (file.last, file.sequence);
    }
    if let Some(marked) = marked.filter(|marked| marked.sequence > 0)
        && segments.keys().next_back().is_none_or(|newest| *newest < marked.base)
    {
        let what = format!("this segment has acknowledged writes up to offset {}, and is missing", marked.end);
        damage.add(corrupt(disk, &segment_name(marked.base), 0, what));
    }
}

fn read(disk: &dyn Disk, name: &str, damage: &mut Damage) -> Option<Vec<u8>> {
    disk.read(name).map_err(|error| damage.add(io_error(disk, name, &error))).ok()
}

/// A file that is read frame by frame.
struct Walk<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
    bytes: &'a [u8],
    /// That of the last frame; 0 if it is not known.
    sequence: u64,
    /// The revision of the last record, if nothing before it is in doubt.
    last: Option<Revision>,
    /// The empty frame at the end of a snapshot was read.
    ended: bool,
}

impl Walk<'_> {
    /// Reads all frames, also those behind damaged ones; answers with the offset behind the last good one.
    fn frames(&mut self, damage: &mut Damage) -> usize {
        let mut at = FILE_HEADER;
        while !self.ended {
            match format::frame(self.bytes, at) {
                Frame::Good { sequence, payload, end } => {
                    self.good(at, sequence, payload, damage);
                    at = end;
                }
                Frame::End => break,
                Frame::Bad => match format::next_frame(self.bytes, at, self.sequence + 1) {
                    Some(next) => {
                        let what = format!("checksum mismatch: what stands here up to offset {next} cannot be read");
                        damage.add(corrupt(self.disk, self.name, at, what));
                        (self.sequence, self.last) = (0, None);
                        at = next;
                    }
                    None => break,
                },
            }
        }
        at
    }

    fn good(&mut self, at: usize, sequence: u64, payload: &[u8], damage: &mut Damage) {
        if self.sequence != 0 && sequence != self.sequence + 1 {
            damage.add(corrupt(self.disk, self.name, at, format!("frame {} is missing", self.sequence + 1)));
        }
        self.sequence = sequence;
        self.ended = payload.is_empty();
        match format::records(payload) {
            Ok(records) => {
                let revision = records.last().map(format::Record::revision);
                self.last = revision.or(self.last);
            }
            Err(what) => {
                damage.add(corrupt(self.disk, self.name, at, what));
                self.last = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::{Embedded, Error, Op, Options, Store, Txn, check, damage};

    /// Small, so that there are several segments.
    const SMALL: Options = Options { segment_bytes: 4096, snapshot_after: 1 << 30 };

    async fn filled(dir: &Path) -> Embedded {
        let store = Embedded::open(dir, SMALL).unwrap();
        for n in 0..40 {
            let op = Op::Put { key: format!("/k/{n:02}").into(), value: "v".repeat(300).into(), ttl: None };
            store.txn(Txn { compares: Vec::new(), ops: vec![op] }).await.unwrap();
        }
        store
    }

    fn files(dir: &Path, prefix: &str) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect();
        files.sort();
        files
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    /// File and offset of each damage.
    fn told(dir: &Path) -> Vec<(String, u64)> {
        let found = damage(dir).unwrap();
        assert_eq!((found.more, found.places.is_empty()), (0, check(dir, |_| ()).is_ok()));
        let place = |error: &Error| match error {
            Error::Corrupt { path, offset, .. } => (path.rsplit('/').next().unwrap_or_default().to_owned(), *offset),
            other => panic!("{other}"),
        };
        found.places.iter().map(place).collect()
    }

    #[tokio::test]
    async fn every_damage_is_told_with_file_and_offset_and_what_is_whole_is_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path()).await);
        assert_eq!(told(dir.path()), []);
        let segments = files(dir.path(), "log-");
        assert!(segments.len() > 3, "{segments:?}");
        let name = |index: usize| segments[index].file_name().unwrap().to_string_lossy().into_owned();
        // Two frames of the first segment, and the head of the third.
        let frame = (fs::read(&segments[0]).unwrap().windows(4).enumerate())
            .filter(|(_, bytes)| *bytes == 0x0c0f_fee1u32.to_le_bytes())
            .map(|(at, _)| at)
            .collect::<Vec<_>>();
        flip(&segments[0], frame[1] + 30);
        flip(&segments[0], frame[4] + 5);
        flip(&segments[2], 3);
        let expected = [(name(0), frame[1] as u64), (name(0), frame[4] as u64), (name(2), 0)];
        assert_eq!(told(dir.path()), expected);
        // One that is missing is noticed where the log goes on.
        fs::remove_file(&segments[1]).unwrap();
        assert_eq!(told(dir.path()).iter().filter(|(file, _)| *file == name(2)).count(), 2);
    }

    #[tokio::test]
    async fn damage_to_a_snapshot_and_to_the_mark_is_told_along_with_that_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path()).await;
        store.snapshot().await.unwrap();
        drop(store);
        assert_eq!(told(dir.path()), []);
        let snapshot = files(dir.path(), "snapshot-").remove(0);
        let segment = files(dir.path(), "log-").remove(0);
        flip(&snapshot, 100);
        flip(&segment, 0);
        fs::write(dir.path().join("mark"), [7; 1024]).unwrap();
        let files: Vec<String> = told(dir.path()).into_iter().map(|(file, _)| file).collect();
        let named = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(files, ["mark".to_owned(), named(&snapshot), named(&segment)]);
    }
}
