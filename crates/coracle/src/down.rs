//! `coracle stop` and `coracle down`: nothing of the cluster stays.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use coracle_network::host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::args::Which;
use crate::cluster::{self, Cluster};
use crate::kubeconfig;

/// How long containers have to end by themselves, and a killed node to be gone.
const STOP: Duration = Duration::from_secs(5);
const KILLED: Duration = Duration::from_secs(20);

/// Ends the node; everything on disk stays.
pub fn stop(which: &Which) -> Result<()> {
    let _lock = Cluster::lock(&which.dir())?;
    let cluster = Cluster::load(which)?;
    if let Some(node) = open_node(&cluster) {
        let _ = pidfd_send_signal(&node, Signal::TERM);
        wait_for_exit(&node, STOP);
    }
    end_node(&cluster);
    println!("Cluster {:?} is stopped; `coracle start` starts it again.", cluster.name);
    Ok(())
}

/// Ends everything of a cluster and removes it, also when it is half there.
pub fn down(which: &Which) -> Result<()> {
    let dir = which.dir();
    let lock = Cluster::lock(&dir)?;
    let found = Cluster::read(&dir);
    let described = matches!(&found, Ok(Some(_)));
    // Without a description everything but the directory is found by the name.
    let cluster = match found {
        Ok(Some(cluster)) => cluster,
        _ => Cluster {
            name: which.name.clone(),
            dir: dir.clone(),
            subnet: "10.90.0.0/24".parse()?,
            token_auth_file: None,
            insecure_registries: Vec::new(),
        },
    };
    if !described && dir.exists() && !is_ours(&dir) {
        bail!("{} does not look like a cluster's data directory and was left as it is", dir.display());
    }
    end_node(&cluster);
    let context = kubeconfig::path().and_then(|path| kubeconfig::remove(&path, &cluster.context()));
    remove_tree(&dir).with_context(|| format!("failed to remove {}", dir.display()))?;
    let _ = fs::remove_file(cluster::lock_path(&dir));
    drop(lock);
    if let Some(parent) = dir.parent().filter(|parent| parent.ends_with("lib/coracle")) {
        // Fails while another cluster is in it.
        let _ = fs::remove_dir(parent);
    }
    context?;
    println!("Cluster {:?} is gone.", cluster.name);
    Ok(())
}

fn is_ours(dir: &Path) -> bool {
    let names = ["cluster.json", "cluster.json.tmp", "store", "pki", "log", "run", "images", "kubelet"];
    let ours = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            entry.file_name().to_str().is_some_and(|name| names.contains(&name) || name.ends_with(".sock"))
        })
    };
    fs::read_dir(dir).is_ok_and(|mut entries| entries.all(ours))
}

/// Ends the node's processes and removes its link, table and cgroups. Nothing of it needs to exist.
pub fn end_node(cluster: &Cluster) {
    if let Some(node) = open_node(cluster) {
        let _ = pidfd_send_signal(&node, Signal::KILL);
        if !wait_for_exit(&node, KILLED) {
            eprintln!("warning: the node's processes do not end; a reboot removes them");
        }
    }
    let _ = fs::remove_file(cluster.dir.join("node.json"));
    let _ = fs::remove_file(cluster.control_socket());
    for link in [cluster.link(), cluster.bridge()] {
        if let Err(error) = host::delete_link(&link) {
            eprintln!("warning: failed to remove the link {link}: {error:#}");
        }
    }
    if let Err(error) = host::close_firewall(&cluster.bridge()) {
        eprintln!("warning: failed to clean the firewall: {error:#}");
    }
    if let Err(error) = host::delete_table(&cluster.table()) {
        eprintln!("warning: failed to remove the nftables table {}: {error:#}", cluster.table());
    }
    remove_cgroups(&cluster.cgroup());
}

fn open_node(cluster: &Cluster) -> Option<OwnedFd> {
    let process = cluster.process().or_else(|| cluster.search_process())?;
    let node = pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    // The PID may have been given to another process between the check and the open.
    (cluster::start_time(process.pid) == Some(process.started)).then_some(node)
}

/// A pidfd is readable once its process ended; PID 1 ends last of its namespace.
fn wait_for_exit(process: &OwnedFd, timeout: Duration) -> bool {
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

/// Removes a group and those below it from every hierarchy, and the common parent when it is empty.
fn remove_cgroups(group: &str) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let roots = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_cgroup = matches!(after.split(' ').next()?, "cgroup" | "cgroup2");
        is_cgroup.then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or_default()))
    });
    for root in roots {
        let path = root.join(group);
        let deadline = Instant::now() + Duration::from_secs(2);
        // A group of processes that just ended may stay busy for a moment.
        while path.exists() && remove_group(&path).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(parent) = path.parent().filter(|parent| parent.ends_with("coracle")) {
            let _ = fs::remove_dir(parent);
        }
    }
}

fn remove_group(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_group(&entry.path())?;
    }
    fs::remove_dir(path)
}

/// The node's mounts went with its namespace, but the kernel may take a moment.
fn remove_tree(dir: &Path) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}
