//! Ways in: requests from outside, led to services as Ingresses and Gateways say.
//!
//! Owns: the routes that objects ask for ([`route`], [`ingress`], [`gateway`]), the proxy that answers requests ([`proxy`]), and what
//! is told of it in statuses, events and the service by which it is reached. Three parts that know each other by data
//! alone: tables of routes are made of objects, and swapped while requests go on ([`entrance::Tables`]).
//! Never: gives addresses to services, or has them lead to the node (`controllers` and `network` do).
#![forbid(unsafe_code)]

pub mod backend;
mod control;
mod engine;
pub mod entrance;
pub mod gateway;
pub mod ingress;
mod metrics;
mod password;
pub mod proxy;
pub mod route;
pub mod secrets;
mod slice;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;

use anyhow::Result;
use coracle_client::{Election, Informer, LeaderElection};
use coracle_values::addresses::Ranges;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;

pub use crate::engine::is_ours as is_way_in;
pub use crate::ingress::class::default_class;
pub use crate::proxy::Marks;

/// The service account that this is, in `kube-system`.
pub const ACCOUNT: &str = "ingress-controller";
/// The port of the node where connections come after they were led there, unless it is taken.
pub const PORT: u16 = 10380;

/// Where it is, and who else is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// The node's address.
    pub node_ip: Ipv4Addr,
    /// All addresses of the node.
    pub node_ips: Vec<IpAddr>,
    /// Those of the bridge of its pods.
    pub bridge_ips: Vec<IpAddr>,
    /// The port to listen on.
    pub port: u16,
    /// The ports of the node at which the daemon's other parts listen.
    pub ports: BTreeSet<u16>,
    /// The addresses of services, to none of which requests are led.
    pub service_cidr: Ranges,
    /// What keeps the kernel from leading connections to endpoints elsewhere.
    pub marks: Marks,
    /// Whether others do the same on the same objects, so that one has to be chosen who tells of it.
    pub leader_elect: bool,
    /// The name of this process among them.
    pub identity: String,
}

/// Serves until the future is dropped; `pods` are those of this node. Nothing is listened on, and the informers are not subscribed to, before an object
/// asks for it.
///
/// # Errors
/// TLS cannot be set up.
pub fn run(
    client: Client,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    pods: Informer<Pod>,
    config: Config,
) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> {
    Box::pin(async move {
        let election = LeaderElection::new(client.clone(), Election::default(), "coracle-ingress", &config.identity);
        let is_one_of_many = config.leader_elect;
        let engine = engine::Engine::new(client.clone(), services, slices, pods, config);
        let control = || control::run(client.clone(), engine.clone());
        let told = async {
            if !is_one_of_many {
                return control().await;
            }
            loop {
                match election.run(control).await {
                    Ok(ended) => return ended,
                    Err(lost) => tracing::warn!("{lost}"),
                }
            }
        };
        tokio::select! {
            ended = engine.clone().run() => ended,
            ended = told => ended,
        }
    })
}
