//! A container's view of the file system, made by its first process in its own mount namespace.
//!
//! Bind sources are taken as detached mount trees while the node's paths are still in view, and attached after
//! the root was changed: every target is then resolved inside the container, so no symlink leads out of it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::proto::ContainerSpec;
use crate::sys;

/// Mount options must fit one page.
const MAX_OPTIONS: usize = 4000;

const NOSUID: libc::c_ulong = libc::MS_NOSUID;
const NOEXEC: libc::c_ulong = libc::MS_NOEXEC;
const NODEV: libc::c_ulong = libc::MS_NODEV;

/// The devices that every container has: path, major, minor.
const STANDARD_DEVICES: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const DEVICE_LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
    ("pts/ptmx", "/dev/ptmx"),
];

fn at<T>(what: impl std::fmt::Display, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {}", plain(&error)))
}

/// An error without Rust's `(os error N)`, as the C library words it.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    };
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().collect::<String>() + letters.as_str(),
        None => text,
    }
}

/// A bind source in hand, to be attached later.
pub struct Bind {
    tree: OwnedFd,
    target: PathBuf,
    is_dir: bool,
}

/// Takes a detached copy of one path of the node.
pub fn take(source: &Path, target: &Path, readonly: bool, propagation: u64) -> Result<Bind, String> {
    let meta = match fs::metadata(source) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            at(format_args!("failed to mkdir {source:?}"), fs::create_dir_all(source))?;
            fs::metadata(source)
        }
        other => other,
    };
    let meta = at(format_args!("failed to stat {source:?}"), meta)?;
    let context = format_args!("error mounting {source:?} to rootfs at {target:?}").to_string();
    let tree = at(&context, sys::clone_mount(source, true))?;
    let spread = sys::MountAttributes { propagation, ..Default::default() };
    at(&context, sys::set_mount_attributes(Some(tree.as_fd()), c"", true, &spread))?;
    if readonly {
        let readonly = sys::MountAttributes { set: sys::MOUNT_ATTR_RDONLY, ..Default::default() };
        at(&context, sys::set_mount_attributes(Some(tree.as_fd()), c"", false, &readonly))?;
    }
    Ok(Bind { tree, target: target.to_path_buf(), is_dir: meta.is_dir() })
}

fn escape(path: &Path) -> String {
    let mut text = String::new();
    for letter in path.to_string_lossy().chars() {
        if matches!(letter, ':' | ',' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Mounts the overlay and makes it the root. The mount namespace is this process's own.
fn enter_root(spec: &ContainerSpec) -> Result<(), String> {
    let rootfs = spec.dir.join("rootfs");
    let target = rootfs.to_string_lossy();
    // Lower directories are named by descriptor, which keeps the options short, whatever their names are.
    let lower: Vec<OwnedFd> = at(
        "opening the image's layers",
        spec.lower.iter().map(|name| open_directory(&spec.layers_dir.join(name))).collect::<io::Result<_>>(),
    )?;
    let names: Vec<String> = lower.iter().map(|fd| std::os::fd::AsRawFd::as_raw_fd(fd).to_string()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},volatile",
        names.join(":"),
        escape(&spec.dir.join("upper")),
        escape(&spec.dir.join("work"))
    );
    if options.len() > MAX_OPTIONS {
        return Err(format!("the image has too many layers ({}) to be mounted", spec.lower.len()));
    }
    at("chdir to the layers", std::env::set_current_dir("/proc/self/fd"))?;
    at("mounting the root filesystem", sys::mount("overlay", &target, "overlay", 0, options.as_bytes()))?;
    at("chdir to the root filesystem", std::env::set_current_dir(&rootfs))?;
    at("pivot_root", sys::pivot_to_current_directory())
}

/// Builds the whole view. `binds` were taken before; `shm` is the pod's /dev/shm.
pub fn build(spec: &ContainerSpec, binds: Vec<Bind>, shm: Option<Bind>, cgroups: Vec<Bind>) -> Result<(), String> {
    at("making mounts slave", sys::mount("", "/", "", libc::MS_REC | libc::MS_SLAVE, b""))?;
    enter_root(spec)?;
    sys::umask(0);
    let taken = |path: &str| spec.mounts.iter().any(|mount| mount.target == Path::new(path));
    if !taken("/proc") {
        mount_at("proc", "/proc", "proc", NOSUID | NOEXEC | NODEV, b"")?;
    }
    if !taken("/dev") {
        mount_at("tmpfs", "/dev", "tmpfs", NOSUID | libc::MS_STRICTATIME, b"mode=755,size=65536k")?;
        mount_at("devpts", "/dev/pts", "devpts", NOSUID | NOEXEC, b"newinstance,ptmxmode=0666,mode=0620,gid=5")?;
        if !taken("/dev/mqueue") {
            mount_at("mqueue", "/dev/mqueue", "mqueue", NOSUID | NOEXEC | NODEV, b"")?;
        }
        make_devices(spec)?;
        if let Some(shm) = shm.filter(|_| !taken("/dev/shm")) {
            attach(shm)?;
        }
    }
    if !taken("/sys") {
        let readonly = if spec.privileged { 0 } else { libc::MS_RDONLY };
        mount_at("sysfs", "/sys", "sysfs", NOSUID | NOEXEC | NODEV | readonly, b"")?;
        if !taken("/sys/fs/cgroup") {
            mount_cgroups(spec, cgroups, readonly)?;
        }
    }
    for bind in binds {
        attach(bind)?;
    }
    if spec.cwd.starts_with('/') && fs::metadata(&spec.cwd).is_err() {
        // What makes this fail makes entering it fail, which is then told.
        let _ = make_dirs(Path::new(&spec.cwd));
    }
    if !spec.privileged {
        hide(spec)?;
    }
    if spec.readonly_rootfs {
        let readonly = sys::MountAttributes { set: sys::MOUNT_ATTR_RDONLY, ..Default::default() };
        at("making the root filesystem read-only", sys::set_mount_attributes(None, c"/", false, &readonly))?;
    }
    sys::umask(0o022);
    Ok(())
}

fn mount_at(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &[u8]) -> Result<(), String> {
    let context = format!("error mounting {source:?} to rootfs at {target:?}");
    match sys::mount(source, target, kind, flags, data) {
        // The image has no such directory, which is rare enough to look only now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            at(&context, make_dirs(Path::new(target)))?;
            at(&context, sys::mount(source, target, kind, flags, data))
        }
        result => at(&context, result),
    }
}

/// Makes a directory and its parents for everybody to enter, whatever the mask is.
fn make_dirs(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn attach(bind: Bind) -> Result<(), String> {
    let context = format!("error attaching a mount to rootfs at {:?}", bind.target);
    if fs::metadata(&bind.target).is_err() {
        if bind.is_dir {
            at(&context, make_dirs(&bind.target))?;
        } else {
            if let Some(parent) = bind.target.parent() {
                at(&context, make_dirs(parent))?;
            }
            at(&context, fs::File::create(&bind.target))?;
        }
    }
    at(&context, sys::attach_mount(bind.tree.as_fd(), &bind.target))
}

fn make_devices(spec: &ContainerSpec) -> Result<(), String> {
    for (path, major, minor) in STANDARD_DEVICES {
        let node = sys::make_node(Path::new(path), libc::S_IFCHR | 0o666, sys::device_number(*major, *minor));
        at(format_args!("error creating device {path}"), node)?;
    }
    for (to, from) in DEVICE_LINKS {
        at(format_args!("error linking {from}"), symlink(to, from))?;
    }
    for device in &spec.devices {
        let context = format!("error creating device {:?}", device.path);
        if let Some(parent) = device.path.parent() {
            at(&context, make_dirs(parent))?;
        }
        match sys::make_node(&device.path, device.mode, sys::device_number(device.major, device.minor)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            result => at(&context, result)?,
        }
        at(&context, std::os::unix::fs::lchown(&device.path, Some(device.uid), Some(device.gid)))?;
    }
    Ok(())
}

fn mount_cgroups(spec: &ContainerSpec, cgroups: Vec<Bind>, readonly: libc::c_ulong) -> Result<(), String> {
    if spec.cgroup.directory.is_some() {
        return mount_at("cgroup", "/sys/fs/cgroup", "cgroup2", NOSUID | NOEXEC | NODEV | readonly, b"");
    }
    mount_at("tmpfs", "/sys/fs/cgroup", "tmpfs", NOSUID | NOEXEC | NODEV, b"mode=755")?;
    for bind in cgroups {
        attach(bind)?;
    }
    if readonly != 0 {
        let readonly = sys::MountAttributes { set: sys::MOUNT_ATTR_RDONLY, ..Default::default() };
        at("making /sys/fs/cgroup read-only", sys::set_mount_attributes(None, c"/sys/fs/cgroup", false, &readonly))?;
    }
    Ok(())
}

/// Masks some paths and makes others read-only; those that do not exist need neither.
fn hide(spec: &ContainerSpec) -> Result<(), String> {
    for path in &spec.masked_paths {
        let Ok(meta) = fs::symlink_metadata(path) else { continue };
        let masked = if meta.is_dir() {
            sys::mount("tmpfs", path, "tmpfs", libc::MS_RDONLY, b"size=0k")
        } else {
            sys::mount("/dev/null", path, "", libc::MS_BIND, b"")
        };
        at(format_args!("masking {path}"), masked)?;
    }
    for path in &spec.readonly_paths {
        let Ok(name) = CString::new(path.as_str()) else { continue };
        match sys::mount(path, path, "", libc::MS_BIND | libc::MS_REC, b"") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            result => at(format_args!("making {path} read-only"), result)?,
        }
        let readonly = sys::MountAttributes { set: sys::MOUNT_ATTR_RDONLY, ..Default::default() };
        at(format_args!("making {path} read-only"), sys::set_mount_attributes(None, &name, false, &readonly))?;
    }
    Ok(())
}

/// Opens a terminal of the container's own devpts; answers with master, slave and its path.
pub fn open_terminal() -> Result<(OwnedFd, OwnedFd, PathBuf), String> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())
        .map_err(|error| format!("opening a terminal: {}", plain(&error.into())))?;
    let (slave, number) = at("opening a terminal", sys::open_pty_peer(master.as_fd()))?;
    Ok((master, slave, PathBuf::from(format!("/dev/pts/{number}"))))
}

/// Shows the terminal as /dev/console.
pub fn bind_console(terminal: &Path) -> Result<(), String> {
    at("creating /dev/console", fs::File::create("/dev/console"))?;
    let terminal = terminal.to_string_lossy();
    at("binding /dev/console", sys::mount(&terminal, "/dev/console", "", libc::MS_BIND, b""))
}

/// Lets the container's user open its standard streams anew by /dev/stdout and the like.
pub fn own_stream(fd: BorrowedFd<'_>, uid: u32) {
    let Ok(stat) = rustix::fs::fstat(fd) else { return };
    let device = sys::device_parts(stat.st_rdev);
    if stat.st_uid == uid || (stat.st_mode & libc::S_IFMT == libc::S_IFCHR && device == (1, 3)) {
        return;
    }
    let _ = rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None);
}

/// Every device node of the node's /dev, for privileged containers.
pub fn host_devices() -> Vec<super::proto::DeviceSpec> {
    const SKIPPED: &[&str] = &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console", "tty", "ptmx"];
    fn walk(dir: &Path, depth: usize, out: &mut Vec<super::proto::DeviceSpec>) {
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
pub fn device(path: &Path, meta: &fs::Metadata) -> super::proto::DeviceSpec {
    let (major, minor) = sys::device_parts(meta.rdev());
    super::proto::DeviceSpec {
        path: path.to_path_buf(),
        mode: meta.mode(),
        major,
        minor,
        uid: meta.uid(),
        gid: meta.gid(),
    }
}
