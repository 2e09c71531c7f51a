//! The node agent: makes the containers of the node's pods be as the API says, and tells the API how they are.
//!
//! Owns: the Node object and its lease, one worker a pod, volumes, probes, hooks, images' pull policy, pod status,
//! and the kubelet's own HTTPS server (logs, exec, attach, port-forward, statistics). It reaches containers
//! through the CRI traits of `coracle-runtime` alone, and never touches cgroups, namespaces or links itself.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod admission;
mod backoff;
mod certificates;
mod config;
mod container;
mod dns;
mod env;
mod eviction;
mod expand;
mod gc;
pub mod hollow;
mod hosts;
mod image_gc;
mod images;
mod kubelet;
mod lifecycle;
mod logs;
mod metrics;
mod network;
mod node;
mod node_events;
mod node_object;
mod objects;
mod observed_runtime;
mod pod;
mod pods;
mod probe;
pub mod provisioner;
mod quantity;
mod resize;
mod resources;
mod retire;
mod run;
mod security;
mod server;
mod shutdown;
mod stats;
mod status;
pub mod streaming;
mod support;
mod sync;
mod termination;
#[cfg(test)]
mod testing;
mod volumes;
mod worker;
#[cfg(test)]
mod worker_tests;

pub use certificates::client_certificate;
pub use config::KubeletConfig;
pub use eviction::config as eviction_config;
pub use retire::retire;
pub use run::run;
pub use server::listen_at_any;
pub use shutdown::Shutdown;

/// The server's own words for an API error, without the client's wrapping.
pub(crate) fn message_of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
