//! Project quotas: a directory of the node has no more room than its volume says, where the file system keeps count (ext4 and
//! xfs that are mounted with `prjquota`).
//!
//! A bound for who is careless, not for who is hostile: the kernel lets the owner of a file choose its project, so that root in
//! a pod may take what it writes out of the volume's count, or have it count as another's. It cannot choose whose limit is
//! set here: the project is made of the volume's name alone, and what the directory says is not believed. Two names may
//! come to the same number (one pair in 2^30); such volumes share the room of the one that was made last. Whoever has
//! `CAP_SYS_RESOURCE`, as privileged containers do, is not bounded at all.
//! <https://docs.kernel.org/filesystems/quota.html>, <https://man7.org/linux/man-pages/man2/quotactl.2.html>

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Once;

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR`, and the flag by which what is made in a directory is of its project.
const GET_ATTRIBUTES: libc::Ioctl = 0x801c_581f_u32 as libc::Ioctl;
const SET_ATTRIBUTES: libc::Ioctl = 0x401c_5820_u32 as libc::Ioctl;
const INHERIT: u32 = 0x200;
/// `QCMD(Q_SETQUOTA, PRJQUOTA)`, and the flag that says that the limits of blocks are meant.
const SET_QUOTA: u32 = 0x80_0008 << 8 | 2;
const BLOCK_LIMITS: u32 = 1;
/// Bytes of a block as quotas count them.
const BLOCK: u64 = 1024;
/// Projects below are whoever's else.
const FIRST_PROJECT: u32 = 1 << 20;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct if_dqblk`.
#[repr(C)]
#[derive(Default)]
struct Quota {
    block_hard_limit: u64,
    block_soft_limit: u64,
    space: u64,
    inode_hard_limit: u64,
    inode_soft_limit: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// Gives the directory of a volume so much room. Where the file system keeps no count, that is said once in the log. Blocks.
pub(crate) fn limit(dir: &Path, volume: &str, bytes: u64) {
    static TOLD: Once = Once::new();
    if let Err(error) = try_limit(dir, volume, bytes) {
        TOLD.call_once(|| {
            tracing::info!(
                dir = %dir.display(), %error,
                "volumes take as much of the disk as they want: it has no project quotas (mount it with prjquota)"
            );
        });
    }
}

fn try_limit(dir: &Path, volume: &str, bytes: u64) -> Result<()> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let dir = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(dir)?;
    let mut attributes = Attributes::default();
    attribute_call(&dir, GET_ATTRIBUTES, &mut attributes)?;
    let project = project_of(volume);
    set_quota(&dir, project, bytes)?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    attribute_call(&dir, SET_ATTRIBUTES, &mut attributes)
}

fn attribute_call(dir: &File, request: libc::Ioctl, attributes: &mut Attributes) -> Result<()> {
    // SAFETY: both requests are about a structure of this size, which lives across the call.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), request, std::ptr::from_mut(attributes)) };
    if result < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn set_quota(dir: &File, project: u32, bytes: u64) -> Result<()> {
    let hard = bytes.div_ceil(BLOCK);
    let quota = Quota { block_hard_limit: hard, block_soft_limit: hard, valid: BLOCK_LIMITS, ..Default::default() };
    // SAFETY: the structure is the one that the command reads, and lives across the call.
    let result = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, dir.as_raw_fd(), SET_QUOTA, project, std::ptr::from_ref(&quota))
    };
    if result < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// A number of a project for a name, never one that is somebody else's: of its hash, all bits but two.
fn project_of(volume: &str) -> u32 {
    let hash = volume.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    FIRST_PROJECT | hash >> 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_own_mounts;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    use std::fs;
    use std::io::ErrorKind;
    use std::process::Command;

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!((size_of::<Attributes>(), size_of::<Quota>()), (28, 72));
        assert!(project_of("pvc-a") != project_of("pvc-b"));
        assert!((0..10_000).all(|n| project_of(&format!("pvc-{n}")) >= FIRST_PROJECT));
    }

    #[test]
    fn without_quotas_a_volume_is_made_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        limit(dir.path(), "pv", 1 << 20);
        limit(&dir.path().join("none"), "pv", 1 << 20);
    }

    #[test]
    fn a_directory_has_the_room_of_its_volume() {
        with_own_mounts(|| {
            let root = tempfile::tempdir().unwrap();
            let (image, at) = (root.path().join("image"), root.path().join("disk"));
            fs::create_dir(&at).unwrap();
            File::create(&image).unwrap().set_len(64 << 20).unwrap();
            let run = |program: &str, arguments: &[&str]| {
                Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
            };
            let (image, disk) = (image.to_string_lossy(), at.to_string_lossy());
            let options = ["-q", "-O", "quota,project", "-E", "quotatype=prjquota", &*image];
            let mounted = run("mkfs.ext4", &options) && run("mount", &["-o", "loop,prjquota", &*image, &*disk]);
            if !mounted {
                let lacks = coracle_testing::Lacks::Machine("the kernel has no project quotas on ext4");
                return coracle_testing::skip(lacks);
            }
            let mut own = capabilities(None).unwrap();
            own.effective.remove(CapabilitySet::SYS_RESOURCE);
            set_capabilities(None, own).unwrap();
            let volume = at.join("pvc");
            fs::create_dir(&volume).unwrap();
            try_limit(&volume, "pvc", 1 << 20).unwrap();
            fs::write(volume.join("fits"), vec![1; 1 << 19]).unwrap();
            let full = fs::write(volume.join("more"), vec![1; 1 << 20]).unwrap_err();
            assert!(matches!(full.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded), "{full}");
            fs::write(at.join("outside"), vec![1; 4 << 20]).unwrap();
            try_limit(&volume, "pvc", 8 << 20).unwrap();
            fs::write(volume.join("more"), vec![1; 1 << 20]).unwrap();
            // Its owner says that it is of another project, which is none of the volume's.
            let foreign = at.join("foreign");
            fs::create_dir(&foreign).unwrap();
            try_limit(&foreign, "foreign", 4 << 20).unwrap();
            let mut claimed = Attributes { project: project_of("foreign"), flags: INHERIT, ..Default::default() };
            attribute_call(&File::open(&volume).unwrap(), SET_ATTRIBUTES, &mut claimed).unwrap();
            try_limit(&volume, "pvc", 8 << 20).unwrap();
            let mut found = Attributes::default();
            attribute_call(&File::open(&volume).unwrap(), GET_ATTRIBUTES, &mut found).unwrap();
            assert_eq!(found.project, project_of("pvc"));
            fs::write(foreign.join("fits"), vec![1; 2 << 20]).unwrap();
            let _ = run("umount", &[&*disk]);
        });
    }
}
