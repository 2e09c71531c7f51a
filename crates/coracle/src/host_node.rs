//! What a server that runs on the host itself leaves there, and how it goes.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};
use coracle_network::NodeNetwork;
use coracle_runtime::tree;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cluster::Cluster;
use crate::cni_network;
use crate::down::cgroup_mounts;

/// Where the DNS of clusters answered that do not say where.
const EARLIER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// How long killed processes may take to be gone.
const KILLED: Duration = Duration::from_secs(10);
/// Processes that are held at once, fewer than descriptors that a process may have.
const HELD: usize = 256;
/// Below these of the data directory's are the mounts of pods and of what the runtime keeps for them.
const WITH_MOUNTS: [&str; 2] = ["kubelet", "run"];

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
    let containers = || processes(&cluster.cgroup()).into_iter().filter(|pid| !is_shim(*pid)).collect::<Vec<_>>();
    signal(containers, Signal::TERM);
    while !containers().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends all that are listed a signal. One may end and its ID be given to another process of the host, so that they are held by
/// descriptor first, and only those are meant that are listed still.
fn signal(listed: impl Fn() -> Vec<i32>, signal: Signal) {
    for pids in listed().chunks(HELD) {
        let hold = |pid: &i32| Some((*pid, pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok()?));
        let held: Vec<_> = pids.iter().filter_map(hold).collect();
        let still = listed();
        for (_, process) in held.iter().filter(|(pid, _)| still.contains(pid)) {
            let _ = pidfd_send_signal(process, signal);
        }
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
        signal(|| processes(group), Signal::KILL);
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

/// Unmounts what the node has mounted in its data directory, if that is there, and nothing that somebody else has there, as a
/// disk for one of its parts.
fn unmount_below(dir: &Path) -> Result<()> {
    let is_own = |inner: &Path| WITH_MOUNTS.iter().any(|part| inner.starts_with(part) && inner != Path::new(part));
    match tree::unmount_named(dir, is_own) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::process::Command;

    use super::*;
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change, unmount};

    #[test]
    fn a_process_that_is_not_of_the_group_any_more_gets_no_signal() {
        let mut sleeps: Vec<_> = (0..2).map(|_| Command::new("sleep").arg("600").spawn().unwrap()).collect();
        let [stays, leaves] = [0, 1].map(|n| sleeps[n].id() as i32);
        let lists = RefCell::new(vec![vec![stays], vec![stays, leaves]]);
        signal(|| lists.borrow_mut().pop().unwrap(), Signal::KILL);
        assert!(!sleeps[0].wait().unwrap().success());
        assert!(sleeps[1].try_wait().unwrap().is_none());
        sleeps[1].kill().unwrap();
        sleeps[1].wait().unwrap();
    }

    #[test]
    fn mounts_of_the_node_go_whatever_their_names_and_those_of_others_stay() {
        if !coracle_testing::is_root() {
            return;
        }
        let thread = std::thread::spawn(|| {
            // SAFETY: only this thread leaves, and it ends with the test.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let theirs = [dir.path().join("kubelet"), dir.path().join("backup")];
            let own = ["kubelet/pods/a b\tc\nd\\e", "run/x"].map(|inner| dir.path().join(inner));
            for point in theirs.iter().chain(&own) {
                fs::create_dir_all(point).unwrap();
                mount("tmpfs", point, "tmpfs", MountFlags::empty(), None).unwrap();
            }
            unmount_below(dir.path()).unwrap();
            own.iter().for_each(|point| fs::remove_dir(point).unwrap());
            theirs.iter().for_each(|point| unmount(point, rustix::mount::UnmountFlags::empty()).unwrap());
            unmount_below(&dir.path().join("none")).unwrap();
        });
        thread.join().unwrap();
    }
}
