//! `coracle server`: API server, controllers, scheduler, and a node beside them, in one process.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coracle_apiserver::auth::{MASTERS, User};
use coracle_apiserver::{Pages, Server as ApiServer};
use coracle_client::{Informer, LeadershipLost, in_process};
use coracle_ingress::ACCOUNT as INGRESS;
use coracle_kubelet::provisioner::ACCOUNT as PROVISIONER;
use coracle_network::policies::ACCOUNT as POLICIES;
use coracle_network::proxy::{MARK_AS_SENT, MARK_ELSEWHERE};
use coracle_pki::Current;
use coracle_scheduler::SchedulerConfiguration;
use coracle_values::addresses::{Family, inside, nth};
use kube::{Api, Client};
use tokio::sync::watch;

use crate::args::{Server, Which};
use crate::certificates::{Certificates, Names};
use crate::cluster::{ADMINISTRATOR, Cluster, Kind};
use crate::control::{self, Access, Ready};
use crate::daemon::{self, Parts, Start, make_directories};
use crate::files::write_atomically;
use crate::local_registry::{self, Open};
use crate::publish::{self, Sockets};
use crate::{balancing, control_plane, hollow, kubeconfig, node, notify, ranges, store, volumes};

/// The name under which controllers own what they write.
pub(crate) const CONTROLLERS: &str = "kube-controller-manager";
/// What nothing waits for while the node becomes ready begins after that, or after this time: until then the processors are busy
/// enough.
const LONGEST_START: Duration = Duration::from_millis(500);

/// Runs until a signal or a failure ends it.
pub fn run(options: &Server) -> Result<()> {
    let which = Which { name: options.name.clone(), data_dir: options.data_dir.clone() };
    let start = Start {
        in_node: options.in_node,
        kind: Kind::Host,
        which,
        default: "server",
        cluster_cidr: options.node.cluster_cidr,
    };
    daemon::run(&start, |cluster| async move { serve(options, &cluster).await })
}

async fn serve(options: &Server, cluster: &Cluster) -> Result<()> {
    let started = Instant::now();
    let sockets = Sockets::take(&options.published)?;
    let ports = sockets.told()?;
    let registry = local_registry::open(cluster, &cluster.dir)?;
    let dir = &cluster.dir;
    make_directories(dir, &["pki"])?;
    let node_ips = daemon::node_addresses(&options.node.node_ip, options.node.cluster_cidr)?;
    let node_ip = *node_ips.first().context("a node has an address")?;
    let node_name = daemon::node_name(options.node.node_name.as_ref())?;
    let (cluster_cidr, service_cidr) = (options.node.cluster_cidr, options.node.service_cluster_ip_range);
    let node_cidr_masks = ranges::masks(&options.masks, cluster_cidr)?;
    let pod_cidr = options.pod_cidr.map_or_else(|| ranges::first_node(cluster_cidr, node_cidr_masks), Ok)?;
    ranges::check(pod_cidr, cluster_cidr, service_cidr)?;

    let names = Names { node: node_name.clone(), addresses: node_ips.clone(), port: options.port, service_cidr };
    let certificates = Arc::new(Certificates::open(&dir.join("pki"), names)?);
    let ca = certificates.authority.certificate.clone();

    let scheduler_config = options.scheduler_config.as_deref().map(SchedulerConfiguration::read).transpose()?;
    let scheduler_config = scheduler_config.unwrap_or_default();

    let store = store::open(dir, &options.etcd).await?;
    // Others may run the same parts on the same objects.
    let is_shared = store.settled_revision().is_none();
    let controllers_election = options.election.of_controllers(is_shared)?;
    let scheduler_election = options.election.of_scheduler(is_shared, &scheduler_config)?;
    let api = ApiServer::new(coracle_apiserver::Config {
        store: store.clone(),
        authority: certificates.authority.clone(),
        authentication: options.api.authentication.options(options.token_auth_file.clone())?,
        service_cidr,
        advertise_address: node_ip,
        inside: inside(cluster_cidr, &node_ips),
        port: options.port,
        kubelet_client: certificates.kubelet_client.clone(),
        authorization: options.api.authorization.options(),
        admission: options.api.admission.options(!options.node.cni.is_default()),
        runtime_config: options.api.served.options()?,
        audit: options.api.audit.options(),
        // Without a node of its own, nobody would make volumes of it.
        // Nor would anybody serve Ingresses.
        initial: match options.disable_agent {
            true => Vec::new(),
            false => vec![volumes::default_class(), coracle_ingress::default_class()],
        },
    })
    .await?;
    let listener = daemon::any(&node_ips, options.port).with_context(|| {
        format!("failed to listen on port {}: is another API server running? --port takes another port", options.port)
    })?;
    let mut parts = Parts::default();
    // The next process opens the store anew and knows what the disk holds.
    let failing = store.clone();
    parts.spawn("store", async move { Err(failing.failed().await.into()) });
    let (server, serving) = (api.clone(), certificates.serving.clone());
    parts.spawn("API server", async move { server.serve(listener, serving).await });

    for (pages, port) in
        [(Pages::Scheduler, options.kube_scheduler_port), (Pages::Controllers, options.kube_controller_manager_port)]
    {
        let (server, serving, own) = (api.clone(), certificates.serving.clone(), node_ips.clone());
        parts.spawn("metrics of a part", async move { tell(server, serving, pages, (&own, port)).await });
    }

    if let (Some(registry), Some(socket)) = (&registry, sockets.registry) {
        let administrator = as_user(&api, "system:apiserver", &[MASTERS], "kube-apiserver");
        let served = local_registry::serve(registry.registry.clone(), socket);
        parts.spawn("registry", served);
        tokio::spawn(local_registry::tell(administrator, registry.port));
    }
    daemon::connected(options.in_node).await?;
    let identity = format!("{node_name}_{}", uuid::Uuid::new_v4());
    let (mut runtime, mut containers, mut ready) =
        (None, None, watch::channel(Ready { node: true, dns: true, why_not: None }).1);
    if !options.disable_agent {
        let node = format!("system:node:{node_name}");
        let administrator = as_user(&api, "system:apiserver", &[MASTERS], "kube-apiserver");
        let provisioner = api.service(User::service_account("kube-system", PROVISIONER)).named(PROVISIONER);
        let clients = node::Clients {
            kubelet: as_user(&api, &node, &["system:nodes"], "kubelet"),
            proxy: as_user(&api, "system:kube-proxy", &[], "kube-proxy"),
            policies: in_process(api.service(User::service_account("kube-system", POLICIES)).named(POLICIES)),
            provisioner: in_process(provisioner),
            accounts: Some(administrator.clone()),
        };
        let own = node::Own {
            name: &node_name,
            addresses: node_ips.clone(),
            in_node: options.in_node,
            authority: &ca,
            serving: certificates.first_of_kubelet()?,
            client_certificate: None,
            pod_cidr: Some(pod_cidr),
            images: None,
            registry: registry.as_ref().map(Open::for_nodes),
            clients,
        };
        let started = node::start(&options.node, cluster, own, &mut parts).await?;
        parts.spawn("control plane's label", control_plane::mark(administrator, node_name.clone()));
        let v4 = node_ips.iter().find_map(|address| if let IpAddr::V4(own) = address { Some(*own) } else { None });
        // Its addresses for outsiders are of IPv4.
        if let Some(node_ip) = v4.filter(|_| cluster_cidr.of(Family::V4).is_some()) {
            let client = in_process(api.service(User::service_account("kube-system", INGRESS)).named(INGRESS));
            let config = coracle_ingress::Config {
                node_name: node_name.clone(),
                node_ip,
                node_ips: node_ips.clone(),
                bridge_ips: pod_cidr.iter().map(|range| nth(range, 1)).collect(),
                port: coracle_ingress::PORT,
                ports: [
                    options.port,
                    node::KUBELET_PORT,
                    options.kube_scheduler_port,
                    options.kube_controller_manager_port,
                ]
                .into(),
                service_cidr,
                marks: coracle_ingress::Marks { as_sent: MARK_AS_SENT, elsewhere: MARK_ELSEWHERE },
                leader_elect: is_shared,
                identity: identity.clone(),
            };
            let informers = &started.informers;
            // As the node, which may see these; those in its network alone.
            let own = Api::all(as_user(&api, &node, &["system:nodes"], "ingress"));
            let fields = format!("spec.nodeName={node_name},spec.hostNetwork=true");
            let pods = Informer::with_selectors(own, None, Some(fields), Vec::new());
            parts.spawn("ingress", coracle_ingress::run(client, informers.all(), informers.all(), pods, config));
        }
        parts.spawn("published ports", publish::run(sockets.ports, node_ips.clone(), started.informers, true));
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
    let wanted = match options.in_node {
        true => cluster.hollow.clone(),
        false => options.hollow.over(None)?,
    };
    let (hollow, kept) = hollow::Running::start(&api, &node_name, cluster_cidr, &wanted.unwrap_or_default())?;
    parts.spawn("hollow nodes", kept);
    let others = others_begin(ready.clone());
    let control_state = control::State {
        runtime,
        server: Some(control::Server { certificates: certificates.clone(), store, hollow }),
        node: node_name.clone(),
        address: node_ip.to_string(),
        ready,
        started,
        containers,
        published: ports,
        registry,
    };
    let socket = dir.join("control.sock");
    parts.spawn("control socket", async move { control::serve(&socket, control_state).await });

    let scheduler = coracle_scheduler::Config {
        election: scheduler_election,
        identity: identity.clone(),
        scheduler: scheduler_config,
    };
    let client = as_user("system:kube-scheduler", "kube-scheduler");
    let mut begin = others.clone();
    parts.spawn("scheduler", async move {
        let _ = begin.wait_for(|begin| *begin).await;
        lead(move || coracle_scheduler::run(client.clone(), scheduler.clone())).await
    });
    let (api_server_names, api_server_addresses) = certificates.known_by();
    let controllers = coracle_controllers::Config {
        cluster_cidr,
        node_cidr_masks,
        root_ca: ca,
        api_server_names,
        api_server_addresses,
        authority: Some(certificates.authority.clone()),
        service_account_key: Some(Arc::new(certificates.authority.service_account_key()?)),
        load_balancer_pool: balancing::pool(&options.node, cluster),
        election: controllers_election,
        identity,
        terminated_pod_threshold: 12_500,
        others,
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
    notify::ready();
    tokio::select! {
        error = parts.first_end() => Err(error),
        () = daemon::asked_to_end() => Ok(()),
    }
}

/// Whether the parts begin that nothing waits for while the node becomes ready.
fn others_begin(mut ready: watch::Receiver<Ready>) -> watch::Receiver<bool> {
    let (begin, begun) = watch::channel(false);
    tokio::spawn(async move {
        let _ = tokio::time::timeout(LONGEST_START, ready.wait_for(|ready| ready.node && ready.dns)).await;
        begin.send_replace(true);
    });
    begun
}

/// A client within this process.
pub(crate) fn as_user(api: &ApiServer, name: &str, groups: &[&str], agent: &'static str) -> Client {
    in_process(api.service(User::new(name, groups)).named(agent))
}

/// Tells the metrics of a part where upstream's part does. Another server of this host may do that already.
async fn tell(server: ApiServer, serving: Arc<Current>, pages: Pages, (own, port): (&[IpAddr], u16)) -> Result<()> {
    if port != 0 {
        match daemon::any(own, port) {
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
    let own = cluster.dir.join(ADMINISTRATOR);
    let written = kubeconfig::alone(&context, access).and_then(|text| write_atomically(&own, text.as_bytes(), 0o600));
    match written {
        Ok(()) => tracing::info!("kubectl --kubeconfig {} reaches the cluster at {}", own.display(), access.server),
        Err(error) => tracing::warn!("{error:#}"),
    }
    match kubeconfig::path().and_then(|path| kubeconfig::add(&path, &context, access).map(|()| path)) {
        Ok(path) => tracing::info!("kubectl uses it by the context {context:?} in {}", path.display()),
        Err(error) => tracing::warn!("no context for kubectl: {error:#}"),
    }
    tracing::info!("other hosts join as `coracle token create --print-join-command --name {}` says", cluster.name);
}
