//! cgroup v1, also as part of a hybrid set-up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Cgroups, Fields, Usage, child_groups, kill_tree, read_number, remove_tree, write};
use crate::cri::{CpuUsage, LinuxContainerResources, MemoryUsage};
use crate::shim::proto::{CgroupJoin, DeviceSpec};

/// The controllers used; a group is made in these hierarchies only, because each costs time at every start.
const USED: &[&str] = &["cpu", "cpuacct", "cpuset", "memory", "devices", "pids"];

/// The v1 hierarchies of this node.
pub struct V1 {
    /// Controllers and the directory of the runtime's parent group.
    hierarchies: Vec<(Vec<String>, PathBuf)>,
}

impl V1 {
    /// Uses the hierarchies mounted at these places.
    pub fn new(mounts: Vec<(Vec<String>, PathBuf)>, root: &str) -> io::Result<Self> {
        let used =
            |(controllers, _): &(Vec<String>, PathBuf)| controllers.iter().any(|name| USED.contains(&name.as_str()));
        let hierarchies: Vec<_> = mounts.into_iter().filter(used).map(|(names, mount)| (names, mount, root)).collect();
        for (names, mount, root) in &hierarchies {
            let mut dir = mount.clone();
            for part in root.split('/') {
                let parent = dir.clone();
                dir.push(part);
                super::v2::make_dir(&dir)?;
                if names.iter().any(|name| name == "cpuset") {
                    // A new cpuset is empty and takes no process until it has processors and memory nodes.
                    for file in ["cpuset.cpus", "cpuset.mems"] {
                        if fs::read_to_string(dir.join(file)).is_ok_and(|text| text.trim().is_empty()) {
                            write(&dir.join(file), fs::read_to_string(parent.join(file))?.trim())?;
                        }
                    }
                }
            }
            if names.iter().any(|name| name == "cpuset") {
                // Groups below then start with their parent's.
                write(&dir.join("cgroup.clone_children"), 1)?;
            }
        }
        Ok(Self {
            hierarchies: hierarchies.into_iter().map(|(names, mount, root)| (names, mount.join(root))).collect(),
        })
    }

    fn path(&self, controller: &str, group: &str) -> Option<PathBuf> {
        let (_, dir) = self.hierarchies.iter().find(|(names, _)| names.iter().any(|name| name == controller))?;
        Some(dir.join(group))
    }

    fn file(&self, controller: &str, group: &str, file: &str) -> PathBuf {
        self.path(controller, group).unwrap_or_default().join(file)
    }
}

impl V1 {
    fn cpu(&self, group: &str) -> CpuUsage {
        /// Hundredths of a second.
        const TICK: u64 = 10_000_000;
        let (stat, throttling) = (
            Fields::read(&self.file("cpuacct", group, "cpuacct.stat")),
            Fields::read(&self.file("cpu", group, "cpu.stat")),
        );
        CpuUsage {
            usage_core_nano_seconds: read_number(&self.file("cpuacct", group, "cpuacct.usage")),
            user_nano_seconds: stat.get("user").saturating_mul(TICK),
            system_nano_seconds: stat.get("system").saturating_mul(TICK),
            periods: throttling.get("nr_periods"),
            throttled_periods: throttling.get("nr_throttled"),
            throttled_nano_seconds: throttling.get("throttled_time"),
        }
    }
}

fn memory_usage(dir: &Path) -> MemoryUsage {
    let usage_bytes = read_number(&dir.join("memory.usage_in_bytes"));
    let stat = Fields::read(&dir.join("memory.stat"));
    MemoryUsage {
        usage_bytes,
        working_set_bytes: usage_bytes.saturating_sub(stat.get("total_inactive_file")),
        rss_bytes: stat.get("total_rss"),
        cache_bytes: stat.get("total_cache"),
        mapped_file_bytes: stat.get("total_mapped_file"),
        swap_bytes: stat.get("total_swap"),
        max_usage_bytes: read_number(&dir.join("memory.max_usage_in_bytes")),
        failures: read_number(&dir.join("memory.failcnt")),
        page_faults: stat.get("total_pgfault"),
        major_page_faults: stat.get("total_pgmajfault"),
        oom_kills: Fields::read(&dir.join("memory.oom_control")).get("oom_kill"),
    }
}

impl Cgroups for V1 {
    fn create(&self, group: &str) -> io::Result<()> {
        for (_, dir) in &self.hierarchies {
            super::v2::make_dir(&dir.join(group))?;
        }
        Ok(())
    }

    fn limit(&self, group: &str, resources: &LinuxContainerResources) -> io::Result<()> {
        if let Some(cpu) = self.path("cpu", group) {
            if resources.cpu_shares > 0 {
                write(&cpu.join("cpu.shares"), resources.cpu_shares)?;
            }
            if resources.cpu_period > 0 {
                write(&cpu.join("cpu.cfs_period_us"), resources.cpu_period)?;
            }
            if resources.cpu_quota != 0 {
                write(&cpu.join("cpu.cfs_quota_us"), resources.cpu_quota)?;
            }
        }
        let limit = resources.memory_limit_in_bytes;
        if let Some(memory) = self.path("memory", group).filter(|_| limit != 0) {
            let (plain, swap) = (memory.join("memory.limit_in_bytes"), memory.join("memory.memsw.limit_in_bytes"));
            // Memory plus swap must never be below memory, so the order depends on the direction.
            let shrinks = limit > 0 && read_number(&plain) as i64 > limit;
            let (first, second) = if shrinks { (&plain, &swap) } else { (&swap, &plain) };
            for file in [first, second] {
                if *file == plain || swap.exists() {
                    write(file, limit)?;
                }
            }
        }
        if let (Some(pids), limit @ 1..) = (self.path("pids", group), resources.pids_limit) {
            write(&pids.join("pids.max"), limit)?;
        }
        if let (Some(cpuset), false) = (self.path("cpuset", group), resources.cpuset_cpus.is_empty()) {
            write(&cpuset.join("cpuset.cpus"), &resources.cpuset_cpus)?;
        }
        Ok(())
    }

    fn restrict_devices(&self, group: &str, devices: &[(DeviceSpec, String)]) -> io::Result<()> {
        let dir = self.path("devices", group).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "the node's cgroup v1 has no devices hierarchy, so that devices cannot be kept from a container; \
                 mount it (mount -t cgroup -o devices cgroup /sys/fs/cgroup/devices)",
            )
        })?;
        write(&dir.join("devices.deny"), "a")?;
        for rule in super::devices::rules(devices) {
            write(&dir.join("devices.allow"), rule)?;
        }
        Ok(())
    }

    fn join(&self, group: &str) -> CgroupJoin {
        let files = self.hierarchies.iter().map(|(_, dir)| dir.join(group).join("tasks")).collect();
        CgroupJoin { files, directory: None }
    }

    fn oom_file(&self, group: &str) -> PathBuf {
        self.file("memory", group, "memory.oom_control")
    }

    fn procs_file(&self, group: &str) -> PathBuf {
        self.file("memory", group, "cgroup.procs")
    }

    fn visible(&self, group: &str) -> Vec<(String, PathBuf)> {
        self.hierarchies.iter().map(|(names, dir)| (names.join(","), dir.join(group))).collect()
    }

    fn usage(&self, group: &str) -> io::Result<Usage> {
        let memory = self.path("memory", group).unwrap_or_default();
        if !memory.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("cgroup {group} does not exist")));
        }
        Ok(Usage {
            cpu: self.cpu(group),
            memory: memory_usage(&memory),
            // Its hierarchy is not used, as joining it would cost every start some time.
            io: Vec::new(),
            pids: read_number(&self.file("pids", group, "pids.current")),
        })
    }

    fn kill(&self, group: &str) {
        if let Some(dir) = self.path("memory", group) {
            kill_tree(&dir, "cgroup.procs");
        }
    }

    fn remove(&self, group: &str) -> io::Result<()> {
        self.hierarchies.iter().try_for_each(|(_, dir)| remove_tree(&dir.join(group)))
    }

    fn children(&self, group: &str) -> Vec<String> {
        self.path("memory", group).map(|dir| child_groups(&dir)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_devices_hierarchy_no_container_is_made_that_needs_one() {
        let dir = tempfile::tempdir().unwrap();
        let groups = V1::new(vec![(vec!["memory".into()], dir.path().to_path_buf())], "c").unwrap();
        groups.create("pod1").unwrap();
        let error = groups.restrict_devices("pod1", &[]).unwrap_err().to_string();
        assert!(error.contains("no devices hierarchy"), "{error}");
    }
}
