//! What all parts of the kubelet share.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_client::{EventRecorder, Informer};
use coracle_runtime::cri::RuntimeService;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;

use crate::config::KubeletConfig;
use crate::images::ImageManager;
use crate::pods::Pods;
use crate::server::Reviews;
use crate::volumes::VolumeManager;

/// The kubelet's parts.
pub(crate) struct Kubelet {
    pub(crate) config: KubeletConfig,
    pub(crate) client: Client,
    pub(crate) runtime: Arc<dyn RuntimeService>,
    pub(crate) images: ImageManager,
    pub(crate) volumes: VolumeManager,
    pub(crate) recorder: EventRecorder,
    pub(crate) services: Informer<Service>,
    pub(crate) nodes: Informer<Node>,
    pub(crate) pods: Arc<Pods>,
    pub(crate) reviews: Reviews,
    pub(crate) allocatable: BTreeMap<String, Quantity>,
    /// Bytes of memory of the node.
    pub(crate) memory: i64,
}

impl Kubelet {
    /// Where a container's termination message is written.
    pub(crate) fn termination_file(&self, uid: &str, container: &str, attempt: u32) -> std::path::PathBuf {
        self.volumes.pod_dir(uid).join("containers").join(container).join(attempt.to_string())
    }

    /// Where a pod's logs are.
    pub(crate) fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> std::path::PathBuf {
        self.config.log_dir.join(format!("{namespace}_{name}_{uid}"))
    }
}
