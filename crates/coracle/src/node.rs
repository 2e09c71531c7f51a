//! What makes the host of a server a node of the cluster: the network, runtime and kubelet, the service proxy, and DNS.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use coracle_apiserver::auth::{MASTERS, User};
use coracle_apiserver::{KUBERNETES_VERSION, Server as ApiServer};
use coracle_client::{Informer, Informers, in_process};
use coracle_kubelet::KubeletConfig;
use coracle_network::announce::{self, AnnounceConfig};
use coracle_network::policies::{self, Policies};
use coracle_network::{NodeNetwork, NodeNetworkConfig, proxy};
use coracle_pki::Current;
use coracle_runtime::{Runtime, RuntimeConfig};
use k8s_openapi::api::core::v1::{Node, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::args::Server;
use crate::balancing;
use crate::certificates::KUBELET_CLIENT;
use crate::cluster::Cluster;
use crate::control::{Containers, Ready};
use crate::control_plane;
use crate::policed_network::Policed;
use crate::sandbox_network::BuiltIn;
use crate::server::{CONTROLLERS, DNS_ADDRESS, Parts, SERVICE_CIDR, as_user, make_directories};
use crate::volumes;

const CLUSTER_DOMAIN: &str = "cluster.local";
const KUBELET_PORT: u16 = 10250;
/// How long who had the containers ended may take to end the server as well. A node without a kubelet is none.
const UNTIL_ENDED: Duration = Duration::from_secs(10);

/// Which node it is, and whose.
pub struct Own<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address.
    pub address: IpAddr,
    /// The certificate of the cluster's authority.
    pub authority: &'a str,
    /// What its kubelet shows until its request for a certificate is granted.
    pub serving: Arc<Current>,
    /// The API server of this process.
    pub api: &'a ApiServer,
}

/// A node that was started.
pub struct Started {
    /// Its container runtime.
    pub runtime: Arc<Runtime>,
    /// How its containers are ended.
    pub containers: Containers,
    /// What of it is ready.
    pub ready: watch::Receiver<Ready>,
}

/// Starts the parts of a node.
///
/// # Errors
/// The network or the runtime cannot be set up.
pub async fn start(options: &Server, cluster: &Cluster, own: Own<'_>, parts: &mut Parts) -> Result<Started> {
    let dir = &cluster.dir;
    make_directories(dir, &["images", "run", "kubelet", "log/pods"])?;
    let node_name = own.name.to_owned();
    let (pod_cidr, cluster_cidr) = (options.pod_cidr, options.cluster_cidr);
    let (ready_sender, ready) = watch::channel(Ready::default());
    let resolv_conf = resolv_conf(dir)?;
    let bridge = if options.in_node { "cni0".into() } else { cluster.bridge() };
    let network = NodeNetwork::new(NodeNetworkConfig {
        bridge: bridge.clone(),
        state: dir.join("run/addresses"),
        pod_cidr,
        cluster_cidr,
        service_cidr: SERVICE_CIDR.parse()?,
        service_addresses: vec![DNS_ADDRESS],
        mtu: coracle_network::host::mtu_of(own.address)?,
        on_host: !options.in_node,
    })?;
    let policies = Policies::start()?;
    let runtime = Runtime::new(
        RuntimeConfig {
            root: dir.join("images"),
            state: dir.join("run"),
            cgroup_root: options.cgroup_root.clone().unwrap_or_else(|| cluster.cgroup()),
            shim_exe: "/proc/self/exe".into(),
            insecure_registries: options.insecure_registry.clone(),
            resolv_conf: resolv_conf.clone(),
        },
        Arc::new(Policed { network: BuiltIn(network), policies: policies.clone() }),
    )
    .await
    .map_err(|error| anyhow!("the container runtime did not start: {error}"))?;

    let (eviction, image_gc) = options.kubelet.options(dir)?;
    let kubelet = KubeletConfig {
        node_name: node_name.clone(),
        node_ip: own.address,
        root_dir: dir.join("kubelet"),
        log_dir: dir.join("log/pods"),
        cluster_dns: vec![DNS_ADDRESS.into()],
        cluster_domain: CLUSTER_DOMAIN.into(),
        max_pods: 110,
        serving: own.serving,
        server_tls_bootstrap: true,
        client_certificate: None,
        client_ca_pem: own.authority.as_bytes().to_vec(),
        apiserver_user: KUBELET_CLIENT.into(),
        port: KUBELET_PORT,
        kubernetes_version: format!("{KUBERNETES_VERSION}+coracle"),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        resolv_conf: resolv_conf.clone(),
        pod_cidr: Some(pod_cidr),
        image_dir: dir.join("images"),
        eviction,
        image_gc,
        provider_id: Some(format!("coracle://{node_name}")),
    };
    let client = as_user(own.api, &format!("system:node:{node_name}"), &["system:nodes"], "kubelet");
    let (cri, images) = (runtime.clone(), runtime.clone());
    let (end, asked_to_end) = oneshot::channel();
    let (containers_ended, ended) = watch::channel(false);
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
        tokio::time::sleep(UNTIL_ENDED).await;
        bail!("the containers were ended, and then nobody ended the server: it starts anew")
    });

    volumes::start(own.api, &node_name, &dir.join("kubelet"), parts);

    let administrator = as_user(own.api, "system:apiserver", &[MASTERS], "kube-apiserver");
    parts.spawn("control plane's label", control_plane::mark(administrator.clone(), node_name.clone()));

    let account = User::service_account("kube-system", policies::ACCOUNT);
    let client = in_process(own.api.service(account).named(policies::ACCOUNT));
    parts.spawn("network policies", policies.run(client, node_name.clone()));

    let informers = Informers::new(as_user(own.api, "system:kube-proxy", &[], "kube-proxy"));
    let (services, slices) = (informers.all::<Service>(), informers.all::<EndpointSlice>());
    let proxy = proxy::ProxyConfig {
        node_name: node_name.clone(),
        cluster_cidr,
        own_addresses: vec![DNS_ADDRESS],
        node_port_addresses: options.nodeport_addresses.clone(),
    };
    parts.spawn("service proxy", proxy::run(services.clone(), slices.clone(), informers.all(), proxy, || ()));
    let pool = balancing::pool(options, cluster);
    if let (IpAddr::V4(node_ip), false) = (own.address, pool.is_empty()) {
        let config = AnnounceConfig { node_name: node_name.clone(), node_ip, bridge, pool };
        let announced = announce::run(services.clone(), slices.clone(), informers.all(), config);
        parts.spawn("load balancers' addresses", announced);
    }
    let dns = coracle_dns::Config {
        domain: CLUSTER_DOMAIN.into(),
        listen: vec![SocketAddr::new(DNS_ADDRESS.into(), 53)],
        upstreams: upstreams(&resolv_conf),
    };
    let account = User::service_account("kube-system", "coredns");
    let dns_informers = Informers::new(in_process(own.api.service(account).named(CONTROLLERS)));
    let dns_ready = ready_sender.clone();
    parts.spawn(
        "DNS server",
        coracle_dns::run(services, slices, dns_informers.all(), dns, move || {
            dns_ready.send_modify(|ready| ready.dns = true);
        }),
    );
    watch_readiness(administrator, node_name, ready_sender);
    let containers = Containers { end: Mutex::new(Some(end)), ended };
    Ok(Started { runtime, containers, ready })
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
