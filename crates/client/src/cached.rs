//! The types of the API that are kept in memory, and what reads them.

use std::fmt::Debug;

use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
    ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass,
};
use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A type of the API that informers keep.
pub trait Cached: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static {
    /// Reads an object from its JSON.
    ///
    /// # Errors
    /// The text is none, or none of this type.
    fn from_json(text: &str) -> serde_json::Result<Self>;

    /// The same of a value, by way of its text: the types have one reader each.
    ///
    /// # Errors
    /// As [`Cached::from_json`].
    fn from_value(value: &Value) -> serde_json::Result<Self> {
        Self::from_json(&value.to_string())
    }
}

/// Makes a type [`Cached`]. What reads it is among the largest programs that there are, and crates that do not know of each other would each have
/// their own: those of the types that several of them keep are made here, once.
#[macro_export]
macro_rules! cached {
    ($($kind:ty),+ $(,)?) => {$(
        impl $crate::Cached for $kind {
            fn from_json(text: &str) -> serde_json::Result<Self> {
                serde_json::from_str(text)
            }
        }
    )+};
}

cached!(
    CSIDriver,
    CSINode,
    CSIStorageCapacity,
    CertificateSigningRequest,
    ClusterRole,
    ConfigMap,
    ControllerRevision,
    CronJob,
    DaemonSet,
    Deployment,
    EndpointSlice,
    Endpoints,
    HorizontalPodAutoscaler,
    Ingress,
    IngressClass,
    Job,
    Lease,
    Namespace,
    NetworkPolicy,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodDisruptionBudget,
    ReplicaSet,
    ReplicationController,
    ResourceQuota,
    RuntimeClass,
    Secret,
    Service,
    ServiceAccount,
    StatefulSet,
    StorageClass,
    VolumeAttachment,
    VolumeAttributesClass,
);

/// Replaces a volume; compiled here, as what reads and writes a type is.
///
/// # Errors
/// The server refuses, or does not answer.
pub fn replace_volume(client: Client, volume: &PersistentVolume) -> BoxFuture<'_, kube::Result<PersistentVolume>> {
    Box::pin(async move { Api::all(client).replace(&volume.name_any(), &PostParams::default(), volume).await })
}

/// The same of a claim, in its namespace.
///
/// # Errors
/// As [`replace_volume`].
pub fn replace_claim(
    client: Client,
    claim: &PersistentVolumeClaim,
) -> BoxFuture<'_, kube::Result<PersistentVolumeClaim>> {
    Box::pin(async move {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client, &claim.namespace().unwrap_or_default());
        api.replace(&claim.name_any(), &PostParams::default(), claim).await
    })
}

/// A pod as JSON.
pub fn pod_value(pod: &Pod) -> Value {
    serde_json::to_value(pod).unwrap_or_default()
}

/// The same of a node.
pub fn node_value(node: &Node) -> Value {
    serde_json::to_value(node).unwrap_or_default()
}
