//! A pod network whose pods follow network policies from their first packet on.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use coracle_client::ObjectKey;
use coracle_network::policies::Policies;
use coracle_runtime::cri::{PodSandboxConfig, SandboxNetwork};

/// A network, and the policies that are told of its addresses.
pub struct Policed<N> {
    /// What connects pods.
    pub network: N,
    /// What keeps them apart.
    pub policies: Arc<Policies>,
}

#[async_trait]
impl<N: SandboxNetwork> SandboxNetwork for Policed<N> {
    async fn attach(
        &self,
        sandbox_id: &str,
        pod: &PodSandboxConfig,
        netns: BorrowedFd<'_>,
    ) -> anyhow::Result<Vec<IpAddr>> {
        let addresses = self.network.attach(sandbox_id, pod, netns).await?;
        for address in &addresses {
            let key = ObjectKey::new(pod.metadata.namespace.clone(), pod.metadata.name.clone());
            self.policies.attached(key, *address).await.context("failed to have a pod follow its network policies")?;
        }
        Ok(addresses)
    }

    async fn detach(&self, sandbox_id: &str) -> anyhow::Result<Vec<IpAddr>> {
        let addresses = self.network.detach(sandbox_id).await?;
        addresses.iter().for_each(|address| self.policies.detached(*address));
        Ok(addresses)
    }

    async fn retain(&self, live: &[String]) -> anyhow::Result<Vec<IpAddr>> {
        let addresses = self.network.retain(live).await?;
        for address in &addresses {
            self.policies.found(*address).await?;
        }
        Ok(addresses)
    }
}
