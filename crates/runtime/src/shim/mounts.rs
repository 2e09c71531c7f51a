//! Mounts held by descriptor: made, copied, changed and attached without naming a path that could have changed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use crate::sys;

/// A new file system of a kind with its options, attached nowhere yet.
pub fn fresh(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", kind)?;
    for (name, value) in options {
        rustix::mount::fsconfig_set_string(&context, *name, *value)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// A detached copy of the mounts at a path of the node; links are followed.
pub fn copy_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(rustix::mount::open_tree(rustix::fs::CWD, path, flags)?)
}

/// A detached copy of the mounts from an open place on.
pub fn copy(place: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::mount::open_tree(place, c"", COPY | OpenTreeFlags::AT_RECURSIVE)?)
}

/// The same without the mounts below.
pub fn copy_one(place: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::mount::open_tree(place, c"", COPY)?)
}

const COPY: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC).union(OpenTreeFlags::AT_EMPTY_PATH);

/// Attaches a detached mount at an open place.
pub fn attach(tree: impl AsFd, place: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, c"", place, c"", flags)?)
}

/// Makes one mount read-only, not those below it.
pub fn make_read_only(mount: impl AsFd) -> io::Result<()> {
    let attributes = sys::MountAttributes { set: sys::MOUNT_ATTR_RDONLY, ..Default::default() };
    sys::set_mount_attributes(mount.as_fd(), false, &attributes)
}

/// Chooses how mounts travel between a tree and what it was copied from: one of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`.
pub fn spread(tree: impl AsFd, propagation: u64) -> io::Result<()> {
    let attributes = sys::MountAttributes { propagation, ..Default::default() };
    sys::set_mount_attributes(tree.as_fd(), true, &attributes)
}
