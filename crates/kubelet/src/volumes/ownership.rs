//! `fsGroup`: a volume is given to a group of the pod, all that is in it, without following a link or entering a mount.

use std::ffi::OsStr;
use std::io::Result;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, chmod, chownat, fstat, openat2};
use rustix::io::Errno;

/// Deeper directories keep their group: who makes such a tree has made it for himself.
const MAX_DEPTH: usize = 256;
const READ: u32 = 0o440;
const WRITE: u32 = 0o660;
/// Directories are entered, and what is made in them gets their group.
const DIRECTORY: u32 = 0o2110;

/// Which group a volume is given to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FsGroup {
    /// `fsGroup` of the pod.
    pub(crate) group: u32,
    /// `fsGroupChangePolicy: OnRootMismatch`: not when its root is given already.
    pub(crate) on_root_mismatch: bool,
}

/// Gives a directory and what is in it to a group that may read it and, unless it is `read_only`, write it.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn give(dir: &Path, to: FsGroup, read_only: bool) -> Result<()> {
    let root = openat2(CWD, dir, FLAGS, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    let bits = if read_only { READ } else { WRITE };
    if to.on_root_mismatch && is_given(&root, to.group, bits)? {
        return Ok(());
    }
    inner(&root, to.group, bits, 0)?;
    // The root comes last: it says that all of the volume was given.
    give_one(&root, to.group, bits)
}

const FLAGS: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn is_given(root: &OwnedFd, group: u32, bits: u32) -> Result<bool> {
    let stat = fstat(root)?;
    let wanted = bits | DIRECTORY;
    Ok(stat.st_gid == group && stat.st_mode & wanted == wanted)
}

fn give_one(fd: &OwnedFd, group: u32, bits: u32) -> Result<()> {
    let stat = fstat(fd)?;
    chownat(fd, "", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)?;
    let bits = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => return Ok(()),
        FileType::Directory => bits | DIRECTORY,
        _ => bits,
    };
    // Giving a file away takes setuid and setgid from it, as the kernel has it: they are put back.
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777 | bits);
    Ok(chmod(format!("/proc/thread-self/fd/{}", fd.as_raw_fd()), mode)?)
}

fn inner(dir: &OwnedFd, group: u32, bits: u32, depth: usize) -> Result<()> {
    if depth >= MAX_DEPTH {
        return Ok(());
    }
    let listed = openat2(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), BENEATH)?;
    let entries = Dir::read_from(&listed)?;
    drop(listed);
    for entry in entries {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let found = match open(dir.as_fd(), name) {
            // It went meanwhile, or something is mounted there, which is not of this volume.
            Err(Errno::NOENT | Errno::XDEV | Errno::LOOP) => continue,
            other => other?,
        };
        if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Directory {
            inner(&found, group, bits, depth.saturating_add(1))?;
        }
        give_one(&found, group, bits)?;
    }
    Ok(())
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_XDEV).union(ResolveFlags::NO_MAGICLINKS);

/// A link itself is opened, never what it leads to.
fn open(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    openat2(dir, name, FLAGS, Mode::empty(), BENEATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn all_of_a_volume_is_given_and_nothing_that_links_of_it_lead_to() {
        if !coracle_testing::is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let (volume, outside) = (root.path().join("v"), root.path().join("outside"));
        fs::create_dir_all(volume.join("d")).unwrap();
        fs::write(volume.join("d/f"), "x").unwrap();
        fs::write(&outside, "x").unwrap();
        symlink(&outside, volume.join("link")).unwrap();
        fs::set_permissions(volume.join("d/f"), fs::Permissions::from_mode(0o4600)).unwrap();
        let group = |path: &Path| fs::symlink_metadata(path).unwrap().gid();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        let to = |on_root_mismatch| FsGroup { group: 4242, on_root_mismatch };
        give(&volume, to(false), false).unwrap();
        for path in ["", "d", "d/f", "link"] {
            assert_eq!(group(&volume.join(path)), 4242, "{path}");
        }
        assert_eq!((mode(&volume) & 0o2770, mode(&volume.join("d/f"))), (0o2770, 0o4660));
        assert_eq!((group(&outside), mode(&outside) & 0o020), (0, 0));
        // With its root given, the policy leaves the rest as it is.
        fs::write(volume.join("later"), "x").unwrap();
        std::os::unix::fs::chown(volume.join("later"), None, Some(0)).unwrap();
        give(&volume, to(true), false).unwrap();
        assert_eq!(group(&volume.join("later")), 0);
        std::os::unix::fs::chown(&volume, None, Some(0)).unwrap();
        give(&volume, to(true), false).unwrap();
        assert_eq!(group(&volume.join("later")), 4242);
    }
}
