//! Mounts of volumes: looked for, made by descriptor, and taken away without touching what they show.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use coracle_runtime::{MountAttributes, set_mount_attributes};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, fstat, openat, statx};
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change,
    move_mount, open_tree, unmount,
};

/// Whether something is mounted at a path, be it of the same file system.
pub(super) fn is_mounted(path: &Path) -> bool {
    // A server that does not answer is not asked.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    let mount = |path: &Path| statx(CWD, path, flags, StatxFlags::MNT_ID).map(|found| found.stx_mnt_id);
    let above = path.parent().map(mount);
    matches!((mount(path), above), (Ok(here), Some(Ok(above))) if here != above)
}

/// Mounts a directory of the node, with all that is mounted in it, at `at`, which is made as needed. All of it is what it
/// is on the node (`ro`, `nosuid`), and what `flags` say besides, from the moment that it is there.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn bind(source: &Path, at: &Path, flags: MountFlags) -> Result<()> {
    std::fs::create_dir_all(at)?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, source, clone)?;
    if FileType::from_raw_mode(fstat(&tree)?.st_mode) != FileType::Directory {
        return Err(Error::new(ErrorKind::NotADirectory, format!("{} is not a directory", source.display())));
    }
    // Before anybody can find it: one that is mounted already is taken for whole.
    add_flags(&tree, flags)?;
    let place = openat(CWD, at, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let by_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(&tree, "", &place, "", by_descriptor)?)
}

/// Adds flags to a tree of mounts, all of it, and takes none away. How access times are kept is a choice: the one that is
/// named takes the place of the other. Flags of file systems (`sync`) are not those of a mount, and do nothing here.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn add_flags(tree: &OwnedFd, flags: MountFlags) -> Result<()> {
    let named = ATTRIBUTES.iter().filter(|(flag, _)| flags.contains(*flag));
    let set = named.fold(MountAttrFlags::empty(), |all, (_, attribute)| all | *attribute);
    let access_times = ACCESS_TIMES.iter().find(|(flag, _)| flags.contains(*flag));
    let (chosen, clear) = access_times.map_or((MountAttrFlags::empty(), MountAttrFlags::empty()), |(_, chosen)| {
        (*chosen, MountAttrFlags::MOUNT_ATTR__ATIME)
    });
    let attributes =
        MountAttributes { set: (set | chosen).bits().into(), clear: clear.bits().into(), ..Default::default() };
    if (attributes.set, attributes.clear) == (0, 0) {
        return Ok(());
    }
    set_mount_attributes(tree.as_fd(), true, &attributes)
}

const ATTRIBUTES: [(MountFlags, MountAttrFlags); 5] = [
    (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
    (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
    (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
    (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
];

/// Of several that are named, the first one here counts.
const ACCESS_TIMES: [(MountFlags, MountAttrFlags); 3] = [
    (MountFlags::STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
    (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
    (MountFlags::RELATIME, MountAttrFlags::MOUNT_ATTR_RELATIME),
];

/// Takes away all that is mounted at a place itself. Where it came from keeps what is mounted in it.
///
/// # Errors
/// When the kernel refuses. Names the path.
pub(super) fn take_away(at: &Path) -> Result<()> {
    loop {
        // An error says that nothing is mounted here.
        let _ = mount_change(at, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC);
        match unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => {
                let message = format!("failed to unmount {}: {error}", at.display());
                return Err(Error::new(Error::from(error).kind(), message));
            }
        }
    }
}

/// Takes a mount away with the empty directory that it was on.
///
/// # Errors
/// When the kernel refuses, or the directory is not empty.
pub(super) fn take_away_with_place(at: &Path) -> Result<()> {
    take_away(at)?;
    match std::fs::remove_dir(at) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What mount options mean: flags of the mount, and what is left for the file system, in order.
pub(super) fn parse<'a>(options: impl IntoIterator<Item = &'a String>) -> (MountFlags, Vec<String>) {
    let (mut flags, mut data) = (MountFlags::empty(), Vec::new());
    for option in options.into_iter().flat_map(|options| options.split(',')).filter(|option| !option.is_empty()) {
        match FLAGS.iter().find(|(name, _)| *name == option) {
            Some((_, flag)) => flags |= *flag,
            None => data.push(option.to_owned()),
        }
    }
    (flags, data)
}

const FLAGS: [(&str, MountFlags); 13] = [
    ("defaults", MountFlags::empty()),
    ("rw", MountFlags::empty()),
    ("bind", MountFlags::empty()),
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("strictatime", MountFlags::STRICTATIME),
    ("sync", MountFlags::SYNCHRONOUS),
    ("dirsync", MountFlags::DIRSYNC),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_own_mounts;
    use rustix::fs::StatVfsMountFlags;
    use std::fs;

    #[test]
    fn options_are_flags_or_of_the_file_system() {
        let options = ["ro,noatime".to_owned(), "vers=4.2".to_owned(), "hard".to_owned(), "defaults".to_owned()];
        let (flags, data) = parse(&options);
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::NOATIME);
        assert_eq!(data, ["vers=4.2", "hard"]);
    }

    #[test]
    fn a_bound_directory_is_seen_as_mounted_and_outlives_its_mount() {
        with_own_mounts(|| {
            let root = tempfile::tempdir().unwrap();
            let (source, at) = (root.path().join("source"), root.path().join("pod/v"));
            fs::create_dir_all(source.join("inner")).unwrap();
            rustix::mount::mount_bind(&source, source.join("inner")).unwrap();
            fs::write(source.join("inner/kept"), "x").unwrap();
            assert!(!is_mounted(&at));
            bind(&source, &at, MountFlags::RDONLY | MountFlags::NOEXEC).unwrap();
            assert!(is_mounted(&at) && at.join("inner/kept").exists());
            assert_eq!(fs::write(at.join("new"), "x").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
            take_away_with_place(&at).unwrap();
            take_away_with_place(&at).unwrap();
            assert!(!at.exists() && source.join("inner/kept").exists() && is_mounted(&source.join("inner")));
            fs::write(source.join("file"), "x").unwrap();
            assert!(bind(&source.join("file"), &at, MountFlags::empty()).is_err() && !is_mounted(&at));
        });
    }

    #[test]
    fn a_bound_tree_keeps_the_flags_that_it_has_on_the_node_and_all_of_it_gets_those_of_the_volume() {
        with_own_mounts(|| {
            let root = tempfile::tempdir().unwrap();
            let (source, at) = (root.path().join("source"), root.path().join("pod/v"));
            let fresh = |dir: &Path, flags: MountFlags| {
                fs::create_dir(dir).unwrap();
                rustix::mount::mount("tmpfs", dir, "tmpfs", flags, None).unwrap();
            };
            fresh(&source, MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME);
            fresh(&source.join("inner"), MountFlags::NOSUID);
            let flags = |dir: &Path| rustix::fs::statvfs(dir).unwrap().f_flag;
            let of_node = StatVfsMountFlags::NOSUID | StatVfsMountFlags::NODEV | StatVfsMountFlags::NOATIME;
            bind(&source, &at, MountFlags::NOEXEC).unwrap();
            assert!(flags(&at).contains(of_node | StatVfsMountFlags::NOEXEC));
            assert!(flags(&at.join("inner")).contains(StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC));
            assert!(!flags(&source).contains(StatVfsMountFlags::NOEXEC));
            take_away(&at).unwrap();
            bind(&source, &at, MountFlags::RDONLY | MountFlags::RELATIME).unwrap();
            assert!(fs::write(at.join("inner/new"), "x").is_err() && !flags(&at).contains(StatVfsMountFlags::NOATIME));
        });
    }
}
