//! What a sandbox's interfaces sent and received, as the kernel counts it.

use super::{Runtime, blocking, internal};
use crate::cri::{ContainerState, NetworkInterfaceUsage, Result};

impl Runtime {
    pub(super) async fn network_usage(&self, sandbox: &str) -> Result<Vec<NetworkInterfaceUsage>> {
        let of_node = self.sandbox(sandbox)?.record.lock().config.namespaces.host_network;
        let pids = self.containers_of(sandbox).into_iter().filter_map(|container| {
            let record = container.record.lock();
            (record.status.state == ContainerState::Running && record.status.pid > 0).then_some(record.status.pid)
        });
        let Some(pid) = pids.max().filter(|_| !of_node) else { return Ok(Vec::new()) };
        blocking(move || {
            let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev"));
            text.map(|text| NetworkInterfaceUsage::list(&text))
                .map_err(internal("failed to read the network of a sandbox"))
        })
        .await
    }
}
