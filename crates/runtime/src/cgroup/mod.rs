//! Control groups: one for the shims, one a pod, one a container, on cgroup v1 and v2.
//!
//! Groups are named relative to the runtime's one parent group. Processes enter groups from the inside
//! (see [`CgroupJoin`]); nothing here ever moves a process.

mod devices;
mod v1;
mod v2;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cri::{CpuUsage, IoUsage, LinuxContainerResources, MemoryUsage};
use crate::shim::proto::{CgroupJoin, DeviceSpec};

/// Figures read from a group's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// Disks.
    pub io: Vec<IoUsage>,
    /// Processes and threads.
    pub pids: u64,
}

/// One version of the kernel's cgroup interface.
pub trait Cgroups: Send + Sync {
    /// Makes a group and its parents.
    fn create(&self, group: &str) -> io::Result<()>;
    /// Sets limits; zero leaves a limit as it is, a negative number takes it away.
    fn limit(&self, group: &str, resources: &LinuxContainerResources) -> io::Result<()>;
    /// Allows the standard devices and these, and no others.
    fn restrict_devices(&self, group: &str, devices: &[(DeviceSpec, String)]) -> io::Result<()>;
    /// How a process enters the group.
    fn join(&self, group: &str) -> CgroupJoin;
    /// The file that counts OOM kills.
    fn oom_file(&self, group: &str) -> PathBuf;
    /// The file that lists processes.
    fn procs_file(&self, group: &str) -> PathBuf;
    /// Directories shown in the container's /sys/fs/cgroup, by name (v1 only).
    fn visible(&self, group: &str) -> Vec<(String, PathBuf)>;
    /// Reads figures.
    fn usage(&self, group: &str) -> io::Result<Usage>;
    /// Kills every process in the group and those below.
    fn kill(&self, group: &str);
    /// Removes the group and those below. One that is not there is fine.
    fn remove(&self, group: &str) -> io::Result<()>;
    /// Names of the groups directly below.
    fn children(&self, group: &str) -> Vec<String>;
}

/// Finds the interface that this node uses for processes, and makes the runtime's parent group.
pub fn detect(root: &str) -> io::Result<Box<dyn Cgroups>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let found = parse_mounts(&mounts);
    let root = root.trim_matches('/');
    if root.is_empty() || root.split('/').any(|part| part == ".." || part.is_empty()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the cgroup root {root:?} is not a path below /"),
        ));
    }
    if found.v1.iter().any(|(controllers, _)| controllers.iter().any(|name| name == "memory")) {
        return Ok(Box::new(v1::V1::new(found.v1, root)?));
    }
    match found.v2 {
        Some(mount) => Ok(Box::new(v2::V2::new(mount, root)?)),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no cgroup file system with a memory controller is mounted; mount cgroup2 at /sys/fs/cgroup",
        )),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct CgroupMounts {
    /// Controllers of a hierarchy, and where it is mounted.
    v1: Vec<(Vec<String>, PathBuf)>,
    v2: Option<PathBuf>,
}

fn parse_mounts(mountinfo: &str) -> CgroupMounts {
    let mut found = CgroupMounts::default();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(point), mut right) = (left.split(' ').nth(4), right.split(' ')) else { continue };
        let point = PathBuf::from(point.replace("\\040", " "));
        match right.next() {
            Some("cgroup2") if found.v2.is_none() => found.v2 = Some(point),
            Some("cgroup") => {
                let options = right.nth(1).unwrap_or_default();
                let controllers: Vec<String> = options
                    .split(',')
                    .filter(|option| !matches!(*option, "rw" | "ro") && !option.contains('='))
                    .map(str::to_string)
                    .collect();
                if !controllers.is_empty() && !found.v1.iter().any(|(known, _)| *known == controllers) {
                    found.v1.push((controllers, point));
                }
            }
            _ => {}
        }
    }
    found
}

fn write(path: &Path, value: impl std::fmt::Display) -> io::Result<()> {
    fs::write(path, value.to_string()).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("writing {value:?} to {}: {error}", path.display(), value = value.to_string()),
        )
    })
}

fn read_number(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A file of lines `name value`, read once. What is not there is 0.
struct Fields(String);

impl Fields {
    fn read(path: &Path) -> Fields {
        Fields(fs::read_to_string(path).unwrap_or_default())
    }

    fn get(&self, name: &str) -> u64 {
        let found = self.0.lines().filter_map(|line| line.split_once(' ')).find(|(key, _)| *key == name);
        found.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
    }
}

/// Removes a directory tree of groups from the leaves up; busy ones are tried again for a while, because a
/// killed process leaves its group a moment after it was reaped.
fn remove_tree(path: &Path) -> io::Result<()> {
    let mut wait = std::time::Duration::from_millis(1);
    loop {
        match remove_once(path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && wait.as_millis() < 500 => {
                std::thread::sleep(wait);
                wait *= 2;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_once(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

fn kill_tree(path: &Path, file: &str) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                kill_tree(&entry.path(), file);
            }
        }
    }
    kill_all_listed(&path.join(file));
}

/// Kills the processes that a group's file lists until there are none. One may fork between reading and killing; each
/// round leaves fewer.
pub fn kill_all_listed(file: &Path) {
    const ROUNDS: usize = 64;
    (0..ROUNDS).find(|_| !kill_listed(file));
}

/// One round; whether there was anything to kill. A process may end and its ID be given to another one of the node, so
/// that IDs are held by descriptor first, and only those are meant that are listed still.
fn kill_listed(file: &Path) -> bool {
    /// Fewer than descriptors that a process may have.
    const AT_ONCE: usize = 256;
    let held: Vec<_> = listed(file)
        .into_iter()
        .take(AT_ONCE)
        .filter_map(|pid| Some((pid, rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?)))
        .collect();
    let still = listed(file);
    let kill = |(pid, held): &(_, std::os::fd::OwnedFd)| {
        still.contains(pid) && rustix::process::pidfd_send_signal(held, rustix::process::Signal::KILL).is_ok()
    };
    held.iter().filter(|process| kill(process)).count() > 0
}

/// Processes of a group. Those of another PID namespace show as 0.
fn listed(file: &Path) -> std::collections::HashSet<rustix::process::Pid> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let pids = text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0);
    pids.filter_map(rustix::process::Pid::from_raw).collect()
}

fn child_groups(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_mounts_are_told_apart() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = parse_mounts(text);
        assert_eq!(found.v1.len(), 2);
        assert_eq!(found.v1[0].0, ["cpu", "cpuacct"]);
        assert_eq!(found.v2, Some("/sys/fs/cgroup/unified".into()));
    }

    #[test]
    fn a_root_that_leaves_the_tree_is_refused() {
        for root in ["", "/", "a/../b"] {
            assert!(detect(root).is_err(), "{root}");
        }
    }

    #[test]
    fn processes_that_a_file_lists_are_killed_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let start = || std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (mut listed, mut other) = (start(), start());
        let file = dir.path().join("cgroup.procs");
        fs::write(&file, format!("0\n{}\nnonsense\n", listed.id())).unwrap();
        assert!(kill_listed(&file));
        assert!(!listed.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!kill_listed(&file) && !kill_listed(&dir.path().join("gone")));
    }
}
