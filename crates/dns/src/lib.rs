//! Cluster DNS.
//!
//! Owns: the answers about services, endpoints and pods as the Kubernetes DNS specification (schema 1.1.0) says,
//! the UDP and TCP listeners, and forwarding of every other question. Never owns: how a pod comes to use it (the
//! kubelet writes `resolv.conf`) or how its address is reached (the service proxy).
//!
//! <https://github.com/kubernetes/dns/blob/master/docs/specification.md>
mod cache;
mod forward;
mod lookup;
mod message;
mod places;
mod server;
mod zone;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use coracle_client::Informer;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::RwLock;

use crate::forward::Forwarder;
use crate::lookup::Lookup;
use crate::zone::Zone;

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's domain, usually `cluster.local`.
    pub domain: String,
    /// Where to answer, by UDP and TCP. Each should be one address, not the unspecified one: an answer leaves from
    /// the address that was asked.
    pub listen: Vec<SocketAddr>,
    /// Who is asked about names outside of the cluster, in this order; the name servers of `resolv.conf`.
    pub upstreams: Vec<SocketAddr>,
}

/// Serves DNS until the future is dropped.
///
/// The informers may be shared with others and are started if they were not. `ready` is called once all objects
/// are known and every address is listened on.
///
/// # Errors
/// The domain is malformed, or an address cannot be listened on.
pub fn run(
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    config: Config,
    ready: impl FnOnce() + Send + 'static,
) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> {
    Box::pin(answer(services, slices, config, Box::new(ready)))
}

async fn answer(
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    config: Config,
    ready: Box<dyn FnOnce() + Send>,
) -> Result<()> {
    let lookup = Lookup::new(&config.domain, &config.listen)
        .with_context(|| format!("the cluster domain {:?} is not a domain name", config.domain))?;
    let zone = Arc::new(RwLock::new(Zone::default()));
    let sockets = server::bind(&config.listen).await?;
    services.start();
    slices.start();
    let target = zone.clone();
    services.subscribe(move |event| target.write().service(event));
    let target = zone.clone();
    slices.subscribe(move |event| target.write().slice(event));
    services.synced().await;
    slices.synced().await;
    let forwarder = Forwarder::new(forward::usable(&config.upstreams, &config.listen));
    let server = server::Server::new(zone, lookup, forwarder);
    ready();
    server.serve(sockets).await
}
