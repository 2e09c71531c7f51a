//! The mark: how far the log was acknowledged.
//!
//! A frame at the end of the log that does not check can be a write that a power loss tore, which nobody was told of, or
//! damage to one that was acknowledged. The mark tells them apart: it is written behind each synced frame, without a
//! sync of its own, into one of two sectors in turn. So it is never ahead of what is durable, and after anything but a
//! power loss it is exact; after a power loss it may be some seconds behind, and then vouches for less.

use std::io;

use crate::disk::{Disk, DiskFile};
use crate::snapshot::{corrupt, io_error};
use crate::{Result, Revision};

/// Its file.
pub(crate) const NAME: &str = "mark";
const MAGIC: &[u8; 8] = b"CORAMRK1";
const BYTES: usize = 8 + 8 + 8 + 8 + 4;
const SECTOR: usize = 512;

/// The end of the acknowledged log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// The sequence number of the last frame; 0 before the first.
    pub sequence: u64,
    /// The segment it is in, by the revision before its first record.
    pub base: Revision,
    /// The offset behind it.
    pub end: u64,
}

/// Reads the mark; `None` when there is no such file.
pub(crate) fn read(disk: &dyn Disk, names: &[String]) -> Result<Option<Mark>> {
    if !names.iter().any(|name| name == NAME) {
        return Ok(None);
    }
    let bytes = disk.read(NAME).map_err(|error| io_error(disk, NAME, &error))?;
    match slot(&bytes, 0).max(slot(&bytes, SECTOR)) {
        Some(mark) => Ok(Some(mark)),
        None => Err(corrupt(disk, NAME, 0, "this is not a mark of the end of the log")),
    }
}

/// Opens the mark for writing; where there is none yet, makes it durably.
pub(crate) fn open(disk: &dyn Disk, found: Mark, known: Option<Mark>) -> Result<Box<dyn DiskFile>> {
    let fail = |error: io::Error| io_error(disk, NAME, &error);
    if known.is_some() {
        return disk.open(NAME).map_err(fail);
    }
    let make = || {
        let mut file = disk.open("mark.tmp")?;
        put_at(&mut *file, found, 0)?;
        put_at(&mut *file, found, SECTOR)?;
        file.sync()?;
        disk.rename("mark.tmp", NAME)?;
        disk.sync_dir()?;
        Ok(file)
    };
    make().map_err(fail)
}

/// Writes the mark, not durably.
pub(crate) fn put(file: &mut dyn DiskFile, mark: Mark) -> io::Result<()> {
    put_at(file, mark, (mark.sequence % 2) as usize * SECTOR)
}

fn put_at(file: &mut dyn DiskFile, mark: Mark, at: usize) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.extend_from_slice(MAGIC);
    for number in [mark.sequence, mark.base, mark.end] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    file.write_at(&bytes, at as u64)
}

fn slot(bytes: &[u8], at: usize) -> Option<Mark> {
    let bytes = bytes.get(at..at + BYTES)?;
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let sum = u32::from_le_bytes(bytes[BYTES - 4..].try_into().ok()?);
    if bytes[..8] != MAGIC[..] || sum != crc32fast::hash(&bytes[..BYTES - 4]) {
        return None;
    }
    Some(Mark { sequence: number(8)?, base: number(16)?, end: number(24)? })
}
