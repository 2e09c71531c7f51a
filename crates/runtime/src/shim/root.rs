//! Paths of a container, found and made from a descriptor of its root: no link of an image, of a volume or of
//! /proc leads a step outside, and nothing that changes meanwhile can redirect a step already taken.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Links followed in one path, as the kernel has it.
const MAX_LINKS: usize = 40;

const NOWHERE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// What a missing path is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// The root directory of a container.
pub struct Root(OwnedFd);

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Root {
    fn from(directory: OwnedFd) -> Self {
        Self(directory)
    }
}

/// Opens what lies below a directory, over no link of any kind.
pub fn beneath(dir: impl AsFd, path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(dir, path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

impl Root {
    /// The root directory of a process that has entered its container.
    pub fn current() -> io::Result<Self> {
        Self::at(Path::new("/"))
    }

    /// Any directory as a root.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, NOWHERE | OFlags::DIRECTORY, Mode::empty())?))
    }

    /// Opens an existing path. Links are followed inside the root; magic ones (`/proc/PID/root`, `/proc/PID/fd/N`)
    /// are refused with `ELOOP`.
    pub fn find(&self, path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.0, path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// Opens a path for use as a place only; what is missing of it is made: directories of mode 0755, a file of
    /// mode 0644.
    pub fn make(&self, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
        match self.find(path, OFlags::PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.walk(path, kind),
            found => found,
        }
    }

    /// One step after the other, each from the directory reached. `..` goes back to a directory that was passed, and
    /// the text of a link is a path like any other, so that even a link whose target is missing stays inside.
    fn walk(&self, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
        let mut passed = vec![self.0.try_clone()?];
        let mut left = steps(path);
        let mut links = 0;
        while let Some(step) = left.pop() {
            match step.as_bytes() {
                b"/" => passed.truncate(1),
                b".." => passed.truncate(passed.len().max(2) - 1),
                _ => {
                    let here = passed.last().ok_or(Errno::NOENT)?;
                    let kind = if left.is_empty() { kind } else { Kind::Directory };
                    let next = step_into(here, &step, kind)?;
                    if rustix::fs::fstat(&next)?.st_mode & libc::S_IFMT != libc::S_IFLNK {
                        passed.push(next);
                        continue;
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = rustix::fs::readlinkat(&next, c"", Vec::new())?;
                    left.extend(steps(Path::new(OsStr::from_bytes(target.as_bytes()))));
                }
            }
        }
        passed.pop().ok_or_else(|| Errno::NOENT.into())
    }
}

/// The parts of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter(|part| *part != Component::CurDir);
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

/// Opens one name of a directory, a link as the link itself, and makes it when it is missing.
fn step_into(dir: &OwnedFd, name: &OsStr, kind: Kind) -> io::Result<OwnedFd> {
    let open = || rustix::fs::openat(dir, name, NOWHERE | OFlags::NOFOLLOW, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {}
        found => return Ok(found?),
    }
    let made = match kind {
        Kind::Directory => rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        // Another container of the pod was quicker; what it made is looked at like anything found.
        Ok(()) | Err(Errno::EXIST) => Ok(open()?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A root in a directory, with another directory beside it that nothing may reach.
    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        let root = Root::at(&dir.path().join("root")).unwrap();
        (dir, root)
    }

    #[test]
    fn what_is_missing_of_a_path_is_made() {
        let (dir, root) = root();
        root.make(Path::new("/a/b/c"), Kind::Directory).unwrap();
        root.make(Path::new("/a/file"), Kind::File).unwrap();
        root.make(Path::new("/a/file"), Kind::File).unwrap();
        assert!(dir.path().join("root/a/b/c").is_dir() && dir.path().join("root/a/file").is_file());
    }

    #[test]
    fn dangling_links_are_followed_inside_the_root_only() {
        let (dir, root) = root();
        let link = |to: &str, from: &str| symlink(to, dir.path().join("root").join(from)).unwrap();
        link("../outside/x", "up");
        link("../../../../../../outside/y", "etc/further");
        link("/outside/z", "absolute");
        link("/run", "var");
        for (path, made) in [
            ("/up", "root/outside/x"),
            ("/etc/further/deep", "root/outside/y/deep"),
            ("/absolute", "root/outside/z"),
            ("/var/secrets", "root/run/secrets"),
            ("/../../new", "root/new"),
        ] {
            root.make(Path::new(path), Kind::Directory).unwrap();
            assert!(dir.path().join(made).is_dir(), "{path}");
        }
        assert_eq!(std::fs::read_dir(dir.path().join("outside")).unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_made_where_a_dangling_link_points_inside() {
        let (dir, root) = root();
        symlink("/etc/real", dir.path().join("root/link")).unwrap();
        root.make(Path::new("/link"), Kind::File).unwrap();
        assert!(dir.path().join("root/etc/real").is_file());
    }

    #[test]
    fn circles_and_magic_links_end_with_an_error() {
        let (dir, root) = root();
        symlink("b", dir.path().join("root/a")).unwrap();
        symlink("a", dir.path().join("root/b")).unwrap();
        let error = root.make(Path::new("/a/x"), Kind::Directory).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        let all = Root::current().unwrap();
        let error = all.find("/proc/self/root/etc", OFlags::PATH).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn beneath_goes_over_no_link() {
        let (dir, root) = root();
        symlink("etc", dir.path().join("root/same")).unwrap();
        assert!(beneath(&root, "etc", OFlags::PATH).is_ok());
        for path in ["same", "../outside", "/etc"] {
            assert!(beneath(&root, path, OFlags::PATH).is_err(), "{path}");
        }
    }
}
