//! What a server and an agent have in common: each is one process that keeps a cluster's data of this host, in a node of a local
//! cluster or on the host itself.
//!
//! There is no way to shut down but to end: whatever is durable is on disk, containers live in their shims,
//! and the next start takes over both.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use coracle_values::addresses::{Family, Ranges};
use ipnet::Ipv4Net;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use crate::args::Which;
use crate::cluster::{Cluster, Kind, Place};
use crate::files::{make_within, write_atomically};
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
    /// The ranges of all pods, of whose families packets are passed on.
    pub cluster_cidr: Ranges,
}

/// Runs until a signal or a failure ends it.
pub fn run<F: Future<Output = Result<()>>>(start: &Start<'_>, serve: impl FnOnce(Cluster) -> F) -> Result<()> {
    sys::keep_little_memory();
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

/// Gives what a load has left behind back to the kernel once it is over; before, it would only be asked for again. Some of it is
/// kept for a while, as recent changes are, and some for an hour, as Events. Where there was no load, nothing is given back for
/// long: looking for it, and reading the program again, would be most of what an idle cluster does.
async fn give_memory_back() {
    const START: Duration = Duration::from_secs(2);
    const EVERY: Duration = Duration::from_secs(10);
    /// How much of such a time is work, and how much is still a load.
    const IDLE: Duration = Duration::from_millis(50);
    const BUSY: Duration = Duration::from_secs(1);
    const AFTER: Duration = Duration::from_secs(120);
    /// How often it is done in any case.
    const ALWAYS: Duration = Duration::from_secs(600);
    let give_back = || {
        tokio::task::spawn_blocking(|| {
            sys::give_memory_back();
            sys::let_go_of_program();
        })
    };
    // What the start needed goes first.
    tokio::time::sleep(START).await;
    let _by_page =
        sys::map_program_by_page().inspect_err(|error| tracing::debug!(%error, "the program is mapped as usual"));
    let _ = give_back().await;
    let mut used = sys::processor_time();
    let (mut worked, mut given) = (None, Instant::now());
    loop {
        tokio::time::sleep(EVERY).await;
        let now = sys::processor_time();
        let work = now.saturating_sub(used);
        if work > IDLE {
            worked = Some(Instant::now());
        }
        if work < BUSY && (worked.is_some_and(|last: Instant| last.elapsed() < AFTER) || given.elapsed() > ALWAYS) {
            let _ = give_back().await;
            given = Instant::now();
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
    let quiet = ("net/ipv4/conf/all/send_redirects", "0");
    let more = start.cluster_cidr.of(Family::V4).map(|_| quiet);
    host_settings::hold(&cluster.name, start.cluster_cidr.families(), more.as_slice())?;
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
    parts.iter().try_for_each(|part| {
        make_within(dir, Path::new(part)).with_context(|| format!("failed to make {}", dir.join(part).display()))
    })
}

/// The node's addresses: those that are named, or those by which this host reaches the world, of the families of pods, the
/// primary one first.
///
/// # Errors
/// There is none of the primary family, or none that others reach.
pub fn node_addresses(named: &[IpAddr], cluster_cidr: Ranges) -> Result<Vec<IpAddr>> {
    let families: Vec<Family> = cluster_cidr.families().collect();
    let named_of = |family: Family| named.iter().copied().find(|address| Family::of(*address) == family);
    if named.len() > 2 || matches!(named, [first, second] if Family::of(*first) == Family::of(*second)) {
        bail!("bad --node-ip {named:?}; must contain either a single IP or a dual-stack pair of IPs");
    }
    if let Some(odd) = named.iter().find(|address| address.is_loopback() || address.is_unspecified()) {
        bail!("--node-ip {odd} is an address which pods do not reach: name one of another link");
    }
    if let Some(odd) = named.iter().find(|address| is_of_link(**address) || address.is_multicast()) {
        bail!("--node-ip {odd} is a link-local or multicast address, at which other nodes do not reach this one");
    }
    let (primary, rest) = families.split_first().context("there is a range of pods")?;
    let first = match named_of(*primary) {
        Some(address) => address,
        None if named.is_empty() => default_address(*primary)?,
        None => bail!(
            "--node-ip has no {} address, of which the first range of --cluster-cidr {cluster_cidr} is",
            primary.name()
        ),
    };
    let second =
        |family: &Family| named_of(*family).or_else(|| default_address(*family).ok().filter(|_| named.is_empty()));
    Ok(std::iter::once(first).chain(rest.iter().filter_map(second)).collect())
}

fn is_of_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The socket of a server that others reach by any of these addresses.
pub use coracle_kubelet::listen_at_any as any;

/// Waits until what runs in a node of a local cluster, and began before its link was there, is connected.
///
/// # Errors
/// It takes too long.
pub async fn connected(in_node: bool) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    const STEP: Duration = Duration::from_millis(1);
    let connected = async {
        while in_node && default_address(Family::V4).is_err() {
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

/// The address of a family by which this host reaches the world. Nothing is sent.
fn default_address(family: Family) -> Result<IpAddr> {
    const PORT: u16 = 9;
    let found = match family {
        Family::V4 => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
            .and_then(|socket| socket.connect((Ipv4Addr::new(192, 0, 2, 1), PORT)).and_then(|()| socket.local_addr())),
        Family::V6 => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| {
            socket.connect((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), PORT)).and_then(|()| socket.local_addr())
        }),
    };
    // The kernel may prefer a temporary address (RFC 8981), which is gone tomorrow.
    let stable = |address| coracle_network::host::stable_address(address).ok().flatten().unwrap_or(address);
    match found.map(|address| stable(address.ip())) {
        Ok(address) if !address.is_unspecified() && !is_of_link(address) => Ok(address),
        _ => bail!(
            "this host has no default route of {} to take an address from: name one with --node-ip",
            family.name()
        ),
    }
}

fn host_name() -> Result<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    if name.is_empty() {
        bail!("this host has no name: give the node one with --node-name");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_no_address_that_other_nodes_do_not_reach() {
        let ranges: Ranges = "fd00:10:244::/56,10.244.0.0/16".parse().unwrap();
        for odd in ["fe80::1", "ff02::1", "169.254.1.1", "224.0.0.1"] {
            let named = [odd.parse().unwrap()];
            let error = node_addresses(&named, ranges).unwrap_err().to_string();
            assert!(error.contains("link-local or multicast"), "{error}");
        }
        let named = ["10.9.1.2".parse().unwrap(), "fd00:9::2".parse().unwrap()];
        assert_eq!(node_addresses(&named, ranges).unwrap(), [named[1], named[0]]);
    }
}
