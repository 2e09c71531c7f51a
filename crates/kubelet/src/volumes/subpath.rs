//! `subPath` mounts: a path within a volume, opened so that no link can lead out of it.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind_recursive, unmount};

/// Binds `sub` of `volume` to `target` (made as needed) and answers with `target`.
///
/// The source is opened beneath the volume's directory and bound through its descriptor: whoever writes to the
/// volume cannot exchange it for a link meanwhile. A missing directory is made.
///
/// # Errors
/// When the path leaves the volume.
pub(crate) fn bind(volume: &Path, sub: &str, target: &Path) -> Result<PathBuf> {
    if target.exists() && !unmount_one(target) {
        return Err(Error::other(format!("{} is in use", target.display())));
    }
    let source = open_beneath(volume, sub)?;
    let is_dir =
        rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&source)?.st_mode) == rustix::fs::FileType::Directory;
    if is_dir {
        std::fs::create_dir_all(target)?;
    } else {
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(target)?;
    }
    mount_bind_recursive(format!("/proc/self/fd/{}", source.as_raw_fd()), target)?;
    Ok(target.to_owned())
}

fn open_beneath(volume: &Path, sub: &str) -> Result<OwnedFd> {
    let escape = || Error::new(ErrorKind::InvalidInput, format!("subpath {sub:?} leads out of its volume"));
    // Links are resolved first, so that absolute ones within the volume work; what is opened is checked again.
    let root = volume.canonicalize()?;
    let relative = match root.join(sub).canonicalize() {
        Ok(resolved) => resolved.strip_prefix(&root).map_err(|_| escape())?.to_owned(),
        Err(_) => PathBuf::from(sub),
    };
    if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(escape());
    }
    let mut current = openat(CWD, &root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for part in relative.components() {
        let Component::Normal(part) = part else { continue };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        current = match openat2(&current, part, flags, Mode::empty(), resolve) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                match mkdirat(&current, part, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                openat2(&current, part, flags, Mode::empty(), resolve)?
            }
            Err(Errno::LOOP | Errno::XDEV) => return Err(escape()),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(current)
}

fn unmount_one(path: &Path) -> bool {
    loop {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return true,
            Err(_) => return false,
        }
    }
}

/// Unmounts everything mounted below a directory, the innermost first.
pub(crate) fn unmount_below(dir: &Path) -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| point.starts_with(dir))
        .collect();
    points.reverse();
    for point in points {
        match unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => {
                return Err(Error::new(
                    Error::from(error).kind(),
                    format!("failed to unmount {}: {error}", point.display()),
                ));
            }
        }
    }
    Ok(())
}

/// mountinfo writes blanks as `\040`.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_that_leave_the_volume_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let volume = root.path().join("v");
        std::fs::create_dir_all(volume.join("in")).unwrap();
        symlink("/etc", volume.join("out")).unwrap();
        symlink("in", volume.join("link")).unwrap();
        symlink("../v/../..", volume.join("up")).unwrap();
        assert!(open_beneath(&volume, "in").is_ok());
        assert!(open_beneath(&volume, "link").is_ok());
        assert!(open_beneath(&volume, "new/deep").is_ok());
        assert!(volume.join("new/deep").is_dir());
        for bad in ["out", "out/passwd", "up", "../x", "/etc"] {
            assert!(open_beneath(&volume, bad).is_err(), "{bad}");
        }
    }
}
