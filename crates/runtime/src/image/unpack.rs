//! Unpacking one layer into a directory that overlayfs can use as it is.
//!
//! Whiteouts become devices 0:0 and opaque markers an extended attribute. Every parent directory is opened
//! with `RESOLVE_IN_ROOT`, and every last component is made without following links, so that nothing outside
//! of the directory can be named, whatever the archive says.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use sha2::{Digest, Sha256};

use super::members::{Member, Members};
use super::room::{ENTRY_BYTES, Room};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Most entries of one layer.
const MAX_ENTRIES: usize = 2_000_000;
/// Most bytes of directories' paths that are remembered for their times.
const MAX_DIR_PATHS: usize = 64 << 20;

/// A reader that hashes what passes.
pub struct Hashing<R> {
    inner: R,
    hash: Sha256,
    /// Bytes read so far.
    pub length: u64,
}

impl<R: Read> Hashing<R> {
    /// Wraps a reader.
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), length: 0 }
    }

    /// Reads to the end; answers with the digest (`sha256:...`) and the length of everything.
    pub fn finish(mut self) -> io::Result<(String, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((digest_text(&self.hash.finalize()), self.length))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        self.length += length as u64;
        Ok(length)
    }
}

/// `sha256:` and the digits.
pub fn digest_text(hash: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::from("sha256:");
    for byte in hash {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    digest_text(&Sha256::digest(bytes))
}

/// Undoes gzip or zstd when the first bytes say so.
pub fn decompress<'a>(mut reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 4];
    let mut length = 0;
    while length < 4 {
        match reader.read(&mut magic[length..])? {
            0 => break,
            more => length += more,
        }
    }
    let whole = io::Cursor::new(magic[..length].to_vec()).chain(reader);
    Ok(match &magic[..length] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

fn bad(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("layer entry {path:?}: {what}"))
}

fn context(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.to_path_buf();
    move |error| io::Error::new(error.kind(), format!("unpacking {path:?}: {error}"))
}

/// Components without the leading `/` and `.`; `..` is refused.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => return Err(bad(path, "the path leads out of the layer")),
        }
    }
    Ok(out)
}

struct Unpacker<'a> {
    root: OwnedFd,
    room: &'a mut Room,
    /// The last parent directory used.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Times of directories, set last because making entries changes them.
    dir_times: Vec<(PathBuf, i64)>,
    dir_paths: usize,
    bytes: u64,
    /// For contents on their way.
    buffer: Vec<u8>,
}

/// Unpacks a tar stream into an empty directory of a disk with some room; answers with the bytes of file content.
pub fn unpack(tar: impl Read, directory: &Path, room: &mut Room) -> io::Result<u64> {
    let root = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let buffer = vec![0; 1 << 16];
    let mut unpacker = Unpacker { root, room, parent: None, dir_times: Vec::new(), dir_paths: 0, bytes: 0, buffer };
    let mut members = Members::new(tar);
    let mut count = 0;
    while let Some(member) = members.next()? {
        count += 1;
        if count > MAX_ENTRIES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a layer has more than {MAX_ENTRIES} entries"),
            ));
        }
        unpacker.room.take(ENTRY_BYTES)?;
        unpacker.entry(&member, &mut members).map_err(context(&member.path))?;
    }
    unpacker.finish()?;
    Ok(unpacker.bytes)
}

impl Unpacker<'_> {
    fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// The directory that an entry goes into, made when the archive did not mention it.
    fn parent(&mut self, path: &Path) -> io::Result<&OwnedFd> {
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        if self.parent.as_ref().is_none_or(|(known, _)| *known != dir) {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let fd = match self.open(&dir, flags) {
                Err(rustix::io::Errno::NOENT) => {
                    let name = dir.file_name().map(OsStr::to_os_string).unwrap_or_default();
                    let above = self.parent(&dir)?;
                    let mode = Mode::from_raw_mode(0o755);
                    match rustix::fs::mkdirat(above, &name, mode) {
                        // The mask of this process is not the image's.
                        Ok(()) => rustix::fs::chmodat(above, &name, mode, AtFlags::empty())?,
                        Err(rustix::io::Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    self.open(&dir, flags)?
                }
                other => other?,
            };
            self.parent = Some((dir, fd));
        }
        match &self.parent {
            Some((_, fd)) => Ok(fd),
            None => Err(io::Error::other("no parent directory")),
        }
    }

    fn entry(&mut self, entry: &Member, content: &mut impl Read) -> io::Result<()> {
        use tar::EntryType;
        let raw = entry.path.as_path();
        let path = clean(raw)?;
        let Some(name) = path.file_name().map(OsStr::to_os_string) else {
            return self.root_entry(entry);
        };
        if name.as_bytes() == OPAQUE {
            let parent = path.parent().unwrap_or(Path::new(""));
            self.parent(&path)?;
            let dir = self.open(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
            rustix::fs::fsetxattr(&dir, "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty())?;
            return Ok(());
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            if hidden.is_empty() || hidden == b"." || hidden == b".." || hidden.starts_with(WHITEOUT) {
                return if hidden.starts_with(WHITEOUT) { Ok(()) } else { Err(bad(raw, "a whiteout of nothing")) };
            }
            let hidden = OsStr::from_bytes(hidden);
            self.clear(&path, hidden, false)?;
            let parent = self.parent(&path)?;
            rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)?;
            return Ok(());
        }
        let is_dir = entry.kind == EntryType::Directory;
        self.clear(&path, &name, is_dir)?;
        match entry.kind {
            EntryType::Directory => {
                match rustix::fs::mkdirat(self.parent(&path)?, &name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                self.dir_paths += path.as_os_str().len();
                if self.dir_paths > MAX_DIR_PATHS {
                    return Err(bad(raw, "the layer has too many directories"));
                }
                self.dir_times.push((path.clone(), entry.mtime));
            }
            EntryType::Regular | EntryType::Continuous => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(self.parent(&path)?, &name, flags, Mode::from_raw_mode(0o600))?;
                let mut file = std::fs::File::from(fd);
                self.bytes += self.room.copy(content, &mut file, &mut self.buffer)?;
            }
            EntryType::Symlink => {
                let target = entry.link.as_deref().ok_or_else(|| bad(raw, "a symlink without target"))?;
                rustix::fs::symlinkat(target, self.parent(&path)?, &name)?;
            }
            EntryType::Link => {
                let target = entry.link.as_deref().ok_or_else(|| bad(raw, "a hard link without target"))?;
                let target = clean(target)?;
                let file = target.file_name().ok_or_else(|| bad(raw, "a hard link to the root"))?;
                let above = self.open(target.parent().unwrap_or(Path::new("")), OFlags::PATH | OFlags::DIRECTORY)?;
                rustix::fs::linkat(&above, file, self.parent(&path)?, &name, AtFlags::empty())?;
                // It shares owner, mode and times with its target.
                return Ok(());
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let (major, minor) = entry.device;
                let (kind, device) = match entry.kind {
                    EntryType::Char => (FileType::CharacterDevice, crate::sys::device_number(major, minor)),
                    EntryType::Block => (FileType::BlockDevice, crate::sys::device_number(major, minor)),
                    _ => (FileType::Fifo, 0),
                };
                rustix::fs::mknodat(self.parent(&path)?, &name, kind, Mode::from_raw_mode(0o600), device)?;
            }
            other => return Err(bad(raw, &format!("entries of type {other:?} are not supported"))),
        }
        self.attributes(&path, &name, entry)
    }

    /// Owner, extended attributes, mode and time, in an order in which none undoes another.
    fn attributes(&mut self, path: &Path, name: &OsStr, entry: &Member) -> io::Result<()> {
        let kind = entry.kind;
        // An image must not speak to overlayfs itself.
        let xattrs: Vec<_> = entry.xattrs.iter().filter(|(key, _)| !key.starts_with("trusted.overlay.")).collect();
        let parent = self.parent(path)?;
        let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if !xattrs.is_empty() && matches!(kind, tar::EntryType::Regular | tar::EntryType::Directory) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            for (key, value) in xattrs {
                match rustix::fs::fsetxattr(&file, key.as_str(), value, rustix::fs::XattrFlags::empty()) {
                    // The file system of the store may not have them all.
                    Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if kind != tar::EntryType::Symlink {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn root_entry(&self, entry: &Member) -> io::Result<()> {
        if entry.kind == tar::EntryType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::openat(&self.root, ".", flags, Mode::empty())?;
            rustix::fs::fchown(&root, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
            rustix::fs::fchmod(&root, Mode::from_raw_mode(entry.mode))?;
        }
        Ok(())
    }

    /// Removes what an earlier entry of the same name left; a directory stays when a directory comes.
    fn clear(&mut self, path: &Path, name: &OsStr, is_dir: bool) -> io::Result<()> {
        let parent = self.parent(path)?;
        let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
        } else if !is_dir {
            // The last component is a real directory here, so that this cannot leave it.
            let shown = PathBuf::from(format!("/proc/self/fd/{}", parent.as_fd().as_raw_fd())).join(name);
            crate::tree::remove(&shown)?;
            self.parent = None;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        for (path, mtime) in std::mem::take(&mut self.dir_times).into_iter().rev() {
            let Some(name) = path.file_name() else { continue };
            let Ok(parent) = self.parent(&path) else { continue };
            match rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW) {
                // A later entry replaced it.
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_testing::is_root;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    fn raw_entry(builder: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, link: &str, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(1_000);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    fn unpacked(entries: &[(&str, tar::EntryType, &str, &[u8])]) -> (tempfile::TempDir, io::Result<u64>) {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, link, data) in entries {
            raw_entry(&mut builder, path, *kind, link, data);
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("layer")).unwrap();
        let mut room = Room::of(dir.path()).unwrap();
        let result = unpack(&builder.into_inner().unwrap()[..], &dir.path().join("layer"), &mut room);
        (dir, result)
    }

    use tar::EntryType::{Directory, Link, Regular, Symlink};

    #[test]
    fn files_links_and_whiteouts_are_made() {
        if !is_root() {
            return;
        }
        let (dir, result) = unpacked(&[
            ("d/", Directory, "", b""),
            ("d/f", Regular, "", b"text"),
            ("d/h", Link, "d/f", b""),
            ("d/s", Symlink, "/d", b""),
            ("d/s/through", Regular, "", b"1"),
            ("d/.wh.gone", Regular, "", b""),
            ("o/.wh..wh..opq", Regular, "", b""),
            ("d/f", Regular, "", b"again"),
        ]);
        assert_eq!(result.unwrap(), 10);
        let layer = dir.path().join("layer");
        assert_eq!(std::fs::read(layer.join("d/f")).unwrap(), b"again");
        assert_eq!(std::fs::read(layer.join("d/h")).unwrap(), b"text");
        assert_eq!(std::fs::read(layer.join("d/through")).unwrap(), b"1");
        let gone = std::fs::symlink_metadata(layer.join("d/gone")).unwrap();
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        assert_eq!(xattr::get(layer.join("o"), "trusted.overlay.opaque").unwrap().unwrap(), b"y");
        assert_eq!(std::fs::metadata(layer.join("d")).unwrap().mtime(), 1_000);
    }

    #[test]
    fn nothing_outside_can_be_written() {
        if !is_root() {
            return;
        }
        let (_dir, result) = unpacked(&[("../evil", Regular, "", b"x")]);
        assert!(result.unwrap_err().to_string().contains("leads out of the layer"));
        let (_dir, result) = unpacked(&[("h", Link, "../../etc/passwd", b"")]);
        assert!(result.is_err());
        let (dir, result) = unpacked(&[("up", Symlink, "../..", b""), ("up/evil", Regular, "", b"x")]);
        result.unwrap();
        assert!(!dir.path().join("evil").exists() && dir.path().join("layer/evil").exists());
        let (dir, result) = unpacked(&[("f", Symlink, "/tmp/evil-target", b""), ("f", Regular, "", b"x")]);
        result.unwrap();
        assert!(dir.path().join("layer/f").symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn compressed_streams_are_recognised() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, b"hello").unwrap();
        let zstd = zstd::encode_all(&b"hello"[..], 1).unwrap();
        for bytes in [gzip.finish().unwrap(), zstd, b"hello".to_vec()] {
            let mut text = String::new();
            decompress(&bytes[..]).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
        }
    }
}
