//! `coracle server`: API server, controllers, scheduler, kubelet, runtime, network and DNS in one process.
//!
//! There is no way to shut down but to end: whatever is durable is on disk, containers live in their shims,
//! and the next start takes over both.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use coracle_apiserver::auth::User;
use coracle_apiserver::{Pages, Server as ApiServer};
use coracle_client::{LeadershipLost, in_process};
use coracle_pki::Current;
use coracle_scheduler::SchedulerConfiguration;
use ipnet::Ipv4Net;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use crate::args::{Server, Which};
use crate::certificates::{Certificates, Names};
use crate::cluster::{Cluster, Kind, Place};
use crate::control::{self, Access, Ready};
use crate::files::write_atomically;
use crate::process::NodeProcess;
use crate::registry::Lock;
use crate::server_log::Bounded;
use crate::{balancing, checks, host_settings, kubeconfig, node, store, sys, volumes};

/// How large the range is that a node is given which tells of none itself.
const NODE_CIDR_MASK: u8 = 24;
/// Addresses of services, as kubeadm and kind have them.
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/16";
/// Where the cluster's DNS answers.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The name under which controllers own what they write.
pub(crate) const CONTROLLERS: &str = "kube-controller-manager";
/// The file in the data directory that says why the server last failed.
pub const FAILURE: &str = "log/failure";

/// Runs until a signal or a failure ends it.
pub fn run(options: &Server) -> Result<()> {
    checks::host()?;
    start_log(options);
    raise_descriptor_limit();
    let cluster = if options.in_node { in_node(options)? } else { on_host(options)? };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.spawn(give_memory_back());
    let result = runtime.block_on(serve(options, &cluster));
    // Work that hangs on a failing disk must not keep the process.
    runtime.shutdown_background();
    // Told to whoever waits for the cluster; the log has it as well.
    let failure = cluster.dir.join(FAILURE);
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

fn start_log(options: &Server) {
    let filter = EnvFilter::try_from_env("CORACLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A log that cannot be written is no reason to panic, which the default is.
    let log = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter).with_ansi(false);
    match options.data_dir.as_deref().filter(|_| options.in_node) {
        Some(dir) => log.with_writer(Bounded::new(dir)).init(),
        None => log.with_writer(std::io::stderr).init(),
    }
}

fn in_node(options: &Server) -> Result<Cluster> {
    let dir = options.data_dir.as_deref().context("the server of a node is told its data directory")?;
    Cluster::read(dir)?.context("the cluster's description is missing")
}

/// Takes the cluster's name and directory, and writes down that it runs here.
fn on_host(options: &Server) -> Result<Cluster> {
    let which = Which { name: options.name.clone(), data_dir: options.data_dir.clone() };
    let place = Place::find(&which, "server")?;
    let _lock = Lock::take(&place.name)?;
    place.check_name()?;
    let found = Cluster::read(&place.dir)?;
    if let Some(process) = found.as_ref().and_then(Cluster::process) {
        bail!("the cluster {:?} runs already, as process {}", place.name, process.pid);
    }
    if found.as_ref().is_some_and(|cluster| cluster.kind == Kind::Local) {
        bail!("the cluster {:?} is a local one: `coracle start --name {}` starts it", place.name, place.name);
    }
    place.prepare()?;
    // A server on the host has no network between host and node.
    let cluster = Cluster::new(&place, Kind::Host, Ipv4Net::default());
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
pub(crate) struct Parts(JoinSet<(&'static str, Result<()>)>);

impl Parts {
    pub fn spawn(&mut self, name: &'static str, part: impl Future<Output = Result<()>> + Send + 'static) {
        self.0.spawn(async move { (name, part.await) });
    }

    /// Waits for the first part to end, which none should.
    async fn first_end(&mut self) -> anyhow::Error {
        match self.0.join_next().await {
            Some(Ok((name, Ok(())))) => anyhow!("the {name} ended"),
            Some(Ok((name, Err(error)))) => error.context(format!("the {name} failed")),
            Some(Err(error)) => anyhow!(error).context("a part of the server failed"),
            None => anyhow!("the server has no parts"),
        }
    }
}

/// Checks the ranges of the addresses of a node's pods, of all pods, and of services.
fn check_ranges(pods: Ipv4Net, cluster: Ipv4Net, service_cidr: Ipv4Net) -> Result<()> {
    if !cluster.contains(&pods) {
        bail!("--pod-cidr {pods} is no part of the range of all pods, --cluster-cidr {cluster}");
    }
    if pods.prefix_len() > 30 {
        bail!("--pod-cidr {pods} has no room for pods");
    }
    if cluster.contains(&service_cidr.network()) || service_cidr.contains(&cluster.network()) {
        bail!("--cluster-cidr {cluster} has addresses of services, which are of {service_cidr}");
    }
    Ok(())
}

async fn serve(options: &Server, cluster: &Cluster) -> Result<()> {
    let started = Instant::now();
    let dir = &cluster.dir;
    make_directories(dir, &["pki"])?;
    let node_ip = options.node_ip.map_or_else(default_address, Ok)?;
    if node_ip.is_loopback() {
        bail!("--node-ip {node_ip} is a loopback address, which pods do not reach: name one of another link");
    }
    let node_name = options.node_name.clone().map_or_else(host_name, Ok)?;
    let service_cidr: Ipv4Net = SERVICE_CIDR.parse()?;
    let cluster_cidr = options.cluster_cidr;
    check_ranges(options.pod_cidr, cluster_cidr, service_cidr)?;

    let names = Names { node: node_name.clone(), address: node_ip, port: options.port, service_cidr };
    let certificates = Arc::new(Certificates::open(&dir.join("pki"), names)?);
    let ca = certificates.authority.certificate.clone();

    let scheduler_config = options.scheduler_config.as_deref().map(SchedulerConfiguration::read).transpose()?;
    let scheduler_config = scheduler_config.unwrap_or_default();

    let store = store::open(dir, &options.etcd).await?;
    // Others may run the same parts on the same objects.
    let is_shared = store.settled_revision().is_none();
    let api = ApiServer::new(coracle_apiserver::Config {
        store: store.clone(),
        authority: certificates.authority.clone(),
        authentication: options.api.authentication.options(options.token_auth_file.clone())?,
        service_cidr,
        advertise_address: node_ip,
        port: options.port,
        kubelet_client: certificates.kubelet_client.clone(),
        authorization: options.api.authorization.options(),
        admission: options.api.admission.options(),
        runtime_config: options.api.served.options()?,
        audit: options.api.audit.options(),
        // Without a node of its own, nobody would make volumes of it.
        initial: if options.disable_agent { Vec::new() } else { vec![volumes::default_class()] },
    })
    .await?;
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), options.port)).await.with_context(|| {
        format!("failed to listen on port {}: is another API server running? --port takes another port", options.port)
    })?;
    let mut parts = Parts(JoinSet::new());
    // The next process opens the store anew and knows what the disk holds.
    let failing = store.clone();
    parts.spawn("store", async move { Err(failing.failed().await.into()) });
    let (server, serving) = (api.clone(), certificates.serving.clone());
    parts.spawn("API server", async move { server.serve(listener, serving).await });

    for (pages, port) in
        [(Pages::Scheduler, options.kube_scheduler_port), (Pages::Controllers, options.kube_controller_manager_port)]
    {
        let (server, serving) = (api.clone(), certificates.serving.clone());
        parts.spawn("metrics of a part", async move { tell(server, serving, pages, port).await });
    }

    let (mut runtime, mut containers, mut ready) = (None, None, watch::channel(Ready { node: true, dns: true }).1);
    if !options.disable_agent {
        let serving = certificates.first_of_kubelet()?;
        let own = node::Own { name: &node_name, address: node_ip, authority: &ca, serving, api: &api };
        let started = node::start(options, cluster, own, &mut parts).await?;
        (runtime, containers, ready) = (Some(started.runtime), Some(started.containers), started.ready);
    }
    let as_user = |name, agent| as_user(&api, name, &[], agent);
    // Of a local cluster, who starts it tells the administrator.
    let told = (!options.in_node).then(|| cluster.clone());
    let tell_of = move |access: &Access| told.iter().for_each(|cluster| tell_administrator(cluster, access));
    tell_of(&certificates.access());
    let renewed = certificates.clone();
    parts.spawn("certificates", async move {
        renewed.keep(tell_of).await;
        Ok(())
    });
    let control_state = control::State {
        runtime,
        certificates: certificates.clone(),
        store,
        node: node_name.clone(),
        address: node_ip.to_string(),
        ready,
        started,
        containers,
    };
    let socket = dir.join("control.sock");
    parts.spawn("control socket", async move { control::serve(&socket, control_state).await });

    let identity = format!("{node_name}_{}", uuid::Uuid::new_v4());
    let scheduler =
        coracle_scheduler::Config { leader_elect: is_shared, identity: identity.clone(), scheduler: scheduler_config };
    let client = as_user("system:kube-scheduler", "kube-scheduler");
    parts.spawn("scheduler", lead(move || coracle_scheduler::run(client.clone(), scheduler.clone())));
    let controllers = coracle_controllers::Config {
        cluster_cidr,
        node_cidr_mask: NODE_CIDR_MASK.max(cluster_cidr.prefix_len()),
        root_ca: ca,
        authority: Some(certificates.authority.clone()),
        service_account_key: Some(Arc::new(certificates.authority.service_account_key()?)),
        load_balancer_pool: balancing::pool(options, cluster),
        leader_elect: is_shared,
        identity,
        terminated_pod_threshold: 12_500,
        legacy_token_clean_up_period: options.legacy_service_account_token_clean_up_period,
    };
    let accounts: coracle_controllers::Clients = {
        let own = api.clone();
        Arc::new(move |name| in_process(own.service(User::service_account("kube-system", name)).named(CONTROLLERS)))
    };
    let manager = as_user("system:kube-controller-manager", CONTROLLERS);
    let run = move || coracle_controllers::run(manager.clone(), accounts.clone(), controllers.clone());
    parts.spawn("controllers", lead(run));

    tracing::info!(milliseconds = started.elapsed().as_millis() as u64, "all parts are started");
    tokio::select! {
        error = parts.first_end() => Err(error),
        _ = tokio::signal::ctrl_c() => Ok(()),
        () = terminated() => Ok(()),
    }
}

pub(crate) fn make_directories(dir: &Path, parts: &[&str]) -> Result<()> {
    for part in parts {
        let path = dir.join(part);
        std::fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
    }
    Ok(())
}

/// A client within this process.
pub(crate) fn as_user(api: &ApiServer, name: &str, groups: &[&str], agent: &'static str) -> Client {
    in_process(api.service(User::new(name, groups)).named(agent))
}

/// Tells the metrics of a part where upstream's part does. Another server of this host may do that already.
async fn tell(server: ApiServer, serving: Arc<Current>, pages: Pages, port: u16) -> Result<()> {
    if port != 0 {
        match TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).await {
            Ok(listener) => return server.serve_pages(listener, serving, pages).await,
            Err(error) => {
                tracing::warn!(port, %error, "no metrics of the {pages:?} of their own, only the API server's")
            }
        }
    }
    std::future::pending().await
}

/// Runs what only one process does at a time, and waits for its turn again each time another one took it: what else this
/// process does goes on meanwhile.
async fn lead<F: Future<Output = Result<()>>>(run: impl Fn() -> F) -> Result<()> {
    loop {
        match run().await {
            Err(error) if error.is::<LeadershipLost>() => tracing::warn!("{error:#}"),
            ended => return ended,
        }
    }
}

/// Writes how the administrator reaches the API: a file of its own, and a context in the user's kubeconfig.
fn tell_administrator(cluster: &Cluster, access: &Access) {
    let context = cluster.context();
    let own = cluster.dir.join("admin.kubeconfig");
    let written = kubeconfig::alone(&context, access).and_then(|text| write_atomically(&own, text.as_bytes(), 0o600));
    match written {
        Ok(()) => tracing::info!("kubectl --kubeconfig {} reaches the cluster at {}", own.display(), access.server),
        Err(error) => tracing::warn!("{error:#}"),
    }
    match kubeconfig::path().and_then(|path| kubeconfig::add(&path, &context, access).map(|()| path)) {
        Ok(path) => tracing::info!("kubectl uses it by the context {context:?} in {}", path.display()),
        Err(error) => tracing::warn!("no context for kubectl: {error:#}"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_part_of_the_range_of_pods_which_has_no_address_of_a_service() {
        let check = |pods: &str, cluster: &str| {
            let range = |text: &str| text.parse().unwrap();
            check_ranges(range(pods), range(cluster), range(SERVICE_CIDR)).is_ok()
        };
        assert!(check("10.244.0.0/24", "10.244.0.0/16") && check("10.244.0.0/16", "10.244.0.0/16"));
        assert!(!check("10.245.0.0/24", "10.244.0.0/16") && !check("10.244.0.0/31", "10.244.0.0/16"));
        assert!(!check("10.96.1.0/24", "10.96.0.0/16") && !check("10.0.0.0/24", "10.0.0.0/8"));
    }
}
