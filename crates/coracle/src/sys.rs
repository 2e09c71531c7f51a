//! The system calls of this crate that the compiler cannot check.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
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

/// Bounds what the C library keeps for itself of what is freed. By itself it raises both bounds with every large piece
/// that is freed, up to 64 MB for the heap of each thread, and [`give_memory_back`] gives the end of such a heap back only
/// when it is beyond them (`mallopt(3)`, `M_TRIM_THRESHOLD`). To be called before there are threads.
pub fn keep_little_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: take no pointers.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 10);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    };
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

/// The program as it is mapped: its code, and what is read only and was never written. The latter is the mapping of the
/// file's beginning; what is read only behind it was written at the start.
fn program() -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let range = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (range, mode, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let of_file = fields.nth(2)?.starts_with('/');
        let is_never_written = mode == "r-xp" || (mode == "r--p" && offset.bytes().all(|digit| digit == b'0'));
        let (from, to) = range.split_once('-').filter(|_| of_file && is_never_written)?;
        let address = |text: &str| usize::from_str_radix(text, 16).ok();
        let from = address(from)?;
        Some((from, address(to)?.checked_sub(from)?))
    };
    maps.lines().filter_map(range).collect()
}

/// Lets go of the program itself. What goes on running comes back at once from the kernel's cache of the file; what only the
/// start or a load needed, which is most of it, does not count as this process's memory any more.
pub fn let_go_of_program() {
    for (from, length) in program() {
        // SAFETY: the pages are a file's, private and never written: whoever needs one again reads the same from the file.
        if unsafe { libc::madvise(from as *mut libc::c_void, length, libc::MADV_DONTNEED) } != 0 {
            tracing::debug!("the program's pages stay: {}", io::Error::last_os_error());
        }
    }
}

/// From now on a page of the program is mapped when it is touched, and not the fifteen around it as well, most of which
/// nothing touches: of what an idle cluster runs that is nine tenths. The kernel has no call for just this, but does not map
/// around where a userfaultfd looks for writes, of which there are none (`userfaultfd(2)`, `UFFD_FEATURE_WP_ASYNC`, Linux 6.7;
/// on others all is as before). Lasts as long as what is returned.
pub fn map_program_by_page() -> io::Result<OwnedFd> {
    /// `struct uffdio_api`
    #[repr(C)]
    struct Api {
        api: u64,
        features: u64,
        ioctls: u64,
    }
    /// `struct uffdio_register`
    #[repr(C)]
    struct Register {
        start: u64,
        length: u64,
        mode: u64,
        ioctls: u64,
    }
    const UFFD_USER_MODE_ONLY: libc::c_int = 1;
    const UFFD_API: u64 = 0xaa;
    const WP_ASYNC: u64 = 1 << 15;
    const MODE_WP: u64 = 1 << 1;
    const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
    const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;

    let check = |result: libc::c_long| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    let flags = UFFD_USER_MODE_ONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: takes no pointers.
    let descriptor = check(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) })?;
    // SAFETY: the kernel has just made it for us.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) };
    let mut api = Api { api: UFFD_API, features: WP_ASYNC, ioctls: 0 };
    // SAFETY: the structure is that of the request, and outlives the call.
    check(unsafe { libc::ioctl(descriptor.as_raw_fd(), UFFDIO_API as _, &raw mut api) }.into())?;
    for (from, length) in program() {
        let mut range = Register { start: from as u64, length: length as u64, mode: MODE_WP, ioctls: 0 };
        // SAFETY: as above; nothing is protected from being written, so no fault ever waits for an answer.
        check(unsafe { libc::ioctl(descriptor.as_raw_fd(), UFFDIO_REGISTER as _, &raw mut range) }.into())?;
    }
    Ok(descriptor)
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// What one of these tests takes and gives back, another would count as its own.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resident(kind: &str) -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    #[test]
    fn what_was_freed_below_what_is_kept_goes_back_to_the_kernel() {
        let _alone = alone();
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
    fn what_was_freed_above_what_is_kept_goes_back_too_whatever_was_freed_before() {
        let _alone = alone();
        const PIECES: usize = 40_000;
        keep_little_memory();
        drop(vec![1_u8; 27 << 20]);
        // A thread has a heap of its own, which the last pieces end; it lives on, as it keeps the first.
        let work = || {
            let kept = vec![1_u8; 1000];
            let pieces: Vec<Vec<u8>> = (0..PIECES).map(|_| vec![1; 1000]).collect();
            let during = resident("RssAnon:");
            drop(pieces);
            give_memory_back();
            (kept, during, resident("RssAnon:"))
        };
        let (_, during, after) = std::thread::spawn(work).join().unwrap();
        assert!(after + PIECES * 500 < during, "{during} and then {after}");
    }

    #[test]
    fn the_program_is_mapped_page_by_page() {
        let _alone = alone();
        const AROUND: usize = 64 << 10;
        let (from, length) = program().into_iter().max_by_key(|(_, length)| *length).unwrap();
        let grown = || {
            let_go_of_program();
            let before = resident("RssFile:");
            for at in (from..from + length).step_by(AROUND) {
                // SAFETY: a mapped byte of the program, which may be read.
                std::hint::black_box(unsafe { std::ptr::read_volatile(at as *const u8) });
            }
            resident("RssFile:").saturating_sub(before)
        };
        let around = grown();
        let Ok(_held) = map_program_by_page() else {
            return eprintln!("skipped: this kernel has no userfaultfd that only notes writes (Linux 6.7)");
        };
        let single = grown();
        assert!(single * 4 < around, "{single} of {around} bytes");
    }

    #[test]
    fn the_program_runs_on_when_it_was_let_go() {
        let _alone = alone();
        // Other tests take what they need of it back meanwhile.
        let is_less = |_| {
            let before = resident("RssFile:");
            let_go_of_program();
            resident("RssFile:") < before
        };
        assert!((0..20).any(is_less));
    }
}
