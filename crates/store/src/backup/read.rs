//! A backup is read frame by frame, and nothing of it is believed that does not check.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::{Error, FORMAT, MAGIC, MAX_FRAME, Result, Summary};
use crate::format::{self, FILE_HEADER, FRAME_HEADER, Record};
use crate::{KeyValue, Revision};

/// Reads a whole backup and says what it has.
///
/// # Errors
/// It is no backup, of a newer format, damaged, or cut off.
pub fn verify(path: &Path) -> Result<Summary> {
    verify_below(path, "")
}

/// The same, of a backup that has only keys with a prefix.
pub(super) fn verify_below(path: &Path, prefix: &str) -> Result<Summary> {
    let mut reader = Reader::open(path, prefix)?;
    let mut keys = 0;
    while let Some(some) = reader.next()? {
        keys += some.len() as u64;
    }
    Ok(Summary { revision: reader.revision, keys, bytes: reader.offset, sum: reader.sum.finalize() })
}

/// Of those that etcd and clients can count; a store goes on from it.
const MAX_REVISION: Revision = i64::MAX as Revision / 2;

/// A backup that is being read.
pub(super) struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    /// How much was read, and its checksum.
    offset: u64,
    sum: crc32fast::Hasher,
    sequence: u64,
    /// The revision at which the backup is exact.
    pub revision: Revision,
    /// No key comes before this one.
    last: Vec<u8>,
    /// Every key begins with it.
    prefix: String,
}

impl Reader {
    pub fn open(path: &Path, prefix: &str) -> Result<Reader> {
        let file = File::open(path).map_err(|error| Error::io(path, &error))?;
        let file = BufReader::with_capacity(256 << 10, file);
        let (sum, path) = (crc32fast::Hasher::new(), path.to_owned());
        let mut reader = Reader {
            file,
            path,
            offset: 0,
            sum,
            sequence: 0,
            revision: 0,
            last: Vec::new(),
            prefix: prefix.to_owned(),
        };
        reader.revision = reader.head()?;
        Ok(reader)
    }

    fn head(&mut self) -> Result<Revision> {
        let mut header = [0; FILE_HEADER];
        let length = self.fill(&mut header)?;
        let path = self.path.display().to_string();
        let begun = header[..length].iter().zip(MAGIC).all(|(byte, expected)| byte == expected);
        if !begun || length == 0 {
            return Err(Error::Foreign { path });
        }
        if length < FILE_HEADER {
            return Err(Error::Cut { path, offset: length as u64 });
        }
        let format = header[MAGIC.len()];
        if format != FORMAT && format.is_ascii_alphanumeric() {
            return Err(Error::Newer { path, format: format.into() });
        }
        let [magic @ .., _, _, _, _, _, _, _, _, _, _, _, _] = header;
        let revision = format::file_header(&header, &magic).filter(|_| format == FORMAT);
        match revision.ok_or_else(|| self.damaged(0, "the head does not fit its checksum"))? {
            revision if revision > MAX_REVISION => Err(self.damaged(0, "no store has come to that revision")),
            revision => Ok(revision),
        }
    }

    /// The keys of the next frame; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Vec<KeyValue>>> {
        let start = self.offset;
        let mut bytes = vec![0; FRAME_HEADER];
        self.exactly(&mut bytes)?;
        let Some(header) = format::frame_header(&bytes) else {
            return Err(self.damaged(start, "no frame begins here"));
        };
        self.sequence += 1;
        if header.sequence != self.sequence {
            let (found, expected) = (header.sequence, self.sequence);
            return Err(self.damaged(start, &format!("frame {found} stands in the place of frame {expected}")));
        }
        if header.length > MAX_FRAME {
            return Err(self.damaged(start, "the frame is longer than any that is written"));
        }
        let mut payload = vec![0; header.length];
        self.exactly(&mut payload)?;
        if header.sum != crc32fast::hash(&payload) {
            return Err(self.damaged(start, "checksum mismatch"));
        }
        if payload.is_empty() {
            return self.end().map(|()| None);
        }
        let records = format::records(&payload).map_err(|what| self.damaged(start, &what))?;
        records.into_iter().map(|record| self.key(record, start)).collect::<Result<_>>().map(Some)
    }

    fn key(&mut self, record: Record, start: u64) -> Result<KeyValue> {
        let Record::Put(kv) = record else { return Err(self.damaged(start, "a deletion is no part of a backup")) };
        let (made, changed) = (kv.create_revision(), kv.mod_revision());
        let is_possible = 1 <= made && made <= changed && changed <= self.revision;
        if kv.key_bytes() <= &*self.last || !is_possible {
            return Err(
                self.damaged(start, &format!("the key {} is out of order, or has an impossible revision", kv.key()))
            );
        }
        if !kv.key().starts_with(&self.prefix) {
            return Err(self.damaged(start, &format!("the key {} is not below {}", kv.key(), self.prefix)));
        }
        self.last = kv.key_bytes().to_vec();
        Ok(kv)
    }

    /// Checks that nothing stands behind the last frame.
    fn end(&mut self) -> Result<()> {
        let end = self.offset;
        match self.fill(&mut [0])? {
            0 => Ok(()),
            _ => Err(self.damaged(end, "there is something behind the end of the backup")),
        }
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Result<()> {
        if self.fill(bytes)? < bytes.len() {
            return Err(Error::Cut { path: self.path.display().to_string(), offset: self.offset });
        }
        Ok(())
    }

    /// Reads as much as there is.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let mut length = 0;
        while length < bytes.len() {
            match self.file.read(&mut bytes[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(&self.path, &error)),
            }
        }
        self.offset += length as u64;
        self.sum.update(&bytes[..length]);
        Ok(length)
    }

    fn damaged(&self, offset: u64, what: &str) -> Error {
        Error::Damaged { path: self.path.display().to_string(), offset, what: what.to_owned() }
    }
}
