//! A root directory that a node alone has, for paths that the host has not: everything that is in the host's, under the same
//! names, and what is to be there besides. Nobody writes to it, as that would be gone with the node.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_remount, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, pivot_root};

/// What is in the root directory.
enum Entry {
    /// With all that is mounted below it.
    Tree(OwnedFd, bool),
    Link(PathBuf),
}

/// A copy of a mount with those below it, which is nowhere yet.
pub fn copy_of(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).with_context(|| format!("failed to look at {}", path.display()))
}

/// Puts such a copy somewhere.
pub fn put(tree: &OwnedFd, at: &Path) -> Result<()> {
    move_mount(tree, c"", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .with_context(|| format!("failed to mount something on {}", at.display()))
}

/// Makes it, in a mount namespace whose mounts are private. In it there are these directories and empty files, too; `covered` is
/// any directory, which is covered for a moment.
///
/// # Errors
/// The kernel refuses.
pub fn enter(covered: &Path, directories: &[&Path], files: &[&Path]) -> Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir("/").context("failed to read /")? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let found = if kind.is_symlink() {
            Entry::Link(fs::read_link(&path)?)
        } else {
            Entry::Tree(copy_of(&path)?, kind.is_dir())
        };
        entries.push((entry.file_name(), found));
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("root", covered, "tmpfs", flags, Some(c"mode=0755,size=1m")).context("failed to mount a root directory")?;
    for (name, entry) in entries {
        let path = covered.join(name);
        match entry {
            Entry::Link(target) => symlink(target, path)?,
            Entry::Tree(tree, is_directory) => {
                if is_directory {
                    fs::create_dir(&path)?;
                } else {
                    fs::write(&path, "")?;
                }
                put(&tree, &path)?;
            }
        }
    }
    let inside = |path: &Path| covered.join(path.strip_prefix("/").unwrap_or(path));
    for directory in directories {
        fs::create_dir_all(inside(directory))?;
    }
    for file in files {
        let file = inside(file);
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(file, "")?;
    }
    mount_remount(covered, flags | MountFlags::RDONLY, c"").context("failed to keep the root directory as it is")?;
    chdir(covered)?;
    // The old one comes to lie on the new one.
    pivot_root(".", ".").context("failed to take another root directory")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(chdir("/")?)
}
