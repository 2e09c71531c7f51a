//! `coracle status`: what runs, since when, and how much memory each part has.

use std::fs;
use std::path::Path;

use anyhow::Result;
use coracle_apiserver::KUBERNETES_VERSION;
use serde::Serialize;

use crate::args::{Format, Status};
use crate::cluster::{Cluster, Kind};
use crate::control::{self, DaemonStatus, Outgoing};
use crate::host_node;
use crate::local_node::LocalNode;
use crate::nodes;

/// What is told of a cluster.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its name.
    pub name: String,
    /// `Running`, `Starting`, `Stopped`, `Orphaned` (its containers run without it), `Restored` (from a backup, and not started
    /// yet) or `Broken` (its data are gone or damaged).
    pub state: &'static str,
    version: &'static str,
    kubernetes_version: &'static str,
    /// Where its API server answers.
    pub url: String,
    /// Where its data are.
    pub data_dir: String,
    /// Where the host reaches its registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<String>,
    uptime_seconds: u64,
    nodes: Vec<nodes::Report>,
    /// Hollow nodes that are registered.
    hollow_nodes: u32,
    memory: Vec<Memory>,
}

impl Report {
    /// Of a cluster of which nothing else is known.
    pub fn bare(name: &str, state: &'static str, dir: &Path) -> Report {
        Report { name: name.to_owned(), state, data_dir: dir.display().to_string(), ..Report::default() }
    }
}

/// Proportional set size of the processes of one kind, in bytes.
#[derive(Serialize)]
struct Memory {
    part: &'static str,
    processes: usize,
    bytes: u64,
}

/// Shows a cluster, running or not.
pub fn status(options: &Status) -> Result<()> {
    let cluster = Cluster::load(&options.which)?;
    let report = report(&cluster);
    if options.output == Format::Json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!("Cluster     {} ({})", report.name, report.state);
    println!("Version     {} (Kubernetes {})", report.version, report.kubernetes_version);
    if !report.url.is_empty() {
        println!("URL         {}", report.url);
    }
    println!("Data        {}", report.data_dir);
    if report.state == "Stopped" {
        return Ok(());
    }
    println!("Uptime      {} s", report.uptime_seconds);
    if let Some(registry) = &report.registry {
        println!("Registry    {registry}");
    }
    for node in &report.nodes {
        println!("Node        {} at {}, {}", node.name, node.address, node.state);
        for port in &node.published {
            println!("Published   {port} of {}", node.name);
        }
    }
    if report.hollow_nodes > 0 {
        println!("Hollow      {} nodes", report.hollow_nodes);
    }
    for memory in &report.memory {
        println!("Memory      {}", memory_line(memory));
    }
    Ok(())
}

fn memory_line(memory: &Memory) -> String {
    let plural = if memory.processes == 1 { "" } else { "es" };
    let megabytes = memory.bytes as f64 / 1e6;
    format!("{:<12} {megabytes:>7.1} MB in {} process{plural}", memory.part, memory.processes)
}

/// Looks at a cluster, running or not.
pub fn report(cluster: &Cluster) -> Report {
    let process = cluster.process();
    let daemon: Option<DaemonStatus> = process
        .and_then(|_| control::call(&cluster.control_socket(), hyper::Method::GET, "/status", Outgoing::Nothing).ok());
    let ready = daemon.as_ref().is_some_and(|daemon| daemon.ready.node);
    let state = match (&process, &daemon) {
        // Containers on the host live on without their server.
        (None, _) if cluster.kind != Kind::Local && !host_node::processes(&cluster.cgroup()).is_empty() => "Orphaned",
        (None, _) => "Stopped",
        (Some(_), Some(daemon)) if daemon.ready.node && daemon.ready.dns => "Running",
        _ => "Starting",
    };
    Report {
        name: cluster.name.clone(),
        state,
        version: env!("CARGO_PKG_VERSION"),
        kubernetes_version: KUBERNETES_VERSION,
        url: daemon.as_ref().map_or_else(|| cluster.url(), |daemon| daemon.url.clone()),
        data_dir: cluster.dir.display().to_string(),
        registry: cluster.registry.map(|port| format!("localhost:{port}")),
        uptime_seconds: daemon.as_ref().map_or(0, |daemon| daemon.uptime_seconds),
        hollow_nodes: daemon.as_ref().map_or(0, |daemon| daemon.hollow_nodes),
        nodes: match (daemon, cluster.kind) {
            (Some(_), Kind::Local) => nodes::reports(cluster),
            (Some(daemon), _) => vec![nodes::Report::new(daemon.node, daemon.address, Some(ready))],
            (None, _) => Vec::new(),
        },
        memory: process.map_or_else(Vec::new, |_| memory(cluster)),
    }
}

/// Every process of the nodes, by its kind.
fn memory(cluster: &Cluster) -> Vec<Memory> {
    let parts = ["server", "agents", "node-init", "shims", "containers"];
    let mut parts = parts.map(|part| Memory { part, processes: 0, bytes: 0 });
    let nodes = cluster.all_nodes();
    let first = nodes.iter().filter_map(LocalNode::process);
    let mut pids: Vec<i32> = first.flat_map(|process| descendants(process.pid)).collect();
    if cluster.kind != Kind::Local {
        // Shims outlive their server, and then are nobody's children.
        pids.extend(host_node::processes(&cluster.cgroup()));
        pids.sort_unstable();
        pids.dedup();
    }
    for pid in pids {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
        let part = match words.as_slice() {
            [program, b"server", ..] if program.ends_with(b"coracle") => 0,
            [program, b"agent", ..] if program.ends_with(b"coracle") => 1,
            [b"coracle", b"node-init", ..] => 2,
            [_, b"shim", ..] => 3,
            _ => 4,
        };
        parts[part].processes += 1;
        parts[part].bytes += proportional_set_size(pid);
    }
    parts.into_iter().filter(|part| part.processes > 0 || part.part != "agents").collect()
}

/// A process and all below it; what lost its parent is a child of the node's first process.
fn descendants(root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
        next += 1;
    }
    found
}

fn proportional_set_size(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_with_the_number_of_processes() {
        let line = |processes| memory_line(&Memory { part: "server", processes, bytes: 18_700_000 });
        assert_eq!(line(1), "server          18.7 MB in 1 process");
        assert_eq!(line(3), "server          18.7 MB in 3 processes");
    }
}
