//! The system calls of this crate that the compiler cannot check.

use std::io;
use std::process::Command;

use rustix::thread::UnshareFlags;

/// Moves this process into namespaces of its own, and its future children into a PID namespace.
///
/// # Errors
/// The kernel refuses, for example because the process is not root.
pub fn enter_node_namespaces() -> io::Result<()> {
    let flags =
        UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC | UnshareFlags::NEWPID;
    // SAFETY: no flag makes threads stop sharing memory or file descriptors, and this role has but one thread.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Makes a command the leader of a session of its own, away from the terminal's signals.
pub fn in_own_session(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: setsid is async-signal-safe and touches no memory.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(Into::into)) }
}
