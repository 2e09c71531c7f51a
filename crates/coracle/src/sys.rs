//! The system calls of this crate that the compiler cannot check.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::Command;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
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

/// Lets a command have some of our descriptors, under the same numbers. They must be open until it is started.
pub fn pass_on(command: &mut Command, descriptors: Vec<RawFd>) -> &mut Command {
    use std::os::unix::process::CommandExt;
    let pass = move || {
        descriptors.iter().try_for_each(|descriptor| {
            // SAFETY: the descriptor is open, as who calls this has promised; it is only borrowed.
            let descriptor = unsafe { BorrowedFd::borrow_raw(*descriptor) };
            Ok(fcntl_setfd(descriptor, FdFlags::empty())?)
        })
    };
    // SAFETY: fcntl is async-signal-safe, and what was allocated was so before the fork.
    unsafe { command.pre_exec(pass) }
}

/// Takes over a descriptor that whoever started this process has left open for it. Programs that are started from here on do
/// not have it.
///
/// # Errors
/// It is not open, or is one of the standard ones.
pub fn take_descriptor(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only used to ask whether it is open.
    fcntl_getfd(unsafe { BorrowedFd::borrow_raw(descriptor) })?;
    // SAFETY: it is open, and was opened by whoever started us: nothing here has it, and it is named to us once.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

/// The time that all processors have worked for this process.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Gives memory that was freed back to the kernel. The C library keeps it otherwise, for each thread by itself, and a
/// load of a minute would stay for the life of the process.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers, and locks what it looks at.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Lets go of the program itself. What goes on running comes back at once from the kernel's cache of the file; what only the
/// start or a load needed, which is most of it, does not count as this process's memory any more.
pub fn let_go_of_program() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let (Some(range), Some("r-xp"), true) = (fields.next(), fields.next(), line.contains('/')) else { continue };
        let address = |text: &str| usize::from_str_radix(text, 16).ok();
        let Some((Some(from), Some(to))) = range.split_once('-').map(|(from, to)| (address(from), address(to))) else {
            continue;
        };
        // SAFETY: the pages are a file's, private and never written: whoever needs one again reads the same from the file.
        if unsafe { libc::madvise(from as *mut libc::c_void, to.saturating_sub(from), libc::MADV_DONTNEED) } != 0 {
            tracing::debug!(range, "the program's pages stay: {}", io::Error::last_os_error());
        }
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    fn resident(kind: &str) -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    #[test]
    fn what_was_freed_below_what_is_kept_goes_back_to_the_kernel() {
        const PIECE: usize = 64 << 10;
        let mut pieces: Vec<Vec<u8>> = (0..1024).map(|_| vec![1; PIECE]).collect();
        let kept = pieces.pop();
        drop(pieces);
        let before = resident("RssAnon:");
        give_memory_back();
        assert!(resident("RssAnon:") + 512 * PIECE < before);
        assert_eq!(kept.map(|kept| kept.len()), Some(PIECE));
    }

    #[test]
    fn the_program_runs_on_when_it_was_let_go() {
        // Other tests take what they need of it back meanwhile.
        let is_less = |_| {
            let before = resident("RssFile:");
            let_go_of_program();
            resident("RssFile:") < before
        };
        assert!((0..20).any(is_less));
    }
}
