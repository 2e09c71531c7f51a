//! What all parts of the kubelet share.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_client::{EventRecorder, Informer};
use coracle_runtime::cri::RuntimeService;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;

use crate::config::KubeletConfig;
use crate::eviction::Pressure;
use crate::image_gc;
use crate::images::ImageManager;
use crate::metrics::Shared;
use crate::pods::Pods;
use crate::server::{Rates, Reviews};
use crate::stats::disk::Disks;
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
    pub(crate) disks: Disks,
    pub(crate) rates: Rates,
    /// Since when this kubelet runs.
    pub(crate) started: Timestamp,
    pub(crate) pressure: Pressure,
    pub(crate) known_images: image_gc::Known,
    pub(crate) metrics: Shared,
    pub(crate) allocatable: BTreeMap<String, Quantity>,
    /// Bytes of memory of the node.
    pub(crate) memory: i64,
}

impl Kubelet {
    /// The object of events about the node.
    pub(crate) fn node_reference(&self) -> ObjectReference {
        let name = self.config.node_name.clone();
        ObjectReference { kind: Some("Node".into()), uid: Some(name.clone()), name: Some(name), ..Default::default() }
    }

    /// Where a container's termination message is written.
    pub(crate) fn termination_file(&self, uid: &str, container: &str, attempt: u32) -> std::path::PathBuf {
        self.volumes.pod_dir(uid).join("containers").join(container).join(attempt.to_string())
    }

    /// Where a pod's logs are.
    pub(crate) fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> std::path::PathBuf {
        self.config.log_dir.join(format!("{namespace}_{name}_{uid}"))
    }
}
