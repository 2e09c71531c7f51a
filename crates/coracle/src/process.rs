//! Processes by PID and start time: a PID alone may be somebody else's by now.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProcess {
    /// Its PID on the host.
    pub pid: i32,
    /// Its start time in clock ticks since boot, from /proc/PID/stat.
    pub started: u64,
}

impl NodeProcess {
    /// This process.
    pub fn own() -> Option<NodeProcess> {
        let pid = std::process::id() as i32;
        Some(NodeProcess { pid, started: start_time(pid)? })
    }

    /// Whether it still lives.
    pub fn lives(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// A descriptor of it, `None` when it has ended.
    pub fn open(&self) -> Option<OwnedFd> {
        let descriptor = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // The PID may have been given to another process before the open.
        self.lives().then_some(descriptor)
    }
}

/// The first process of a node by its command line: for what was written down and got lost.
pub fn search_node(dir: &Path, number: u8) -> Option<NodeProcess> {
    let number = format!("\0--number\0{number}\0");
    let line = [b"coracle\0node-init\0--inside\0--data-dir\0", dir.as_os_str().as_bytes(), number.as_bytes()].concat();
    let mut pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pid = pids.find(|pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|own| own == line) && is_roots(*pid) && is_first(*pid)
    })?;
    Some(NodeProcess { pid, started: start_time(pid)? })
}

/// Anybody can give a process our command line.
fn is_roots(pid: i32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == 0)
}

/// Whether it is the first of a PID namespace of its own.
fn is_first(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut numbers =
        status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or("").split_ascii_whitespace();
    numbers.next().is_some() && numbers.next_back() == Some("1")
}

/// When a process started, in clock ticks since boot; `None` when there is none.
pub fn start_time(pid: i32) -> Option<u64> {
    start_time_in(&fs::File::open("/proc").ok()?, pid)
}

/// The same by way of an open proc file system.
pub fn start_time_in(proc: &fs::File, pid: i32) -> Option<u64> {
    let file = rustix::fs::openat(proc, format!("{pid}/stat"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = std::io::read_to_string(fs::File::from(file)).ok()?;
    // The command may hold spaces and parentheses; fields are counted behind its end.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let gone = matches!(fields.first(), Some(&("Z" | "X")));
    fields.get(19).filter(|_| !gone)?.parse().ok()
}

/// Whether a process ends in time. A descriptor of it is readable once it has; the first of a PID namespace ends last.
pub fn wait_for_exit(process: &OwnedFd, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_start_time_and_a_missing_one_has_none() {
        assert!(NodeProcess::own().is_some_and(|own| own.lives()));
        assert!(start_time(i32::MAX).is_none());
    }

    /// Anybody can call a process as ours are called: it is none of a node's unless it is the first of a PID namespace.
    #[test]
    fn a_process_that_only_has_the_command_line_of_a_nodes_first_one_is_not_taken_for_it() {
        if !coracle_testing::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/bin/sh", dir.path().join("coracle")).unwrap();
        fs::write(dir.path().join("node-init"), "read forever").unwrap();
        let data = dir.path().to_string_lossy().into_owned();
        let path = format!("{data}:{}", std::env::var("PATH").unwrap_or_default());
        let start = |words: &[&str]| {
            let mut command = std::process::Command::new(words[0]);
            command.args(&words[1..]).args(["--inside", "--data-dir", &data, "--number", "1"]);
            command.current_dir(&dir).env("PATH", &path).stdin(std::process::Stdio::piped()).spawn().unwrap()
        };
        let mut pretender = start(&["coracle", "node-init"]);
        while fs::read(format!("/proc/{}/cmdline", pretender.id())).unwrap_or_default().split(|byte| *byte == 0).next()
            != Some(b"coracle")
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(search_node(dir.path(), 1), None);
        let mut first = start(&["unshare", "--pid", "--fork", "--kill-child", "coracle", "node-init"]);
        let found = loop {
            match search_node(dir.path(), 1) {
                Some(found) => break found,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        assert!(found.lives() && found.pid != pretender.id() as i32);
        assert_eq!(search_node(dir.path(), 2), None);
        for process in [&mut first, &mut pretender] {
            drop(process.stdin.take());
            process.wait().unwrap();
        }
    }
}
