//! PID 1 of a local node: it keeps the daemon alive and reaps what loses its parent.
//!
//! `coracle up` starts the outer process, which makes the namespaces, starts the inner process as their
//! PID 1, writes down its PID, and ends. The inner one prepares the mounts, starts `coracle server` or `coracle agent`, and
//! waits on its standard input until the node's link is there, as these do in their own way; afterwards it starts them over
//! and over.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::NodeInit;
use crate::cluster::Cluster;
use crate::local_node::LocalNode;
use crate::process::{NodeProcess, start_time_in};
use crate::publish::Sockets;
use crate::{mounts, nodes, server_log, sys};

/// When the start is over.
const STARTED: Duration = Duration::from_secs(2);

/// Runs either half.
pub fn run(options: &NodeInit) -> Result<()> {
    let cluster = Cluster::read(&options.data_dir)?.context("the cluster's description is missing")?;
    let node = LocalNode { cluster: &cluster, number: options.number };
    let sockets = Sockets::take(&options.published)?;
    if options.inside { inner(&node, &sockets) } else { outer(&node, &sockets) }
}

fn outer(node: &LocalNode<'_>, sockets: &Sockets) -> Result<()> {
    // The inner process mounts another /proc over this one.
    let proc = fs::File::open("/proc")?;
    sys::enter_node_namespaces().context("failed to make the node's namespaces")?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("coracle").args(["node-init", "--inside", "--data-dir"]).arg(&node.cluster.dir);
    command.arg("--number").arg(node.number.to_string());
    sockets.pass_on(&mut command);
    let child = command.stdin(Stdio::inherit()).spawn().context("failed to start the node's first process")?;
    let pid = child.id() as i32;
    let started = start_time_in(&proc, pid).context("the node's first process ended at once")?;
    node.set_process(NodeProcess { pid, started })
}

fn inner(node: &LocalNode<'_>, sockets: &Sockets) -> Result<()> {
    // The host must not see the node's mounts, nor the node new ones of the host.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("failed to make mounts private")?;
    let proc_flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", proc_flags, None).context("failed to mount /proc")?;
    rustix::system::sethostname(node.name().as_bytes()).context("failed to set the host name")?;
    // From here on output goes to the log.
    let dir = node.dir();
    server_log::open(&dir).with_context(|| format!("failed to open {}", server_log::path(&dir).display()))?;
    mounts::attach(node.mounts(), &dir)?;
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .context("failed to share mounts within the node")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let first = start_daemon(node, sockets)?;
        wait_for_link()?;
        tokio::spawn(async {
            tokio::time::sleep(STARTED).await;
            // What only the start needed, which is most of this program and nearly all that it does.
            let _by_page = sys::map_program_by_page();
            sys::give_memory_back();
            sys::let_go_of_program();
            std::future::pending::<()>().await;
        });
        keep_alive(node, sockets, first, &mut signals).await
    })
}

/// `coracle up` closes our standard input after one byte once the link is there.
fn wait_for_link() -> Result<()> {
    let mut byte = [0];
    if std::io::stdin().read(&mut byte)? != 1 {
        bail!("the node's link was not made");
    }
    // The pipe to `coracle up` is closed.
    let null = fs::File::open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdin(&null)?)
}

/// What this process is told.
struct Signals {
    child: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on none is missed.
    fn new() -> Result<Signals> {
        Ok(Signals { child: signal(SignalKind::child())?, terminate: signal(SignalKind::terminate())? })
    }
}

async fn keep_alive(node: &LocalNode<'_>, sockets: &Sockets, first: Child, signals: &mut Signals) -> Result<()> {
    let (mut server, mut started, mut delay) = (first, Instant::now(), Duration::ZERO);
    loop {
        let pid = server.id() as i32;
        let killed = loop {
            tokio::select! {
                _ = signals.child.recv() => if let Some(status) = reap(pid) { break status.signaled() },
                _ = signals.terminate.recv() => return stop(pid).await,
            }
        };
        // A server that fails again and again is not started in a tight loop; one that was killed did not fail.
        delay = if killed || started.elapsed() > Duration::from_secs(10) {
            Duration::from_millis(20)
        } else {
            (delay * 2).clamp(Duration::from_millis(20), Duration::from_secs(5))
        };
        // PID 1 outlives a full or failing disk under the log.
        let _ = writeln!(std::io::stderr(), "node-init: the server ended; it is started again in {delay:?}");
        tokio::time::sleep(delay).await;
        started = Instant::now();
        server = start_daemon(node, sockets)?;
    }
}

/// The server on the first node, an agent on others.
fn start_daemon(node: &LocalNode<'_>, sockets: &Sockets) -> Result<Child> {
    let (cluster, dir) = (node.cluster, node.dir());
    let mut command = Command::new("/proc/self/exe");
    command.arg0("coracle").arg(if node.is_first() { "server" } else { "agent" });
    command.args(["--in-node", "--name", &cluster.name, "--data-dir"]).arg(&dir);
    let addresses: Vec<String> = node.addresses().iter().map(ToString::to_string).collect();
    command.arg("--node-name").arg(node.name()).arg("--node-ip").arg(addresses.join(","));
    if !cluster.ip_family.is_default() {
        command.arg("--cluster-cidr").arg(cluster.ip_family.pods()?.to_string());
        command.arg("--service-cluster-ip-range").arg(cluster.ip_family.services()?.to_string());
    }
    command.arg("--cgroup-root").arg(node.cgroup());
    for registry in &cluster.insecure_registries {
        command.arg("--insecure-registry").arg(registry);
    }
    command.args(cluster.cni.arguments());
    command.args(node.kubelet());
    if node.is_first() {
        if let Some(file) = &cluster.scheduler_config {
            command.arg("--scheduler-config").arg(file);
        }
        if let Some(file) = &cluster.token_auth_file {
            command.arg("--token-auth-file").arg(file);
        }
        command.args(&cluster.api_server);
    } else {
        let authority = fs::read_to_string(cluster.dir.join("pki/ca.crt")).context("failed to read the authority")?;
        command.arg("--server").arg(cluster.url()).arg("--token-file").arg(dir.join(nodes::TOKEN));
        command.arg("--discovery-token-ca-cert-hash").arg(coracle_pki::public_key_hash(&authority)?);
    }
    sockets.pass_on(&mut command);
    command.stdin(Stdio::null()).process_group(0).spawn().context("failed to start the daemon")
}

/// Reaps everything that ended; how the server did if it was among it.
fn reap(server: i32) -> Option<WaitStatus> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get() == server {
            ended = Some(status);
        }
    }
    ended
}

/// Ends the server, which would start containers anew, and asks everything else to end. Whoever stops the node kills
/// this process when it has waited long enough.
async fn stop(server: i32) -> Result<()> {
    if let Some(pid) = Pid::from_raw(server) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    for pid in processes() {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    while !processes().is_empty() {
        reap(server);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // With PID 1 the kernel ends whatever is left.
    Ok(())
}

/// Containers' processes: all of the node but us and the shims, which end by themselves.
fn processes() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter(|pid| *pid != 1);
    pids.filter(|pid| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| !line.is_empty() && !line.starts_with(b"coracle\0shim"))
    })
    .filter_map(Pid::from_raw)
    .collect()
}
