//! Paths of pods' network namespaces: a mount of each in a folder, so that a namespace is there until its plugins have taken
//! back what they did, whatever becomes of the pod's processes, and no number of a process comes to mean another one.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

/// The file system of namespaces, as `statfs` says (linux/magic.h).
const NSFS: u64 = 0x6e73_6673;

/// Gives a namespace a path. Nothing may be mounted there.
pub fn bind(netns: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    fs::File::create(path)?.set_permissions(Permissions::from_mode(0o400))?;
    Ok(mount_bind(format!("/proc/self/fd/{}", netns.as_raw_fd()), path)?)
}

/// Whether a path leads to a namespace.
pub fn is_there(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == NSFS))
}

/// Takes the path away, if it is there. The namespace goes with its last process.
pub fn unbind(path: &Path) -> io::Result<()> {
    match unmount(path, UnmountFlags::DETACH) {
        // Mounts end with the mount namespace of an earlier process.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    use std::os::fd::AsFd;

    #[test]
    fn a_namespace_has_its_path_until_that_is_taken_away() {
        if !coracle_testing::is_root() {
            return;
        }
        let thread = std::thread::spawn(|| {
            // SAFETY: only this thread leaves, and it ends with the test.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }.unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("n");
            assert!(!is_there(&path));
            unbind(&path).unwrap();
            let own = fs::File::open("/proc/thread-self/ns/net").unwrap();
            bind(own.as_fd(), &path).unwrap();
            assert!(is_there(&path));
            unbind(&path).unwrap();
            assert!(!path.exists());
            // As an earlier process of another mount namespace leaves it.
            fs::write(&path, "").unwrap();
            assert!(!is_there(&path));
            unbind(&path).unwrap();
            assert!(!path.exists());
        });
        thread.join().unwrap();
    }
}
