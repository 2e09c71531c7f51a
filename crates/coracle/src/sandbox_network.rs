//! Joins runtime and network, which do not know each other.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use async_trait::async_trait;
use coracle_network::NodeNetwork;
use coracle_runtime::cri::{PodSandboxMetadata, PortMapping, SandboxNetwork};

/// The built-in pod network as the runtime wants it.
pub struct BuiltIn(pub Arc<NodeNetwork>);

#[async_trait]
impl SandboxNetwork for BuiltIn {
    async fn attach(
        &self,
        sandbox_id: &str,
        _: &PodSandboxMetadata,
        netns: BorrowedFd<'_>,
        ports: &[PortMapping],
    ) -> anyhow::Result<Vec<IpAddr>> {
        let ports = ports.iter().map(|port| coracle_network::HostPort {
            protocol: port.protocol.clone(),
            container_port: port.container_port,
            host_port: port.host_port,
            host_ip: port.host_ip.clone(),
        });
        self.0.attach(sandbox_id, netns, &ports.collect::<Vec<_>>()).await
    }

    async fn detach(&self, sandbox_id: &str) -> anyhow::Result<Vec<IpAddr>> {
        self.0.detach(sandbox_id).await
    }

    async fn retain(&self, live: &[String]) -> anyhow::Result<Vec<IpAddr>> {
        self.0.retain(live).await
    }
}
