//! The segment being written, the space prepared for the next one, and the mark of what was acknowledged.

use std::io;

use crate::disk::{Disk, DiskFile};
use crate::mark::{self, Mark};
use crate::snapshot::{Opened, Tail, io_error, segment_name};
use crate::{Error, Result, Revision, format};

/// The next segment before it has its name.
const SPARE: &str = "segment.tmp";
/// How many zeros are written ahead of small frames.
const AHEAD: u64 = 64 << 10;
/// Frames that are larger are better written once.
const SMALL: u64 = 4 << 10;

/// Why a frame was not written.
pub(crate) enum Failure {
    /// The log is as it was before; the next write may work.
    Refused(Error),
    /// Nobody knows what the disk holds: nothing more may be acknowledged before the directory is opened anew.
    Fatal(Error),
}

/// The end of the log.
pub(crate) struct Log {
    file: Box<dyn DiskFile>,
    name: String,
    base: Revision,
    offset: u64,
    /// Up to where bytes were written, and not only reserved.
    written: u64,
    /// The size of the last frame.
    last: u64,
    sequence: u64,
    spare: Option<Box<dyn DiskFile>>,
    mark: Box<dyn DiskFile>,
    segment_bytes: u64,
    /// Bytes of log behind the last snapshot.
    pub since_snapshot: u64,
}

impl Log {
    /// Goes on behind what was found, or begins the first segment.
    pub fn new(disk: &dyn Disk, segment_bytes: u64, opened: &Opened) -> Result<Log> {
        let revision = opened.view.revision;
        let (name, base, offset) = match &opened.tail {
            Some(tail) => (tail.name.clone(), tail.base, tail.end),
            None => (segment_name(revision), revision, format::FILE_HEADER as u64),
        };
        let found = Mark { sequence: opened.sequence, base, end: offset };
        let mut mark = mark::open(disk, found, opened.marked)?;
        let file = match &opened.tail {
            Some(tail) => {
                let mut file = disk.open(&name).map_err(|error| io_error(disk, &name, &error))?;
                keep(&mut *file, tail).map_err(|error| io_error(disk, &name, &error))?;
                // Without the reservation the file still grows as long as there is space.
                if let Err(error) = file.allocate(segment_bytes) {
                    tracing::warn!(%error, "failed to reserve space for the log");
                }
                file
            }
            None => {
                let spare = spare(disk, segment_bytes)?;
                named(disk, spare, base).map_err(|failure| match failure {
                    Failure::Refused(error) | Failure::Fatal(error) => error,
                })?
            }
        };
        let _ = mark::put(&mut *mark, found);
        let since_snapshot = opened.log_bytes;
        let sequence = opened.sequence;
        let (written, last) = (offset, 0);
        Ok(Log { file, name, base, offset, written, last, sequence, spare: None, mark, segment_bytes, since_snapshot })
    }

    /// The sequence number of the next frame.
    pub fn next_sequence(&self) -> u64 {
        self.sequence + 1
    }

    /// Whether the segment is so full that the next one should have its space.
    pub fn wants_spare(&self) -> bool {
        self.spare.is_none() && self.offset > self.segment_bytes / 2
    }

    /// Reserves the space of the next segment, so that what is left of this one is there for deletions when the disk
    /// is full.
    pub fn prepare_spare(&mut self, disk: &dyn Disk) -> Result<()> {
        self.spare = Some(spare(disk, self.segment_bytes)?);
        Ok(())
    }

    /// Writes zeros where the next small frames will be. A write to space that is only reserved changes what the file system
    /// knows of the file, which the sync has to make durable as well; one over zeros does not.
    pub fn write_ahead(&mut self) {
        static ZEROS: [u8; AHEAD as usize] = [0; AHEAD as usize];
        if self.last > SMALL || self.written.saturating_sub(self.offset) > SMALL {
            return;
        }
        let from = self.written.max(self.offset);
        let size = AHEAD.min(self.segment_bytes.saturating_sub(from));
        // Without it frames are as durable, and a little later.
        if size > 0 && self.file.write_at(&ZEROS[..size as usize], from).is_ok() {
            self.written = from + size;
        }
    }

    /// Whether a snapshot would let older segments go.
    pub fn has_older_segments(&self) -> bool {
        self.since_snapshot > self.offset
    }

    /// Whether a frame of this size needs the next segment.
    pub fn is_full(&self, frame: usize) -> bool {
        self.offset > format::FILE_HEADER as u64 && self.offset + frame as u64 > self.segment_bytes
    }

    /// Begins the next segment, whose first record follows this revision.
    pub fn rotate(&mut self, disk: &dyn Disk, base: Revision) -> Result<(), Failure> {
        let file = match self.spare.take() {
            Some(file) => file,
            None => spare(disk, self.segment_bytes).map_err(Failure::Refused)?,
        };
        self.file = named(disk, file, base)?;
        (self.name, self.base, self.offset) = (segment_name(base), base, format::FILE_HEADER as u64);
        self.written = self.offset;
        Ok(())
    }

    /// Appends a frame durably.
    pub fn append(&mut self, disk: &dyn Disk, frame: &[u8]) -> Result<(), Failure> {
        let offset = self.offset;
        if let Err(error) = self.file.write_at(frame, offset) {
            let error = io_error(disk, &self.name, &error);
            // What part of the frame reached the file must not look like damage later.
            let cut = self.file.truncate(offset);
            self.written = offset;
            return Err(match (&error, cut) {
                (Error::DiskFull { .. }, Ok(())) => Failure::Refused(error),
                _ => Failure::Fatal(error),
            });
        }
        self.file.sync().map_err(|error| Failure::Fatal(io_error(disk, &self.name, &error)))?;
        self.last = frame.len() as u64;
        self.offset += self.last;
        self.sequence += 1;
        self.since_snapshot += frame.len() as u64;
        let mark = Mark { sequence: self.sequence, base: self.base, end: self.offset };
        // A hint for the next open only, so that a full disk or an error here harms nothing that was acknowledged.
        if let Err(error) = mark::put(&mut *self.mark, mark) {
            tracing::warn!(%error, "failed to note the end of the log");
        }
        Ok(())
    }
}

/// Makes durable what was read but perhaps only the kernel's cache has: after a failed sync it takes such pages for
/// written, and the frames that follow would leave a hole.
fn keep(file: &mut dyn DiskFile, tail: &Tail) -> io::Result<()> {
    if tail.unmarked.is_empty() {
        return Ok(());
    }
    file.write_at(&tail.unmarked, tail.end - tail.unmarked.len() as u64)?;
    file.sync()
}

/// A file with the space of a segment.
fn spare(disk: &dyn Disk, segment_bytes: u64) -> Result<Box<dyn DiskFile>> {
    let make = || {
        let mut file = disk.open(SPARE)?;
        file.truncate(0)?;
        file.allocate(segment_bytes)?;
        Ok(file)
    };
    make().map_err(|error| {
        // What was reserved in part is better used by others.
        let _ = disk.remove(SPARE);
        io_error(disk, SPARE, &error)
    })
}

/// Makes the spare file the segment behind a revision. Once it may have its name, it must be used.
fn named(disk: &dyn Disk, mut file: Box<dyn DiskFile>, base: Revision) -> Result<Box<dyn DiskFile>, Failure> {
    let name = segment_name(base);
    let mut header = Vec::with_capacity(format::FILE_HEADER);
    format::put_file_header(&mut header, format::SEGMENT_MAGIC, base);
    let words = |error: io::Error| io_error(disk, &name, &error);
    if let Err(error) = file.write_at(&header, 0) {
        let error = words(error);
        return Err(if matches!(error, Error::DiskFull { .. }) {
            Failure::Refused(error)
        } else {
            Failure::Fatal(error)
        });
    }
    file.sync().map_err(|error| Failure::Fatal(words(error)))?;
    disk.rename(SPARE, &name).and_then(|()| disk.sync_dir()).map_err(|error| Failure::Fatal(words(error)))?;
    Ok(file)
}
