//! How a node comes to have its mounts, before anything of it runs.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use coracle_runtime::{MOUNT_ATTR_RDONLY, MountAttributes, set_mount_attributes};

use super::{Mount, root};

/// Mounts them, in a mount namespace whose mounts are private. `covered` is a directory of the node.
///
/// # Errors
/// A path is not there any more, or the kernel refuses.
pub fn attach(mounts: &[Mount], covered: &Path) -> Result<()> {
    // All are copied as the host has them, before one covers another.
    let copies = mounts.iter().map(|mount| {
        let copy = root::copy_of(&mount.host_path)?;
        if mount.read_only {
            let attributes = MountAttributes { set: MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
            set_mount_attributes(copy.as_fd(), true, &attributes)
                .with_context(|| format!("failed to make {} read-only", mount.host_path.display()))?;
        }
        Ok((mount, copy))
    });
    let copies = copies.collect::<Result<Vec<_>>>()?;
    let missing: Vec<&Mount> = mounts.iter().filter(|mount| !mount.node_path.exists()).collect();
    if !missing.is_empty() {
        let (directories, files): (Vec<&Mount>, Vec<&Mount>) =
            missing.iter().partition(|mount| mount.host_path.is_dir());
        root::enter(covered, &paths(&directories), &paths(&files))?;
    }
    copies.iter().try_for_each(|(mount, copy)| root::put(copy, &mount.node_path))
}

fn paths<'a>(mounts: &[&'a Mount]) -> Vec<&'a Path> {
    mounts.iter().map(|mount| mount.node_path.as_path()).collect()
}
