//! What a hostile container tries: `testbox attack VERB ARGUMENTS`. Every verb says what came of it and ends.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Error, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub fn run(args: &[String]) {
    let arg = |at: usize| args.get(at).map(String::as_str).unwrap_or_default();
    match arg(0) {
        "link" => say("linked", symlink(arg(1), arg(2))),
        "mode" => say("changed", std::fs::set_permissions(arg(1), PermissionsExt::from_mode(0o777))),
        "device" => device(arg(1), arg(2)),
        "open" => say("opened", OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(arg(1)).map(drop)),
        "open-for-writing" => say("opened", OpenOptions::new().write(true).open(arg(1)).map(drop)),
        "inode" => match std::fs::metadata(arg(1)) {
            Ok(meta) => println!("{} {}", meta.dev(), meta.ino()),
            Err(error) => println!("error {error}"),
        },
        "foreign-calls" => foreign_calls(),
        "keyring" => keyring(),
        "watch" => watch(Duration::from_millis(arg(1).parse().unwrap_or(0)), Path::new(arg(2))),
        "setuid" => setuid(),
        "flood-output-of" => flood_output_of(arg(1)),
        "wait-for" => {
            let end = Instant::now() + Duration::from_secs(20);
            while !Path::new(arg(1)).exists() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        other => println!("unknown attack {other:?}"),
    }
}

fn say(done: &str, result: std::io::Result<()>) {
    match result {
        Ok(()) => println!("{done}"),
        Err(error) => println!("error {error}"),
    }
}

/// Makes a device node, `c` or `b` and its numbers as `MAJOR:MINOR`, and opens it.
fn device(kind: &str, numbers: &str) {
    let (major, minor) = numbers.split_once(':').unwrap_or_default();
    let number = libc::makedev(major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
    let kind = if kind == "b" { libc::S_IFBLK } else { libc::S_IFCHR };
    // SAFETY: a C string that lives across the call.
    let made = unsafe { libc::mknod(c"/node".as_ptr(), kind | 0o666, number) };
    say("made", if made == 0 { Ok(()) } else { Err(Error::last_os_error()) });
    say("opened", OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/node").map(drop));
}

/// System calls by other numberings than the native one.
fn foreign_calls() {
    #[cfg(target_arch = "x86_64")]
    {
        let old: i64;
        // SAFETY: number 20 of i386 is getpid, which takes no pointers; the kernel may change r8 to r11.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("rax") 20i64 => old, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        println!("i386 {}", if old as i32 > 0 { "answered" } else { "refused" });
        // SAFETY: getpid with the bit of x32 takes no pointers.
        let x32 = unsafe { libc::syscall(0x4000_0000 | libc::SYS_getpid) };
        println!("x32 {}", if x32 > 0 { "answered" } else { "refused" });
    }
}

/// The serial number of the session keyring.
fn keyring() {
    const GET_KEYRING_ID: libc::c_int = 0;
    const SESSION: libc::c_int = -3;
    // SAFETY: takes no pointers.
    println!("{}", unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, SESSION, 0) });
}

/// Runs a copy of this program that belongs to root and has the setuid bit; the image has it as /suid.
fn setuid() {
    let output = std::process::Command::new("/suid").arg("id").output();
    match output {
        Ok(output) => print!("{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => println!("error {error}"),
    }
}

/// Writes for ever to the output of the process of another container that has a word in its arguments.
fn flood_output_of(word: &str) {
    let output = loop {
        let found = std::fs::read_dir("/proc").into_iter().flatten().flatten().find_map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let other = entry.file_name().to_str()?.parse::<u32>().ok()? != std::process::id();
            let named = other && line.split(|byte| *byte == 0).any(|part| part == word.as_bytes());
            named.then(|| OpenOptions::new().write(true).open(entry.path().join("fd/1")).ok())?
        });
        if let Some(found) = found {
            break found;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // SAFETY: takes no pointers. The more the pipe holds, the less often its reader finds it empty.
    unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&output), libc::F_SETPIPE_SZ, 1 << 20) };
    say("flooding", std::fs::write("/flooding", ""));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| while (&output).write_all(&[b'x'; 1 << 16]).is_ok() {});
        }
    });
    println!("the output is closed");
}

/// Lies in wait for processes of others until a file appears: before they execute their program they are the
/// runtime's own, and what can be had of them then is told at the end.
fn watch(limit: Duration, stop: &Path) {
    let end = Instant::now() + limit;
    let own = std::process::id();
    let mut found = BTreeSet::new();
    let mut next = own + 1;
    println!("watching");
    while Instant::now() < end && !stop.exists() {
        for _ in 0..200 {
            for pid in next..next + 4 {
                let Ok(name) = std::fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
                if name.trim() == "testbox" {
                    next = pid + 1;
                    break;
                }
                look_at(pid, &mut found);
            }
        }
    }
    found.iter().for_each(|line| println!("{line}"));
    println!("watched");
}

fn look_at(pid: u32, found: &mut BTreeSet<String>) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if let Some(caps) =
        status.lines().find_map(|line| line.strip_prefix("CapPrm:")).filter(|_| name.trim() != "testbox")
    {
        found.insert(format!("capabilities {}", caps.trim()));
    }
    // SAFETY: seizing takes no pointers here.
    let traced = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) == 0 };
    if traced {
        // It stands still while it is looked at. SAFETY: as above; no status is asked for.
        unsafe {
            libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0);
            libc::waitpid(pid as i32, std::ptr::null_mut(), libc::__WALL);
        }
    }
    let early = program_of_the_runtime(pid);
    if let Some(exe) = &early {
        found.insert(format!("saw the program {}", exe.display()));
        if OpenOptions::new().write(true).open(format!("/proc/{pid}/exe")).is_ok() {
            found.insert("can write the program".into());
        }
        let descriptors = descriptors(pid);
        let remembers = remembers(pid, &["OF_", "ANOTHER"].concat());
        let root = std::fs::read_dir(format!("/proc/{pid}/root/")).into_iter().flatten().flatten();
        let root: Vec<_> = root.map(|entry| format!("in its root {}", entry.file_name().to_string_lossy())).collect();
        // What the container's own program opens as it begins is nothing of the runtime's.
        if program_of_the_runtime(pid).is_some() {
            found.extend(descriptors);
            found.extend(root);
            found.extend(remembers.map(|remembers| format!("remembers another container: {remembers}")));
        }
    }
    if traced {
        if early.is_some() {
            found.insert("traced the runtime".into());
        }
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
    }
}

/// What a process runs, as long as that is not the container's program.
fn program_of_the_runtime(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok().filter(|exe| !exe.ends_with("testbox"))
}

/// What a process has open besides pipes, and how many sockets.
fn descriptors(pid: u32) -> BTreeSet<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string()));
    let (sockets, others): (Vec<_>, Vec<_>) =
        links.filter(|link| !link.starts_with("pipe:")).partition(|link| link.starts_with("socket:"));
    let mut found: BTreeSet<_> = others.into_iter().map(|link| format!("descriptor {link}")).collect();
    found.insert(format!("sockets {}", sockets.len()));
    found
}

/// Whether a process has a text in its memory; `None` when that cannot be read.
fn remembers(pid: u32, text: &str) -> Option<bool> {
    /// More than the heap of any shim.
    const MOST: u64 = 8 << 20;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut read = None;
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut bytes = vec![0; (to - from).min(MOST) as usize];
        let Ok(length) = memory.read_at(&mut bytes, from) else { continue };
        let has = bytes[..length].windows(text.len()).any(|window| window == text.as_bytes());
        read = Some(read.unwrap_or(false) || has);
    }
    read
}
