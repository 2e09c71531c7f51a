//! Joins runtime and network, which do not know each other.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use coracle_cni::Bandwidth;
use coracle_network::{NodeNetwork, TrafficLimits};
use coracle_runtime::cri::{PodSandboxConfig, SandboxNetwork};
use tokio::sync::watch;

/// How long a sandbox waits for the network of a node that has just joined.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The built-in pod network as the runtime wants it; there once the node has a range of addresses.
pub struct BuiltIn(pub watch::Receiver<Option<Arc<NodeNetwork>>>);

impl BuiltIn {
    async fn network(&self) -> Result<Arc<NodeNetwork>> {
        let mut network = self.0.clone();
        let there = tokio::time::timeout(PATIENCE, network.wait_for(Option::is_some)).await;
        let there = there.context("the node has no range of pod addresses yet")??;
        there.clone().context("there is a network")
    }
}

#[async_trait]
impl SandboxNetwork for BuiltIn {
    async fn attach(&self, sandbox_id: &str, pod: &PodSandboxConfig, netns: BorrowedFd<'_>) -> Result<Vec<IpAddr>> {
        let ports = pod.port_mappings.iter().map(|port| coracle_network::HostPort {
            protocol: port.protocol.clone(),
            container_port: port.container_port,
            host_port: port.host_port,
            host_ip: port.host_ip.clone(),
        });
        let ports: Vec<_> = ports.collect();
        let bandwidth = Bandwidth::of(&pod.annotations).map_err(anyhow::Error::msg)?;
        let network = self.network().await?;
        let addresses = network.attach(sandbox_id, netns, &ports).await?;
        if !bandwidth.is_unlimited() {
            let limits = TrafficLimits { ingress: bandwidth.ingress, egress: bandwidth.egress };
            network.limit(&addresses, netns, limits).await.context("failed to limit the pod's traffic")?;
        }
        Ok(addresses)
    }

    async fn detach(&self, sandbox_id: &str) -> Result<Vec<IpAddr>> {
        self.network().await?.detach(sandbox_id).await
    }

    async fn retain(&self, live: &[String]) -> Result<Vec<IpAddr>> {
        // A node that never had a network connected nothing.
        let network = self.0.borrow().clone();
        match network {
            Some(network) => network.retain(live).await,
            None => Ok(Vec::new()),
        }
    }
}
