//! What an image has at the path of one of its volumes is copied into the container's own directory, which then covers it.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::root::Root;
use crate::image::{ENTRY_BYTES, Room};

/// Deeper directories are refused: each level holds descriptors.
const MAX_DEPTH: usize = 128;
/// Longest list of names of attributes, and longest value of one, as the kernel has it.
const MAX_ATTRIBUTES: usize = 64 << 10;
/// Longest path that a call takes, with its end.
const MAX_PATH: usize = libc::PATH_MAX as usize;

/// A directory that is copied, and where its content comes.
struct Copy {
    from: OwnedFd,
    to: OwnedFd,
}

/// What the directories of a volume share while they are copied.
struct Filling {
    /// The top of what is written.
    top: OwnedFd,
    /// Where files with several names are below it, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    /// A volume can have the same content as many others: what an image takes once says nothing of what they take.
    room: Room,
    buffer: Vec<u8>,
}

/// Copies what a directory of the root holds, and its own owner and mode. What the image has not stays empty. Everything is
/// found by descriptor and over no link but inside the root, and what is written is below `volume`.
///
/// # Errors
/// The image has no directory there, or one that is nested too deeply; it would take what images leave free of the disk.
pub fn fill(volume: &OwnedFd, root: &Root, path: &Path) -> io::Result<()> {
    let from = match root.find(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(rustix::fs::chmodat(volume, c".", Mode::from_raw_mode(0o755), AtFlags::empty())?);
        }
        from => from?,
    };
    let to = open_dir(volume, c".")?;
    let stat = rustix::fs::fstat(&from)?;
    let top = to.try_clone()?;
    let room = Room::at(to.try_clone()?);
    let copy = Copy { from, to };
    let mut filling = Filling { top, links: HashMap::new(), room, buffer: vec![0; 1 << 16] };
    copy.content(&mut filling, Path::new(""), 0)?;
    finish(&copy.to, &copy.from, &stat)
}

fn open_dir(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)?)
}

impl Copy {
    fn content(&self, filling: &mut Filling, at: &Path, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!("it has directories nested more than {MAX_DEPTH} deep")));
        }
        for entry in Dir::read_from(&self.from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = rustix::fs::statat(&self.from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let path = at.join(OsStr::from_bytes(name.to_bytes()));
            filling.room.take(ENTRY_BYTES)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    rustix::fs::mkdirat(&self.to, name, Mode::RWXU)?;
                    let inner = Copy { from: open_dir(&self.from, name)?, to: open_dir(&self.to, name)? };
                    inner.content(filling, &path, depth + 1)?;
                    finish(&inner.to, &inner.from, &stat)?;
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&self.from, name, Vec::new())?;
                    rustix::fs::symlinkat(target, &self.to, name)?;
                    let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                    rustix::fs::chownat(&self.to, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                FileType::RegularFile => {
                    let several = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
                    if let Some(first) = several.and_then(|several| filling.links.get(&several)) {
                        rustix::fs::linkat(&filling.top, first, &self.to, name, AtFlags::empty())?;
                        continue;
                    }
                    self.file(filling, name, &stat)?;
                    // One that no path reaches is found no more, and becomes several files.
                    let reached = several.filter(|_| path.as_os_str().len() < MAX_PATH);
                    reached.map(|several| filling.links.insert(several, path));
                }
                // Pipes and sockets are made by whoever uses them, and devices are none of a volume's.
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, filling: &mut Filling, name: &CStr, stat: &Stat) -> io::Result<()> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = std::fs::File::from(rustix::fs::openat(&self.from, name, read, Mode::empty())?);
        let to = rustix::fs::openat(&self.to, name, write, Mode::RUSR | Mode::WUSR)?;
        let mut to = std::fs::File::from(to);
        filling.room.copy(&mut from, &mut to, &mut filling.buffer)?;
        finish(&to.into(), &from.into(), stat)
    }
}

/// Owner, mode, attributes and time; the owner first, as changing it takes away set-user-ID and capabilities.
fn finish(to: &OwnedFd, from: &OwnedFd, stat: &Stat) -> io::Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    copy_attributes(to, from)?;
    let last = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Ok(rustix::fs::futimens(to, &Timestamps { last_access: last, last_modification: last })?)
}

/// Extended attributes, as far as the volume's file system knows of them.
fn copy_attributes(to: &OwnedFd, from: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0; MAX_ATTRIBUTES];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        length => length?,
    };
    let mut value = vec![0; if length > 0 { MAX_ATTRIBUTES } else { 0 }];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(length) = rustix::fs::fgetxattr(from, name, &mut value) else { continue };
        match rustix::fs::fsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::StatVfs;
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    /// Fills a volume on a small disk with what `make` puts into the image; answers why it could not, and what is left.
    fn on_a_small_disk(make: impl Fn(&Path)) -> (io::Error, StatVfs) {
        let dir = tempfile::tempdir().unwrap();
        for (name, options) in [("image", c"size=256m"), ("volume", c"size=64m,nr_inodes=20000")] {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            mount("tmpfs", &path, "tmpfs", MountFlags::empty(), options).unwrap();
        }
        let image = dir.path().join("image");
        fs::create_dir(image.join("data")).unwrap();
        make(&image.join("data"));
        let volume = open(&dir.path().join("volume"));
        let error = fill(&volume, &Root::from(open(&image)), Path::new("/data")).unwrap_err();
        (error, rustix::fs::fstatvfs(&volume).unwrap())
    }

    #[test]
    fn volumes_leave_free_of_a_disk_what_images_leave() {
        if !coracle_testing::is_root() {
            return;
        }
        let thread = std::thread::spawn(|| {
            crate::sys::unshare(libc::CLONE_NEWNS).unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            let large = |data: &Path| fs::File::create(data.join("file")).unwrap().set_len(128 << 20).unwrap();
            let (error, disk) = on_a_small_disk(large);
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
            assert!(disk.f_bavail * disk.f_frsize > 2 << 20, "{} blocks", disk.f_bavail);
            let many =
                |data: &Path| (0..20_000).for_each(|n| drop(fs::File::create(data.join(n.to_string())).unwrap()));
            let (error, disk) = on_a_small_disk(many);
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
            assert!(disk.f_favail > 500, "{} inodes", disk.f_favail);
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_file_with_several_names_need_not_be_reached_by_a_path() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["image/data", "volume"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let long = "d".repeat(255);
        let down = |from: OwnedFd| rustix::fs::openat(&from, &*long, OFlags::PATH, Mode::empty()).unwrap();
        let mut deep = open(&dir.path().join("image/data"));
        for _ in 0..MAX_PATH / 256 {
            rustix::fs::mkdirat(&deep, &*long, Mode::RWXU).unwrap();
            deep = down(deep);
        }
        rustix::fs::openat(&deep, "one", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        rustix::fs::linkat(&deep, "one", &deep, "two", AtFlags::empty()).unwrap();
        let volume = open(&dir.path().join("volume"));
        fill(&volume, &Root::from(open(&dir.path().join("image"))), Path::new("/data")).unwrap();
        let copied = (0..MAX_PATH / 256).fold(volume, |dir, _| down(dir));
        for name in ["one", "two"] {
            rustix::fs::statat(&copied, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }
}
