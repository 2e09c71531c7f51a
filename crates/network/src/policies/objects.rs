//! What policies have to know of pods and namespaces, and no more: the rest of the objects is not kept.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::ClusterResourceScope;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};

use crate::node::protocol_number;

/// The labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// A pod as the API has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PodObject {
    #[serde(deserialize_with = "slim")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    host_network: Option<bool>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    restart_policy: Option<String>,
    ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    container_port: u16,
    protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

/// A namespace as the API has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NamespaceObject {
    #[serde(deserialize_with = "slim")]
    metadata: ObjectMeta,
}

impl NamespaceObject {
    pub fn labels(&self) -> Labels {
        self.metadata.labels.clone().unwrap_or_default()
    }
}

/// A node as the API has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NodeObject {
    #[serde(deserialize_with = "slim")]
    metadata: ObjectMeta,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: Option<Vec<NodeAddress>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    address: String,
}

/// A node as policies see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub labels: Labels,
    pub addresses: Vec<IpAddr>,
}

impl NodeObject {
    /// What policies see of it. Its status also has names.
    pub fn seen(&self) -> Node {
        let listed = self.status.addresses.iter().flatten().filter_map(|one| one.address.parse().ok());
        let mut addresses: Vec<IpAddr> = listed.collect();
        addresses.sort();
        addresses.dedup();
        Node { labels: self.metadata.labels.clone().unwrap_or_default(), addresses }
    }
}

/// Metadata by which an object is known and selected.
fn slim<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let ObjectMeta { name, namespace, resource_version, labels, .. } = ObjectMeta::deserialize(from)?;
    Ok(ObjectMeta { name, namespace, resource_version, labels, ..ObjectMeta::default() })
}

/// A pod as policies see it. One in the network of its node is none to them, and neither is one that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    pub labels: Labels,
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<NamedPort>,
    /// It runs on this node.
    pub local: bool,
}

/// A port of a pod that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NamedPort {
    pub name: String,
    pub protocol: u8,
    pub number: u16,
}

impl PodObject {
    /// What policies see of it on a node.
    pub fn seen_from(&self, node: &str) -> Option<Pod> {
        let ended = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if ended || self.spec.host_network == Some(true) {
            return None;
        }
        let listed = self.status.pod_ips.iter().flatten().map(|one| one.ip.as_str());
        let mut addresses: Vec<IpAddr> =
            listed.chain(self.status.pod_ip.as_deref()).filter_map(|text| text.parse().ok()).collect();
        addresses.sort();
        addresses.dedup();
        Some(Pod {
            labels: self.metadata.labels.clone().unwrap_or_default(),
            addresses,
            ports: self.named_ports(),
            local: self.spec.node_name.as_deref() == Some(node),
        })
    }

    fn named_ports(&self) -> Vec<NamedPort> {
        let sidecars = self.spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let containers = self.spec.containers.iter().flatten().chain(sidecars);
        let mut ports: Vec<NamedPort> = containers
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| {
                let name = port.name.clone().filter(|name| !name.is_empty())?;
                let protocol = protocol_number(port.protocol.as_deref().unwrap_or("TCP"));
                Some(NamedPort { name, protocol, number: port.container_port })
            })
            .collect();
        ports.sort();
        ports.dedup();
        ports
    }
}

macro_rules! resource {
    ($object:ty, $scope:ty, $kind:literal, $plural:literal) => {
        coracle_client::cached!($object);

        impl Resource for $object {
            type DynamicType = ();
            type Scope = $scope;

            fn kind(&(): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group(&(): &()) -> Cow<'_, str> {
                "".into()
            }

            fn version(&(): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural(&(): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(PodObject, NamespaceResourceScope, "Pod", "pods");
resource!(NamespaceObject, ClusterResourceScope, "Namespace", "namespaces");
resource!(NodeObject, ClusterResourceScope, "Node", "nodes");

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn seen(spec: Value, status: Value) -> Option<Pod> {
        let metadata = json!({"name": "p", "namespace": "n", "labels": {"a": "b"}, "annotations": {"long": "text"}});
        let object: PodObject =
            serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap();
        assert_eq!(object.metadata.annotations, None);
        object.seen_from("here")
    }

    #[test]
    fn a_pod_is_its_addresses_labels_and_named_ports() {
        let port = |name: &str, number: u16| json!({"name": name, "containerPort": number});
        let spec = json!({"nodeName": "here", "containers": [{"ports": [port("web", 80), {"containerPort": 81}]}],
            "initContainers": [{"ports": [port("init", 1)]}, {"restartPolicy": "Always", "ports": [port("side", 2)]}]});
        let pod = seen(spec, json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]})).unwrap();
        assert_eq!((pod.addresses.len(), pod.local, pod.labels["a"].as_str()), (2, true, "b"));
        let names: Vec<_> = pod.ports.iter().map(|port| (port.name.as_str(), port.number)).collect();
        assert_eq!(names, [("side", 2), ("web", 80)]);
    }

    #[test]
    fn pods_in_the_network_of_the_node_and_those_that_ended_are_none() {
        assert!(seen(json!({"hostNetwork": true}), json!({})).is_none());
        assert!(seen(json!({}), json!({"phase": "Failed"})).is_none());
        assert!(!seen(json!({"nodeName": "there"}), json!({"phase": "Running"})).unwrap().local);
    }
}
