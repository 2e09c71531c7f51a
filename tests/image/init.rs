//! The first process of the virtual machine in which the tests of `vm` run.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::process::{WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};

use crate::Outcome;

/// What the lines find set.
const ENVIRONMENT: [(&str, &str); 4] =
    [("PATH", "/bin"), ("HOME", "/root"), ("CORACLE_BUILT", "/bin"), ("RUST_BACKTRACE", "0")];

/// `init`: mounts what a host has mounted, cgroup v2 alone among it, loads the modules of `/modules` in the order of
/// their names, runs the lines of `/commands` one after the other, says how each ended, and switches the machine off.
pub fn init(_: &[String]) -> Outcome {
    if std::process::id() != 1 {
        return Err("init: only the first process of a machine may be this".into());
    }
    match prepare().and_then(|()| run_all()) {
        Ok(()) => println!("init: done"),
        Err(error) => println!("init: failed: {error}"),
    }
    reboot(RebootCommand::PowerOff)?;
    Ok(0)
}

fn prepare() -> Result<(), Box<dyn std::error::Error>> {
    // The root of an initramfs has no parent, so that nobody could pivot away from it: it becomes a mount in itself.
    fs::create_dir_all("/root-mount")?;
    mount_bind("/", "/root-mount")?;
    std::env::set_current_dir("/root-mount")?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    for (kind, path) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/dev/shm"),
        ("tmpfs", "/tmp"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        fs::create_dir_all(path).or_else(|error| if Path::new(path).is_dir() { Ok(()) } else { Err(error) })?;
        mount(kind, path, kind, MountFlags::empty(), None).map_err(|error| format!("mounting {kind}: {error}"))?;
    }
    let mut modules: Vec<_> = fs::read_dir("/modules")?.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    modules.iter().try_for_each(|path| load(path))
}

fn load(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const COMPRESSED: i32 = 4;
    let file = File::open(path)?;
    let flags = if path.extension().is_some_and(|end| end == "ko") { 0 } else { COMPRESSED };
    let none = CString::default();
    // SAFETY: the descriptor and the text outlive the call, which takes nothing else.
    let failed = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), none.as_ptr(), flags) } != 0;
    let error = std::io::Error::last_os_error();
    let there = error.raw_os_error() == Some(libc::EEXIST);
    if failed && !there { Err(format!("loading {}: {error}", path.display()).into()) } else { Ok(()) }
}

fn run_all() -> Result<(), Box<dyn std::error::Error>> {
    for line in fs::read_to_string("/commands")?.lines() {
        let mut words = line.split_whitespace();
        let Some(program) = words.next() else { continue };
        println!("init: runs {line}");
        let child = Command::new(program)
            .args(words)
            .envs(ENVIRONMENT)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        // Whatever loses its parent comes to the first process, which has to look after all of them.
        let code = loop {
            match wait(WaitOptions::empty())? {
                Some((pid, status)) if pid.as_raw_nonzero().get().cast_unsigned() == child.id() => {
                    break status.exit_status().unwrap_or(-1);
                }
                _ => {}
            }
        };
        println!("init: {code} from {line}");
    }
    Ok(())
}
