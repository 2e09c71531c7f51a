//! `coracle node`, and what `up` needs of further nodes.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use coracle_kubelet::Shutdown;
use coracle_pki::{Authority, BootstrapToken};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use serde::Serialize;

use crate::args::{Format, Node, NodeCommand};
use crate::cluster::{Cluster, FurtherNode, Kind, MAX_NODES};
use crate::control::{self, DaemonStatus, Outgoing};
use crate::files::write_atomically;
use crate::local_node::{Begun, FIRST, LocalNode};
use crate::mounts::Mount;
use crate::publish::{Listening, Told};
use crate::registry::Lock;
use crate::{administrator, data_dir, down, mounts, token, up};

/// The file in a further node's directory by which it joins.
pub const TOKEN: &str = "token";

/// Runs a subcommand.
pub fn run(options: &Node) -> Result<()> {
    let cluster = Cluster::load(&options.which)?;
    if cluster.kind != Kind::Local {
        bail!(
            "the cluster {:?} is no local one: hosts join it by `coracle agent`, as `coracle token create \
             --print-join-command` says",
            cluster.name
        );
    }
    match &options.command {
        NodeCommand::Add { wait, kubelet_arg, mount } => add(cluster, *wait, kubelet_arg, mount),
        NodeCommand::Rm { node } => remove(cluster, node),
        NodeCommand::Stop { node, grace } => {
            let _lock = Lock::take(&cluster.name)?;
            let node = find(&cluster, node)?;
            let deadline = Instant::now() + *grace;
            node.end_containers(Shutdown { longest: *grace, others_go_on: true });
            node.ask_to_end(deadline);
            node.end();
            down::remove_cgroups_of(&node);
            println!("Node {:?} is stopped.", node.name());
            Ok(())
        }
        NodeCommand::Start { node, wait } => {
            let _lock = Lock::take(&cluster.name)?;
            start(&find(&cluster, node)?, *wait)
        }
        NodeCommand::Ls { output } => list(&cluster, *output),
    }
}

/// A further node of a name.
fn find<'a>(cluster: &'a Cluster, name: &str) -> Result<LocalNode<'a>> {
    let node = cluster.all_nodes().into_iter().find(|node| node.name() == name);
    let node = node.with_context(|| format!("there is no node {name:?}; `coracle node ls` lists them"))?;
    if node.is_first() {
        bail!("{name} has the server: `coracle stop` and `coracle down` are for all of the cluster");
    }
    Ok(node)
}

/// Adds the next node to the description; its kubelet has the cluster's options unless it has some of its own.
pub fn describe_next(cluster: &mut Cluster, kubelet: Option<Vec<String>>) -> Result<u8> {
    let taken: BTreeSet<u8> = cluster.nodes.iter().map(|node| node.number).collect();
    let next = (FIRST + 1..=MAX_NODES).find(|number| !taken.contains(number));
    let number = next.with_context(|| format!("a local cluster has {MAX_NODES} nodes at most"))?;
    let kubelet = kubelet.unwrap_or_else(|| cluster.kubelet.clone());
    cluster.nodes.push(FurtherNode { number, kubelet, mounts: None });
    cluster.nodes.sort_by_key(|node| node.number);
    Ok(number)
}

fn add(cluster: Cluster, wait: Duration, kubelet: &[String], mounts: &[Option<Mount>]) -> Result<()> {
    let _lock = Lock::take(&cluster.name)?;
    let mut cluster = Cluster::read(&cluster.dir)?.context("the cluster's description is missing")?;
    let kubelet = (!kubelet.is_empty()).then(|| kubelet.to_vec());
    let number = describe_next(&mut cluster, kubelet)?;
    if !mounts.is_empty() {
        let mounts = mounts::resolve(&mounts.iter().flatten().cloned().collect::<Vec<_>>(), &cluster)?;
        let added = cluster.nodes.iter_mut().filter(|node| node.number == number);
        added.for_each(|node| node.mounts = Some(mounts.clone()));
    }
    cluster.save()?;
    start(&LocalNode { cluster: &cluster, number }, wait)
}

fn start(node: &LocalNode<'_>, wait: Duration) -> Result<()> {
    if node.cluster.process().is_none() {
        bail!("the cluster {:?} is stopped: `coracle start --name {0}` starts all nodes", node.cluster.name);
    }
    if node.process().is_none() {
        let token = BootstrapToken::generate()?;
        let listening = open(&[*node])?;
        start_one(node, &listening, &token)?;
        token::make_for_nodes(&control::access(&node.cluster.control_socket())?, &token)?;
    }
    if !wait.is_zero() {
        let deadline = Instant::now() + wait;
        for what in ["node", "dns"] {
            up::wait_until(node, what, deadline)?;
        }
        forget_token(node);
    }
    println!("Node {:?} is ready at {}.", node.name(), node.address());
    Ok(())
}

/// Makes the authority of a cluster that is to have further nodes, unless it is there: they know the cluster by it, and begin
/// beside the server, which would make it.
pub fn make_authority(cluster: &Cluster) -> Result<()> {
    if cluster.nodes.is_empty() {
        return Ok(());
    }
    let pki = cluster.dir.join("pki");
    fs::create_dir_all(&pki).with_context(|| format!("failed to make {}", pki.display()))?;
    Authority::open(&pki).map(drop)
}

/// Looks whether those of the nodes that do not run can be started, and opens the sockets of their ports.
///
/// # Errors
/// What is to be mounted in one is not there, or a port of the host is in use.
pub fn open(nodes: &[LocalNode<'_>]) -> Result<Listening> {
    for node in nodes.iter().filter(|node| !node.mounts().is_empty() && node.process().is_none()) {
        mounts::resolve(node.mounts(), node.cluster)?;
    }
    Listening::open(nodes)
}

/// Starts those that do not run, with a token by which they can join; whether there were any.
/// They take the sockets that are open for them.
pub fn start_stopped(cluster: &Cluster, listening: &Listening, token: &BootstrapToken) -> Result<bool> {
    let nodes = cluster.all_nodes();
    let stopped: Vec<_> = nodes.iter().filter(|node| !node.is_first() && node.process().is_none()).collect();
    if stopped.is_empty() {
        return Ok(false);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = stopped.iter().map(|node| scope.spawn(|| start_one(node, listening, token))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(true)
}

fn start_one(node: &LocalNode<'_>, listening: &Listening, token: &BootstrapToken) -> Result<()> {
    node.end();
    let dir = node.dir();
    fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
    write_atomically(&dir.join(TOKEN), token.to_string().as_bytes(), 0o600)?;
    node.begin(listening).and_then(Begun::connect).inspect_err(|_| node.end())
}

/// Removes the token of a node that has joined.
pub fn forget_token(node: &LocalNode<'_>) {
    if !node.is_first() {
        let _ = fs::remove_file(node.dir().join(TOKEN));
    }
}

/// Takes a node away with all that it had: its processes first, then its object and its pods, so that services lead elsewhere.
fn remove(cluster: Cluster, name: &str) -> Result<()> {
    let _lock = Lock::take(&cluster.name)?;
    let mut cluster = Cluster::read(&cluster.dir)?.context("the cluster's description is missing")?;
    let node = find(&cluster, name)?;
    node.end();
    down::remove_cgroups_of(&node);
    let (dir, number) = (node.dir(), node.number);
    if cluster.process().is_some() {
        administrator::run(&control::access(&cluster.control_socket())?, async |client| match Api::<NodeObject>::all(
            client.clone(),
        )
        .get_opt(name)
        .await?
        {
            Some(node) => Ok(coracle_kubelet::retire(&client, &node).await?),
            None => Ok(()),
        })
        .context("failed to delete the node's object")?;
    } else {
        eprintln!(
            "warning: the cluster is stopped, so the object of the node stays: `kubectl delete node {name}` removes it"
        );
    }
    let left = data_dir::remove(&dir)?;
    cluster.nodes.retain(|node| node.number != number);
    // The next node of that number is another one.
    cluster.published.retain(|port| port.node != number);
    cluster.save()?;
    println!("Node {name:?} is gone.");
    left.iter().for_each(|path| println!("{} is not the node's, and was left.", path.display()));
    Ok(())
}

/// What is told of a node.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// `Ready`, `NotReady` or `Stopped`.
    pub state: &'static str,
    /// Ports of the host that lead to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Told>,
}

impl Report {
    /// Of a node with a daemon that runs, or without.
    pub fn new(name: String, address: String, daemon: Option<bool>) -> Report {
        let state = match daemon {
            None => "Stopped",
            Some(true) => "Ready",
            Some(false) => "NotReady",
        };
        Report { name, address, ready: daemon == Some(true), state, published: Vec::new() }
    }
}

/// Looks at the nodes of a cluster.
pub fn reports(cluster: &Cluster) -> Vec<Report> {
    let look = |node: &LocalNode<'_>| {
        let asked = |_| control::call(&node.control_socket(), hyper::Method::GET, "/status", Outgoing::Nothing).ok();
        let process = node.process();
        let daemon: Option<DaemonStatus> = process.and_then(asked);
        let ready = process.map(|_| daemon.as_ref().is_some_and(|daemon| daemon.ready.node));
        let published = daemon.map(|daemon| daemon.published).unwrap_or_default();
        Report { published, ..Report::new(node.name(), node.address().to_string(), ready) }
    };
    cluster.all_nodes().iter().map(look).collect()
}

fn list(cluster: &Cluster, output: Format) -> Result<()> {
    let reports = reports(cluster);
    if output == Format::Json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["NAME", "STATE", "ADDRESS"]);
    for report in reports {
        table.add_row([report.name, report.state.to_owned(), report.address]);
    }
    println!("{}", table.trim_fmt());
    Ok(())
}
