//! What the kubelet is told when it starts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use coracle_pki::Current;
use coracle_values::addresses::Ranges;
use k8s_openapi::api::core::v1::Taint;
use tokio::sync::watch;

use crate::eviction::config::{Eviction, ImageGc};

/// The kubelet's configuration; names follow upstream's KubeletConfiguration where it has them.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    /// The name under which the node registers.
    pub node_name: String,
    /// The node's address.
    pub node_ip: IpAddr,
    /// Its address of the other family, if it has one.
    pub second_node_ip: Option<IpAddr>,
    /// The ranges of all pods of the cluster.
    pub cluster_cidr: Ranges,
    /// Where pods' volumes and files live (`/var/lib/kubelet`).
    pub root_dir: PathBuf,
    /// The root of pods' logs (`/var/log/pods`).
    pub log_dir: PathBuf,
    /// Addresses of the cluster's DNS, the primary first.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's DNS domain (`cluster.local`).
    pub cluster_domain: String,
    /// Most pods on the node.
    pub max_pods: u32,
    /// The certificate of the kubelet's own server.
    pub serving: Arc<Current>,
    /// Whether the kubelet asks the API for the certificate of its server, and renews it; until it has it, it shows the one
    /// given (`serverTLSBootstrap`).
    pub server_tls_bootstrap: bool,
    /// The certificate that the kubelet's client shows, which is renewed; none where it needs none.
    pub client_certificate: Option<Arc<Current>>,
    /// The certificate authority of clients of the kubelet's server, in PEM.
    pub client_ca_pem: Vec<u8>,
    /// The certificate user that may use the kubelet's server besides `system:masters`.
    pub apiserver_user: String,
    /// The port of the kubelet's server; 0 lets the kernel choose (10250).
    pub port: u16,
    /// The version the node reports (`v1.35.0`).
    pub kubernetes_version: String,
    /// Labels the node registers with, besides the standard ones.
    pub labels: BTreeMap<String, String>,
    /// Annotations the node registers with; those without a value it has no longer.
    pub annotations: BTreeMap<String, Option<String>>,
    /// Taints the node registers with.
    pub taints: Vec<Taint>,
    /// The node's resolver configuration, from which pods' are made.
    pub resolv_conf: PathBuf,
    /// The ranges of the addresses of the node's pods, which the node tells of. None yet while another part is to give it one;
    /// until then the node is not Ready, as pods could not be connected.
    pub pod_cidr: watch::Receiver<Option<Ranges>>,
    /// Why plugins that connect pods, if they do, can connect none now; none when they can (`NetworkReady` of CRI).
    pub network_plugin: Option<watch::Receiver<Option<String>>>,
    /// The directory of the images, whose disk is `imagefs`.
    pub image_dir: PathBuf,
    /// When pods are ended for want of room.
    pub eviction: Eviction,
    /// When images are removed for want of room.
    pub image_gc: ImageGc,
    /// `spec.providerID` of the node.
    pub provider_id: Option<String>,
}

impl KubeletConfig {
    /// The node's addresses, that of its primary family first.
    pub fn node_ips(&self) -> Vec<IpAddr> {
        [Some(self.node_ip), self.second_node_ip].into_iter().flatten().collect()
    }
}
