//! `coracle server`: API server, controllers, scheduler, kubelet, runtime, network and DNS in one process.
//!
//! There is no way to shut down but to end: whatever is durable is on disk, containers live in their shims,
//! and the next start takes over both.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use coracle_apiserver::auth::{MASTERS, User};
use coracle_apiserver::{KUBERNETES_VERSION, Server as ApiServer};
use coracle_client::{Informer, Informers, LeadershipLost, in_process};
use coracle_kubelet::KubeletConfig;
use coracle_network::{NodeNetwork, NodeNetworkConfig, proxy};
use coracle_runtime::{Runtime, RuntimeConfig};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Node, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use crate::args::{Server, Which};
use crate::certificates::{Certificates, KUBELET_CLIENT, Names};
use crate::cluster::{Cluster, Kind, Place};
use crate::control::{self, Access, Ready};
use crate::files::write_atomically;
use crate::process::NodeProcess;
use crate::registry::Lock;
use crate::sandbox_network::BuiltIn;
use crate::server_log::Bounded;
use crate::{checks, control_plane, host_settings, kubeconfig, store, sys};

/// Addresses of pods and services, as kubeadm and kind have them.
const CLUSTER_CIDR: &str = "10.244.0.0/16";
const POD_CIDR: &str = "10.244.0.0/24";
const SERVICE_CIDR: &str = "10.96.0.0/16";
/// Where the cluster's DNS answers.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const CLUSTER_DOMAIN: &str = "cluster.local";
const KUBELET_PORT: u16 = 10250;
/// The name under which controllers own what they write.
const CONTROLLERS: &str = "kube-controller-manager";
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
struct Parts(JoinSet<(&'static str, Result<()>)>);

impl Parts {
    fn spawn(&mut self, name: &'static str, part: impl Future<Output = Result<()>> + Send + 'static) {
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

async fn serve(options: &Server, cluster: &Cluster) -> Result<()> {
    let started = Instant::now();
    let dir = &cluster.dir;
    for part in ["pki", "images", "run", "kubelet", "log/pods"] {
        let path = dir.join(part);
        std::fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
    }
    let node_ip = options.node_ip.map_or_else(default_address, Ok)?;
    if node_ip.is_loopback() {
        bail!("--node-ip {node_ip} is a loopback address, which pods do not reach: name one of another link");
    }
    let node_name = options.node_name.clone().map_or_else(host_name, Ok)?;
    let service_cidr: Ipv4Net = SERVICE_CIDR.parse()?;
    let cluster_cidr: Ipv4Net = CLUSTER_CIDR.parse()?;

    let names = Names { node: node_name.clone(), address: node_ip, port: options.port, service_cidr };
    let certificates = Arc::new(Certificates::open(&dir.join("pki"), names)?);
    let ca = certificates.authority.certificate.clone();

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
        audit: options.api.audit.options(),
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

    let (ready_sender, ready) = watch::channel(Ready::default());
    let resolv_conf = resolv_conf(dir)?;
    let network = NodeNetwork::new(NodeNetworkConfig {
        bridge: if options.in_node { "cni0".into() } else { cluster.bridge() },
        state: dir.join("run/addresses"),
        pod_cidr: POD_CIDR.parse()?,
        cluster_cidr,
        service_cidr,
        service_addresses: vec![DNS_ADDRESS],
        mtu: coracle_network::host::mtu_of(node_ip)?,
        on_host: !options.in_node,
    })?;
    let runtime = Runtime::new(
        RuntimeConfig {
            root: dir.join("images"),
            state: dir.join("run"),
            cgroup_root: options.cgroup_root.clone().unwrap_or_else(|| cluster.cgroup()),
            shim_exe: "/proc/self/exe".into(),
            insecure_registries: options.insecure_registry.clone(),
            resolv_conf: resolv_conf.clone(),
        },
        Arc::new(BuiltIn(network)),
    )
    .await
    .map_err(|error| anyhow!("the container runtime did not start: {error}"))?;

    let as_user = |name: &str, groups: &[&str], agent| in_process(api.service(User::new(name, groups)).named(agent));
    // Of a local cluster, who starts it tells the administrator.
    let told = (!options.in_node).then(|| cluster.clone());
    let tell = move |access: &Access| told.iter().for_each(|cluster| tell_administrator(cluster, access));
    tell(&certificates.access());
    let renewed = certificates.clone();
    parts.spawn("certificates", async move {
        renewed.keep(tell).await;
        Ok(())
    });
    let (end_containers, asked_to_end) = oneshot::channel();
    let (containers_ended, ended) = watch::channel(false);
    let control_state = control::State {
        runtime: runtime.clone(),
        certificates: certificates.clone(),
        store,
        node: node_name.clone(),
        address: node_ip.to_string(),
        ready,
        started,
        end_containers: Mutex::new(Some(end_containers)),
        ended,
    };
    let socket = dir.join("control.sock");
    parts.spawn("control socket", async move { control::serve(&socket, control_state).await });

    let kubelet = KubeletConfig {
        node_name: node_name.clone(),
        node_ip,
        root_dir: dir.join("kubelet"),
        log_dir: dir.join("log/pods"),
        cluster_dns: vec![DNS_ADDRESS.into()],
        cluster_domain: CLUSTER_DOMAIN.into(),
        max_pods: 110,
        serving: certificates.first_of_kubelet()?,
        server_tls_bootstrap: true,
        client_certificate: None,
        client_ca_pem: ca.clone().into_bytes(),
        apiserver_user: KUBELET_CLIENT.into(),
        port: KUBELET_PORT,
        kubernetes_version: format!("{KUBERNETES_VERSION}+coracle"),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        resolv_conf: resolv_conf.clone(),
        provider_id: Some(format!("coracle://{node_name}")),
    };
    let client = as_user(&format!("system:node:{node_name}"), &["system:nodes"], "kubelet");
    let (cri, images) = (runtime.clone(), runtime.clone());
    parts.spawn("kubelet", async move {
        let shutdown = async {
            match asked_to_end.await {
                Ok(longest) => longest,
                Err(_) => std::future::pending().await,
            }
        };
        coracle_kubelet::run(kubelet, client, cri, images, shutdown).await?;
        // Who asked ends the other parts.
        containers_ended.send_replace(true);
        std::future::pending().await
    });

    let administrator = as_user("system:apiserver", &[MASTERS], "kube-apiserver");
    parts.spawn("control plane's label", control_plane::mark(administrator.clone(), node_name.clone()));

    let identity = format!("{node_name}_{}", uuid::Uuid::new_v4());
    let scheduler = coracle_scheduler::Config {
        leader_elect: is_shared,
        identity: identity.clone(),
        profile_name: "default-scheduler".into(),
    };
    let client = as_user("system:kube-scheduler", &[], "kube-scheduler");
    parts.spawn("scheduler", lead(move || coracle_scheduler::run(client.clone(), scheduler.clone())));
    let controllers = coracle_controllers::Config {
        cluster_cidr,
        node_cidr_mask: 24,
        root_ca: ca,
        authority: Some(certificates.authority.clone()),
        service_account_key: Some(Arc::new(certificates.authority.service_account_key()?)),
        leader_elect: is_shared,
        identity,
        terminated_pod_threshold: 12_500,
        legacy_token_clean_up_period: options.legacy_service_account_token_clean_up_period,
    };
    let accounts: coracle_controllers::Clients = {
        let own = api.clone();
        Arc::new(move |name| in_process(own.service(User::service_account("kube-system", name)).named(CONTROLLERS)))
    };
    let manager = as_user("system:kube-controller-manager", &[], CONTROLLERS);
    let of_controllers = accounts.clone();
    let run = move || coracle_controllers::run(manager.clone(), of_controllers.clone(), controllers.clone());
    parts.spawn("controllers", lead(run));

    let informers = Informers::new(as_user("system:kube-proxy", &[], "kube-proxy"));
    let (services, slices) = (informers.all::<Service>(), informers.all::<EndpointSlice>());
    let proxy = proxy::ProxyConfig { node_name: node_name.clone(), cluster_cidr, own_addresses: vec![DNS_ADDRESS] };
    parts.spawn("service proxy", proxy::run(services.clone(), slices.clone(), proxy, || ()));
    let dns = coracle_dns::Config {
        domain: CLUSTER_DOMAIN.into(),
        listen: vec![SocketAddr::new(DNS_ADDRESS.into(), 53)],
        upstreams: upstreams(&resolv_conf),
    };
    let dns_informers = Informers::new(accounts("coredns"));
    let dns_ready = ready_sender.clone();
    parts.spawn(
        "DNS server",
        coracle_dns::run(services, slices, dns_informers.all(), dns, move || {
            dns_ready.send_modify(|ready| ready.dns = true);
        }),
    );
    watch_readiness(administrator, node_name, ready_sender);
    tracing::info!(milliseconds = started.elapsed().as_millis() as u64, "all parts are started");
    tokio::select! {
        error = parts.first_end() => Err(error),
        _ = tokio::signal::ctrl_c() => Ok(()),
        () = terminated() => Ok(()),
    }
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

/// The node counts as ready once its condition says so and pods can be made: that needs the account that pods have by default.
fn watch_readiness(client: Client, node_name: String, sender: watch::Sender<Ready>) {
    tokio::spawn(async move {
        let nodes = Informer::<Node>::with_selectors(
            Api::all(client.clone()),
            None,
            Some(format!("metadata.name={node_name}")),
            Vec::new(),
        );
        let accounts = Informer::<ServiceAccount>::with_selectors(
            Api::namespaced(client, "default"),
            None,
            Some("metadata.name=default".into()),
            Vec::new(),
        );
        let (node_store, account_store) = (nodes.store(), accounts.store());
        let check = Arc::new(move || {
            let conditions = node_store.get("", &node_name).and_then(|node| node.status.clone()?.conditions);
            let node =
                conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            if node && account_store.get("default", "default").is_some() {
                sender.send_if_modified(|ready| !std::mem::replace(&mut ready.node, true));
            }
        });
        let other = check.clone();
        nodes.subscribe(move |_| check());
        accounts.subscribe(move |_| other());
        nodes.start();
        accounts.start();
        std::future::pending::<()>().await;
    });
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

/// The node's resolv.conf without name servers on loopback, which pods could not reach.
fn resolv_conf(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("run/resolv.conf");
    let candidates = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let read = |path: &&str| std::fs::read_to_string(path).ok().filter(|text| !servers(text).is_empty());
    let text = candidates.iter().find_map(read).unwrap_or_default();
    let kept = text.lines().filter(|line| !line.trim_start().starts_with("nameserver") || !servers(line).is_empty());
    std::fs::write(&path, kept.map(|line| format!("{line}\n")).collect::<String>())
        .with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

fn servers(text: &str) -> Vec<IpAddr> {
    let addresses =
        text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    addresses.filter(|address| !address.is_loopback()).collect()
}

fn upstreams(resolv_conf: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(resolv_conf).unwrap_or_default();
    servers(&text).into_iter().map(|address| SocketAddr::new(address, 53)).collect()
}
