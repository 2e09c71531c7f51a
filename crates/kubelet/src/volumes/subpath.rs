//! `subPath` mounts: a path within a volume, opened so that no link can lead out of it.
//!
//! Whoever writes to the volume may make and exchange links at any time. So the path is walked by the kernel beneath a
//! descriptor of the volume, and what it found is mounted through its descriptor at a place of the pod's own directory:
//! the container is given that mount, and nobody resolves the path of the volume again.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};

use super::mount::{add_flags, take_away};

/// How often a walk is begun anew because something was renamed meanwhile.
const WALKS: usize = 64;

/// Mounts `sub` of `volume` at `target` (made as needed, an earlier mount goes) and answers with `target`. A missing
/// directory is made with the mode of the volume. `read_only` is for all that is mounted in it, too.
///
/// # Errors
/// When the path leaves the volume, or leads to nothing.
pub(crate) fn bind(volume: &Path, sub: &str, target: &Path, read_only: bool) -> Result<PathBuf> {
    let source = open_beneath(volume, sub)?;
    let is_dir = kind_of(&source)? == FileType::Directory;
    let place = make_place(target, is_dir)?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(&source, "", clone | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::AT_RECURSIVE)?;
    if read_only {
        add_flags(&tree, MountFlags::RDONLY)?;
    }
    move_mount(
        &tree,
        "",
        &place,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )?;
    // What is mounted in the volume later shows here too; what is unmounted here stays mounted there.
    mount_change(target, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    Ok(target.to_owned())
}

/// Opens a path of a volume; what is missing of it is made.
fn open_beneath(volume: &Path, sub: &str) -> Result<OwnedFd> {
    let root = openat(CWD, volume, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let relative = Path::new(sub);
    if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(escape(sub));
    }
    let found = match walk(&root, relative) {
        Err(Errno::NOENT) => make(&root, relative),
        Err(Errno::XDEV | Errno::LOOP) => return within(volume, &root, sub),
        other => other,
    };
    let found = found.map_err(|error| match error {
        Errno::XDEV | Errno::LOOP => escape(sub),
        Errno::NOENT => Error::new(ErrorKind::NotFound, format!("subpath {sub:?} has a link that leads to nothing")),
        error => error.into(),
    })?;
    match kind_of(&found)? {
        FileType::Symlink => Err(escape(sub)),
        _ => Ok(found),
    }
}

fn escape(sub: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("subpath {sub:?} leads out of its volume"))
}

fn kind_of(fd: &OwnedFd) -> Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}

/// Walks a path as links within the volume lead; one that leads out is an error.
fn walk(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..WALKS {
        match openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Absolute links of the node may lead to somewhere else in the same volume: what they lead to is walked without any.
fn within(volume: &Path, root: &OwnedFd, sub: &str) -> Result<OwnedFd> {
    let (top, resolved) = (volume.canonicalize()?, volume.join(sub).canonicalize().map_err(|_| escape(sub))?);
    let inner = resolved.strip_prefix(&top).ok().filter(|inner| !inner.as_os_str().is_empty());
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let inner = inner.ok_or_else(|| escape(sub))?;
    openat2(root, inner, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(|_| escape(sub))
}

/// Makes the missing directories of a path, each in the directory that was found before it.
fn make(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let mode = Mode::from_raw_mode(fstat(root)?.st_mode & 0o7777);
    let mut above = walk(root, Path::new(""))?;
    let mut so_far = PathBuf::new();
    for part in path.components() {
        let Component::Normal(part) = part else { continue };
        so_far.push(part);
        above = match walk(root, &so_far) {
            Err(Errno::NOENT) => {
                match mkdirat(&above, part, mode) {
                    Ok(()) => {
                        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                        // The mask of this process is not the volume's.
                        fchmod(openat(&above, part, flags, Mode::empty())?, mode)?;
                    }
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                walk(root, &so_far)?
            }
            other => other?,
        };
    }
    Ok(above)
}

/// An empty directory or file to mount on, in a directory that is the kubelet's alone.
fn make_place(target: &Path, is_dir: bool) -> Result<OwnedFd> {
    // What an earlier container had mounted there.
    take_away(target)?;
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let old = std::fs::symlink_metadata(target).ok();
    match old {
        Some(meta) if meta.is_dir() == is_dir && !meta.is_symlink() => {}
        Some(meta) if meta.is_dir() => std::fs::remove_dir(target)?,
        Some(_) => std::fs::remove_file(target)?,
        None => {}
    }
    if is_dir {
        std::fs::create_dir_all(target)?;
    } else {
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(target)?;
    }
    Ok(openat(CWD, target, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_own_mounts;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn volume() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let volume = root.path().join("v");
        fs::create_dir_all(volume.join("in")).unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        (root, volume)
    }

    #[test]
    fn links_within_the_volume_are_followed() {
        let (_root, volume) = volume();
        fs::write(volume.join("in/file"), "x").unwrap();
        symlink("in", volume.join("link")).unwrap();
        symlink("../in", volume.join("in/up")).unwrap();
        symlink(volume.join("in"), volume.join("absolute")).unwrap();
        for good in ["", ".", "in", "link/file", "in/up/file", "absolute/file"] {
            assert!(open_beneath(&volume, good).is_ok(), "{good}");
        }
    }

    #[test]
    fn links_that_leave_the_volume_are_refused() {
        let (_root, volume) = volume();
        symlink("/etc", volume.join("out")).unwrap();
        symlink("../v/../..", volume.join("up")).unwrap();
        symlink("/proc/self/root", volume.join("magic")).unwrap();
        symlink("loop", volume.join("loop")).unwrap();
        for bad in ["out", "out/passwd", "out/new", "up", "up/new", "magic", "loop", "../x", "/etc"] {
            assert!(open_beneath(&volume, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sub_path_never_leaves_its_volume_by_a_dangling_link() {
        let (root, volume) = volume();
        fs::create_dir(volume.join("d")).unwrap();
        // In the container it leads to nothing; from where the volume is on the node it leads to a directory.
        symlink("../../etc", volume.join("d/e")).unwrap();
        symlink("../../missing", volume.join("d/m")).unwrap();
        symlink("missing", volume.join("d/here")).unwrap();
        for bad in ["d/e", "d/e/new", "d/m", "d/m/new", "d/here"] {
            assert!(open_beneath(&volume, bad).is_err(), "{bad}");
        }
        assert_eq!(fs::read_dir(root.path().join("etc")).unwrap().count(), 0);
        assert!(!root.path().join("missing").exists());
    }

    #[test]
    fn a_missing_directory_is_made_with_the_mode_of_the_volume() {
        let (_root, volume) = volume();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o2777)).unwrap();
        open_beneath(&volume, "new/deep").unwrap();
        for made in ["new", "new/deep"] {
            assert_eq!(fs::metadata(volume.join(made)).unwrap().permissions().mode() & 0o7777, 0o2777, "{made}");
        }
    }

    #[test]
    fn a_link_exchanged_at_any_time_never_leads_out() {
        let (root, volume) = volume();
        let outside = fstat(openat(CWD, root.path().join("etc"), OFlags::PATH, Mode::empty()).unwrap()).unwrap().st_ino;
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = fs::create_dir(volume.join("x"));
                    let _ = fs::remove_dir(volume.join("x"));
                    let _ = symlink("../etc", volume.join("x"));
                    let _ = fs::remove_file(volume.join("x"));
                }
            });
            for _ in 0..5000 {
                if let Ok(found) = open_beneath(&volume, "x") {
                    let stat = fstat(&found).unwrap();
                    assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::Directory);
                    assert_ne!(stat.st_ino, outside);
                }
                let _ = open_beneath(&volume, "x/made");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(!root.path().join("etc/made").exists());
    }

    #[test]
    fn a_pod_is_removed_below_a_linked_data_directory_and_the_host_path_of_its_sub_path_stays() {
        with_own_mounts(|| {
            let (root, host_path) = volume();
            fs::create_dir_all(host_path.join("app/usb")).unwrap();
            fs::write(host_path.join("app/kept"), "x").unwrap();
            rustix::mount::mount_bind(host_path.join("in"), host_path.join("app/usb")).unwrap();
            fs::write(host_path.join("app/usb/kept"), "x").unwrap();
            fs::create_dir(root.path().join("real")).unwrap();
            symlink("real", root.path().join("data")).unwrap();
            let pod = root.path().join("data/kubelet/pods/u");
            for sub in ["app", "app/kept", "app"] {
                let target = bind(&host_path, sub, &pod.join("volume-subpaths/v/c/0"), false).unwrap();
                assert_eq!(target.is_dir(), sub == "app");
            }
            assert!(pod.join("volume-subpaths/v/c/0/usb/kept").exists());
            let place = bind(&host_path, "", &pod.join("volume-subpaths/v/c/1"), true).unwrap();
            for inner in ["new", "app/usb/new"] {
                let refused = fs::write(place.join(inner), "x").unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem, "{inner}");
                fs::write(host_path.join(inner), "x").unwrap();
            }
            coracle_runtime::tree::remove(&pod).unwrap();
            assert!(!pod.exists());
            assert!(host_path.join("app/kept").exists() && host_path.join("app/usb/kept").exists());
        });
    }
}
