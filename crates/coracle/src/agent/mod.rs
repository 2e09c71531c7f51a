//! `coracle agent`: this host, or a node of a local cluster, as a node of a cluster whose servers are elsewhere.
//!
//! It joins as kubeadm has a node join: it learns whom to trust by a bootstrap token, asks for the kubelet's certificates by
//! CertificateSigningRequests, and is known by these from then on. All of its parts are the node's user: the service proxy, the
//! DNS server and the ways to other nodes read services, endpoints and nodes, which the group of nodes may for that reason. A
//! certificate of another name would be no less, as the node has its key as well. While no server answers, what runs goes on.

mod join;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coracle_client::{Backoff, Remote, remote, user_agent};
use coracle_network::policies::ACCOUNT;
use coracle_pki::{BootstrapToken, Current};

use crate::args::{Agent, Which};
use crate::cluster::{Cluster, Kind};
use crate::daemon::{self, Parts, Start, make_directories};
use crate::local_registry::{self, Open};
use crate::publish::{self, Sockets, Told};
use crate::{control, node, notify};

pub use join::Joined;

/// Runs until a signal or a failure ends it.
pub fn run(options: &Agent) -> Result<()> {
    let which = Which { name: options.name.clone(), data_dir: options.data_dir.clone() };
    let start = Start {
        in_node: options.in_node,
        kind: Kind::Agent,
        which,
        default: "agent",
        cluster_cidr: options.node.cluster_cidr,
    };
    daemon::run(&start, |cluster| async move { serve(options, &cluster).await })
}

async fn serve(options: &Agent, cluster: &Cluster) -> Result<()> {
    let started = Instant::now();
    let sockets = Sockets::take(&options.published)?;
    let told = sockets.told()?;
    let dir = &cluster.dir;
    make_directories(dir, &["kubelet"])?;
    daemon::connected(options.in_node).await?;
    let addresses = daemon::node_addresses(&options.node.node_ip, options.node.cluster_cidr)?;
    let name = daemon::node_name(options.node.node_name.as_ref())?;
    let joined = match Joined::read(dir)? {
        Some(joined) => joined.at(options.server.clone(), dir)?,
        None => {
            let server =
                options.server.clone().context("a node that joins is told where: --server https://HOST:PORT")?;
            let token = token(options)?.context("a node that joins needs a token: --token, or --token-file")?;
            let joined = join::discover(&server, &token, &options.discovery_token_ca_cert_hash).await?;
            joined.write(dir)?;
            joined
        }
    };
    let certificate = certificate(options, cluster, &joined, &name).await?;
    let own = Remote { client_certificate: Some(certificate.clone()), ..joined.remote() };
    let client = remote(&own)?;
    let clients = node::Clients {
        kubelet: client.clone(),
        proxy: user_agent(client.clone(), "kube-proxy"),
        policies: user_agent(client.clone(), ACCOUNT),
        provisioner: client,
        accounts: None,
    };
    let mut parts = Parts::default();
    // Beside the directory of nodes, in which this one's is.
    let whole = dir.ancestors().nth(2).filter(|_| options.in_node);
    let registry = whole.map(|whole| local_registry::open(cluster, whole)).transpose()?.flatten();
    let own = node::Own {
        name: &name,
        addresses: addresses.clone(),
        in_node: options.in_node,
        authority: &joined.authority,
        serving: Current::empty(),
        client_certificate: Some(certificate),
        pod_cidr: None,
        images: whole.map(|whole| whole.join("images")),
        registry: registry.as_ref().map(Open::for_nodes),
        clients,
    };
    let node = node::start(&options.node, cluster, own, &mut parts).await?;
    parts.spawn("published ports", publish::run(sockets.ports, addresses.clone(), node.informers.clone(), false));
    let state = state(node, &name, &addresses, started, told);
    let socket = dir.join("control.sock");
    parts.spawn("control socket", async move { control::serve(&socket, state).await });
    tracing::info!(milliseconds = started.elapsed().as_millis() as u64, "all parts are started");
    notify::ready();
    tokio::select! {
        error = parts.first_end() => Err(error),
        () = daemon::asked_to_end() => Ok(()),
    }
}

fn state(
    node: node::Started,
    name: &str,
    addresses: &[IpAddr],
    started: Instant,
    published: Vec<Told>,
) -> control::State {
    control::State {
        runtime: Some(node.runtime),
        server: None,
        node: name.to_owned(),
        address: addresses.first().map(ToString::to_string).unwrap_or_default(),
        ready: node.ready,
        started,
        containers: Some(node.containers),
        published,
        registry: None,
    }
}

/// The token that the node was given, if it was.
fn token(options: &Agent) -> Result<Option<BootstrapToken>> {
    let Some(file) = &options.token_file else { return Ok(options.token.clone()) };
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.parse().with_context(|| format!("{}", file.display()))?)),
        // A node that has joined needs none any more.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", file.display())),
    }
}

/// The certificate by which the node is known: the one that it has, or one that it asks for by its token. A server that does
/// not answer is waited for.
async fn certificate(options: &Agent, cluster: &Cluster, joined: &Joined, name: &str) -> Result<Arc<Current>> {
    let kubelet = cluster.dir.join("kubelet");
    let token = token(options)?.map(|token| token.to_string());
    let has_token = token.is_some();
    let bootstrap = remote(&Remote { token, ..joined.remote() })?;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    loop {
        let error = match coracle_kubelet::client_certificate(&bootstrap, &kubelet, name).await {
            Ok(certificate) => return Ok(certificate),
            Err(error) => error,
        };
        match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) if status.code == 401 || status.code == 403 => {
                let advice = match has_token {
                    true => "the bootstrap token is not, or no more, one by which nodes join",
                    false => "the node has no certificate that counts, and was given no bootstrap token",
                };
                return Err(error).context(format!("{advice}; `coracle token create` makes one"));
            }
            Some(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => return Err(error),
            Some(_) => {
                tracing::warn!("waiting for {}: {error:#}", joined.server);
                backoff.sleep().await;
            }
            None => return Err(error),
        }
    }
}
