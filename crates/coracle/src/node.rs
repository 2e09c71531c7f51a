//! What makes the host of a server a node of the cluster: the network, runtime and kubelet, the service proxy, and DNS.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use coracle_apiserver::KUBERNETES_VERSION;
use coracle_client::{Event, EventRecorder, Informer, Informers};
use coracle_cni::Cni;
use coracle_kubelet::{KubeletConfig, Shutdown};
use coracle_network::announce::{self, AnnounceConfig};
use coracle_network::policies::Policies;
use coracle_network::{ForeignConfig, ForeignPods, proxy};
use coracle_pki::Current;
use coracle_runtime::cri::SandboxNetwork;
use coracle_runtime::{LocalRegistry, Runtime, RuntimeConfig};
use coracle_values::addresses::{Family, Ranges, nth};
use coracle_values::hollow;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::args::NodeArgs;
use crate::balancing;
use crate::certificates::KUBELET_CLIENT;
use crate::cluster::Cluster;
use crate::cni_network::{self, After, Plugins};
use crate::control::{Containers, Ready};
use crate::daemon::{Parts, make_directories};
use crate::pod_network::{self, PodNetwork};
use crate::policed_network::Policed;
use crate::sandbox_network::BuiltIn;
use crate::{ranges, volumes};

const CLUSTER_DOMAIN: &str = "cluster.local";
/// The port of the kubelet's server.
pub const KUBELET_PORT: u16 = 10250;
/// How long who had the containers ended may take to end the server as well, once the time for all of them is over: those of other
/// nodes may take it. A node without a kubelet is none.
const UNTIL_ENDED: Duration = Duration::from_secs(10);

/// Which node it is, and whose.
pub struct Own<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its addresses, one of a family, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// It is one of a local cluster, and has namespaces of its own.
    pub in_node: bool,
    /// The certificate of the cluster's authority.
    pub authority: &'a str,
    /// What its kubelet shows until its request for a certificate is granted.
    pub serving: Arc<Current>,
    /// What its kubelet shows to the API server, if that is asked for too.
    pub client_certificate: Option<Arc<Current>>,
    /// The ranges of the addresses of its pods, unless the cluster gives it some.
    pub pod_cidr: Option<Ranges>,
    /// Where another node on the same disk has its images, which this one has too at its first start.
    pub images: Option<PathBuf>,
    /// The registry of the local cluster that it is in.
    pub registry: Option<LocalRegistry>,
    /// How its parts reach the API.
    pub clients: Clients,
}

/// How the parts of a node reach the API, each as whom it should be.
pub struct Clients {
    pub kubelet: Client,
    /// Of the service proxy, the DNS server and the ways to other nodes: it reads services, endpoints and nodes.
    pub proxy: Client,
    /// Of who keeps pods apart: it reads network policies, and of which pods they speak.
    pub policies: Client,
    /// Of who makes volumes of directories of the node.
    pub provisioner: Client,
    /// Beside a server, of who waits until there is the account that pods have by default, without which none can be made.
    pub accounts: Option<Client>,
}

/// A node that was started.
pub struct Started {
    /// Its container runtime.
    pub runtime: Arc<Runtime>,
    /// How its containers are ended.
    pub containers: Containers,
    /// What of it is ready.
    pub ready: watch::Receiver<Ready>,
    /// What it follows of services, their endpoints and nodes.
    pub informers: Informers,
}

/// Starts the parts of a node.
///
/// # Errors
/// The network or the runtime cannot be set up.
pub async fn start(options: &NodeArgs, cluster: &Cluster, own: Own<'_>, parts: &mut Parts) -> Result<Started> {
    let dir = &cluster.dir;
    make_directories(dir, &["images", "run", "kubelet", "log/pods"])?;
    let node_name = own.name.to_owned();
    let (cluster_cidr, service_cidr) = (options.cluster_cidr, options.service_cluster_ip_range);
    let dns_address = nth(service_cidr.primary(), ranges::DNS);
    let address = *own.addresses.first().context("a node has an address")?;
    let (ready_sender, ready) = watch::channel(Ready::default());
    let resolv_conf = resolv_conf(dir)?;
    let bridge = if own.in_node { "cni0".into() } else { cluster.bridge() };
    let settings = pod_network::Settings {
        node: node_name.clone(),
        addresses: own.addresses.clone(),
        dir: dir.clone(),
        bridge: bridge.clone(),
        overlay: if own.in_node { "vxlan0".into() } else { cluster.overlay() },
        cluster_cidr,
        service_cidr,
        dns_address,
        on_host: !own.in_node,
        foreign: !options.cni.is_default(),
    };
    let cni = options.cni.open(dir, own.in_node)?;
    let network = PodNetwork::new(settings.clone(), own.pod_cidr)?;
    let Connected { sandboxes, policies } = connected(&cni, &network, &settings, &own.clients.kubelet)?;
    let runtime = Runtime::new(
        RuntimeConfig {
            root: dir.join("images"),
            state: dir.join("run"),
            cgroup_root: options.cgroup_root.clone().unwrap_or_else(|| cluster.cgroup()),
            shim_exe: "/proc/self/exe".into(),
            insecure_registries: options.insecure_registry.clone(),
            local_registry: own.registry,
            resolv_conf: resolv_conf.clone(),
        },
        sandboxes,
    )
    .await
    .map_err(|error| anyhow!("the container runtime did not start: {error}"))?;

    if let Some(store) = own.images {
        let taker = runtime.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || taker.adopt_all(&store)).await? {
            tracing::warn!("not all images of the first node are here: {error}");
        }
    }

    let (eviction, image_gc) = options.kubelet.options(dir)?;
    let (labels, taints) = options.kubelet.registration();
    let pool = balancing::pool(options, cluster);
    let kubelet = KubeletConfig {
        node_name: node_name.clone(),
        node_ip: address,
        second_node_ip: own.addresses.get(1).copied(),
        cluster_cidr,
        root_dir: dir.join("kubelet"),
        log_dir: dir.join("log/pods"),
        cluster_dns: vec![dns_address],
        cluster_domain: CLUSTER_DOMAIN.into(),
        max_pods: 110,
        serving: own.serving,
        server_tls_bootstrap: true,
        client_certificate: own.client_certificate,
        client_ca_pem: own.authority.as_bytes().to_vec(),
        apiserver_user: KUBELET_CLIENT.into(),
        port: KUBELET_PORT,
        kubernetes_version: format!("{KUBERNETES_VERSION}+coracle"),
        labels,
        annotations: [announce::annotation(&pool.iter().copied().map(IpNet::V4).collect::<Vec<_>>())].into(),
        taints,
        resolv_conf: resolv_conf.clone(),
        pod_cidr: network.range.subscribe(),
        network_plugin: cni.as_ref().map(|cni| cni.not_ready()),
        image_dir: dir.join("images"),
        eviction,
        image_gc,
        provider_id: Some(format!("coracle://{node_name}")),
    };
    let client = own.clients.kubelet.clone();
    let (cri, images) = (runtime.clone(), runtime.clone());
    let (end, asked_to_end) = oneshot::channel();
    let (containers_ended, ended) = watch::channel(false);
    parts.spawn("kubelet", async move {
        let (tell, told) = oneshot::channel();
        let shutdown = async {
            match asked_to_end.await {
                Ok(how) => {
                    let how: Shutdown = how;
                    let _ = tell.send(how.longest);
                    how
                }
                Err(_) => std::future::pending().await,
            }
        };
        coracle_kubelet::run(kubelet, client, cri, images, shutdown).await?;
        // Who asked ends the other parts.
        containers_ended.send_replace(true);
        tokio::time::sleep(UNTIL_ENDED.saturating_add(told.await.unwrap_or_default())).await;
        bail!("the containers were ended, and then nobody ended the server: it starts anew")
    });

    let beside_server = own.clients.accounts.is_some();
    volumes::start(own.clients.provisioner, beside_server, &node_name, &dir.join("kubelet"), parts);

    match policies {
        Some(policies) => parts.spawn("network policies", policies.run(own.clients.policies, node_name.clone())),
        None => tracing::warn!("network policies are for the CNI plugins to enforce: this node does not"),
    }
    if let Some(cni) = cni {
        parts.spawn("CNI configuration", async move {
            cni.follow().await;
            Ok(())
        });
    }

    let informers = Informers::new(own.clients.proxy);
    let (services, slices) = (informers.all::<Service>(), informers.all::<EndpointSlice>());
    // Hollow nodes are nobody's peers, and there may be very many.
    let not_hollow = Some(hollow::NOT_HOLLOW.to_owned());
    let nodes: Informer<Node> =
        Informer::with_selectors(Api::all(informers.client().clone()), not_hollow, None, Vec::new());
    nodes.start();
    parts.spawn("pod network", network.clone().follow(nodes.clone()));
    let proxy = proxy::ProxyConfig {
        node_name: node_name.clone(),
        cluster_cidr,
        service_cidr,
        own_addresses: vec![dns_address],
        node_port_addresses: options.nodeport_addresses.clone(),
    };
    parts.spawn("service proxy", proxy::run(services.clone(), slices.clone(), nodes.clone(), proxy, || ()));
    // The pool is of IPv4.
    let announced_at = own.addresses.iter().copied().find(IpAddr::is_ipv4).filter(|_| !pool.is_empty());
    if let Some(node_ip) = announced_at.filter(|_| cluster_cidr.of(Family::V4).is_some()) {
        let pool = pool.into_iter().map(IpNet::V4).collect();
        // The routes lead to the pods' bridge, where there is one.
        let link = if settings.foreign { "lo".to_owned() } else { bridge };
        let config = AnnounceConfig { node_name: node_name.clone(), node_ip, link, pool };
        let announced = announce::run(services.clone(), slices.clone(), nodes, config);
        let connected = pod_network::connected(network.clone());
        parts.spawn("load balancers' addresses", async move {
            connected.await?;
            announced.await;
            Ok(())
        });
    }
    let dns = coracle_dns::Config {
        domain: CLUSTER_DOMAIN.into(),
        listen: vec![SocketAddr::new(dns_address, 53)],
        upstreams: upstreams(&resolv_conf),
    };
    let (dns_ready, connected) = (ready_sender.clone(), pod_network::connected(network));
    parts.spawn("DNS server", async move {
        // The network has its address.
        connected.await?;
        let ready = move || dns_ready.send_modify(|ready| ready.dns = true);
        coracle_dns::run(services, slices, dns, ready).await
    });
    tokio::spawn(watch_readiness(own.clients.kubelet, own.clients.accounts, node_name, ready_sender));
    let containers = Containers { end: Mutex::new(Some(end)), ended };
    Ok(Started { runtime, containers, ready, informers })
}

/// What connects pods.
struct Connected {
    sandboxes: Arc<dyn SandboxNetwork>,
    /// Where it follows them.
    policies: Option<Arc<Policies>>,
}

/// Plugins, or the built-in network, which follows network policies.
fn connected(
    cni: &Option<Arc<Cni>>,
    network: &PodNetwork,
    settings: &pod_network::Settings,
    kubelet: &Client,
) -> Result<Connected> {
    let Some(cni) = cni.clone() else {
        let policies = Policies::start(&settings.cluster_cidr.families().collect::<Vec<_>>(), settings.dns_address)?;
        let network = Policed { network: BuiltIn(network.network.subscribe()), policies: policies.clone() };
        let cni = cni_network::earlier(&settings.dir)?;
        return Ok(Connected { sandboxes: Arc::new(After { network, cni }), policies: Some(policies) });
    };
    let pods = ForeignPods::new(&ForeignConfig {
        bridge: settings.bridge.clone(),
        overlay: settings.overlay.clone(),
        state: settings.dir.join("run/addresses"),
        service_cidr: settings.service_cidr,
        service_addresses: vec![settings.dns_address],
        on_host: settings.on_host,
    })?;
    let plugins = Plugins {
        cni,
        pods,
        range: network.range.subscribe(),
        primary: Family::of_range(settings.cluster_cidr.primary()),
        recorder: EventRecorder::new(kubelet.clone(), "kubelet", &settings.node),
    };
    Ok(Connected { sandboxes: Arc::new(plugins), policies: None })
}

/// The node counts as ready while its condition says so, once pods can be made.
async fn watch_readiness(
    client: Client,
    accounts: Option<Client>,
    node_name: String,
    sender: watch::Sender<Ready>,
) -> Result<()> {
    if let Some(client) = accounts {
        let default = Some("metadata.name=default".to_owned());
        let accounts =
            Informer::<ServiceAccount>::with_selectors(Api::namespaced(client, "default"), None, default, Vec::new());
        let (come, came) = (Arc::new(Notify::new()), accounts.store());
        let wake = come.clone();
        accounts.subscribe(move |_| wake.notify_one());
        accounts.start();
        while came.get("default", "default").is_none() {
            come.notified().await;
        }
    }
    let this_node = Some(format!("metadata.name={node_name}"));
    let nodes = Informer::<Node>::with_selectors(Api::all(client), None, this_node, Vec::new());
    nodes.subscribe(move |event| {
        let (Event::Added(node) | Event::Updated { new: node, .. } | Event::Deleted(node)) = event;
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let is_ready = |condition: &&NodeCondition| condition.type_ == "Ready";
        let condition = conditions.into_iter().flatten().find(is_ready).filter(|_| !matches!(event, Event::Deleted(_)));
        let is_ready = condition.is_some_and(|condition| condition.status == "True");
        let why_not = condition.filter(|_| !is_ready).and_then(|condition| condition.message.clone());
        sender.send_if_modified(|ready| {
            let told = Ready { node: is_ready, why_not, ..ready.clone() };
            std::mem::replace(ready, told.clone()) != told
        });
    });
    nodes.start();
    std::future::pending().await
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
