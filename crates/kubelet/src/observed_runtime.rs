//! A runtime whose calls are counted and timed (`kubelet_runtime_operations_*`), and otherwise left as they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use coracle_runtime::cri::{
    ContainerConfig, ContainerEvent, ContainerStats, ContainerStatus, CriError, ExecSyncResponse, FilesystemUsage,
    LinuxContainerResources, NetworkInterfaceUsage, PodSandbox, PodSandboxConfig, Result, RuntimeService, Streams,
};
use tokio::sync::broadcast;

use crate::metrics::Shared;

/// Hands each call on and takes note of it.
pub(crate) struct ObservedRuntime {
    runtime: Arc<dyn RuntimeService>,
    metrics: Shared,
}

impl ObservedRuntime {
    pub(crate) fn new(runtime: Arc<dyn RuntimeService>, metrics: Shared) -> Arc<ObservedRuntime> {
        Arc::new(ObservedRuntime { runtime, metrics })
    }

    async fn observe<T>(&self, name: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let result = call.await;
        // What is no longer there is an answer, too.
        let failed = result.as_ref().is_err_and(|error| !matches!(error, CriError::NotFound(_)));
        self.metrics.called(name, started, failed);
        result
    }
}

#[async_trait]
impl RuntimeService for ObservedRuntime {
    fn version(&self) -> (String, String) {
        self.runtime.version()
    }
    async fn run_pod_sandbox(&self, config: PodSandboxConfig) -> Result<String> {
        self.observe("run_podsandbox", self.runtime.run_pod_sandbox(config)).await
    }
    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        self.observe("stop_podsandbox", self.runtime.stop_pod_sandbox(id)).await
    }
    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        self.observe("remove_podsandbox", self.runtime.remove_pod_sandbox(id)).await
    }
    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandbox> {
        self.observe("podsandbox_status", self.runtime.pod_sandbox_status(id)).await
    }
    async fn list_pod_sandbox(&self) -> Result<Vec<PodSandbox>> {
        self.observe("list_podsandbox", self.runtime.list_pod_sandbox()).await
    }
    async fn list_pod(&self, uid: &str) -> Result<(Vec<PodSandbox>, Vec<ContainerStatus>)> {
        self.observe("list_podsandbox", self.runtime.list_pod(uid)).await
    }
    async fn create_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        self.observe("create_container", self.runtime.create_container(sandbox_id, config)).await
    }
    async fn start_container(&self, id: &str) -> Result<()> {
        self.observe("start_container", self.runtime.start_container(id)).await
    }
    async fn stop_container(&self, id: &str, timeout: Duration) -> Result<()> {
        self.observe("stop_container", self.runtime.stop_container(id, timeout)).await
    }
    async fn remove_container(&self, id: &str) -> Result<()> {
        self.observe("remove_container", self.runtime.remove_container(id)).await
    }
    async fn list_containers(&self) -> Result<Vec<ContainerStatus>> {
        self.observe("list_containers", self.runtime.list_containers()).await
    }
    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        self.observe("container_status", self.runtime.container_status(id)).await
    }
    async fn update_pod_sandbox_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        self.observe("update_podsandbox", self.runtime.update_pod_sandbox_resources(id, resources)).await
    }
    async fn update_container_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        self.observe("update_container", self.runtime.update_container_resources(id, resources)).await
    }
    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Option<Duration>) -> Result<ExecSyncResponse> {
        self.observe("exec_sync", self.runtime.exec_sync(id, command, timeout)).await
    }
    async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        self.observe("container_stats", self.runtime.container_stats(id)).await
    }
    async fn pod_sandbox_stats(&self, id: &str) -> Result<ContainerStats> {
        self.observe("podsandbox_stats", self.runtime.pod_sandbox_stats(id)).await
    }
    async fn writable_layer(&self, id: &str) -> Result<FilesystemUsage> {
        self.runtime.writable_layer(id).await
    }
    async fn pod_sandbox_network(&self, id: &str) -> Result<Vec<NetworkInterfaceUsage>> {
        self.runtime.pod_sandbox_network(id).await
    }
    async fn pods_stats(&self) -> Result<ContainerStats> {
        self.runtime.pods_stats().await
    }
    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        self.observe("reopen_container_log", self.runtime.reopen_container_log(id)).await
    }
    fn container_events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.runtime.container_events()
    }
    async fn exec(&self, id: &str, command: Vec<String>, tty: bool, streams: Streams) -> Result<i32> {
        self.observe("exec", self.runtime.exec(id, command, tty, streams)).await
    }
    async fn attach(&self, id: &str, streams: Streams) -> Result<()> {
        self.observe("attach", self.runtime.attach(id, streams)).await
    }
    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<tokio::net::TcpStream> {
        self.observe("port_forward", self.runtime.port_forward(sandbox_id, port)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::testing::FakeRuntime;

    #[tokio::test]
    async fn calls_are_counted_and_those_that_failed() {
        let metrics = Shared::new(Metrics::default());
        let fake = FakeRuntime::new();
        let runtime = ObservedRuntime::new(fake.clone(), metrics.clone());
        runtime.list_containers().await.unwrap();
        runtime.container_status("none").await.unwrap_err();
        fake.state.lock().stop_fails = true;
        runtime.stop_container("none", Duration::ZERO).await.unwrap_err();
        let mut page = coracle_metrics::Page::default();
        metrics.write(&mut page);
        let text = page.into_text();
        for line in [
            "kubelet_runtime_operations_total{operation_type=\"list_containers\"} 1",
            "kubelet_runtime_operations_total{operation_type=\"container_status\"} 1",
            "kubelet_runtime_operations_errors_total{operation_type=\"stop_container\"} 1",
            "kubelet_runtime_operations_duration_seconds_count{operation_type=\"stop_container\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("errors_total{operation_type=\"container_status\"}") && !text.contains("EOF"));
    }
}
