//! The pod network of this node, as the objects of nodes say: its own range of addresses, and the ways to the others'.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coracle_client::Informer;
use coracle_network::{NodeNetwork, NodeNetworkConfig, Peer};
use coracle_values::addresses::Ranges;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use tokio::sync::{Notify, watch};

use crate::files::write_atomically;

/// How soon what the kernel refused is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What the network is made of, but for the range.
#[derive(Clone)]
pub struct Settings {
    /// The node's name.
    pub node: String,
    /// The node's addresses, one of a family, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// The cluster's data directory.
    pub dir: PathBuf,
    /// The name of the pods' bridge.
    pub bridge: String,
    /// The name of the link to nodes on other networks.
    pub overlay: String,
    /// Addresses of all pods.
    pub cluster_cidr: Ranges,
    /// Addresses of all services.
    pub service_cidr: Ranges,
    /// Where the cluster's DNS answers.
    pub dns_address: IpAddr,
    /// The node is no node of a local cluster.
    pub on_host: bool,
    /// Others connect the pods, and only the range is known here.
    pub foreign: bool,
}

/// What becomes of it, for who needs it.
#[derive(Clone)]
pub struct PodNetwork {
    settings: Settings,
    /// The range was given by who started the node, and is not the cluster's to give.
    is_given: bool,
    /// The network, once there is one.
    pub network: watch::Sender<Option<Arc<NodeNetwork>>>,
    /// Its ranges.
    pub range: watch::Sender<Option<Ranges>>,
}

/// Waits until there is a network; not where others connect pods.
///
/// # Errors
/// There will be none.
pub async fn connected(network: PodNetwork) -> Result<()> {
    if !network.settings.foreign {
        network.network.subscribe().wait_for(Option::is_some).await?;
    }
    Ok(())
}

impl PodNetwork {
    /// Makes the network at once if the node has a range: a given one, or the one that it had before.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(settings: Settings, given: Option<Ranges>) -> Result<PodNetwork> {
        let is_given = given.is_some();
        let network =
            PodNetwork { settings, is_given, network: watch::Sender::new(None), range: watch::Sender::new(None) };
        let known = given.map_or_else(|| remembered(&network.file()), |range| Ok(Some(range)))?;
        if let Some(range) = known {
            network.make(range)?;
        }
        Ok(network)
    }

    fn file(&self) -> PathBuf {
        self.settings.dir.join("run/pod-cidr")
    }

    fn make(&self, pod_cidr: Ranges) -> Result<()> {
        let own = &self.settings;
        if own.foreign {
            self.range.send_replace(Some(pod_cidr));
            return Ok(());
        }
        let made = NodeNetwork::new(NodeNetworkConfig {
            bridge: own.bridge.clone(),
            state: own.dir.join("run/addresses"),
            pod_cidr,
            cluster_cidr: own.cluster_cidr,
            service_cidr: own.service_cidr,
            service_addresses: vec![own.dns_address],
            addresses: own.addresses.clone(),
            overlay: own.overlay.clone(),
            mtu: coracle_network::host::mtu_of(*own.addresses.first().context("a node has an address")?)?,
            on_host: own.on_host,
        })?;
        self.network.send_replace(Some(made));
        self.range.send_replace(Some(pod_cidr));
        Ok(())
    }

    /// Follows the objects of nodes until the future is dropped.
    ///
    /// # Errors
    /// The node was given another range than it has: what comes next begins with that one.
    pub async fn follow(self, nodes: Informer<Node>) -> Result<()> {
        let changed = Arc::new(Notify::new());
        let wake = changed.clone();
        nodes.subscribe(move |_| wake.notify_one());
        nodes.start();
        nodes.synced().await;
        let mut known = None;
        loop {
            let all = nodes.store().list();
            if let Some(own) = all.iter().find(|node| node.name_any() == self.settings.node) {
                self.clone().take_range(own.clone()).await?;
            }
            let network = self.network.borrow().clone();
            if let Some(network) = network {
                let peers = peers(&all, &self.settings.node);
                if known.as_ref() != Some(&peers) {
                    match network.set_peers(peers.clone()).await {
                        Ok(()) => known = Some(peers),
                        Err(error) => tracing::warn!("not all nodes' pods are reached: {error:#}"),
                    }
                }
                if known.is_none() {
                    let _ = tokio::time::timeout(AGAIN, changed.notified()).await;
                    continue;
                }
            }
            changed.notified().await;
        }
    }

    /// Takes the range that the node's object has.
    async fn take_range(self, node: Arc<Node>) -> Result<()> {
        let listed = ranges(&node);
        if self.is_given || listed.is_empty() {
            return Ok(());
        }
        let Some(range) = Ranges::of_list(&listed) else {
            bail!("the node got the ranges {listed:?} for its pods: it can have no more than one of each family");
        };
        let has = *self.range.borrow();
        if has == Some(range) {
            return Ok(());
        }
        let of_cluster = |own: &IpNet| self.settings.cluster_cidr.iter().any(|all| all.contains(own));
        if !range.iter().all(|own| of_cluster(&own)) {
            bail!(
                "the node got the range {range} for its pods, which is no part of --cluster-cidr {}: name that of the cluster",
                self.settings.cluster_cidr
            );
        }
        write_atomically(&self.file(), format!("{range}\n").as_bytes(), 0o600)?;
        if let Some(has) = has {
            bail!("the range of the node's pods has changed from {has} to {range}: the node starts anew");
        }
        tokio::task::spawn_blocking(move || self.make(range)).await?
    }
}

/// The range that the node had before.
fn remembered(file: &Path) -> Result<Option<Ranges>> {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let range = text.trim().parse();
            range.map(Some).with_context(|| format!("{} is not a range of addresses", file.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", file.display())),
    }
}

fn ranges(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let listed: Vec<IpNet> = spec.pod_cidrs.iter().flatten().filter_map(|range| range.parse().ok()).collect();
    let single = spec.pod_cidr.as_ref().and_then(|range| range.parse().ok());
    if listed.is_empty() { single.into_iter().collect() } else { listed }
}

/// The other nodes that have address and range, the elders first.
fn peers(nodes: &[Arc<Node>], own: &str) -> Vec<Peer> {
    let mut others: Vec<&Arc<Node>> = nodes.iter().filter(|node| node.name_any() != own).collect();
    others.sort_by_key(|node| (node.metadata.creation_timestamp.clone(), node.metadata.name.clone()));
    let peer = |node: &&Arc<Node>| {
        let addresses = node.status.as_ref()?.addresses.as_ref()?;
        let internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
        let addresses: Vec<IpAddr> = internal.filter_map(|address| address.address.parse().ok()).collect();
        Some(Peer { name: node.name_any(), addresses, ranges: ranges(node) }).filter(|peer| !peer.addresses.is_empty())
    };
    others.iter().filter_map(peer).filter(|peer| !peer.ranges.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_other_nodes_are_known_by_their_objects_and_elders_come_first() {
        let node = |name: &str, age: u8, address: &str, range: &str| {
            let node = json!({"metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{age:02}Z")},
                "spec": {"podCIDR": range, "podCIDRs": [range]},
                "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]}});
            Arc::new(serde_json::from_value::<Node>(node).unwrap())
        };
        let nodes = [
            node("b", 2, "10.0.0.2", "10.244.2.0/24"),
            node("c", 1, "10.0.0.3", "10.244.3.0/24"),
            node("own", 0, "10.0.0.1", "10.244.1.0/24"),
            node("none", 0, "10.0.0.4", ""),
            node("odd", 0, "x", "10.244.5.0/24"),
        ];
        let peers = peers(&nodes, "own");
        assert_eq!(peers.iter().map(|peer| &*peer.name).collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!(peers[0].ranges, ["10.244.3.0/24".parse::<IpNet>().unwrap()]);
    }

    #[tokio::test]
    async fn a_node_with_two_ranges_of_one_family_says_why_its_pods_have_no_network() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            node: "own".into(),
            addresses: vec![[10, 0, 0, 1].into()],
            dir: dir.path().into(),
            bridge: "none".into(),
            overlay: "none".into(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            dns_address: [10, 96, 0, 10].into(),
            on_host: false,
            foreign: false,
        };
        let network = PodNetwork::new(settings, None).unwrap();
        let node = |ranges: &[&str]| {
            let node = json!({"metadata": {"name": "own"}, "spec": {"podCIDRs": ranges}});
            Arc::new(serde_json::from_value::<Node>(node).unwrap())
        };
        network.clone().take_range(node(&[])).await.unwrap();
        let two = node(&["10.244.1.0/24", "10.244.2.0/24"]);
        let told = network.take_range(two).await.unwrap_err().to_string();
        assert!(told.contains("10.244.2.0/24") && told.contains("no more than one of each family"), "{told}");
    }
}
