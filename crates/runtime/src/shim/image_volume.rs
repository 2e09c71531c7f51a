//! What an image has at the path of one of its volumes is copied into the container's own directory, which then covers it.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::root::Root;

/// Deeper directories are refused: each level holds descriptors.
const MAX_DEPTH: usize = 128;
/// Longest list of names of attributes, and longest value of one, as the kernel has it.
const MAX_ATTRIBUTES: usize = 64 << 10;

/// A directory that is copied, and where its content comes.
struct Copy<'a> {
    from: OwnedFd,
    to: OwnedFd,
    /// The top of what is written, from which files with several names are found again.
    top: &'a OwnedFd,
}

/// Copies what a directory of the root holds, and its own owner and mode. What the image has not stays empty. Everything is
/// found by descriptor and over no link but inside the root, and what is written is below `volume`.
///
/// # Errors
/// The image has no directory there, or one that is nested too deeply; the disk is full.
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
    let copy = Copy { from, to, top: &top };
    copy.content(&mut HashMap::new(), Path::new(""), 0)?;
    finish(&copy.to, &copy.from, &stat)
}

fn open_dir(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)?)
}

impl Copy<'_> {
    /// `links` has where files with several names are, by device and inode.
    fn content(&self, links: &mut HashMap<(u64, u64), std::path::PathBuf>, at: &Path, depth: usize) -> io::Result<()> {
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
            let path = at.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    rustix::fs::mkdirat(&self.to, name, Mode::RWXU)?;
                    let inner =
                        Copy { from: open_dir(&self.from, name)?, to: open_dir(&self.to, name)?, top: self.top };
                    inner.content(links, &path, depth + 1)?;
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
                    if let Some(first) = several.and_then(|several| links.get(&several)) {
                        rustix::fs::linkat(self.top, first, &self.to, name, AtFlags::empty())?;
                        continue;
                    }
                    self.file(name, &stat)?;
                    several.map(|several| links.insert(several, path));
                }
                // Pipes and sockets are made by whoever uses them, and devices are none of a volume's.
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, name: &CStr, stat: &Stat) -> io::Result<()> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = std::fs::File::from(rustix::fs::openat(&self.from, name, read, Mode::empty())?);
        let to = rustix::fs::openat(&self.to, name, write, Mode::RUSR | Mode::WUSR)?;
        let mut to = std::fs::File::from(to);
        io::copy(&mut from, &mut to)?;
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
