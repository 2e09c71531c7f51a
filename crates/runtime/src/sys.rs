//! The system calls that have no safe wrapper in the crates used here.
//!
//! Every function is a thin, safe face over one call (or one inseparable pair); policy lives in the callers.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `CLONE_INTO_CGROUP` of clone3.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Number of the first capability that does not exist.
const CAP_END: u32 = 64;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What [`clone_process`] returns to the parent.
pub struct Child {
    /// The child's process ID as the parent sees it.
    pub pid: i32,
    /// A descriptor for it that is never reused for another process.
    pub pidfd: OwnedFd,
}

/// Forks into new namespaces (`CLONE_NEW*` flags) and, on cgroup v2, straight into a cgroup.
/// `None` is the child.
///
/// # Safety
/// The caller must be single-threaded, so that the child may go on using the allocator; otherwise the child may only
/// make system calls.
pub unsafe fn clone_process(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain data for which all-zero is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of memory, as after fork; the arguments outlive the call.
    let pid =
        check_long(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel stored a fresh descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(Child { pid: pid as i32, pidfd }))
}

/// Forks a sibling: the child's parent is the caller's. True in the child, which begins in the PID namespace chosen for
/// children. Uses the oldest form of the call, which system call filters know.
///
/// # Safety
/// As for [`clone_process`].
pub unsafe fn fork_sibling_is_child() -> io::Result<bool> {
    let none = 0 as libc::c_ulong;
    // SAFETY: without CLONE_VM and with no stack the child goes on with its own copy of memory, as after fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, none, none, none, none) };
    Ok(check_long(pid)? == 0)
}

/// Ends the process at once, without running destructors or exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Forks; true in the child.
///
/// # Safety
/// As for [`clone_process`].
pub unsafe fn fork_is_child() -> io::Result<bool> {
    // SAFETY: the caller is single-threaded, so no lock can be held by a thread that does not exist in the child.
    Ok(check(unsafe { libc::fork() })? == 0)
}

/// Enters the namespaces that a namespace descriptor, or a pidfd with flags, stands for.
pub fn setns(fd: BorrowedFd<'_>, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags) }).map(drop)
}

/// Moves the process into new namespaces.
pub fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// Starts a new session.
pub fn setsid() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setsid() }).map(drop)
}

/// Makes a terminal the controlling one of this session.
pub fn set_controlling_terminal(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// The window size of a terminal.
pub fn set_window_size(fd: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which lives across the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// Unlocks a pseudo-terminal and opens its other side; answers with that and its number.
pub fn open_pty_peer(master: BorrowedFd<'_>) -> io::Result<(OwnedFd, u32)> {
    let unlock: libc::c_int = 0;
    let mut number: libc::c_uint = 0;
    // SAFETY: both requests read or write one int that lives across the call.
    unsafe {
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock))?;
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number))?;
    }
    // SAFETY: TIOCGPTPEER takes open flags by value and returns a new descriptor that we own.
    let peer = unsafe {
        let fd = check(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY))?;
        OwnedFd::from_raw_fd(fd)
    };
    Ok((peer, number))
}

/// What to change with [`set_mount_attributes`].
#[repr(C)]
#[derive(Default)]
pub struct MountAttributes {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, or 0 to leave it.
    pub propagation: u64,
    /// Must be 0.
    pub userns_fd: u64,
}

/// `MOUNT_ATTR_RDONLY`.
pub const MOUNT_ATTR_RDONLY: u64 = 1;

/// Changes a mount, or with `recursive` also those below it.
pub fn set_mount_attributes(mount: BorrowedFd<'_>, recursive: bool, attributes: &MountAttributes) -> io::Result<()> {
    let flags = if recursive { libc::AT_EMPTY_PATH | libc::AT_RECURSIVE } else { libc::AT_EMPTY_PATH };
    // SAFETY: path and attributes live across the call; the size tells the kernel the structure's layout version.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            std::mem::size_of::<MountAttributes>(),
        )
    })
    .map(drop)
}

/// `mount(2)`.
pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &[u8]) -> io::Result<()> {
    let invalid = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let source = CString::new(source).map_err(invalid)?;
    let target = CString::new(target).map_err(invalid)?;
    let kind = CString::new(kind).map_err(invalid)?;
    let data = CString::new(data).map_err(invalid)?;
    // SAFETY: four C strings that live across the call.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) })
        .map(drop)
}

/// Makes the current directory the root of this mount namespace and detaches the old root.
pub fn pivot_to_current_directory() -> io::Result<()> {
    // With both arguments the same directory the old root is stacked on the new one, so that no
    // directory for it is needed; "." is then the old root, which is detached.
    // SAFETY: C strings with static life.
    unsafe {
        check_long(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr()))?;
    }
    Ok(())
}

/// Sets the host name of this UTS namespace.
pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe one live slice.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Sets the file mode creation mask.
pub fn umask(mask: u32) {
    // SAFETY: takes no pointers and cannot fail.
    unsafe { libc::umask(mask as libc::mode_t) };
}

/// The device number of a major and minor number.
pub fn device_number(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}

/// Major and minor of a device number.
pub fn device_parts(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}

/// Duplicates a descriptor onto a fixed number, without close-on-exec.
///
/// # Safety
/// No descriptor object of this process may own `to`.
pub unsafe fn duplicate_onto(from: RawFd, to: RawFd) -> io::Result<()> {
    if from == to {
        // SAFETY: clears close-on-exec; takes no pointers.
        return check(unsafe { libc::fcntl(from, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: takes no pointers; nobody owns what is closed.
    check(unsafe { libc::dup2(from, to) }).map(drop)
}

/// Closes every descriptor but these.
///
/// # Safety
/// No other descriptor may be used or dropped afterwards: only for a child that never returns to what held them.
pub unsafe fn close_all_but(keep: &mut [RawFd]) {
    keep.sort_unstable();
    let mut first: libc::c_uint = 0;
    let close = |first: libc::c_uint, last: libc::c_uint| {
        if first <= last {
            // SAFETY: takes no pointers. Kernels before 5.9 do not have the call, and nothing here runs on them.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    };
    for fd in keep.iter().filter_map(|fd| libc::c_uint::try_from(*fd).ok()) {
        if fd > 0 {
            close(first, fd - 1);
        }
        first = first.max(fd + 1);
    }
    close(first, libc::c_uint::MAX);
}

/// A descriptor that becomes readable when a child ends; the signal itself is blocked.
pub fn child_signal_fd() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use and lives across the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Ignores a signal in this process.
pub fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is a valid disposition; no handler code is installed.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Gives every signal its default action and unblocks all: what a new program expects.
///
/// # Safety
/// Only right before `exec`: what ignores or waits for a signal in this process does so no more.
pub unsafe fn reset_signals() {
    // SAFETY: SIG_DFL is a valid disposition and the set is initialised before use.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Reaps one ended child: its ID and wait status. `None` when none has ended.
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the status lives across the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Waits for children for ever: the whole life of a pod's PID 1.
pub fn reap_for_ever() -> ! {
    loop {
        // SAFETY: null status is allowed; pause takes no pointers.
        unsafe {
            if libc::waitpid(-1, std::ptr::null_mut(), 0) < 0 {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                libc::sigaddset(&raw mut set, libc::SIGCHLD);
                let mut signal = 0;
                libc::sigwait(&raw const set, &raw mut signal);
            }
        }
    }
}

/// The exit code a wait status stands for: 128+N when signal N ended the process.
pub fn exit_code(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// Sends a signal.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Has the kernel kill this process when its parent ends.
pub fn die_with_parent() {
    // SAFETY: takes no pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Keeps every other process without CAP_SYS_PTRACE out of this one: no ptrace, none of the links in /proc/PID, no core
/// dump. Children inherit it until they execute a program.
pub fn forbid_dumping() {
    // SAFETY: takes no pointers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// Names this process for `ps` and `top`, which after an exec by descriptor would show a number.
pub fn name_process(name: &CStr) {
    // SAFETY: a C string that lives across the call; the kernel takes its first 15 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Leaves the session keyring of whoever started this process for an empty one. A kernel without keys, or a filter
/// around this node that refuses them, leaves nothing to be shared.
pub fn join_new_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the null name asks for an anonymous keyring.
    match check_long(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, none) }) {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Err(error),
        _ => Ok(()),
    }
}

/// Gives up transparent huge pages: the shim stays small.
pub fn stay_small() {
    // SAFETY: take no pointers.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Sets `no_new_privs`.
pub fn set_no_new_privileges() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// Loads a seccomp program: classic BPF instructions of 8 bytes each.
pub fn load_seccomp(program: &[u8]) -> io::Result<()> {
    let count = program.len() / 8;
    let mut instructions = Vec::with_capacity(count);
    for raw in program.as_chunks::<8>().0 {
        instructions.push(libc::sock_filter {
            code: u16::from_ne_bytes([raw[0], raw[1]]),
            jt: raw[2],
            jf: raw[3],
            k: u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
        });
    }
    let filter = libc::sock_fprog { len: count as libc::c_ushort, filter: instructions.as_mut_ptr() };
    // SAFETY: the program and its instructions live across the call; the kernel copies and verifies them.
    check_long(unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const filter) }).map(drop)
}

/// Removes from the bounding set all capabilities that are not in `keep`.
pub fn limit_bounding_set(keep: u64) -> io::Result<()> {
    for cap in 0..CAP_END {
        if keep & (1 << cap) == 0 {
            // SAFETY: takes no pointers. EINVAL ends the list of capabilities that this kernel knows.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap, 0, 0, 0) } < 0 {
                let error = io::Error::last_os_error();
                if error.raw_os_error() == Some(libc::EINVAL) {
                    return Ok(());
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Switches user and groups, keeping permitted capabilities until [`set_capabilities`].
pub fn switch_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the group list lives across the call; the others take no pointers. The process is
    // single-threaded, so the per-thread system calls change all of it.
    unsafe {
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        check_long(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check_long(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check_long(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Linux capability ABI version 3: two 32-bit words a set.
const CAP_VERSION: u32 = 0x2008_0522;

/// Sets effective and permitted capabilities and clears the inheritable and ambient ones.
pub fn set_capabilities(caps: u64) -> io::Result<()> {
    let mut header = CapHeader { version: CAP_VERSION, pid: 0 };
    let word = |bits: u64| CapData { effective: bits as u32, permitted: bits as u32, inheritable: 0 };
    let data = [word(caps), word(caps >> 32)];
    // SAFETY: header and both data words live across the call.
    unsafe {
        check_long(libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()))?;
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    }
    Ok(())
}

/// The capabilities this process is permitted.
pub fn permitted_capabilities() -> io::Result<u64> {
    let mut header = CapHeader { version: CAP_VERSION, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: header and both data words live across the call.
    check_long(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Brings the loopback link of this network namespace up.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: ifreq is plain data for which all-zero is valid; the socket descriptor is owned from creation.
    unsafe {
        let socket = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request))?;
    }
    Ok(())
}

/// Replaces the program. Returns only with an error.
pub fn exec(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: null-terminated arrays of C strings that live across the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Attaches a program that decides on device access to a cgroup v2 directory.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, instructions: &[u64]) -> io::Result<()> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_ATTACH: libc::c_int = 8;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    const BPF_CGROUP_DEVICE: u32 = 6;
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        rest: [u64; 12],
    }
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        rest: [0; 12],
    };
    // SAFETY: the attribute structures and the instructions live across the calls; the loaded program's
    // descriptor is owned at once, and the cgroup holds its own reference after attaching.
    unsafe {
        let program =
            check_long(libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, std::mem::size_of::<Load>()))?;
        let program = OwnedFd::from_raw_fd(program as RawFd);
        let attach = Attach {
            target: cgroup.as_raw_fd() as u32,
            program: program.as_raw_fd() as u32,
            kind: BPF_CGROUP_DEVICE,
            flags: 0,
        };
        check_long(libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attach, std::mem::size_of::<Attach>()))?;
    }
    Ok(())
}

/// Owns the listening socket that the daemon hands a new shim as its standard input.
pub fn take_standard_input() -> io::Result<OwnedFd> {
    // SAFETY: duplicates descriptor 0 to a fresh close-on-exec one that we own; 0 itself is replaced by the caller.
    unsafe {
        let fd = check(libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Registers a descriptor with the tokio runtime.
pub fn watch(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd always gives the same descriptor and keeps it open until it is dropped, and nothing here
    // takes it out of the AsyncFd.
    unsafe { tokio::io::unix::AsyncFd::register(fd) }.map_err(io::Error::from)
}
