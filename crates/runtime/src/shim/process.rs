//! The last steps of a new process, from inside its namespaces to the exec of its program. First processes of
//! containers and processes of `exec` share them.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::proto::{CgroupJoin, ContainerSpec, SandboxSpec};
use super::rootfs::{self, plain};
use super::user;
use crate::sys;

/// What execution looks like when the image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Standard streams of a new process.
pub enum Stdio {
    /// Input, output, error output.
    Plain([OwnedFd; 3]),
    /// A terminal of the container, whose master is sent over the start socket.
    Terminal,
}

/// Enters cgroups from the inside: on v1 moving oneself costs microseconds, being moved milliseconds.
pub fn join_cgroups(join: &CgroupJoin) -> Result<(), String> {
    for file in &join.files {
        fs::write(file, b"0").map_err(|error| format!("joining cgroup {file:?}: {}", plain(&error)))?;
    }
    Ok(())
}

/// Runs in the child of a `Start`: becomes the container's first process, or tells why not and ends.
pub fn run_first(
    spec: &ContainerSpec,
    sandbox: &SandboxSpec,
    host_mounts: BorrowedFd<'_>,
    socket: &OwnedFd,
    stdio: Stdio,
) -> ! {
    fail(socket, first(spec, sandbox, host_mounts, socket, stdio))
}

/// Runs in the child of an `Exec`.
pub fn run_further(
    spec: &ContainerSpec,
    container: BorrowedFd<'_>,
    args: &[String],
    socket: &OwnedFd,
    stdio: Stdio,
) -> ! {
    fail(socket, further(spec, container, args, socket, stdio))
}

fn fail(socket: &OwnedFd, result: Result<std::convert::Infallible, String>) -> ! {
    let Err(message) = result;
    let _ = rustix::net::send(socket, message.as_bytes(), rustix::net::SendFlags::NOSIGNAL);
    sys::exit_now(1)
}

fn at<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {}", plain(&error)))
}

fn first(
    spec: &ContainerSpec,
    sandbox: &SandboxSpec,
    host_mounts: BorrowedFd<'_>,
    socket: &OwnedFd,
    stdio: Stdio,
) -> Result<std::convert::Infallible, String> {
    sys::die_with_parent();
    read_seccomp(spec)?;
    join_cgroups(&spec.cgroup)?;
    at("setsid", sys::setsid())?;
    // Lowering it needs a capability that a node in a container may lack; the default is then good enough.
    let _ = fs::write("/proc/self/oom_score_adj", spec.oom_score_adj.to_string());
    // The pod's /dev/shm is mounted in the shim's namespace only; everything else comes from the node's.
    let private = libc::MS_PRIVATE;
    let shm_source = if sandbox.host_ipc { "/dev/shm".into() } else { sandbox.dir.join("shm") };
    let shm = rootfs::take(&shm_source, Path::new("/dev/shm"), false, private)?;
    at("entering the node's mount namespace", sys::setns(host_mounts, libc::CLONE_NEWNS))?;
    let mut binds = Vec::with_capacity(spec.mounts.len());
    for mount in &spec.mounts {
        binds.push(rootfs::take(&mount.source, &mount.target, mount.readonly, mount.propagation)?);
    }
    let mut cgroups = Vec::with_capacity(spec.cgroup_mounts.len());
    for (name, source) in &spec.cgroup_mounts {
        let target = Path::new("/sys/fs/cgroup").join(name);
        cgroups.push(rootfs::take(source, &target, !spec.privileged, private)?);
    }
    at("unshare", sys::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP))?;
    rootfs::build(spec, binds, Some(shm), cgroups)?;
    execute(spec, &spec.args, socket, stdio, true)
}

fn further(
    spec: &ContainerSpec,
    container: BorrowedFd<'_>,
    args: &[String],
    socket: &OwnedFd,
    stdio: Stdio,
) -> Result<std::convert::Infallible, String> {
    sys::die_with_parent();
    read_seccomp(spec)?;
    join_cgroups(&spec.cgroup)?;
    at("setsid", sys::setsid())?;
    let _ = fs::write("/proc/self/oom_score_adj", spec.oom_score_adj.to_string());
    at("entering the container", sys::setns(container, libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP))?;
    at("chdir to /", std::env::set_current_dir("/"))?;
    execute(spec, args, socket, stdio, false)
}

/// Streams, user, directory, capabilities, seccomp, exec.
fn execute(
    spec: &ContainerSpec,
    args: &[String],
    socket: &OwnedFd,
    stdio: Stdio,
    is_first: bool,
) -> Result<std::convert::Infallible, String> {
    let user = user::resolve(&spec.user, Path::new("/"))?;
    let terminal = matches!(stdio, Stdio::Terminal);
    match stdio {
        Stdio::Plain(streams) => {
            for (number, stream) in streams.iter().enumerate() {
                if is_first {
                    rootfs::own_stream(stream.as_fd(), user.uid);
                }
                at("dup2", sys::duplicate_onto(stream.as_raw_fd(), number as i32))?;
            }
        }
        Stdio::Terminal => {
            let (master, slave, path) = rootfs::open_terminal()?;
            rootfs::own_stream(slave.as_fd(), user.uid);
            if is_first {
                rootfs::bind_console(&path)?;
            }
            at("setting the controlling terminal", sys::set_controlling_terminal(slave.as_fd()))?;
            super::proto::send(socket, &"terminal", &[master.as_fd()])
                .map_err(|error| format!("handing over the terminal: {}", plain(&error)))?;
            for number in 0..3 {
                at("dup2", sys::duplicate_onto(slave.as_raw_fd(), number))?;
            }
        }
    }
    let mut env = spec.env.clone();
    if !env.iter().any(|line| line.starts_with("PATH=")) {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if !env.iter().any(|line| line.starts_with("HOME=") && line.len() > 5) {
        env.retain(|line| line != "HOME=");
        env.push(format!("HOME={}", user.home));
    }
    if terminal && !env.iter().any(|line| line.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    let cwd = if spec.cwd.is_empty() { "/" } else { spec.cwd.as_str() };
    let entered = std::env::set_current_dir(cwd).is_ok();
    // Without no_new_privs a filter needs CAP_SYS_ADMIN, so it is loaded before capabilities are given up.
    let filter = match &spec.seccomp {
        Some(_) => SECCOMP.with(|bytes| bytes.take()),
        None => Vec::new(),
    };
    at("limiting capabilities", sys::limit_bounding_set(spec.capabilities))?;
    if !filter.is_empty() && !spec.no_new_privileges {
        at("error loading seccomp filter", sys::load_seccomp(&filter))?;
    }
    at("switching user", sys::switch_user(user.uid, user.gid, &user.groups))?;
    if !entered {
        std::env::set_current_dir(cwd)
            .map_err(|error| format!("chdir to cwd ({cwd:?}) set in config.json failed: {}", plain(&error)))?;
    }
    at("setting capabilities", sys::set_capabilities(if user.uid == 0 { spec.capabilities } else { 0 }))?;
    let program = find_program(args, &env)?;
    // A change of user clears the request for death with the parent.
    sys::die_with_parent();
    let invalid = |_| format!("exec: {:?}: invalid argument", args[0]);
    let c_args = args.iter().map(|arg| CString::new(arg.as_str())).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let c_env = env.iter().map(|line| CString::new(line.as_str())).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let c_program = CString::new(program.as_str()).map_err(invalid)?;
    sys::close_on_exec_from(3);
    sys::reset_signals();
    if spec.no_new_privileges {
        at("setting no_new_privs", sys::set_no_new_privileges())?;
        if !filter.is_empty() {
            at("error loading seccomp filter", sys::load_seccomp(&filter))?;
        }
    }
    let error = sys::exec(&c_program, &c_args, &c_env);
    Err(format!("exec {program}: {}", plain(&error)))
}

thread_local! {
    static SECCOMP: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
}

/// Reads the seccomp program while the node's paths are in view.
fn read_seccomp(spec: &ContainerSpec) -> Result<(), String> {
    if let Some(path) = &spec.seccomp {
        let bytes = fs::read(path).map_err(|error| format!("reading seccomp program {path:?}: {}", plain(&error)))?;
        SECCOMP.with(|cell| cell.set(bytes));
    }
    Ok(())
}

/// Finds the program as Go's `exec.LookPath` does, and words its failures likewise.
fn find_program(args: &[String], env: &[String]) -> Result<String, String> {
    let name = args.first().filter(|name| !name.is_empty()).ok_or("exec: \"\": executable file not found in $PATH")?;
    let executable = |path: &Path| -> io::Result<()> {
        let meta = fs::metadata(path)?;
        if meta.is_dir() {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        if meta.permissions().mode() & 0o111 == 0 || meta.mode() & libc::S_IFMT != libc::S_IFREG {
            return Err(io::Error::from_raw_os_error(libc::EACCES));
        }
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?;
        Ok(())
    };
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(name.clone()),
            Err(error) if error.raw_os_error() == Some(libc::EISDIR) => Err(format!("exec: {name:?}: is a directory")),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(format!("exec: {name:?}: permission denied"))
            }
            Err(error) => Err(format!("exec: {name:?}: stat {name}: {}", plain(&error))),
        };
    }
    let path = env.iter().rev().find_map(|line| line.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    for dir in path.split(':') {
        let candidate = Path::new(if dir.is_empty() { "." } else { dir }).join(name);
        if executable(&candidate).is_ok() {
            return Ok(candidate.to_string_lossy().into_owned());
        }
    }
    Err(format!("exec: {name:?}: executable file not found in $PATH"))
}
