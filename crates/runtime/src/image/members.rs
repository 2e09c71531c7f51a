//! Reading tar streams member by member. Whatever a header claims, no more than [`MAX_HEADER`] is read into memory.
//!
//! Understood are ustar, PAX (`path`, `linkpath`, `size`, `uid`, `gid`, `mtime`, extended attributes) and GNU's long
//! names, with Go's archive/tar as the measure of what is read how. Sparse members are refused: nothing that makes
//! images writes them, and a few bytes of one stand for any number of zeros.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Longest header that extends the next member, as Go has it.
const MAX_HEADER: u64 = 1 << 20;
const XATTR: &str = "SCHILY.xattr.";

/// One member of an archive, without its content.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its path as written.
    pub path: PathBuf,
    /// What a link leads to.
    pub link: Option<PathBuf>,
    /// What it is.
    pub kind: EntryType,
    /// Permissions with the special bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes by name.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// The members of a stream; reading gives the content of the member that came last.
pub struct Members<R> {
    reader: R,
    /// Of the present member's content.
    left: u64,
    padding: u64,
}

/// What headers say of the member after them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<BTreeMap<String, Vec<u8>>>,
}

fn bad(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("invalid tar header: {}", printable(&what.to_string())))
}

/// What is wrong may be told with bytes of the archive, which are not for a terminal.
fn printable(text: &str) -> String {
    const LONGEST: usize = 200;
    let is_plain = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
    text.chars().filter(is_plain).take(LONGEST).collect()
}

impl<R: Read> Members<R> {
    /// Starts at the first member.
    pub fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0 }
    }

    /// Skips what is left of the present member and reads the next header; `None` at the end of the archive.
    ///
    /// # Errors
    /// When the stream breaks off, or a header is malformed, too long or of a sparse member.
    pub fn next(&mut self) -> io::Result<Option<Member>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            let size = header.entry_size().map_err(bad)?;
            (self.left, self.padding) = (size, padding(size));
            match kind {
                EntryType::GNULongName => set(&mut extensions.path, until_zero(self.text(size)?))?,
                EntryType::GNULongLink => set(&mut extensions.link, until_zero(self.text(size)?))?,
                EntryType::XHeader => set(&mut extensions.pax, records(&self.text(size)?)?)?,
                // Of the archive as a whole: nothing that matters for files.
                EntryType::XGlobalHeader => {}
                _ => return self.member(&header, kind, size, extensions).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        header: &Header,
        mut kind: EntryType,
        mut size: u64,
        extensions: Extensions,
    ) -> io::Result<Member> {
        let pax = extensions.pax.unwrap_or_default();
        if kind == EntryType::GNUSparse || pax.keys().any(|key| key.starts_with("GNU.sparse.")) {
            return Err(bad("sparse files are not supported"));
        }
        let number = |key: &str| pax.get(key).map(|value| decimal(key, value)).transpose();
        let path = pax.get("path").cloned().or(extensions.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.get("linkpath").cloned().or(extensions.link);
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        if kind == EntryType::Regular && path.ends_with(b"/") {
            kind = EntryType::Directory;
        }
        if let Some(told) = number("size")? {
            size = u64::try_from(told).map_err(|_| bad("a negative size"))?;
        }
        if has_no_content(kind) {
            size = 0;
        }
        (self.left, self.padding) = (size, padding(size));
        let id = |key: &str, plain: io::Result<u64>| -> io::Result<u32> {
            // Some archivers leave the fields blank for root.
            Ok(number(key)?.map_or(plain.unwrap_or(0) as u32, |told| told as u32))
        };
        let device = match kind {
            EntryType::Char | EntryType::Block => {
                (header.device_major().map_err(bad)?.unwrap_or(0), header.device_minor().map_err(bad)?.unwrap_or(0))
            }
            _ => (0, 0),
        };
        let xattrs = pax.iter().filter_map(|(key, value)| Some((key.strip_prefix(XATTR)?.to_owned(), value.clone())));
        Ok(Member {
            path: OsString::from_vec(path).into(),
            link: link.filter(|link| !link.is_empty()).map(|link| OsString::from_vec(link).into()),
            kind,
            mode: header.mode().map_err(bad)? & 0o7777,
            uid: id("uid", header.uid())?,
            gid: id("gid", header.gid())?,
            mtime: number("mtime")?.unwrap_or(header.mtime().unwrap_or(0) as i64),
            device,
            xattrs: xattrs.collect(),
        })
    }

    /// The next header block; `None` at the end, which is a block of zeros or the end of the stream.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut length = 0;
        while length < BLOCK {
            match self.reader.read(&mut block[length..]) {
                Ok(0) if length == 0 => return Ok(None),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(more) => length += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        if header.cksum().map_err(bad)? != sum {
            return Err(bad("the checksum is wrong"));
        }
        Ok(Some(header))
    }

    /// The content of a header that extends the next member.
    fn text(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_HEADER {
            return Err(bad(format_args!("it is {size} bytes long, {MAX_HEADER} at most are read")));
        }
        let mut text = Vec::new();
        self.read_to_end(&mut text)?;
        Ok(text)
    }

    fn skip(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink())?;
        let padding = std::mem::take(&mut self.padding);
        let skipped = io::copy(&mut (&mut self.reader).take(padding), &mut io::sink())?;
        if skipped < padding { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        match self.reader.read(&mut buffer[..most])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            length => {
                self.left -= length as u64;
                Ok(length)
            }
        }
    }
}

fn has_no_content(kind: EntryType) -> bool {
    use EntryType::{Block, Char, Directory, Fifo, Link, Symlink};
    matches!(kind, Link | Symlink | Char | Block | Directory | Fifo)
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn set<T>(place: &mut Option<T>, value: T) -> io::Result<()> {
    if place.replace(value).is_some() {
        return Err(bad("two headers of one kind extend the same member"));
    }
    Ok(())
}

fn until_zero(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

/// A decimal number; a fraction, as times have it, is dropped.
fn decimal(key: &str, value: &[u8]) -> io::Result<i64> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().map_err(|_| bad(format_args!("PAX record {key} is no number")))
}

/// The records of a PAX header: `LENGTH KEY=VALUE\n`, where the length counts the whole record.
fn records(text: &[u8]) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let malformed = || bad("a PAX record is malformed");
    let mut records = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let blank = rest.iter().take(20).position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length = std::str::from_utf8(&rest[..blank]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let record = length.filter(|length| *length > blank).and_then(|length| rest.get(..length));
        let record = record.ok_or_else(malformed)?;
        rest = &rest[record.len()..];
        let pair = record[blank + 1..].strip_suffix(b"\n").ok_or_else(malformed)?;
        let equals = pair.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        let key = std::str::from_utf8(&pair[..equals]).map_err(|_| malformed())?;
        records.insert(key.to_owned(), pair[equals + 1..].to_vec());
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(kind: EntryType, path: &str, size: u64) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn with(kind: EntryType, path: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes = block(kind, path, content.len() as u64);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn record(key: &str, value: &str) -> String {
        let rest = format!(" {key}={value}\n");
        let length = (rest.len()..).find(|length| length.to_string().len() + rest.len() == *length).unwrap();
        format!("{length}{rest}")
    }

    fn all(bytes: &[u8]) -> io::Result<Vec<(Member, Vec<u8>)>> {
        let mut members = Members::new(bytes);
        let mut found = Vec::new();
        while let Some(member) = members.next()? {
            let mut content = Vec::new();
            members.read_to_end(&mut content)?;
            found.push((member, content));
        }
        Ok(found)
    }

    #[test]
    fn headers_extend_the_next_member_only() {
        let pax = record("path", "from/pax") + &record("SCHILY.xattr.user.a", "1\n2") + &record("mtime", "12.5");
        let archive = [
            with(EntryType::XGlobalHeader, "g", b"nonsense"),
            with(EntryType::XHeader, "x", pax.as_bytes()),
            with(EntryType::Regular, "plain", b"one"),
            with(EntryType::GNULongName, "l", b"from/gnu\0"),
            with(EntryType::Regular, "plain", &[7; 1000]),
            with(EntryType::Regular, "dir/", b""),
            vec![0; 1024],
        ]
        .concat();
        let found = all(&archive).unwrap();
        let paths: Vec<_> = found.iter().map(|(member, _)| member.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["from/pax", "from/gnu", "dir/"]);
        assert_eq!(found[0].0.xattrs, [("user.a".to_owned(), b"1\n2".to_vec())]);
        assert_eq!((found[0].0.mtime, found[0].1.as_slice(), found[1].1.len()), (12, &b"one"[..], 1000));
        assert_eq!(found[2].0.kind, EntryType::Directory);
    }

    #[test]
    fn a_pax_size_counts_instead_of_the_headers() {
        let mut archive = with(EntryType::XHeader, "x", record("size", "600").as_bytes());
        archive.extend(block(EntryType::Regular, "f", 1));
        archive.extend([1; 600]);
        archive.extend([0; 424]);
        archive.extend(with(EntryType::Regular, "next", b"n"));
        let found = all(&archive).unwrap();
        assert_eq!((found[0].1.len(), found[1].0.path.to_str()), (600, Some("next")));
    }

    #[test]
    fn headers_that_claim_more_than_a_mebibyte_are_refused_before_they_are_read() {
        for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
            let error = all(&block(kind, "x", 1 << 36)).unwrap_err().to_string();
            assert!(error.contains("1048576 at most"), "{error}");
        }
    }

    #[test]
    fn sparse_members_are_refused() {
        let gnu = with(EntryType::GNUSparse, "s", b"");
        let mut pax = with(EntryType::XHeader, "x", record("GNU.sparse.major", "1").as_bytes());
        pax.extend(with(EntryType::Regular, "s", b""));
        for archive in [gnu, pax] {
            assert!(all(&archive).unwrap_err().to_string().contains("sparse files are not supported"));
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_an_error() {
        let archive = with(EntryType::Regular, "f", &[1; 700]);
        for length in [1, 511, 513, 1000, archive.len() - 1] {
            assert_eq!(all(&archive[..length]).unwrap_err().kind(), ErrorKind::UnexpectedEof, "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_stream_makes_it_panic(
            parts in prop::collection::vec((0usize..10, any::<u64>(), prop::collection::vec(any::<u8>(), 0..1200)), 0..6),
            flip in any::<(usize, u8)>(),
        ) {
            let kinds = [
                EntryType::Regular, EntryType::Link, EntryType::Symlink, EntryType::Char, EntryType::Directory,
                EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader, EntryType::GNUSparse,
            ];
            let mut bytes = Vec::new();
            for (kind, size, content) in parts {
                let length = content.len() as u64;
                bytes.extend(block(kinds[kind], "name", if size % 3 == 0 { size } else { length }));
                bytes.extend(content);
                bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            }
            let _ = all(&bytes);
            if !bytes.is_empty() {
                let at = flip.0 % bytes.len();
                bytes[at] ^= flip.1;
                let _ = all(&bytes);
            }
        }

        #[test]
        fn no_pax_header_makes_it_panic(text in "([0-9]{0,3} ?[a-zA-Z.]{0,12}=?[^\\n]{0,8}\n?){0,4}", cut in 0usize..40) {
            let _ = records(text.as_bytes());
            let _ = records(&text.as_bytes()[..cut.min(text.len())]);
        }

        #[test]
        fn what_a_pax_header_says_is_read(pairs in prop::collection::btree_map("[a-z.]{1,20}", "[^=]{0,40}", 0..6)) {
            let text: String = pairs.iter().map(|(key, value)| record(key, value)).collect();
            let read = records(text.as_bytes()).unwrap();
            prop_assert_eq!(read.len(), pairs.len());
            for (key, value) in &pairs {
                prop_assert_eq!(&read[key], value.as_bytes());
            }
        }
    }
}
