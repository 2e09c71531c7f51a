//! `coracle up` and `coracle start`.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use coracle_network::host;
use coracle_pki::BootstrapToken;
use coracle_scheduler::SchedulerConfiguration;
use coracle_values::addresses::Family;

use crate::args::{RegistryPort, Start, Up};
use crate::cluster::{self, Cluster, DEFAULT_NAME, Kind, Place};
use crate::local_node::{FIRST, LocalNode, tail};
use crate::progress::Progress;
use crate::publish::Listening;
use crate::registry::Lock;
use crate::{checks, control, down, hollow, host_settings, kubeconfig, mounts, nodes, publish, token};

/// How often to look whether a node's first process lives.
const LOOK: Duration = Duration::from_millis(100);
/// How often to look whether its daemon listens. To be told of it costs more: an inotify descriptor takes the kernel 15 ms to close.
const AGAIN: Duration = Duration::from_millis(1);

/// Creates the cluster or starts a stopped one; does nothing to one that runs.
pub fn up(options: &Up) -> Result<()> {
    checks::host()?;
    let place = Place::find(&options.which, DEFAULT_NAME)?;
    let _lock = Lock::take(&place.name)?;
    place.check_name()?;
    let found = Cluster::read(&place.dir)?;
    let is_new = found.is_none();
    place.prepare()?;
    let described = describe(options, &place, found).inspect_err(|_| {
        if is_new {
            place.forsake();
        }
    });
    let (cluster, listening) = described?;
    bring_up(&cluster, listening, options.wait)
}

/// What the cluster is to be, written down once nothing of it is wrong, and the sockets of its ports.
fn describe(options: &Up, place: &Place, found: Option<Cluster>) -> Result<(Cluster, Listening)> {
    let mut cluster = match found {
        Some(cluster) => cluster,
        None => {
            let ip_family = options.ip_family.unwrap_or_default();
            let subnet = cluster::free_subnet(&place.name, ip_family)?;
            Cluster { ip_family, ..Cluster::new(place, Kind::Local, subnet) }
        }
    };
    check_kind(&cluster)?;
    if options.ip_family.is_some_and(|family| family != cluster.ip_family) {
        bail!(
            "the cluster {:?} was made with other families of addresses, which cannot change: make another one, or remove it \
             with `coracle down --name {0}` first",
            cluster.name
        );
    }
    if let Some(file) = &options.token_auth_file {
        cluster.token_auth_file =
            Some(fs::canonicalize(file).with_context(|| format!("failed to find the token file {}", file.display()))?);
    }
    if let Some(file) = &options.scheduler_config {
        let path = fs::canonicalize(file).with_context(|| format!("failed to find {}", file.display()))?;
        // What is wrong in it is said here, and not in a log.
        SchedulerConfiguration::read(&path)?;
        cluster.scheduler_config = Some(path);
    }
    for registry in &options.insecure_registry {
        if !cluster.insecure_registries.contains(registry) {
            cluster.insecure_registries.push(registry.clone());
        }
    }
    if !options.kube_apiserver_arg.is_empty() {
        cluster.api_server = options.kube_apiserver_arg.clone();
    }
    if !options.cni.is_default() {
        cluster.cni = options.cni.clone();
    }
    if !options.kubelet_arg.is_empty() {
        cluster.kubelet = options.kubelet_arg.clone();
    }
    cluster.hollow = options.hollow.over(cluster.hollow.take())?;
    for _ in cluster.all_nodes().len()..usize::from(options.nodes) {
        nodes::describe_next(&mut cluster, None)?;
    }
    if !options.publish.is_empty() {
        let wanted: Vec<_> = options.publish.iter().flatten().cloned().collect();
        let wanted = publish::resolve(&wanted, &cluster)?;
        replace(wanted, &cluster.clone(), &mut cluster.published, "--publish")?;
    }
    if !options.mount.is_empty() {
        let wanted: Vec<_> = options.mount.iter().flatten().cloned().collect();
        let wanted = mounts::resolve(&wanted, &cluster)?;
        replace(wanted, &cluster.clone(), &mut cluster.mounts, "--mount")?;
    }
    if let Some(RegistryPort(wanted)) = options.registry {
        replace(wanted, &cluster.clone(), &mut cluster.registry, "--registry")?;
    }
    let listening = nodes::open(&cluster.all_nodes())?;
    cluster.save()?;
    Ok((cluster, listening))
}

/// Takes something that nodes are started with in place of what it was.
fn replace<T: PartialEq>(wanted: T, cluster: &Cluster, current: &mut T, option: &str) -> Result<()> {
    if wanted != *current && cluster.process().is_some() {
        bail!(
            "the cluster {:?} runs, and {option} says what its nodes are started with: end them with `coracle stop --name {0}`, \
             and give {option} to the next `coracle up`",
            cluster.name
        );
    }
    *current = wanted;
    Ok(())
}

/// Starts a stopped cluster.
pub fn start(options: &Start) -> Result<()> {
    checks::host()?;
    let cluster = Cluster::load(&options.which)?;
    let _lock = Lock::take(&cluster.name)?;
    let place = Place::find(&options.which, DEFAULT_NAME)?;
    place.check_name()?;
    place.prepare()?;
    check_kind(&cluster)?;
    let listening = nodes::open(&cluster.all_nodes())?;
    bring_up(&cluster, listening, options.wait)
}

fn check_kind(cluster: &Cluster) -> Result<()> {
    if cluster.kind != Kind::Local {
        bail!(
            "the cluster {:?} runs on the host itself: `{} --name {}` starts it",
            cluster.name,
            cluster.kind.starts(),
            cluster.name
        );
    }
    Ok(())
}

fn bring_up(cluster: &Cluster, mut listening: Listening, wait: Duration) -> Result<()> {
    let mut progress = Progress::new();
    let mut cluster = cluster.clone();
    let found = cluster.process().is_some();
    if !found {
        make_first_node(&mut cluster, &listening, &mut progress)?;
    }
    let token = BootstrapToken::generate()?;
    let mut started = nodes::start_stopped(&cluster, &listening, &token)?;
    progress.phase("Starting the API server");
    let deadline = Instant::now() + wait.max(Duration::from_secs(10));
    let access = match wait_for(&first(&cluster), deadline, control::access) {
        // What was found belonged to an `up` that was killed before its node was connected.
        Err(_) if found && cluster.process().is_none() => {
            down::end_node(&cluster);
            drop(listening);
            listening = nodes::open(&cluster.all_nodes())?;
            make_first_node(&mut cluster, &listening, &mut progress)?;
            started = nodes::start_stopped(&cluster, &listening, &token)?;
            wait_for(&first(&cluster), deadline, control::access)?
        }
        other => other?,
    };
    let cluster = &cluster;
    if started {
        token::make_for_nodes(&access, &token)?;
    }
    let path = kubeconfig::path()?;
    kubeconfig::add(&path, &cluster.context(), &access)?;
    if let Some(hollow) = cluster.hollow.as_ref().filter(|_| found) {
        hollow::tell(&cluster.control_socket(), hollow).context("the hollow nodes are not changed")?;
    }
    if !wait.is_zero() {
        let nodes = cluster.all_nodes();
        let phase =
            if nodes.len() > 1 { "Waiting for the nodes to be Ready" } else { "Waiting for the node to be Ready" };
        for (phase, what) in [(phase, "node"), ("Waiting for DNS", "dns")] {
            progress.phase(phase);
            nodes.iter().try_for_each(|node| wait_until(node, what, deadline))?;
        }
        nodes.iter().for_each(nodes::forget_token);
        if let Some(hollow) = &cluster.hollow {
            progress.phase("Waiting for the hollow nodes");
            let patience = left(deadline).saturating_add(hollow::patience(hollow.count));
            hollow::wait(&cluster.control_socket(), patience)?;
        }
    }
    let took = progress.finish();
    println!("Cluster {:?} is ready at {} after {:.0} ms.", cluster.name, access.server, took.as_secs_f64() * 1000.0);
    println!("kubectl uses it by the context {:?} in {}.", cluster.context(), path.display());
    if let Some(port) = cluster.registry {
        println!("Images that are pushed to localhost:{port} are pulled by all nodes.");
    }
    if !cluster.published.is_empty() {
        for node in nodes::reports(cluster) {
            node.published.iter().for_each(|port| println!("Published {port} of {}.", node.name));
        }
    }
    Ok(())
}

fn first(cluster: &Cluster) -> LocalNode<'_> {
    LocalNode { cluster, number: FIRST }
}

fn make_first_node(cluster: &mut Cluster, listening: &Listening, progress: &mut Progress) -> Result<()> {
    progress.phase("Making the node's namespaces and link");
    down::end_node(cluster);
    // Another cluster may have taken the network while this one was stopped.
    if !cluster::is_free(cluster.subnet, cluster.ip_family)? {
        cluster.subnet = cluster::free_subnet(&cluster.name, cluster.ip_family)?;
        cluster.save()?;
    }
    let make = || {
        nodes::make_authority(cluster)?;
        // The server begins while its network is made.
        let node = first(cluster);
        let begun = node.begin(listening)?;
        make_network(cluster)?;
        begun.connect()
    };
    let made = make();
    if made.is_err() {
        down::end_node(cluster);
    }
    made
}

/// Waits until something of a node is ready.
pub fn wait_until(node: &LocalNode<'_>, what: &str, deadline: Instant) -> Result<()> {
    wait_for(node, deadline, |socket| control::wait_until(socket, what, left(deadline)))
}

/// Calls the daemon until it answers, the node's first process ends, or time is over.
fn wait_for<T>(node: &LocalNode<'_>, deadline: Instant, call: impl Fn(&Path) -> Result<T>) -> Result<T> {
    let (socket, failure) = (node.control_socket(), node.failure());
    let mut looked = Instant::now();
    loop {
        // Where nobody listens yet, nothing more than that is asked.
        let error = match UnixStream::connect(&socket).map_err(Into::into).and_then(|_| call(&socket)) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let (log, name) = (node.log(), node.name());
        if let Ok(failure) = fs::read_to_string(&failure) {
            // A further node tries again; without the first there is no cluster.
            let who = if node.is_first() { "the server".to_owned() } else { format!("the node {name}") };
            if node.is_first() {
                down::end_node(node.cluster);
            }
            bail!("{who} failed: {failure}\nIts log is {}", log.display());
        }
        // It is looked for among all processes when it is not where it was written down.
        if looked.elapsed() > LOOK {
            looked = Instant::now();
            if node.process().is_none() {
                bail!("the node {name} ended while it started; its log is {}:\n{}", log.display(), tail(&log));
            }
        }
        if Instant::now() > deadline {
            return Err(error).with_context(|| {
                format!("the node {name} did not become ready in time; its log is {}:\n{}", log.display(), tail(&log))
            });
        }
        std::thread::sleep(AGAIN);
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Makes the bridge that connects the nodes with the host and each other, and their way to the world.
fn make_network(cluster: &Cluster) -> Result<()> {
    let networks = cluster.networks();
    host_settings::hold(&cluster.name, networks.iter().copied().map(Family::of_range), &[])?;
    host::create_bridge(&cluster.bridge(), &cluster.gateways()?)
        .with_context(|| format!("failed to make the bridge for {networks:?}"))?;
    host::masquerade(&cluster.table(), &cluster.bridge(), &networks)
        .context("failed to let the nodes reach the world")?;
    if let Err(error) = host::open_firewall(&cluster.bridge()) {
        eprintln!("warning: the nodes may not reach the world: {error:#}");
    }
    Ok(())
}
