//! What a host must have, checked before anything is made.

use std::fs;

use anyhow::{Result, bail};

/// # Errors
/// Says what is missing and what to do.
pub fn host() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("coracle must run as root: it makes namespaces, mounts and network links; try again with sudo");
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") && !try_module("overlay") {
        bail!(
            "the kernel has no overlayfs: load the module `overlay` (modprobe overlay) or use a kernel with CONFIG_OVERLAY_FS"
        );
    }
    if !coracle_network::host::nftables_works() {
        bail!(
            "the kernel has no nftables: load the module `nf_tables` (modprobe nf_tables) or use a kernel with CONFIG_NF_TABLES"
        );
    }
    for (name, file) in [("network", "net"), ("PID", "pid"), ("mount", "mnt"), ("UTS", "uts"), ("IPC", "ipc")] {
        if fs::symlink_metadata(format!("/proc/self/ns/{file}")).is_err() {
            bail!(
                "the kernel has no {name} namespaces: use a kernel with CONFIG_NAMESPACES and the {name} namespace enabled"
            );
        }
    }
    Ok(())
}

/// A file system that is a module registers itself when it is first asked for.
fn try_module(name: &str) -> bool {
    use rustix::mount::{FsOpenFlags, fsopen};
    fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
}
