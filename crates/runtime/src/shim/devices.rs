//! A container's /dev: a file system of its own with the standard devices, those it was given, and its terminals.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::MountAttrFlags;

use super::mounts;
use super::proto::{ContainerSpec, DeviceSpec};
use super::root::{Kind, Root, beneath};
use super::rootfs::{at, attach_below, mount_on};
use crate::sys;

const NULL: (u32, u32) = (1, 3);
const PTMX: (u32, u32) = (5, 2);
/// What `fstatfs` says of devpts.
const DEVPTS_MAGIC: rustix::fs::FsWord = 0x1cd1;

/// The devices that every container has: name, major, minor.
const STANDARD_DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const DEVICE_LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// Both sides of a terminal.
pub struct Terminal {
    /// For the one who looks at it.
    pub master: OwnedFd,
    /// For the process.
    pub slave: OwnedFd,
}

/// A container's fresh /dev.
pub struct Dev {
    /// Its file system.
    pub mount: OwnedFd,
    /// The place of its null device, for masking.
    pub null: OwnedFd,
    /// The terminal shown as /dev/console.
    pub terminal: Option<Terminal>,
}

/// Makes /dev and attaches it. A volume may cover it later, which changes nothing about what was made of it.
pub fn make_dev(root: &Root, spec: &ContainerSpec) -> Result<Dev, String> {
    let (nosuid, noexec) = (MountAttrFlags::MOUNT_ATTR_NOSUID, MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let inert = nosuid | noexec | MountAttrFlags::MOUNT_ATTR_NODEV;
    let what = |kind| format!("making a mount of {kind}");
    let options = [("mode", "755"), ("size", "65536k")];
    let mount = at(what("tmpfs"), mounts::fresh("tmpfs", &options, nosuid | MountAttrFlags::MOUNT_ATTR_STRICTATIME))?;
    mount_on(root, "dev", &mount)?;
    make_nodes(&mount, spec)?;
    for name in ["pts", "mqueue", "shm"] {
        let made = rustix::fs::mkdirat(&mount, name, Mode::from_raw_mode(0o755)).map_err(io::Error::from);
        at(format_args!("creating /dev/{name}"), made)?;
    }
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    let pts = at(what("devpts"), mounts::fresh("devpts", &options, nosuid | noexec))?;
    attach_below(&mount, "pts", &pts)?;
    attach_below(&mount, "mqueue", at(what("mqueue"), mounts::fresh("mqueue", &[], inert))?)?;
    let null = at("opening /dev/null", beneath(&mount, "null", OFlags::PATH | OFlags::NOFOLLOW))?;
    at("opening /dev/null", check_device(&null, NULL))?;
    let terminal = match spec.tty {
        true => Some(make_console(&mount, &pts)?),
        false => None,
    };
    Ok(Dev { mount, null, terminal })
}

/// Opens the null device that `place` is the place of.
pub fn open_null(place: &OwnedFd, dev: &OwnedFd) -> io::Result<OwnedFd> {
    let null = beneath(dev, "null", OFlags::RDWR)?;
    let (wanted, got) = (rustix::fs::fstat(place)?, rustix::fs::fstat(&null)?);
    if (wanted.st_dev, wanted.st_ino) != (got.st_dev, got.st_ino) {
        return Err(io::Error::other("it was exchanged"));
    }
    Ok(null)
}

fn check_device(fd: impl AsFd, wanted: (u32, u32)) -> io::Result<()> {
    let stat = rustix::fs::fstat(fd)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || sys::device_parts(stat.st_rdev) != wanted {
        return Err(io::Error::other(format!("it is not the character device {}:{}", wanted.0, wanted.1)));
    }
    Ok(())
}

fn make_nodes(dev: &OwnedFd, spec: &ContainerSpec) -> Result<(), String> {
    for (name, major, minor) in STANDARD_DEVICES {
        let number = sys::device_number(*major, *minor);
        let node = rustix::fs::mknodat(dev, *name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), number);
        at(format_args!("error creating device /dev/{name}"), node.map_err(io::Error::from))?;
    }
    for (to, from) in DEVICE_LINKS {
        let link = rustix::fs::symlinkat(*to, dev, *from).map_err(io::Error::from);
        at(format_args!("error linking /dev/{from}"), link)?;
    }
    let own = at("opening /dev", dev.try_clone())?;
    let (dev, root) = (Root::from(own), at("opening /", Root::current())?);
    for device in &spec.devices {
        // Below /dev nothing but what was just made is in the way; elsewhere the image's own links are.
        let (base, path) = match device.path.strip_prefix("/dev") {
            Ok(path) => (&dev, path),
            Err(_) => (&root, device.path.as_path()),
        };
        at(format_args!("error creating device {:?}", device.path), make_node(base, path, device))?;
    }
    Ok(())
}

fn make_node(base: &Root, path: &Path, device: &DeviceSpec) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let parent = base.make(&Path::new("/").join(parent), Kind::Directory)?;
    let kind = FileType::from_raw_mode(device.mode);
    let mode = Mode::from_raw_mode(device.mode & 0o7777);
    match rustix::fs::mknodat(&parent, name, kind, mode, sys::device_number(device.major, device.minor)) {
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        result => result?,
    }
    let owner = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
    Ok(rustix::fs::chownat(&parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Opens a terminal of a fresh devpts and shows it as /dev/console.
fn make_console(dev: &OwnedFd, pts: &OwnedFd) -> Result<Terminal, String> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let (terminal, number) = open_pair(at("opening a terminal", beneath(pts, "ptmx", flags))?)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dev, "console", flags, Mode::from_raw_mode(0o644)).map_err(io::Error::from);
    at("creating /dev/console", file)?;
    let shown = beneath(pts, number.to_string(), OFlags::PATH | OFlags::NOFOLLOW).and_then(mounts::copy);
    attach_below(dev, "console", at("binding /dev/console", shown)?)?;
    Ok(terminal)
}

/// Opens a terminal in a container that runs, whose /dev may be anything by now.
pub fn open_terminal(root: &Root) -> Result<Terminal, String> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let master = at("opening a terminal", beneath(root, "dev/pts/ptmx", flags))?;
    let devpts = rustix::fs::fstatfs(&master).is_ok_and(|found| found.f_type == DEVPTS_MAGIC);
    if !devpts || check_device(&master, PTMX).is_err() {
        return Err("opening a terminal: /dev/pts/ptmx is not that of a devpts file system".into());
    }
    open_pair(master).map(|(terminal, _)| terminal)
}

fn open_pair(master: OwnedFd) -> Result<(Terminal, u32), String> {
    let (slave, number) = at("opening a terminal", sys::open_pty_peer(master.as_fd()))?;
    Ok((Terminal { master, slave }, number))
}

/// Lets the container's user open its standard streams anew by /dev/stdout and the like.
pub fn own_stream(fd: BorrowedFd<'_>, uid: u32) {
    let Ok(stat) = rustix::fs::fstat(fd) else { return };
    if stat.st_uid != uid && check_device(fd, NULL).is_err() {
        let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None);
    }
}

/// Every device node of the node's /dev, for privileged containers.
pub fn host_devices() -> Vec<DeviceSpec> {
    const SKIPPED: &[&str] = &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console", "tty", "ptmx"];
    fn walk(dir: &Path, depth: usize, out: &mut Vec<DeviceSpec>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            let kind = meta.file_type();
            if depth == 0 && SKIPPED.contains(&entry.file_name().to_string_lossy().as_ref()) {
                continue;
            }
            if kind.is_dir() && depth < 4 {
                walk(&entry.path(), depth + 1, out);
            } else if (kind.is_char_device() || kind.is_block_device()) && out.len() < 4096 {
                out.push(device(&entry.path(), &meta));
            }
        }
    }
    let mut out = Vec::new();
    walk(Path::new("/dev"), 0, &mut out);
    out
}

/// Describes a device node of the node.
pub fn device(path: &Path, meta: &fs::Metadata) -> DeviceSpec {
    let (major, minor) = sys::device_parts(meta.rdev());
    DeviceSpec { path: path.to_path_buf(), mode: meta.mode(), major, minor, uid: meta.uid(), gid: meta.gid() }
}
