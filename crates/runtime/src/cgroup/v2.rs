//! cgroup v2.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Cgroups, Fields, Usage, child_groups, kill_tree, read_number, remove_tree, write};
use crate::cri::{CpuUsage, IoUsage, LinuxContainerResources, MemoryUsage};
use crate::shim::proto::{CgroupJoin, DeviceSpec};
use crate::sys;

const CONTROLLERS: &[&str] = &["cpu", "cpuset", "io", "memory", "pids"];

/// The unified hierarchy.
pub struct V2 {
    mount: PathBuf,
    root: PathBuf,
}

/// Makes one directory; one that exists is fine. Everybody may look into it: a container sees its own, whoever its user is.
pub fn make_dir(path: &Path) -> io::Result<()> {
    let readable = || fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(path).and_then(|()| readable()),
        result => result.and_then(|()| readable()),
    }
    .map_err(|error| io::Error::new(error.kind(), format!("making cgroup {}: {error}", path.display())))
}

impl V2 {
    /// Uses the hierarchy mounted at `mount`.
    pub fn new(mount: PathBuf, root: &str) -> io::Result<Self> {
        let groups = Self { root: mount.join(root), mount };
        groups.create("")?;
        groups.delegate(&groups.root)?;
        Ok(groups)
    }

    /// Enables the controllers for the children of a group.
    fn delegate(&self, dir: &Path) -> io::Result<()> {
        let available = fs::read_to_string(dir.join("cgroup.controllers"))?;
        let enabled = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
        let missing: Vec<String> = CONTROLLERS
            .iter()
            .filter(|name| available.split_whitespace().any(|have| have == **name))
            .filter(|name| !enabled.split_whitespace().any(|have| have == **name))
            .map(|name| format!("+{name}"))
            .collect();
        if missing.is_empty() { Ok(()) } else { write(&dir.join("cgroup.subtree_control"), missing.join(" ")) }
    }

    fn file(&self, group: &str, file: &str) -> PathBuf {
        self.root.join(group).join(file)
    }

    fn cpu(&self, group: &str) -> CpuUsage {
        let stat = Fields::read(&self.file(group, "cpu.stat"));
        let nanos = |field: &str| stat.get(field).saturating_mul(1000);
        CpuUsage {
            usage_core_nano_seconds: nanos("usage_usec"),
            user_nano_seconds: nanos("user_usec"),
            system_nano_seconds: nanos("system_usec"),
            periods: stat.get("nr_periods"),
            throttled_periods: stat.get("nr_throttled"),
            throttled_nano_seconds: nanos("throttled_usec"),
        }
    }

    fn memory(&self, group: &str) -> MemoryUsage {
        let usage_bytes = read_number(&self.file(group, "memory.current"));
        let (stat, events) =
            (Fields::read(&self.file(group, "memory.stat")), Fields::read(&self.file(group, "memory.events")));
        MemoryUsage {
            usage_bytes,
            working_set_bytes: usage_bytes.saturating_sub(stat.get("inactive_file")),
            rss_bytes: stat.get("anon"),
            cache_bytes: stat.get("file"),
            mapped_file_bytes: stat.get("file_mapped"),
            swap_bytes: read_number(&self.file(group, "memory.swap.current")),
            max_usage_bytes: read_number(&self.file(group, "memory.peak")),
            failures: events.get("max"),
            page_faults: stat.get("pgfault"),
            major_page_faults: stat.get("pgmajfault"),
            oom_kills: events.get("oom_kill"),
        }
    }
}

/// Reads `io.stat`, a line a disk: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`. One that was never used has only its number.
fn io_usage(stat: &str) -> Vec<IoUsage> {
    let of = |line: &str| {
        let (device, fields) = line.split_once(' ').filter(|(_, fields)| fields.contains('='))?;
        let mut found = IoUsage { device: device.to_owned(), ..Default::default() };
        for (name, value) in fields.split_whitespace().filter_map(|field| field.split_once('=')) {
            let place = match name {
                "rbytes" => &mut found.read_bytes,
                "wbytes" => &mut found.written_bytes,
                "rios" => &mut found.reads,
                "wios" => &mut found.writes,
                _ => continue,
            };
            *place = value.parse().unwrap_or(0);
        }
        Some(found)
    };
    stat.lines().filter_map(of).collect()
}

/// The weight (1..10000) that stands for v1 shares (2..262144), by the same curve as the OCI runtimes.
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9_999 / 262_142
}

impl Cgroups for V2 {
    fn create(&self, group: &str) -> io::Result<()> {
        let target = if group.is_empty() { self.root.clone() } else { self.root.join(group) };
        if target.is_dir() {
            return Ok(());
        }
        let below = target.strip_prefix(&self.mount).unwrap_or(&target).to_path_buf();
        let mut dir = self.mount.clone();
        for part in below.components() {
            // Controllers reach a group only when every group above hands them down.
            self.delegate(&dir)?;
            dir.push(part);
            make_dir(&dir)?;
        }
        Ok(())
    }

    fn limit(&self, group: &str, resources: &LinuxContainerResources) -> io::Result<()> {
        if resources.cpu_shares > 0 {
            write(&self.file(group, "cpu.weight"), weight(resources.cpu_shares))?;
        }
        if resources.cpu_quota != 0 {
            let period = if resources.cpu_period == 0 { 100_000 } else { resources.cpu_period };
            let quota = if resources.cpu_quota < 0 { "max".to_string() } else { resources.cpu_quota.to_string() };
            write(&self.file(group, "cpu.max"), format!("{quota} {period}"))?;
        }
        if resources.memory_limit_in_bytes < 0 {
            write(&self.file(group, "memory.max"), "max")?;
        }
        if resources.memory_limit_in_bytes > 0 {
            write(&self.file(group, "memory.max"), resources.memory_limit_in_bytes)?;
            let swap = self.file(group, "memory.swap.max");
            if swap.exists() {
                write(&swap, 0)?;
            }
        }
        if resources.pids_limit > 0 {
            write(&self.file(group, "pids.max"), resources.pids_limit)?;
        }
        if !resources.cpuset_cpus.is_empty() {
            write(&self.file(group, "cpuset.cpus"), &resources.cpuset_cpus)?;
        }
        Ok(())
    }

    fn restrict_devices(&self, group: &str, devices: &[(DeviceSpec, String)]) -> io::Result<()> {
        let dir = fs::File::open(self.root.join(group))?;
        sys::attach_device_program(dir.as_fd(), &super::devices::program(devices))
    }

    fn join(&self, group: &str) -> CgroupJoin {
        CgroupJoin { files: Vec::new(), directory: Some(self.root.join(group)) }
    }

    fn oom_file(&self, group: &str) -> PathBuf {
        self.file(group, "memory.events")
    }

    fn procs_file(&self, group: &str) -> PathBuf {
        self.file(group, "cgroup.procs")
    }

    fn visible(&self, _group: &str) -> Vec<(String, PathBuf)> {
        Vec::new()
    }

    fn usage(&self, group: &str) -> io::Result<Usage> {
        if !self.root.join(group).is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("cgroup {group} does not exist")));
        }
        Ok(Usage {
            cpu: self.cpu(group),
            memory: self.memory(group),
            io: io_usage(&fs::read_to_string(self.file(group, "io.stat")).unwrap_or_default()),
            pids: read_number(&self.file(group, "pids.current")),
        })
    }

    fn kill(&self, group: &str) {
        // Kernels before 5.14 have no such file.
        if fs::write(self.file(group, "cgroup.kill"), b"1").is_err() {
            kill_tree(&self.root.join(group), "cgroup.procs");
        }
    }

    fn remove(&self, group: &str) -> io::Result<()> {
        remove_tree(&self.root.join(group))
    }

    fn children(&self, group: &str) -> Vec<String> {
        child_groups(&self.root.join(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake() -> (tempfile::TempDir, V2) {
        let dir = tempfile::tempdir().unwrap();
        for path in ["", "c", "c/n", "c/n/kubepods"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
            fs::write(dir.path().join(path).join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
            fs::write(dir.path().join(path).join("cgroup.subtree_control"), "memory\n").unwrap();
        }
        let groups = V2::new(dir.path().to_path_buf(), "c/n").unwrap();
        (dir, groups)
    }

    #[test]
    fn controllers_are_handed_down_on_the_way_to_a_group() {
        let (dir, groups) = fake();
        groups.create("kubepods/pod1").unwrap();
        for path in ["", "c", "c/n", "c/n/kubepods"] {
            let control = fs::read_to_string(dir.path().join(path).join("cgroup.subtree_control")).unwrap();
            assert!(control.contains("+cpu +cpuset +io") && control.contains("+pids"), "{path}: {control}");
        }
        assert_eq!(groups.join("kubepods/pod1").directory, Some(dir.path().join("c/n/kubepods/pod1")));
    }

    #[test]
    fn limits_are_written_in_the_units_of_v2() {
        let (dir, groups) = fake();
        groups.create("kubepods/pod1").unwrap();
        let resources = LinuxContainerResources {
            cpu_shares: 1024,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            memory_limit_in_bytes: 1 << 20,
            pids_limit: 7,
            ..Default::default()
        };
        groups.limit("kubepods/pod1", &resources).unwrap();
        let read = |file: &str| fs::read_to_string(dir.path().join("c/n/kubepods/pod1").join(file)).unwrap();
        assert_eq!(read("cpu.weight"), "39");
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("pids.max"), "7");
        let gone = LinuxContainerResources { cpu_quota: -1, memory_limit_in_bytes: -1, ..Default::default() };
        groups.limit("kubepods/pod1", &gone).unwrap();
        assert_eq!(
            (read("cpu.max"), read("memory.max"), read("pids.max")),
            ("max 100000".into(), "max".into(), "7".into())
        );
    }

    #[test]
    fn figures_are_read_from_a_groups_files() {
        let (dir, groups) = fake();
        let pod = dir.path().join("c/n/kubepods");
        for (file, text) in [
            ("cpu.stat", "usage_usec 12\nuser_usec 3\n"),
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 400\ninactive_file 300\n"),
            ("memory.events", "max 0\noom_kill 3\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n8:16 rbytes=10\n7:0 \n"),
            ("pids.current", "2\n"),
        ] {
            fs::write(pod.join(file), text).unwrap();
        }
        let found = groups.usage("kubepods").unwrap();
        assert_eq!((found.cpu.usage_core_nano_seconds, found.cpu.user_nano_seconds), (12_000, 3000));
        let memory = found.memory;
        assert_eq!((memory.usage_bytes, memory.working_set_bytes, memory.rss_bytes), (1000, 700, 400));
        assert_eq!((memory.oom_kills, found.pids), (3, 2));
        let [first, second] = found.io.try_into().unwrap();
        assert_eq!(first, IoUsage { device: "8:0".into(), read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 });
        assert_eq!(second, IoUsage { device: "8:16".into(), read_bytes: 10, ..Default::default() });
        assert!(groups.usage("gone").is_err());
    }

    #[test]
    fn shares_become_weights_at_both_ends() {
        assert_eq!((weight(0), weight(2), weight(262_144), weight(u64::MAX)), (1, 1, 10_000, 10_000));
    }
}
