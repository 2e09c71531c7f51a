//! One node of a local cluster: what on the host is its own, how it is started, and how it goes.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use coracle_kubelet::Shutdown;
use coracle_network::host;
use coracle_values::addresses::Family;
use ipnet::IpNet;
use rustix::process::{Signal, pidfd_send_signal};

use crate::cluster::{Cluster, short_hash};
use crate::daemon::FAILURE;
use crate::ip_family::{self, IpFamily};
use crate::mounts::Mount;
use crate::process::{self, NodeProcess, wait_for_exit};
use crate::publish::Listening;
use crate::registry::{self, Running};
use crate::{control, sys};

/// The number of the node that has the server.
pub const FIRST: u8 = 1;
/// How long a node may take to end that has no containers any more.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long a killed node may take to be gone.
const KILLED: Duration = Duration::from_secs(20);

/// A node, by its number in its cluster.
#[derive(Clone, Copy, Debug)]
pub struct LocalNode<'a> {
    /// Its cluster.
    pub cluster: &'a Cluster,
    /// From 1 on.
    pub number: u8,
}

impl LocalNode<'_> {
    /// Whether it has the server.
    pub fn is_first(&self) -> bool {
        self.number == FIRST
    }

    /// Its name in the cluster.
    pub fn name(&self) -> String {
        match self.number {
            FIRST => self.cluster.node_name().to_owned(),
            number => format!("{}-{number}", self.cluster.name),
        }
    }

    /// What it is called where the host writes down what it has of it; no cluster has a name with a dot.
    fn key(&self) -> String {
        match self.number {
            FIRST => self.cluster.name.clone(),
            number => format!("{}.{number}", self.cluster.name),
        }
    }

    /// Where its data are.
    pub fn dir(&self) -> PathBuf {
        match self.number {
            FIRST => self.cluster.dir.clone(),
            _ => self.cluster.dir.join("nodes").join(self.name()),
        }
    }

    /// Its address of the cluster's primary family.
    pub fn address(&self) -> IpAddr {
        let [v4, v6] = self.of_both();
        if self.cluster.ip_family == IpFamily::Ipv6 { v6 } else { v4 }
    }

    /// Its addresses of the cluster's families, the primary one first.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let families = self.cluster.ip_family.families();
        self.of_both().into_iter().filter(|address| families.contains(&Family::of(*address))).collect()
    }

    fn of_both(&self) -> [IpAddr; 2] {
        ip_family::host(self.cluster.subnet, u32::from(self.number) + 1)
    }

    /// What its link has, each with the gateway to the world.
    fn links(&self) -> Result<Vec<(IpNet, IpAddr)>> {
        let gateways = self.cluster.gateways()?;
        let link =
            |(address, gateway): (IpAddr, IpNet)| Ok((IpNet::new(address, gateway.prefix_len())?, gateway.addr()));
        self.of_both().into_iter().zip(gateways).map(link).collect()
    }

    /// The host's end of its link.
    pub fn link(&self) -> String {
        format!("cv{}", short_hash(&self.key()))
    }

    /// The cgroup below which everything of it runs.
    pub fn cgroup(&self) -> String {
        format!("coracle/{}", self.key())
    }

    /// The socket of its daemon.
    pub fn control_socket(&self) -> PathBuf {
        self.dir().join("control.sock")
    }

    /// Options of its kubelet.
    pub fn kubelet(&self) -> &[String] {
        let own = self.cluster.nodes.iter().find(|node| node.number == self.number);
        own.map_or(&self.cluster.kubelet, |node| &node.kubelet)
    }

    /// What of the host it has at other paths.
    pub fn mounts(&self) -> &[Mount] {
        let own = self.cluster.nodes.iter().find(|node| node.number == self.number);
        own.and_then(|node| node.mounts.as_ref()).unwrap_or(&self.cluster.mounts)
    }

    /// Its first process, when it lives.
    pub fn process(&self) -> Option<NodeProcess> {
        if self.is_first() {
            return self.cluster.process();
        }
        let known = registry::running(&self.key()).map(|running| running.process).filter(NodeProcess::lives);
        known.or_else(|| process::search_node(&self.cluster.dir, self.number))
    }

    /// Writes down its first process.
    pub fn set_process(&self, process: NodeProcess) -> Result<()> {
        registry::set_running(&self.key(), &Running { process, dir: self.cluster.dir.clone() })
    }

    /// Where it says why it failed.
    pub fn failure(&self) -> PathBuf {
        self.dir().join(FAILURE)
    }

    /// The log of its daemon.
    pub fn log(&self) -> PathBuf {
        crate::server_log::path(&self.dir())
    }

    /// Has its namespaces made and its daemon begin, which goes on with the node itself once that is connected.
    /// It keeps the sockets that are its own.
    pub fn begin(&self, listening: &Listening) -> Result<Begun<'_>> {
        let log = self.dir().join("log");
        fs::create_dir_all(&log).with_context(|| format!("failed to make {}", log.display()))?;
        let _ = fs::remove_file(self.failure());
        let init_log = log.join("node-init.log");
        let errors = fs::File::create(&init_log)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("coracle").arg("node-init").arg("--data-dir").arg(&self.cluster.dir);
        command.arg("--number").arg(self.number.to_string());
        // Errors are ordinary there. A static binary sorts all its unwind tables for its first backtrace.
        command.env("RUST_LIB_BACKTRACE", "0");
        if let Some(sockets) = listening.of(self.number) {
            sockets.pass_on(&mut command);
        }
        command.stdin(Stdio::piped()).stdout(errors.try_clone()?).stderr(errors).current_dir("/");
        let outer = sys::in_own_session(&mut command).spawn().context("failed to start the node")?;
        Ok(Begun { node: *self, outer, init_log })
    }

    /// Has its containers end, hooks first. Its daemon goes on, and starts none any more.
    pub fn end_containers(&self, how: Shutdown) {
        if self.process().is_none() {
            return;
        }
        if let Err(error) = control::end_containers(&self.control_socket(), how) {
            eprintln!("warning: containers of {} end without their preStop hooks: {error:#}", self.name());
        }
    }

    /// Asks its daemon to end, and what is left of its containers; those may take until `deadline`.
    pub fn ask_to_end(&self, deadline: Instant) {
        // The daemon goes before what is left: it would start containers anew.
        if let Some(node) = self.process().and_then(|process| process.open()) {
            let _ = pidfd_send_signal(&node, Signal::TERM);
            wait_for_exit(&node, deadline.saturating_duration_since(Instant::now()).max(AT_ONCE));
        }
    }

    /// Ends its processes and removes what the host has of it but its data. Nothing of it needs to exist.
    pub fn end(&self) {
        end_process(self.process());
        registry::clear_running(&self.key());
        let _ = fs::remove_file(self.control_socket());
        if let Err(error) = host::delete_link(&self.link()) {
            eprintln!("warning: failed to remove the link {}: {error:#}", self.link());
        }
    }
}

/// A node that begins; it ends when nobody connects it.
pub struct Begun<'a> {
    node: LocalNode<'a>,
    /// It makes the namespaces and their first process.
    outer: Child,
    init_log: PathBuf,
}

impl Begun<'_> {
    /// Makes its link. The cluster's bridge is there.
    pub fn connect(mut self) -> Result<()> {
        let node = &self.node;
        let mut go = self.outer.stdin.take().context("the node has no standard input")?;
        if !self.outer.wait()?.success() {
            bail!("the node {} did not start:\n{}", node.name(), tail(&self.init_log));
        }
        let process = node
            .process()
            .with_context(|| format!("the node {} ended at once:\n{}", node.name(), tail(&self.init_log)))?;
        let netns = fs::File::open(format!("/proc/{}/ns/net", process.pid))
            .context("failed to open the node's network namespace")?;
        host::attach_node(&node.cluster.bridge(), &node.link(), netns.as_fd(), &node.links()?)
            .context("failed to connect the node")?;
        go.write_all(b"\n").context("the node ended before it was connected")
    }
}

/// Kills the first process of a node, and with it all others.
pub fn end_process(process: Option<NodeProcess>) {
    if let Some(node) = process.and_then(|process| process.open()) {
        let _ = pidfd_send_signal(&node, Signal::KILL);
        if !wait_for_exit(&node, KILLED) {
            eprintln!("warning: the node's processes do not end; a reboot removes them");
        }
    }
}

/// The end of a log.
pub fn tail(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{FurtherNode, Kind, Place};

    #[test]
    fn nodes_have_names_addresses_and_links_of_their_own() {
        let place = Place { name: "dev".into(), dir: "/x".into(), listed: None };
        let mut cluster = Cluster::new(&place, Kind::Local, "10.90.7.0/24".parse().unwrap());
        cluster.kubelet = vec!["--a".into()];
        cluster.nodes = vec![FurtherNode { number: 3, kubelet: vec!["--b".into()], ..FurtherNode::default() }];
        let nodes = cluster.all_nodes();
        let seen: Vec<_> = nodes.iter().map(|node| (node.name(), node.address().to_string(), node.dir())).collect();
        assert_eq!(seen[0], ("dev".into(), "10.90.7.2".into(), "/x".into()));
        assert_eq!(seen[1], ("dev-3".into(), "10.90.7.4".into(), "/x/nodes/dev-3".into()));
        assert_eq!((nodes[0].kubelet(), nodes[1].kubelet()), (&["--a".to_owned()][..], &["--b".to_owned()][..]));
        // Another cluster may be called as a node is.
        let other = Cluster { name: "dev-3".into(), ..cluster.clone() };
        assert_eq!((nodes[0].link(), nodes[0].cgroup()), (cluster.link(), cluster.cgroup()));
        assert_ne!((nodes[1].link(), nodes[1].cgroup()), (other.link(), other.cgroup()));
        assert!(nodes[1].link().len() <= 15);
    }
}
