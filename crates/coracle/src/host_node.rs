//! What a server that runs on the host itself leaves there, and how it goes.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};
use coracle_network::NodeNetwork;
use coracle_runtime::tree;
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::Cluster;
use crate::cni_network;
use crate::down::cgroup_mounts;

/// Where the DNS of clusters answered that do not say where.
const EARLIER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// How long killed processes may take to be gone.
const KILLED: Duration = Duration::from_secs(10);

/// Ends shims and containers and removes mounts, links and tables. Answers what failed.
pub fn end(cluster: &Cluster) -> Vec<(String, Error)> {
    let mut failed = Vec::new();
    let mut step = |what: &str, result: Result<()>| {
        failed.extend(result.err().map(|error| (what.to_owned(), error)));
    };
    step("the containers", end_processes(&cluster.cgroup()));
    step("what CNI plugins did", cni_network::remove(&cluster.dir));
    step("the mounts of volumes", unmount_below(&cluster.dir));
    step("the pod network", remove_network(cluster));
    failed
}

fn remove_network(cluster: &Cluster) -> Result<()> {
    NodeNetwork::remove(&cluster.bridge(), &cluster.overlay(), &[EARLIER.into()], &cluster.dir.join("run/addresses"))
}

/// Asks containers to end and waits for them until `deadline`. Shims end with their containers' node.
pub fn ask_to_end(cluster: &Cluster, deadline: Instant) {
    let containers = || processes(&cluster.cgroup()).into_iter().filter(|pid| !is_shim(*pid));
    for pid in containers().filter_map(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
    while containers().next().is_some() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_shim(pid: i32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"shim")
}

/// Kills what is in a cgroup and below it, until nothing is.
fn end_processes(group: &str) -> Result<()> {
    let deadline = Instant::now() + KILLED;
    loop {
        let pids = processes(group);
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(anyhow!("{} processes do not end; a reboot removes them", pids.len()));
        }
        for pid in pids.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What is in a cgroup and below it, in any hierarchy.
pub fn processes(group: &str) -> Vec<i32> {
    let mut pids = Vec::new();
    for root in cgroup_mounts() {
        collect(&root.join(group), &mut pids);
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn collect(group: &Path, pids: &mut Vec<i32>) {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), pids);
        }
    }
}

/// Unmounts everything below a directory, if it is there.
fn unmount_below(dir: &Path) -> Result<()> {
    match tree::unmount_all_below(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

    #[test]
    fn mounts_go_whatever_the_names_on_the_way_to_them() {
        if !coracle_testing::is_root() {
            return;
        }
        let thread = std::thread::spawn(|| {
            // SAFETY: only this thread leaves, and it ends with the test.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let point = dir.path().join("a b\tc\nd\\e");
            fs::create_dir(&point).unwrap();
            mount("tmpfs", &point, "tmpfs", MountFlags::empty(), None).unwrap();
            unmount_below(dir.path()).unwrap();
            fs::remove_dir(&point).unwrap();
            unmount_below(&dir.path().join("none")).unwrap();
        });
        thread.join().unwrap();
    }
}
