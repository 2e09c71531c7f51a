//! What a server and an agent have in common: each is one process that keeps a cluster's data of this host, in a node of a local
//! cluster or on the host itself.
//!
//! There is no way to shut down but to end: whatever is durable is on disk, containers live in their shims,
//! and the next start takes over both.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ipnet::Ipv4Net;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use crate::args::Which;
use crate::cluster::{Cluster, Kind, Place};
use crate::files::write_atomically;
use crate::process::NodeProcess;
use crate::registry::Lock;
use crate::server_log::Bounded;
use crate::{checks, host_settings, sys};

/// The file in the data directory that says why the process last failed.
pub const FAILURE: &str = "log/failure";

/// Which data it keeps.
pub struct Start<'a> {
    /// Whether it is in a node of a local cluster.
    pub in_node: bool,
    /// What it is on the host itself.
    pub kind: Kind,
    /// Name and directory.
    pub which: Which,
    /// The name of one whose user names none.
    pub default: &'a str,
}

/// Runs until a signal or a failure ends it.
pub fn run<F: Future<Output = Result<()>>>(start: &Start<'_>, serve: impl FnOnce(Cluster) -> F) -> Result<()> {
    checks::host()?;
    start_log(start);
    raise_descriptor_limit();
    let cluster = if start.in_node { in_node(start)? } else { on_host(start)? };
    let failure = cluster.dir.join(FAILURE);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.spawn(give_memory_back());
    let result = runtime.block_on(serve(cluster));
    // Work that hangs on a failing disk must not keep the process.
    runtime.shutdown_background();
    // Told to whoever waits for the cluster; the log has it as well.
    match &result {
        Ok(()) => drop(std::fs::remove_file(failure)),
        // `coracle up` may read at any moment.
        Err(error) => drop(write_atomically(&failure, format!("{error:#}").as_bytes(), 0o600)),
    }
    result
}

/// Gives what a load has left behind back to the kernel once it is over; before, it would only be asked for again.
async fn give_memory_back() {
    const START: Duration = Duration::from_secs(2);
    const EVERY: Duration = Duration::from_secs(10);
    let give_back = || {
        tokio::task::spawn_blocking(|| {
            sys::give_memory_back();
            sys::let_go_of_program();
        })
    };
    // What the start needed goes first.
    tokio::time::sleep(START).await;
    let _ = give_back().await;
    let mut used = sys::processor_time();
    loop {
        tokio::time::sleep(EVERY).await;
        let now = sys::processor_time();
        if now.saturating_sub(used) < EVERY / 10 {
            let _ = give_back().await;
        }
        used = now;
    }
}

fn start_log(start: &Start<'_>) {
    let filter = EnvFilter::try_from_env("CORACLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A log that cannot be written is no reason to panic, which the default is.
    let log = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter).with_ansi(false);
    match start.which.data_dir.as_deref().filter(|_| start.in_node) {
        Some(dir) => log.with_writer(Bounded::new(dir)).init(),
        None => log.with_writer(std::io::stderr).init(),
    }
}

fn in_node(start: &Start<'_>) -> Result<Cluster> {
    let dir = start.which.data_dir.as_deref().context("what runs in a node is told its data directory")?;
    match start.kind {
        Kind::Agent => Cluster::of_node(dir),
        Kind::Local | Kind::Host => Cluster::read(dir)?.context("the cluster's description is missing"),
    }
}

/// Takes name and directory, and writes down that it runs here.
fn on_host(start: &Start<'_>) -> Result<Cluster> {
    let place = Place::find(&start.which, start.default)?;
    let _lock = Lock::take(&place.name)?;
    place.check_name()?;
    let found = Cluster::read(&place.dir)?;
    if let Some(process) = found.as_ref().and_then(Cluster::process) {
        bail!("the cluster {:?} runs already, as process {}", place.name, process.pid);
    }
    if let Some(found) = found.filter(|found| found.kind != start.kind) {
        bail!(
            "{} has the data of another kind: `{} --name {}` starts it",
            place.dir.display(),
            found.kind.starts(),
            found.name
        );
    }
    place.prepare()?;
    // There is no network between host and node.
    let cluster = Cluster::new(&place, start.kind, Ipv4Net::default());
    cluster.save()?;
    let settings = [("net/ipv4/ip_forward", "1"), ("net/ipv4/conf/all/send_redirects", "0")];
    host_settings::hold(&cluster.name, &settings)?;
    cluster.set_process(NodeProcess::own().context("this process is not in /proc")?)?;
    Ok(cluster)
}

/// Many systems allow a process 1,024 descriptors unless it asks for more.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "failed to raise the limit of open files");
    }
}

/// Parts that run side by side; when one ends, all do.
#[derive(Default)]
pub struct Parts(JoinSet<(&'static str, Result<()>)>);

impl Parts {
    /// Starts a part.
    pub fn spawn(&mut self, name: &'static str, part: impl Future<Output = Result<()>> + Send + 'static) {
        self.0.spawn(async move { (name, part.await) });
    }

    /// Waits for the first part to end, which none should.
    pub async fn first_end(&mut self) -> anyhow::Error {
        match self.0.join_next().await {
            Some(Ok((name, Ok(())))) => anyhow!("the {name} ended"),
            Some(Ok((name, Err(error)))) => error.context(format!("the {name} failed")),
            Some(Err(error)) => anyhow!(error).context("a part failed"),
            None => anyhow!("there are no parts"),
        }
    }
}

/// Makes directories of the data directory.
pub fn make_directories(dir: &Path, parts: &[&str]) -> Result<()> {
    for part in parts {
        let path = dir.join(part);
        std::fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
    }
    Ok(())
}

/// The node's address: the one that is named, or that by which this host reaches the world.
///
/// # Errors
/// There is none that others reach.
pub fn node_address(named: Option<IpAddr>) -> Result<IpAddr> {
    let address = named.map_or_else(default_address, Ok)?;
    if address.is_loopback() {
        bail!("--node-ip {address} is a loopback address, which pods do not reach: name one of another link");
    }
    Ok(address)
}

/// Waits until what runs in a node of a local cluster, and began before its link was there, is connected.
///
/// # Errors
/// It takes too long.
pub async fn connected(in_node: bool) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    const STEP: Duration = Duration::from_millis(1);
    let connected = async {
        while in_node && default_address().is_err() {
            tokio::time::sleep(STEP).await;
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.context("the node's link was not made")
}

/// The node's name: the one that is given, or that of the host.
///
/// # Errors
/// There is none.
pub fn node_name(named: Option<&String>) -> Result<String> {
    named.cloned().map_or_else(host_name, Ok)
}

/// Ends when a signal asks for it.
pub async fn asked_to_end() {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated() => {}
    }
}

async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// The address by which this host reaches the world. Nothing is sent.
fn default_address() -> Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let found = socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| socket.local_addr());
    match found {
        Ok(address) if !address.ip().is_unspecified() => Ok(address.ip()),
        _ => bail!("this host has no default route to take an address from: name one with --node-ip"),
    }
}

fn host_name() -> Result<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    if name.is_empty() {
        bail!("this host has no name: give the node one with --node-name");
    }
    Ok(name)
}
