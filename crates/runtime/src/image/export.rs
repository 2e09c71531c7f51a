//! An image of the store as an archive has it: each layer packed again.
//!
//! The store keeps what is in layers, not the archives that they came in, whose bytes depend on who packed them. So a layer that is
//! packed again has a digest of its own, and the config names that: it is the same image under another ID.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::import::Archived;
use super::reference::Reference;
use super::room::Room;
use super::store::ImageStore;
use super::unpack::digest_text;
use crate::cri::{CriError, Result};

/// Most directories within each other.
const MAX_DEPTH: usize = 1000;
/// Bytes of the names, and of the value, of attributes.
const ATTRIBUTES: usize = 64 << 10;
const OVERLAY: &str = "trusted.overlay.";

/// The packed layers, which go with it.
struct Packed(PathBuf);

impl Drop for Packed {
    fn drop(&mut self) {
        let _ = crate::tree::remove(&self.0);
    }
}

impl ImageStore {
    /// Packs an image, and does something with it; nothing of what was packed stays. Blocks.
    ///
    /// # Errors
    /// There is no such image, it cannot be read, the disk has no room, or what is done fails.
    pub fn export(&self, image: &str, take: &mut dyn FnMut(Archived) -> Result<()>) -> Result<()> {
        let failed = |error: io::Error| CriError::Internal(format!("failed to pack the image {image}: {error}"));
        let record = self.find(image).ok_or_else(|| CriError::NotFound(format!("there is no image {image}")))?;
        let named = Reference::parse(image).ok().map(|reference| reference.to_string());
        let tag = named.filter(|name| record.tags.contains(name));
        let tags: Vec<String> = tag.map_or_else(|| record.tags.iter().cloned().collect(), |tag| vec![tag]);
        let _pins = self.pin(&record);
        let packed = Packed(self.ingest_path());
        fs::create_dir(&packed.0).map_err(failed)?;
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for (number, layer) in record.layers.iter().enumerate() {
            let path = packed.0.join(number.to_string());
            let directory = self.layers_dir().join(layer.directory());
            diff_ids.push(pack(&directory, &path).map_err(failed)?);
            layers.push((path, None));
        }
        let mut config: Value = serde_json::from_slice(&self.content(&record.id).map_err(failed)?)
            .map_err(|error| failed(io::Error::other(error)))?;
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        take(Archived { tags, config: config.to_string().into_bytes(), manifest: None, layers })
    }
}

/// Packs what is in a directory; answers with the digest of the archive.
fn pack(directory: &Path, to: &Path) -> io::Result<String> {
    let room = Room::of(to.parent().unwrap_or(Path::new(".")))?;
    let mut packer = Packer {
        archive: Builder::new(Counted { file: io::BufWriter::new(File::create(to)?), hash: Sha256::new(), room }),
        linked: HashMap::new(),
    };
    packer.directory(directory, Path::new(""), 0)?;
    let Counted { mut file, hash, .. } = packer.archive.into_inner()?;
    file.flush()?;
    Ok(digest_text(&hash.finalize()))
}

/// A file whose digest is known when it is written, and which leaves the disk its reserve.
struct Counted {
    file: io::BufWriter<File>,
    hash: Sha256,
    room: Room,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hash.update(bytes.get(..length).unwrap_or_default());
        self.room.take(length as u64)?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

struct Packer {
    archive: Builder<Counted>,
    /// Files that have further names, by device and number.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Packer {
    /// What is in a directory, in the order of names, so that the same layer is packed to the same bytes.
    fn directory(&mut self, from: &Path, name: &Path, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "directories are nested too deeply"));
        }
        let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), name.join(entry.file_name()));
            self.entry(&path, &name, &entry.file_name(), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &Path, own: &OsStr, depth: usize) -> io::Result<()> {
        let meta = fs::symlink_metadata(path)?;
        let kind = meta.file_type();
        if kind.is_char_device() && meta.rdev() == 0 {
            let mut whiteout = b".wh.".to_vec();
            whiteout.extend(own.as_bytes());
            return self.append(
                EntryType::Regular,
                &meta,
                &name.with_file_name(OsStr::from_bytes(&whiteout)),
                0,
                io::empty(),
            );
        }
        if kind.is_symlink() {
            let mut header = header(EntryType::Symlink, &meta);
            header.set_size(0);
            return self.archive.append_link(&mut header, name, fs::read_link(path)?);
        }
        if kind.is_dir() {
            let attributes = attributes(path)?;
            self.attributes(&attributes)?;
            self.append(EntryType::Directory, &meta, name, 0, io::empty())?;
            if attributes.iter().any(|(key, value)| key == "trusted.overlay.opaque" && value == b"y") {
                self.append(EntryType::Regular, &meta, &name.join(".wh..wh..opq"), 0, io::empty())?;
            }
            return self.directory(path, name, depth.saturating_add(1));
        }
        if meta.nlink() > 1 {
            if let Some(first) = self.linked.get(&(meta.dev(), meta.ino())) {
                let mut header = header(EntryType::Link, &meta);
                header.set_size(0);
                return self.archive.append_link(&mut header, name, first);
            }
            self.linked.insert((meta.dev(), meta.ino()), name.to_owned());
        }
        if kind.is_file() {
            self.attributes(&attributes(path)?)?;
            return self.append(EntryType::Regular, &meta, name, meta.len(), File::open(path)?);
        }
        let entry = if kind.is_char_device() {
            EntryType::Char
        } else if kind.is_block_device() {
            EntryType::Block
        } else if kind.is_fifo() {
            EntryType::Fifo
        } else {
            // A socket, which no archive has.
            return Ok(());
        };
        self.append(entry, &meta, name, 0, io::empty())
    }

    fn append(
        &mut self,
        kind: EntryType,
        meta: &Metadata,
        name: &Path,
        size: u64,
        data: impl io::Read,
    ) -> io::Result<()> {
        let mut header = header(kind, meta);
        header.set_size(size);
        self.archive.append_data(&mut header, name, data)
    }

    /// Extended attributes of what comes next; those of overlayfs are told in another way.
    fn attributes(&mut self, attributes: &[(String, Vec<u8>)]) -> io::Result<()> {
        let kept = attributes.iter().filter(|(key, _)| !key.starts_with(OVERLAY));
        let named: Vec<(String, &[u8])> =
            kept.map(|(key, value)| (format!("SCHILY.xattr.{key}"), value.as_slice())).collect();
        if named.is_empty() {
            return Ok(());
        }
        self.archive.append_pax_extensions(named.iter().map(|(key, value)| (key.as_str(), *value)))
    }
}

fn header(kind: EntryType, meta: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(meta.mode() & 0o7777);
    header.set_uid(meta.uid().into());
    header.set_gid(meta.gid().into());
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    if matches!(kind, EntryType::Char | EntryType::Block) {
        // A header of this form has room for both.
        let _ = header.set_device_major(rustix::fs::major(meta.rdev()));
        let _ = header.set_device_minor(rustix::fs::minor(meta.rdev()));
    }
    header
}

fn attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let (mut names, mut value) = (vec![0; ATTRIBUTES], vec![0; ATTRIBUTES]);
    let length = rustix::fs::llistxattr(path, &mut names[..])?;
    let mut found = Vec::new();
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        let Some(key) = std::str::from_utf8(name).ok().filter(|key| !key.is_empty()) else { continue };
        let length = rustix::fs::lgetxattr(path, key, &mut value[..])?;
        found.push((key.to_owned(), value.get(..length).unwrap_or_default().to_vec()));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::unpack::{digest_of, unpack};
    use coracle_testing::is_root;

    #[test]
    fn a_layer_that_is_packed_and_unpacked_again_is_the_same() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("opaque/below")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("file"), "contents").unwrap();
        fs::hard_link(from.join("file"), from.join("second")).unwrap();
        std::os::unix::fs::symlink("file", from.join("link")).unwrap();
        std::os::unix::fs::chown(from.join("file"), Some(7), Some(8)).unwrap();
        let long = "a".repeat(200);
        fs::write(from.join("opaque").join(&long), "x").unwrap();
        xattr::set(from.join("opaque"), "trusted.overlay.opaque", b"y").unwrap();
        xattr::set(from.join("file"), "user.note", b"kept").unwrap();
        let whiteout = rustix::fs::makedev(0, 0);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, from.join("gone"), kind, 0.into(), whiteout).unwrap();
        let (one, two) = (dir.path().join("1.tar"), dir.path().join("2.tar"));
        let digest = pack(&from, &one).unwrap();
        assert_eq!(digest, digest_of(&fs::read(&one).unwrap()));
        let mut room = Room::of(dir.path()).unwrap();
        unpack(File::open(&one).unwrap(), &to, &mut room).unwrap();
        assert_eq!(fs::read_to_string(to.join("second")).unwrap(), "contents");
        let (first, second) = (fs::metadata(to.join("file")).unwrap(), fs::metadata(to.join("second")).unwrap());
        assert_eq!((first.ino(), first.uid(), first.gid()), (second.ino(), 7, 8));
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("file"));
        assert!(fs::symlink_metadata(to.join("gone")).unwrap().file_type().is_char_device());
        assert_eq!(xattr::get(to.join("opaque"), "trusted.overlay.opaque").unwrap().unwrap(), b"y");
        assert_eq!(xattr::get(to.join("file"), "user.note").unwrap().unwrap(), b"kept");
        assert!(to.join("opaque").join(&long).exists());
        assert_eq!(pack(&to, &two).unwrap(), digest, "what was unpacked is packed to the same bytes");
    }
}
