//! Images of another store on the same disk, as nodes of a local cluster have: a layer is not unpacked once more, its files get
//! another name each. Nobody writes to them: containers see layers through overlayfs.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

use super::store::{Contents, ImageRecord, ImageStore, LayerSource, read_images};
use crate::cri::{CriError, Result};

/// Most directories within each other.
const MAX_DEPTH: usize = 1000;
/// Bytes of the names, and of the value, of attributes.
const ATTRIBUTES: usize = 64 << 10;

impl ImageStore {
    /// Takes over all images that the store in another directory has, if this one has none. Blocks.
    ///
    /// # Errors
    /// As [`ImageStore::adopt`].
    pub fn adopt_all(&self, other: &Path) -> Result<()> {
        if !self.list().is_empty() {
            return Ok(());
        }
        let images = read_images(other).map_err(|error| CriError::Internal(format!("{}: {error}", other.display())))?;
        let names: Vec<String> = images.into_values().flat_map(|record| record.tags).collect();
        self.adopt(other, &names)
    }

    /// Takes images of these names over from the store in another directory. Blocks.
    ///
    /// # Errors
    /// The other store has no such image, lost a layer meanwhile, or is on another file system.
    pub fn adopt(&self, other: &Path, names: &[String]) -> Result<()> {
        let failed =
            |error: io::Error| CriError::Internal(format!("failed to share images of {}: {error}", other.display()));
        let images = read_images(other).map_err(failed)?;
        for name in names {
            let is_named = |record: &&ImageRecord| record.tags.contains(name) || record.digests.contains(name);
            let record = images.values().find(is_named);
            let record =
                record.ok_or_else(|| CriError::NotFound(format!("{} has no image {name}", other.display())))?;
            let content = |digest: &str| other.join("content/sha256").join(digest.trim_start_matches("sha256:"));
            let config = fs::read(content(&record.id)).map_err(failed)?;
            let layers = record.layers.iter().map(|layer| LayerSource {
                diff_id: layer.diff_id.clone(),
                contents: Contents::Unpacked {
                    directory: other.join("layers").join(layer.directory()),
                    size: layer.size,
                },
            });
            let tags: Vec<String> = record.tags.iter().filter(|tag| *tag == name).cloned().collect();
            let digests: Vec<String> = record.digests.iter().cloned().collect();
            self.add(&config, None, &tags, &digests, layers.collect())?;
        }
        Ok(())
    }
}

/// Makes a directory with what another one has: its own directories are like those there, and its files are the same.
pub(super) fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    link_directory(from, to, 0)
}

fn link_directory(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "directories are nested too deeply"));
    }
    match fs::create_dir(to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || depth > 0 => return Err(error),
        _ => {}
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            link_directory(&from, &to, depth + 1)?;
        } else {
            // Links and devices, which whiteouts are, have names as files do.
            rustix::fs::linkat(CWD, &from, CWD, &to, AtFlags::empty())?;
        }
    }
    copy_attributes(from, to)
}

fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    std::os::unix::fs::lchown(to, Some(meta.uid()), Some(meta.gid()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    let (mut names, mut value) = (vec![0; ATTRIBUTES], vec![0; ATTRIBUTES]);
    let length = rustix::fs::llistxattr(from, &mut names[..])?;
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = rustix::fs::lgetxattr(from, name, &mut value[..])?;
        rustix::fs::lsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    let time = |seconds: i64, nanoseconds: i64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_testing::is_root;

    #[test]
    fn a_shared_layer_has_the_same_files_and_directories_like_the_others() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/file"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", from.join("a/link")).unwrap();
        std::os::unix::fs::lchown(from.join("a"), Some(7), Some(8)).unwrap();
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o1751)).unwrap();
        rustix::fs::lsetxattr(from.join("a/b"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        let whiteout = rustix::fs::makedev(0, 0);
        rustix::fs::mknodat(CWD, from.join("gone"), rustix::fs::FileType::CharacterDevice, 0.into(), whiteout).unwrap();
        link_tree(&from, &to).unwrap();
        let inode = |path: &Path| fs::symlink_metadata(path).unwrap().ino();
        for file in ["a/file", "a/link", "gone"] {
            assert_eq!(inode(&from.join(file)), inode(&to.join(file)), "{file}");
        }
        let (old, new) = (fs::metadata(from.join("a")).unwrap(), fs::metadata(to.join("a")).unwrap());
        assert_eq!((new.uid(), new.gid(), new.mode()), (7, 8, old.mode()));
        assert_eq!((new.mtime(), new.mtime_nsec()), (old.mtime(), old.mtime_nsec()));
        let mut value = [0; 8];
        let length = rustix::fs::lgetxattr(to.join("a/b"), "trusted.overlay.opaque", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"y");
    }

    #[test]
    fn images_of_another_store_are_taken_over_with_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let (first, second) = (ImageStore::open(&one).unwrap(), ImageStore::open(&two).unwrap());
        // Without layers, it needs no root.
        let architecture = oci_spec::image::Arch::default();
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Entrypoint":["/x"]}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        let tags = ["docker.io/library/a:1".to_owned(), "docker.io/library/b:1".to_owned()];
        let id = first.add(config.as_bytes(), None, &tags, &[], Vec::new()).unwrap();
        second.adopt(&one, &tags[..1]).unwrap();
        let found = second.find("a:1").unwrap();
        assert_eq!((found.id, found.config.entrypoint), (id, vec!["/x".to_owned()]));
        assert!(second.find("b:1").is_none());
        second.adopt_all(&one).unwrap();
        assert!(second.find("b:1").is_none(), "it has some already");
        let third = ImageStore::open(&dir.path().join("three")).unwrap();
        third.adopt_all(&one).unwrap();
        assert!(third.find("b:1").is_some());
        assert!(second.adopt(&one, &["docker.io/library/c:1".into()]).is_err());
        assert!(second.adopt(&dir.path().join("none"), &tags).is_err());
    }
}
