//! The CRI traits, each call handed to where it is done.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{Runtime, blocking};
use crate::cri::{
    AuthConfig, ContainerConfig, ContainerEvent, ContainerStats, ContainerStatus, CriError, ExecSyncResponse,
    FilesystemUsage, FsInfo, Image, ImageService, LinuxContainerResources, NetworkInterfaceUsage, PodSandbox,
    PodSandboxConfig, Result, RuntimeService, Streams,
};
use crate::image::Reference;
use crate::shim::proto::Request;

#[async_trait]
impl RuntimeService for Runtime {
    fn version(&self) -> (String, String) {
        ("coracle".into(), env!("CARGO_PKG_VERSION").into())
    }

    async fn run_pod_sandbox(&self, config: PodSandboxConfig) -> Result<String> {
        self.run_sandbox(config).await
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        self.stop_sandbox(id).await
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        self.remove_sandbox(id).await
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandbox> {
        Ok(self.sandbox(id)?.record.lock().status.clone())
    }

    async fn list_pod_sandbox(&self) -> Result<Vec<PodSandbox>> {
        Ok(self.sandboxes.lock().values().map(|found| found.record.lock().status.clone()).collect())
    }

    async fn list_pod(&self, uid: &str) -> Result<(Vec<PodSandbox>, Vec<ContainerStatus>)> {
        let all: Vec<_> = self.sandboxes.lock().values().cloned().collect();
        let sandboxes: Vec<_> = all
            .iter()
            .filter_map(|found| {
                let record = found.record.lock();
                (record.status.metadata.uid == uid).then(|| record.status.clone())
            })
            .collect();
        let containers = sandboxes.iter().flat_map(|sandbox| self.containers_of(&sandbox.id));
        let containers = containers.map(|found| found.record.lock().status.clone()).collect();
        Ok((sandboxes, containers))
    }

    async fn create_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        self.create(sandbox_id, config).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        self.start(id).await
    }

    async fn stop_container(&self, id: &str, timeout: Duration) -> Result<()> {
        self.stop(id, timeout).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.remove(id).await
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>> {
        Ok(self.containers.lock().values().map(|found| found.record.lock().status.clone()).collect())
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        Ok(self.container(id)?.record.lock().status.clone())
    }

    async fn update_pod_sandbox_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        self.update_sandbox(id, resources).await
    }

    async fn update_container_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        self.update(id, resources).await
    }

    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Option<Duration>) -> Result<ExecSyncResponse> {
        self.run_exec_sync(id, command, timeout).await
    }

    async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        self.stats(id).await
    }

    async fn pod_sandbox_stats(&self, id: &str) -> Result<ContainerStats> {
        self.sandbox_stats(id).await
    }

    async fn writable_layer(&self, id: &str) -> Result<FilesystemUsage> {
        self.writable_layer_of(id).await
    }

    async fn pod_sandbox_network(&self, id: &str) -> Result<Vec<NetworkInterfaceUsage>> {
        self.network_usage(id).await
    }

    async fn pods_stats(&self) -> Result<ContainerStats> {
        self.group_stats("kubepods", "kubepods".to_owned()).await
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let result = self.shim_of(&container)?.call(Request::ReopenLog(id.to_string()), &[]).await;
        result.map(drop).map_err(|error| {
            crate::cri::CriError::Internal(format!("failed to reopen the log of container {id:?}: {error}"))
        })
    }

    fn container_events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.events.subscribe()
    }

    async fn exec(&self, id: &str, command: Vec<String>, tty: bool, streams: Streams) -> Result<i32> {
        self.run_exec(id, command, tty, streams).await
    }

    async fn attach(&self, id: &str, streams: Streams) -> Result<()> {
        self.run_attach(id, streams).await
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<tokio::net::TcpStream> {
        self.connect(sandbox_id, port).await
    }
}

#[async_trait]
impl ImageService for Runtime {
    async fn list_images(&self) -> Result<Vec<Image>> {
        Ok(self.images.list().iter().map(|record| record.to_cri()).collect())
    }

    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        let found = self.images.find(image).map(|record| record.to_cri());
        // What is neither the ID of an image nor a name can never be found, and the caller is told so.
        match found.is_none() && !image.starts_with("sha256:") {
            true => Reference::parse(image).map(|_| None).map_err(CriError::InvalidArgument),
            false => Ok(found),
        }
    }

    async fn pull_image(&self, image: &str, auth: Option<AuthConfig>) -> Result<String> {
        self.pulls.pull(&self.images, image, auth).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let (runtime, image) = (self.strong()?, image.to_string());
        blocking(move || runtime.images.remove(&image, &runtime.layers_in_use())).await
    }

    async fn image_fs_info(&self) -> Result<FsInfo> {
        let runtime = self.strong()?;
        blocking(move || {
            let (used_bytes, inodes_used) = runtime.images.usage();
            Ok(FsInfo { mountpoint: runtime.config.root.to_string_lossy().into_owned(), used_bytes, inodes_used })
        })
        .await
    }
}
