//! A container's view of the file system, made by its first process in its own mount namespace.
//!
//! Bind sources are taken as detached mount trees while the node's paths are still in view. After the root was
//! changed, everything is found from a descriptor of that root and attached by descriptor. The order is what makes it
//! safe: the fresh /dev, /proc and /sys first, on directories that are no links; then what is hidden of them; only
//! then what pod and image bring along, which can cover these mounts and never lead them elsewhere.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::devices::{self, Terminal};
use super::proto::ContainerSpec;
use super::root::{Kind, Root, beneath};
use super::{image_volume, mounts};
use crate::sys;

/// Mount options must fit one page.
const MAX_OPTIONS: usize = 4000;
/// What `fstatfs` says of sysfs.
const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572;
/// Inode of the root of every proc file system.
const PROC_ROOT: u64 = 1;

const INERT: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC).union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Files of /proc that a mount may cover, as the OCI runtimes have it: they only inform.
const COVERABLE: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
    "/proc/uptime",
];

/// Says what was tried when it failed.
pub fn at<T>(what: impl std::fmt::Display, result: io::Result<T>) -> Result<T, String> {
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
    kind: Kind,
    /// It is filled with what the image has at the target.
    pub from_image: bool,
}

/// What a container's first process holds of its view.
pub struct View {
    /// The root directory.
    pub root: Root,
    /// A null device of the container's own.
    pub null: OwnedFd,
    /// A terminal, when one is wanted.
    pub terminal: Option<Terminal>,
}

/// Takes a detached copy of one path of the node.
pub fn take(source: &Path, target: &Path, readonly: bool, propagation: u64) -> Result<Bind, String> {
    let tree = match mounts::copy_path(source) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            at(format_args!("failed to mkdir {source:?}"), std::fs::create_dir_all(source))?;
            mounts::copy_path(source)
        }
        other => other,
    };
    let context = format!("error mounting {source:?} to rootfs at {target:?}");
    let tree = at(&context, tree)?;
    let kind = at(&context, rustix::fs::fstat(&tree).map_err(io::Error::from))?.st_mode & libc::S_IFMT;
    if kind == libc::S_IFLNK {
        return Err(format!("{context}: the source is a symbolic link"));
    }
    at(&context, mounts::spread(&tree, propagation))?;
    if readonly {
        at(&context, mounts::make_read_only(&tree))?;
    }
    let kind = if kind == libc::S_IFDIR { Kind::Directory } else { Kind::File };
    Ok(Bind { tree, target: target.to_path_buf(), kind, from_image: false })
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
fn enter_root(spec: &ContainerSpec) -> Result<Root, String> {
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
    at("pivot_root", sys::pivot_to_current_directory())?;
    at("opening the root filesystem", Root::current())
}

/// The /proc of a PID namespace that this process is not in yet.
pub fn take_proc(root: &Root, path: &str) -> Result<OwnedFd, String> {
    let found = at("opening /proc", beneath(root, path, OFlags::PATH | OFlags::DIRECTORY))?;
    if !is_proc_root(&found) {
        return Err(format!("/{path} is not a proc file system"));
    }
    let tree = mounts::copy_one(found).and_then(|tree| mounts::spread(&tree, libc::MS_PRIVATE).map(|()| tree));
    at("taking /proc", tree)
}

/// What was taken of the node and the pod, to be put into the view.
pub struct Taken {
    /// What pod and image asked for.
    pub binds: Vec<Bind>,
    /// The pod's /dev/shm.
    pub shm: Bind,
    /// The /proc of a PID namespace to be joined; `None` makes one of the present PID namespace.
    pub proc: Option<OwnedFd>,
    /// Directories below /sys/fs/cgroup.
    pub cgroups: Vec<Bind>,
}

/// Builds the whole view.
pub fn build(spec: &ContainerSpec, taken: Taken) -> Result<View, String> {
    at("making mounts slave", sys::mount("", "/", "", libc::MS_REC | libc::MS_SLAVE, b""))?;
    let root = enter_root(spec)?;
    sys::umask(0);
    // Before anything covers what the image has.
    for bind in taken.binds.iter().filter(|bind| bind.from_image) {
        let filled = image_volume::fill(&bind.tree, &root, &bind.target);
        at(format_args!("filling the image's volume {:?}", bind.target), filled)?;
    }
    let dev = devices::make_dev(&root, spec)?;
    attach_below(&dev.mount, "shm", taken.shm.tree)?;
    let proc = match taken.proc {
        Some(tree) => mount_on(&root, "proc", &tree).map(|()| tree)?,
        None => mount_fresh(&root, "proc", "proc", INERT)?,
    };
    let writable = if spec.privileged { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    let sys = mount_fresh(&root, "sys", "sysfs", INERT | writable)?;
    mount_cgroups(spec, &sys, taken.cgroups, writable)?;
    hide(spec, "/proc", &proc, &dev.null)?;
    hide(spec, "/sys", &sys, &dev.null)?;
    for bind in taken.binds {
        attach(&root, spec, bind, &dev.null)?;
    }
    if spec.cwd.starts_with('/') {
        // What makes this fail makes entering it fail, which is then told.
        let _ = root.make(Path::new(&spec.cwd), Kind::Directory);
    }
    if spec.readonly_rootfs {
        at("making the root filesystem read-only", mounts::make_read_only(&root))?;
    }
    let null = at("opening /dev/null", devices::open_null(&dev.null, &dev.mount))?;
    Ok(View { root, null, terminal: dev.terminal })
}

/// Attaches a fresh file system on a directory of the root, which is made when it is missing. An image that has a
/// link there could lead the mount, and what is hidden of it, elsewhere.
pub fn mount_on(root: &Root, name: &str, tree: impl AsFd) -> Result<(), String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let place = match beneath(root, name, flags) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mode = Mode::from_raw_mode(0o755);
            let made = rustix::fs::mkdirat(root, name, mode).map_err(io::Error::from);
            at(format_args!("creating /{name}"), made).and_then(|()| at(name, beneath(root, name, flags)))
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => Err(format!(
            "error mounting to rootfs at \"/{name}\": the image has a link or a file there, where a directory must be"
        )),
        found => at(format_args!("opening /{name}"), found),
    }?;
    at(format_args!("error mounting to rootfs at \"/{name}\""), mounts::attach(tree, place))
}

fn mount_fresh(root: &Root, name: &str, kind: &str, attributes: MountAttrFlags) -> Result<OwnedFd, String> {
    let tree = at(format_args!("making a mount of {kind}"), mounts::fresh(kind, &[], attributes))?;
    mount_on(root, name, &tree)?;
    Ok(tree)
}

/// Attaches a mount on a directory of a fresh file system.
pub fn attach_below(mount: &OwnedFd, name: &str, tree: impl AsFd) -> Result<(), String> {
    let place = at(format_args!("opening {name:?}"), beneath(mount, name, OFlags::PATH))?;
    at(format_args!("attaching {name:?}"), mounts::attach(tree, place))
}

fn mount_cgroups(
    spec: &ContainerSpec,
    sys: &OwnedFd,
    cgroups: Vec<Bind>,
    writable: MountAttrFlags,
) -> Result<(), String> {
    if spec.cgroup.directory.is_some() {
        let tree = at("making a mount of cgroup2", mounts::fresh("cgroup2", &[], INERT | writable))?;
        return attach_below(sys, "fs/cgroup", tree);
    }
    let tree = at("making a mount of tmpfs", mounts::fresh("tmpfs", &[("mode", "755")], INERT))?;
    attach_below(sys, "fs/cgroup", &tree)?;
    for bind in cgroups {
        let name = bind.target.to_string_lossy();
        let made = rustix::fs::mkdirat(&tree, &*name, Mode::from_raw_mode(0o755)).map_err(io::Error::from);
        at(format_args!("creating /sys/fs/cgroup/{name}"), made)?;
        attach_below(&tree, &name, bind.tree)?;
    }
    if writable.is_empty() {
        return Ok(());
    }
    at("making /sys/fs/cgroup read-only", mounts::make_read_only(&tree))
}

/// Attaches what the pod asked for, at its place inside the root.
fn attach(root: &Root, spec: &ContainerSpec, bind: Bind, null: &OwnedFd) -> Result<(), String> {
    let context = format!("error attaching a mount to rootfs at {:?}", bind.target);
    let place = at(&context, root.make(&bind.target, bind.kind))?;
    let is_proc = check_place(&bind, &place).map_err(|error| format!("{context}: {error}"))?;
    at(&context, mounts::attach(&bind.tree, &place))?;
    // The node's own file systems in their usual places are hidden from the container like fresh ones.
    if is_proc {
        hide(spec, "/proc", &bind.tree, null)?;
    }
    if bind.target == Path::new("/sys") && file_system(&bind.tree) == Ok(SYSFS_MAGIC) {
        hide(spec, "/sys", &bind.tree, null)?;
    }
    Ok(())
}

fn file_system(fd: impl AsFd) -> Result<rustix::fs::FsWord, Errno> {
    rustix::fs::fstatfs(fd).map(|found| found.f_type)
}

fn is_proc_root(fd: impl AsFd) -> bool {
    let of_proc = file_system(&fd) == Ok(PROC_SUPER_MAGIC);
    of_proc && rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_ino == PROC_ROOT)
}

/// Refuses mounts into /proc, as the OCI runtimes do, whether the path says so or the links that it leads over. True
/// for another proc file system in place of the whole.
fn check_place(bind: &Bind, place: &OwnedFd) -> Result<bool, String> {
    let inside = file_system(place).map_err(|error| plain(&error.into()))? == PROC_SUPER_MAGIC;
    if is_proc_root(place) {
        if !is_proc_root(&bind.tree) {
            return Err(format!("{:?} cannot be mounted because it is not of type proc", bind.target));
        }
        return Ok(true);
    }
    let named = bind.target.starts_with("/proc");
    if (inside || named) && !COVERABLE.iter().any(|path| bind.target == Path::new(path)) {
        return Err(format!("{:?} cannot be mounted because it is inside /proc", bind.target));
    }
    Ok(false)
}

/// Masks some paths of a mount that was just made and makes others read-only. Those that this kernel does not have
/// need neither; any other failure to find them is one of the start.
fn hide(spec: &ContainerSpec, prefix: &str, mount: &OwnedFd, null: &OwnedFd) -> Result<(), String> {
    let inside = |path: &String| Some(path.strip_prefix(prefix)?.strip_prefix('/')?.to_string());
    let find = |path: &str| match beneath(mount, path, OFlags::PATH | OFlags::NOFOLLOW) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => at(format_args!("hiding {prefix}/{path}"), found).map(Some),
    };
    for path in spec.masked_paths.iter().filter_map(inside) {
        let Some(place) = find(&path)? else { continue };
        let what = format!("masking {prefix}/{path}");
        let stat = at(&what, rustix::fs::fstat(&place).map_err(io::Error::from))?;
        let cover = if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            mounts::fresh("tmpfs", &[("size", "4k"), ("nr_inodes", "1")], INERT | MountAttrFlags::MOUNT_ATTR_RDONLY)
        } else {
            mounts::copy(null)
        };
        at(&what, cover.and_then(|cover| mounts::attach(cover, place)))?;
    }
    for path in spec.readonly_paths.iter().filter_map(inside) {
        let Some(place) = find(&path)? else { continue };
        let what = format!("making {prefix}/{path} read-only");
        let cover = at(&what, mounts::copy(&place))?;
        at(&what, mounts::make_read_only(&cover).and_then(|()| mounts::attach(cover, place)))?;
    }
    Ok(())
}
