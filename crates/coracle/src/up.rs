//! `coracle up` and `coracle start`.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use coracle_network::host;
use coracle_scheduler::SchedulerConfiguration;
use ipnet::Ipv4Net;

use crate::args::{Start, Up};
use crate::cluster::{self, Cluster, DEFAULT_NAME, Kind, Place};
use crate::progress::Progress;
use crate::registry::Lock;
use crate::server::FAILURE;
use crate::{checks, control, down, host_settings, kubeconfig, sys};

/// Creates the cluster or starts a stopped one; does nothing to one that runs.
pub fn up(options: &Up) -> Result<()> {
    checks::host()?;
    let place = Place::find(&options.which, DEFAULT_NAME)?;
    let _lock = Lock::take(&place.name)?;
    place.check_name()?;
    let found = Cluster::read(&place.dir)?;
    place.prepare()?;
    let mut cluster = match found {
        Some(cluster) => cluster,
        None => Cluster::new(&place, Kind::Local, cluster::free_subnet(&place.name)?),
    };
    check_kind(&cluster)?;
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
    if !options.kubelet_arg.is_empty() {
        cluster.kubelet = options.kubelet_arg.clone();
    }
    cluster.save()?;
    bring_up(&cluster, options.wait)
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
    bring_up(&cluster, options.wait)
}

fn check_kind(cluster: &Cluster) -> Result<()> {
    if cluster.kind == Kind::Host {
        bail!(
            "the cluster {:?} runs on the host itself: `coracle server --name {}` starts it",
            cluster.name,
            cluster.name
        );
    }
    Ok(())
}

fn bring_up(cluster: &Cluster, wait: Duration) -> Result<()> {
    let mut progress = Progress::new();
    let mut cluster = cluster.clone();
    let found = cluster.process().is_some();
    if !found {
        make_node(&mut cluster, &mut progress)?;
    }
    progress.phase("Starting the API server");
    let deadline = Instant::now() + wait.max(Duration::from_secs(10));
    let access = match wait_for(&cluster, deadline, control::access) {
        // What was found belonged to an `up` that was killed before its node was connected.
        Err(_) if found && cluster.process().is_none() => {
            make_node(&mut cluster, &mut progress)?;
            wait_for(&cluster, deadline, control::access)?
        }
        other => other?,
    };
    let cluster = &cluster;
    let path = kubeconfig::path()?;
    kubeconfig::add(&path, &cluster.context(), &access)?;
    if !wait.is_zero() {
        progress.phase("Waiting for the node to be Ready");
        wait_for(cluster, deadline, |socket| control::wait_until(socket, "node", left(deadline)))?;
        progress.phase("Waiting for DNS");
        wait_for(cluster, deadline, |socket| control::wait_until(socket, "dns", left(deadline)))?;
    }
    let took = progress.finish();
    println!("Cluster {:?} is ready at {} after {:.0} ms.", cluster.name, access.server, took.as_secs_f64() * 1000.0);
    println!("kubectl uses it by the context {:?} in {}.", cluster.context(), path.display());
    Ok(())
}

fn make_node(cluster: &mut Cluster, progress: &mut Progress) -> Result<()> {
    progress.phase("Making the node's namespaces and link");
    down::end_node(cluster);
    // Another cluster may have taken the network while this one was stopped.
    if !cluster::is_free(cluster.subnet)? {
        cluster.subnet = cluster::free_subnet(&cluster.name)?;
        cluster.save()?;
    }
    if let Err(error) = start_node(cluster) {
        down::end_node(cluster);
        return Err(error);
    }
    Ok(())
}

/// Calls the daemon until it answers, the node's first process ends, or time is over.
fn wait_for<T>(cluster: &Cluster, deadline: Instant, call: impl Fn(&Path) -> Result<T>) -> Result<T> {
    loop {
        let error = match call(&cluster.control_socket()) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let log = cluster.dir.join("log/server.log");
        if let Ok(failure) = fs::read_to_string(cluster.dir.join(FAILURE)) {
            down::end_node(cluster);
            bail!("the server failed: {failure}\nIts log is {}", log.display());
        }
        if cluster.process().is_none() {
            bail!("the node ended while it started; its log is {}:\n{}", log.display(), tail(&log));
        }
        if Instant::now() > deadline {
            return Err(error).with_context(|| {
                format!("the cluster did not become ready in time; its log is {}:\n{}", log.display(), tail(&log))
            });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn tail(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

fn start_node(cluster: &Cluster) -> Result<()> {
    let log = cluster.dir.join("log");
    fs::create_dir_all(&log).with_context(|| format!("failed to make {}", log.display()))?;
    let _ = fs::remove_file(cluster.dir.join(FAILURE));
    host_settings::hold(&cluster.name, &[("net/ipv4/ip_forward", "1")])?;
    host::create_bridge(&cluster.bridge(), Ipv4Net::new(cluster.gateway(), cluster.subnet.prefix_len())?)
        .with_context(|| format!("failed to make the bridge for {}", cluster.subnet))?;
    host::masquerade(&cluster.table(), &cluster.bridge(), cluster.subnet)
        .context("failed to let the node reach the world")?;
    if let Err(error) = host::open_firewall(&cluster.bridge()) {
        eprintln!("warning: the node may not reach the world: {error:#}");
    }
    let errors = fs::File::create(log.join("node-init.log"))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("coracle").arg("node-init").arg("--data-dir").arg(&cluster.dir);
    command.stdin(Stdio::piped()).stdout(errors.try_clone()?).stderr(errors).current_dir("/");
    let mut outer = sys::in_own_session(&mut command).spawn().context("failed to start the node")?;
    let mut go = outer.stdin.take().context("the node has no standard input")?;
    if !outer.wait()?.success() {
        bail!("the node did not start:\n{}", tail(&log.join("node-init.log")));
    }
    let process =
        cluster.process().with_context(|| format!("the node ended at once:\n{}", tail(&log.join("node-init.log"))))?;
    let netns = fs::File::open(format!("/proc/{}/ns/net", process.pid))
        .context("failed to open the node's network namespace")?;
    let address = Ipv4Net::new(cluster.node_ip(), cluster.subnet.prefix_len())?;
    host::attach_node(&cluster.bridge(), &cluster.link(), netns.as_fd(), address, cluster.gateway())
        .context("failed to connect the node")?;
    go.write_all(b"\n").context("the node ended before it was connected")
}
