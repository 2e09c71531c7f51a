//! The last steps of a new process, from inside its namespaces to the exec of its program. First processes of
//! containers and processes of `exec` share them.

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::devices::{self, Terminal};
use super::proto::{self, CgroupJoin, ContainerSpec, Progress, SandboxSpec};
use super::root::Root;
use super::rootfs::{self, Taken, plain};
use super::{sandbox, user};
use crate::sys;

/// What execution looks like when the image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is not allowed by the mode of what a container makes, whatever the daemon's own is; runc's, when nobody says another.
const UMASK: u32 = 0o022;

/// Longest report of a failure; the rest of it says no more.
const MAX_REPORT: usize = 4000;

/// Standard streams of a new process.
pub enum Stdio {
    /// Input, output, error output; the container's null device for those that are `None`.
    Plain([Option<OwnedFd>; 3]),
    /// A terminal of the container, whose master is sent over the start socket.
    Terminal,
}

/// The child's side of a start.
pub struct Birth<'a> {
    /// What it becomes.
    pub spec: &'a ContainerSpec,
    /// It is the container's first process, not a further one.
    pub is_first: bool,
    /// Program and arguments.
    pub args: &'a [String],
    /// Its end of the start socket.
    pub socket: OwnedFd,
    /// Its streams.
    pub stdio: Stdio,
    /// A process of the PID namespace to enter; `None` to stay in that of the fork.
    pub pids: Option<BorrowedFd<'a>>,
}

/// Enters cgroups from the inside: on v1 moving oneself costs microseconds, being moved milliseconds.
pub fn join_cgroups(join: &CgroupJoin) -> Result<(), String> {
    for file in &join.files {
        fs::write(file, b"0").map_err(|error| format!("joining cgroup {file:?}: {}", plain(&error)))?;
    }
    Ok(())
}

/// Runs in the child of a `Start`: becomes the container's first process, or tells why not and ends.
pub fn run_first(birth: Birth<'_>, sandbox: &SandboxSpec, host_mounts: BorrowedFd<'_>) -> ! {
    birth.let_go(&[host_mounts.as_raw_fd()]);
    birth.fail(first(&birth, sandbox, host_mounts))
}

/// Runs in the child of an `Exec`: `container` is a process of it, `null` a null device of it.
pub fn run_further(birth: Birth<'_>, container: BorrowedFd<'_>, null: Option<BorrowedFd<'_>>) -> ! {
    let mut keep = vec![container.as_raw_fd()];
    keep.extend(null.map(|fd| fd.as_raw_fd()));
    birth.let_go(&keep);
    birth.fail(further(&birth, container, null))
}

impl Birth<'_> {
    /// Closes what the shim had open, before anything of the container is near: its sockets, logs and namespaces
    /// would otherwise be a way to the node, by /proc/self/fd or for whoever gets hold of this process.
    fn let_go(&self, more: &[RawFd]) {
        sys::forbid_dumping();
        let mut keep = vec![0, 1, 2, self.socket.as_raw_fd()];
        keep.extend(self.pids.map(|fd| fd.as_raw_fd()));
        if let Stdio::Plain(streams) = &self.stdio {
            keep.extend(streams.iter().flatten().map(AsRawFd::as_raw_fd));
        }
        keep.extend(more);
        // SAFETY: the child has no use for the shim's other descriptors, and never returns to drop them.
        unsafe { sys::close_all_but(&mut keep) };
    }

    fn fail(&self, result: Result<std::convert::Infallible, String>) -> ! {
        let Err(message) = result;
        end(&self.socket, message)
    }
}

/// What a new process needs; without it the process ends, and says why by its start socket.
pub fn or_end<T>(socket: &OwnedFd, result: Result<T, String>) -> T {
    result.unwrap_or_else(|message| end(socket, message))
}

fn end(socket: &OwnedFd, mut message: String) -> ! {
    let end = (0..=MAX_REPORT.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
    message.truncate(end.unwrap_or(0));
    let _ = proto::send(socket, &Progress::Failed(message), &[]);
    sys::exit_now(1)
}

fn at<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {}", plain(&error)))
}

/// What is done with the node's paths in view. Answers with the seccomp program.
fn prepare(spec: &ContainerSpec) -> Result<Vec<u8>, String> {
    sys::die_with_parent();
    let filter = match &spec.seccomp {
        Some(path) => at(&format!("reading seccomp program {path:?}"), fs::read(path))?,
        None => Vec::new(),
    };
    join_cgroups(&spec.cgroup)?;
    // Lowering it needs a capability that a node in a container may lack; the default is then good enough.
    let _ = fs::write("/proc/self/oom_score_adj", spec.oom_score_adj.to_string());
    Ok(filter)
}

fn first(
    birth: &Birth<'_>,
    sandbox: &SandboxSpec,
    host_mounts: BorrowedFd<'_>,
) -> Result<std::convert::Infallible, String> {
    let spec = birth.spec;
    let filter = prepare(spec)?;
    let taken = take(birth, sandbox, host_mounts)?;
    at("unshare", sys::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP))?;
    // Never dropped: what `execute` closes must not be closed again.
    let mut view = ManuallyDrop::new(rootfs::build(spec, taken)?);
    let terminal = view.terminal.take();
    execute(birth, &view.root, Some(view.null.as_fd()), terminal, filter)
}

/// Takes what is needed of other mount namespaces, and ends in the node's.
fn take(birth: &Birth<'_>, sandbox: &SandboxSpec, host_mounts: BorrowedFd<'_>) -> Result<Taken, String> {
    let (spec, private) = (birth.spec, libc::MS_PRIVATE);
    // What the pod's containers share is mounted in the shim's namespace only; everything else comes from the node's.
    let shm_source = if sandbox.host_ipc { "/dev/shm".into() } else { sandbox.dir.join("shm") };
    let shm = rootfs::take(&shm_source, Path::new("/dev/shm"), false, private)?;
    let mut proc = None;
    if let Some(pids) = birth.pids {
        let (root, path) = match spec.pid_target {
            Some(_) if !sandbox.shared_pid => {
                at("entering the target container", sys::setns(pids, libc::CLONE_NEWNS))?;
                (Root::current(), "proc")
            }
            _ => (Root::at(&sandbox.dir), sandbox::PROC),
        };
        proc = Some(rootfs::take_proc(&at("opening the root of /proc", root)?, path)?);
    }
    at("entering the node's mount namespace", sys::setns(host_mounts, libc::CLONE_NEWNS))?;
    let mut binds = Vec::with_capacity(spec.mounts.len());
    for mount in &spec.mounts {
        let mut bind = rootfs::take(&mount.source, &mount.target, mount.readonly, mount.propagation)?;
        bind.from_image = mount.from_image;
        binds.push(bind);
    }
    let mut cgroups = Vec::with_capacity(spec.cgroup_mounts.len());
    for (name, source) in &spec.cgroup_mounts {
        cgroups.push(rootfs::take(source, Path::new(name), !spec.privileged, private)?);
    }
    Ok(Taken { binds, shm, proc, cgroups })
}

fn further(
    birth: &Birth<'_>,
    container: BorrowedFd<'_>,
    null: Option<BorrowedFd<'_>>,
) -> Result<std::convert::Infallible, String> {
    let filter = prepare(birth.spec)?;
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
    // The mounts before the processes: who can see this process by /proc must find the container's root there.
    at("entering the container", sys::setns(container, flags))?;
    let root = ManuallyDrop::new(at("opening the root of the container", Root::current())?);
    let terminal = match birth.stdio {
        Stdio::Terminal => Some(devices::open_terminal(&root)?),
        Stdio::Plain(_) => None,
    };
    execute(birth, &root, null, terminal, filter)
}

/// Streams, directory, user, capabilities, seccomp, PID namespace, exec.
fn execute(
    birth: &Birth<'_>,
    root: &Root,
    null: Option<BorrowedFd<'_>>,
    terminal: Option<Terminal>,
    filter: Vec<u8>,
) -> Result<std::convert::Infallible, String> {
    let spec = birth.spec;
    let user = user::resolve(&spec.user, root)?;
    let with_terminal = terminal.is_some();
    set_streams(birth, null, terminal, &user)?;
    let env = environment(spec, &user, with_terminal);
    let entered = enter_directory(spec, root);
    if let Some(pids) = birth.pids {
        at("entering the PID namespace", sys::setns(pids, libc::CLONE_NEWPID))?;
    }
    at("joining a keyring", sys::join_new_keyring())?;
    at("limiting capabilities", sys::limit_bounding_set(spec.capabilities))?;
    // Without no_new_privs a filter needs CAP_SYS_ADMIN, so it is loaded before capabilities are given up. One that is
    // loaded last needs to allow less, but others may watch from the fork into their PID namespace on.
    let early = !spec.no_new_privileges || birth.pids.is_some();
    let load = || -> Result<(), String> {
        if spec.no_new_privileges {
            at("setting no_new_privs", sys::set_no_new_privileges())?;
        }
        if filter.is_empty() { Ok(()) } else { at("error loading seccomp filter", sys::load_seccomp(&filter)) }
    };
    if early {
        load()?;
    }
    at("switching user", sys::switch_user(user.uid, user.gid, &user.groups))?;
    if entered.is_err() {
        // A file system may show a directory to its owner only, not to root.
        enter_directory(spec, root)?;
    }
    at("setting capabilities", sys::set_capabilities(if user.uid == 0 { spec.capabilities } else { 0 }))?;
    sys::umask(UMASK);
    sys::forbid_dumping();
    let mut keep = [0, 1, 2, birth.socket.as_raw_fd()];
    // SAFETY: nothing but the streams and the socket is used from here to the exec, or to the end.
    unsafe { sys::close_all_but(&mut keep) };
    if birth.pids.is_some() {
        enter_pids(&birth.socket)?;
    }
    // A change of user clears the request for death with the parent, and a fork never has it.
    sys::die_with_parent();
    at("setsid", sys::setsid())?;
    if with_terminal {
        at("setting the controlling terminal", sys::set_controlling_terminal(rustix::stdio::stdin()))?;
    }
    let program = find_program(birth.args, &env)?;
    let invalid = |_| format!("exec: {:?}: invalid argument", birth.args[0]);
    let c_strings =
        |list: &[String]| list.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>();
    let (c_args, c_env) = (c_strings(birth.args).map_err(invalid)?, c_strings(&env).map_err(invalid)?);
    let c_program = CString::new(program.as_str()).map_err(invalid)?;
    // SAFETY: the program replaces this one next; nothing here waits for a signal.
    unsafe { sys::reset_signals() };
    if !early {
        load()?;
    }
    let error = sys::exec(&c_program, &c_args, &c_env);
    Err(format!("exec {program}: {}", plain(&error)))
}

/// Puts the streams in their places and hands the shim what it keeps.
fn set_streams(
    birth: &Birth<'_>,
    null: Option<BorrowedFd<'_>>,
    terminal: Option<Terminal>,
    user: &user::User,
) -> Result<(), String> {
    let (is_first, uid) = (birth.is_first, user.uid);
    let mut kept: Vec<BorrowedFd<'_>> = null.filter(|_| is_first).into_iter().collect();
    let streams = match (&birth.stdio, &terminal) {
        (Stdio::Terminal, Some(Terminal { master, slave })) => {
            devices::own_stream(slave.as_fd(), uid);
            kept.push(master.as_fd());
            [slave.as_fd(); 3]
        }
        (Stdio::Terminal, None) => return Err("no terminal was made".into()),
        (Stdio::Plain(streams), _) => {
            let mut found = [birth.socket.as_fd(); 3];
            for (place, stream) in found.iter_mut().zip(streams) {
                if let Some(stream) = stream.as_ref().filter(|_| is_first) {
                    devices::own_stream(stream.as_fd(), uid);
                }
                let stream = stream.as_ref().map(AsFd::as_fd).or(null);
                *place = stream.ok_or("the container has no null device")?;
            }
            found
        }
    };
    for (number, stream) in streams.iter().enumerate() {
        // SAFETY: the standard descriptors of this child are nobody's.
        at("dup2", unsafe { sys::duplicate_onto(stream.as_raw_fd(), number as RawFd) })?;
    }
    if kept.is_empty() {
        return Ok(());
    }
    let told = is_first.then(|| user.told());
    let ready = Progress::Ready { null: is_first && null.is_some(), terminal: terminal.is_some(), user: told };
    at("handing over the terminal", proto::send(&birth.socket, &ready, &kept))
}

fn environment(spec: &ContainerSpec, user: &user::User, terminal: bool) -> Vec<String> {
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
    env
}

/// Enters the working directory by a descriptor found in the root, over no magic link, and looks where it is then.
fn enter_directory(spec: &ContainerSpec, root: &Root) -> Result<(), String> {
    let cwd = if spec.cwd.is_empty() { "/" } else { spec.cwd.as_str() };
    let entered = root.find(cwd, OFlags::PATH | OFlags::DIRECTORY).and_then(|dir| Ok(rustix::process::fchdir(dir)?));
    at(&format!("chdir to cwd ({cwd:?}) set in config.json failed"), entered)?;
    // The kernel's answer for a directory outside the root is no absolute path.
    match std::env::current_dir() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => Err("current working directory is outside of container mount namespace root -- \
            possible container breakout detected"
            .into()),
    }
}

/// Forks into the PID namespace chosen before and goes on as the child there, once the shim knows of it. By now this
/// process has nothing that the container has not: its neighbours there see and, with CAP_SYS_PTRACE, rule the child.
fn enter_pids(socket: &OwnedFd) -> Result<(), String> {
    // SAFETY: the child of the single-threaded shim has one thread.
    if !at("starting a process", unsafe { sys::fork_sibling_is_child() })? {
        sys::exit_now(0);
    }
    // Only calls that every filter allows: the kernel adds who the sender is.
    let here = serde_json::to_vec(&Progress::Here).map_err(|error| error.to_string())?;
    let mut go = [0];
    let told = rustix::io::write(socket, &here).and_then(|_| rustix::io::read(socket, &mut go));
    match at("waiting for the shim", told.map_err(io::Error::from))? {
        0 => sys::exit_now(1),
        _ => Ok(()),
    }
}

/// Whether a file can be executed. A magic link is none: /proc/self/exe is at this moment the runtime's own program,
/// which must not run, or be opened, as the container's.
fn executable(path: &Path) -> io::Result<()> {
    let resolve = rustix::fs::ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let meta = match rustix::fs::openat2(rustix::fs::CWD, path, flags, rustix::fs::Mode::empty(), resolve) {
        Ok(found) => fs::File::from(found).metadata()?,
        Err(rustix::io::Errno::LOOP) => return Err(io::Error::from_raw_os_error(libc::EACCES)),
        // A filter may refuse this call and not its elders.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::NOSYS) => fs::metadata(path)?,
        Err(error) => return Err(error.into()),
    };
    if meta.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    if meta.permissions().mode() & 0o111 == 0 || meta.mode() & libc::S_IFMT != libc::S_IFREG {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?)
}

/// Finds the program as Go's `exec.LookPath` does, and words its failures likewise.
fn find_program(args: &[String], env: &[String]) -> Result<String, String> {
    let name = args.first().filter(|name| !name.is_empty()).ok_or("exec: \"\": executable file not found in $PATH")?;
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
