//! What the bytes of segments and snapshots mean; `docs/store-format.md` draws them.

use std::sync::Arc;

use crate::{KeyValue, Revision};

pub const SEGMENT_MAGIC: &[u8; 8] = b"CORALOG2";
/// Segments made before there was a mark of the end of the log.
pub const UNMARKED_SEGMENT_MAGIC: &[u8; 8] = b"CORALOG1";
pub const SNAPSHOT_MAGIC: &[u8; 8] = b"CORASNP1";
/// Magic and the revision before the first record.
pub const FILE_HEADER: usize = 8 + 8 + 4;
const FRAME_MAGIC: u32 = 0x0c0f_fee1;
/// Magic, sequence number, payload length, payload checksum, header checksum.
pub const FRAME_HEADER: usize = 4 + 8 + 4 + 4 + 4;

/// One changed key as the log has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Put(KeyValue),
    Delete { key: Arc<str>, revision: Revision },
}

impl Record {
    /// The revision of the change.
    pub fn revision(&self) -> Revision {
        match self {
            Record::Put(kv) => kv.mod_revision(),
            Record::Delete { revision, .. } => *revision,
        }
    }
}

pub fn put_file_header(out: &mut Vec<u8>, magic: &[u8; 8], revision: Revision) {
    let start = out.len();
    out.extend_from_slice(magic);
    out.extend_from_slice(&revision.to_le_bytes());
    let sum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// The revision of a file header, `None` when it is not one.
pub fn file_header(bytes: &[u8], magic: &[u8; 8]) -> Option<Revision> {
    let header = bytes.get(..FILE_HEADER)?;
    let sum = u32::from_le_bytes(header[16..20].try_into().ok()?);
    (header[..8] == magic[..] && sum == crc32fast::hash(&header[..16]))
        .then(|| u64::from_le_bytes(header[8..16].try_into().unwrap_or_default()))
}

/// Reserves a frame's header in `out`; [`end_frame`] fills it in once the payload follows it.
pub fn begin_frame(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.resize(start + FRAME_HEADER, 0);
    start
}

pub fn end_frame(out: &mut [u8], start: usize, sequence: u64) {
    let payload = &out[start + FRAME_HEADER..];
    let (length, sum) = (payload.len() as u32, crc32fast::hash(payload));
    let header = &mut out[start..start + FRAME_HEADER];
    header[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
    header[4..12].copy_from_slice(&sequence.to_le_bytes());
    header[12..16].copy_from_slice(&length.to_le_bytes());
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32fast::hash(&header[..20]);
    header[20..24].copy_from_slice(&sum.to_le_bytes());
}

/// What the header of a frame says.
pub struct FrameHeader {
    pub sequence: u64,
    /// Bytes of the payload.
    pub length: usize,
    /// Their checksum.
    pub sum: u32,
}

/// The header that bytes begin with, if they do.
pub fn frame_header(bytes: &[u8]) -> Option<FrameHeader> {
    let header = bytes.get(..FRAME_HEADER)?;
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap_or_default());
    if word(0) != FRAME_MAGIC || word(20) != crc32fast::hash(&header[..20]) {
        return None;
    }
    let sequence = u64::from_le_bytes(header[4..12].try_into().ok()?);
    Some(FrameHeader { sequence, length: word(12) as usize, sum: word(16) })
}

/// What stands at an offset of a file.
pub enum Frame<'a> {
    /// A whole frame.
    Good { sequence: u64, payload: &'a [u8], end: usize },
    /// Zeros to the end of the file, or the end itself.
    End,
    /// Anything else: a torn write, or damage.
    Bad,
}

pub fn frame(bytes: &[u8], at: usize) -> Frame<'_> {
    let rest = &bytes[at.min(bytes.len())..];
    if let Some(header) = frame_header(rest)
        && let Some(payload) = rest.get(FRAME_HEADER..FRAME_HEADER + header.length)
        && crc32fast::hash(payload) == header.sum
    {
        return Frame::Good { sequence: header.sequence, payload, end: at + FRAME_HEADER + header.length };
    }
    if rest.iter().all(|byte| *byte == 0) { Frame::End } else { Frame::Bad }
}

/// Whether a frame newer than `sequence` starts anywhere behind `at`. One frame is synced before the next
/// is written, so a bad frame before such a one is damage and not a torn write.
pub fn newer_frame_follows(bytes: &[u8], at: usize, sequence: u64) -> bool {
    next_frame(bytes, at, sequence).is_some()
}

/// Where behind `at` the next frame newer than `sequence` starts.
pub fn next_frame(bytes: &[u8], at: usize, sequence: u64) -> Option<usize> {
    let magic = FRAME_MAGIC.to_le_bytes();
    (at + 1..bytes.len().saturating_sub(FRAME_HEADER)).find(|offset| {
        bytes[*offset..*offset + 4] == magic
            && frame_header(&bytes[*offset..]).is_some_and(|header| header.sequence > sequence)
    })
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub fn put_kv(out: &mut Vec<u8>, kv: &KeyValue) {
    out.push(1);
    put_bytes(out, kv.key_bytes());
    out.extend_from_slice(&kv.create_revision().to_le_bytes());
    out.extend_from_slice(&kv.mod_revision().to_le_bytes());
    out.extend_from_slice(&kv.expires_millis().to_le_bytes());
    put_bytes(out, kv.value());
}

pub fn put_delete(out: &mut Vec<u8>, key: &str, revision: Revision) {
    out.push(2);
    put_bytes(out, key.as_bytes());
    out.extend_from_slice(&revision.to_le_bytes());
}

/// Reads the records of a payload; an error says what is wrong with it.
pub fn records(payload: &[u8]) -> Result<Vec<Record>, String> {
    let mut rest = payload;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let record = record(&mut rest).ok_or_else(|| format!("record {} is cut short or malformed", found.len()))?;
        found.push(record);
    }
    Ok(found)
}

fn record(rest: &mut &[u8]) -> Option<Record> {
    let tag = take(rest, 1)?[0];
    let length = word(rest)?;
    let key = std::str::from_utf8(take(rest, length)?).ok()?;
    match tag {
        1 => {
            let (create_revision, mod_revision, expires) = (long(rest)?, long(rest)?, long(rest)?);
            let length = word(rest)?;
            let value = take(rest, length)?;
            Some(Record::Put(KeyValue::expiring(key, value, create_revision, mod_revision, expires)))
        }
        2 => Some(Record::Delete { key: key.into(), revision: long(rest)? }),
        _ => None,
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn word(rest: &mut &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?) as usize)
}

fn long(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512), at in 0usize..600) {
            let _ = records(&bytes);
            let _ = frame(&bytes, at);
            let _ = newer_frame_follows(&bytes, at, 0);
            let _ = file_header(&bytes, SEGMENT_MAGIC);
        }

        #[test]
        fn records_come_back(key in "[a-z/]{1,40}", value in proptest::collection::vec(any::<u8>(), 0..300), rev in 2u64..1_000_000) {
            let kv = KeyValue::new(&key, &value, rev, rev + 1);
            let mut out = Vec::new();
            let start = begin_frame(&mut out);
            put_kv(&mut out, &kv);
            put_delete(&mut out, "/gone", rev);
            end_frame(&mut out, start, 7);
            match frame(&out, 0) {
                Frame::Good { sequence: 7, payload, end } if end == out.len() => {
                    let gone = Record::Delete { key: "/gone".into(), revision: rev };
                    prop_assert_eq!(records(payload).unwrap(), vec![Record::Put(kv), gone]);
                }
                _ => prop_assert!(false, "the frame was not recognised"),
            }
        }
    }
}
