//! The sets to which rules refer, each there while some policy about a pod of this node does.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use coracle_client::ObjectKey;

use super::super::objects::{NamedPort, Pod};
use super::super::policy::{Labelled, Namespaces, Peer, Pods, Policy, Port};
use super::super::render::{Names, address_key, port_key};
use super::{Counted, Id, State, let_go};
use crate::nft::InPackets;

/// Sets of peers and of named ports, by what they are of.
#[derive(Default)]
pub(super) struct Sets {
    pub pods: HashMap<Pods, Counted>,
    pub nodes: HashMap<Labelled, Counted>,
    pub ports: HashMap<Named, Counted>,
}

/// Ports of a name, of one protocol or of any.
type Named = (Option<u8>, String);

impl Names for Sets {
    fn of_pods(&self, pods: &Pods) -> Option<String> {
        self.pods.get(pods).map(|set| pods_name(set.id))
    }

    fn of_nodes(&self, nodes: &Labelled) -> Option<String> {
        self.nodes.get(nodes).map(|set| nodes_name(set.id))
    }

    fn of_ports(&self, protocol: Option<u8>, name: &str) -> Option<String> {
        self.ports.get(&(protocol, name.to_owned())).map(|set| ports_name(set.id))
    }
}

pub(super) fn pods_name(id: Id) -> String {
    format!("pods-{id}")
}

pub(super) fn nodes_name(id: Id) -> String {
    format!("nodes-{id}")
}

pub(super) fn ports_name(id: Id) -> String {
    format!("ports-{id}")
}

impl State {
    /// Puts a pod into the sets of peers and named ports that it belongs to now, and takes it from the others.
    pub(super) fn change_members(&mut self, key: &ObjectKey, old: Option<&Pod>, new: Option<&Pod>) {
        let mut puts = Vec::new();
        let mut takes = Vec::new();
        for (pods, set) in self.sets.pods.iter().filter(|(pods, _)| self.is_of(&pods.namespaces, &key.namespace)) {
            let members = |pod: Option<&Pod>| {
                let pod = pod.filter(|pod| pods.labels.matches(&pod.labels));
                pod.map(|pod| pod.addresses.clone()).unwrap_or_default()
            };
            puts.extend(members(new).into_iter().map(|address| (pods_name(set.id), address, address_key(address))));
            takes.extend(members(old).into_iter().map(|address| (pods_name(set.id), address, address_key(address))));
        }
        for ((protocol, name), set) in &self.sets.ports {
            let keys = |pod: Option<&Pod>| pod.map(|pod| named(pod, *protocol, name)).unwrap_or_default();
            puts.extend(keys(new).into_iter().map(|(address, key)| (ports_name(set.id), address, key)));
            takes.extend(keys(old).into_iter().map(|(address, key)| (ports_name(set.id), address, key)));
        }
        for (set, address, key) in puts {
            self.put(&set, address, key);
        }
        for (set, address, key) in takes {
            self.take(&set, address, &key);
        }
    }

    pub(super) fn put(&mut self, set: &str, address: IpAddr, key: Vec<u8>) {
        self.narrowed |= self.forbidding > 0;
        self.joined = self.joined.saturating_add(1);
        self.table(address).put(set, key, None);
    }

    pub(super) fn take(&mut self, set: &str, address: IpAddr, key: &[u8]) {
        let table = self.table(address);
        table.take(set, key);
        let gone = !table.has(set, key);
        self.narrowed |= gone;
    }

    /// The addresses of the pods with labels, of one namespace or of all that are selected.
    pub(super) fn members(&self, pods: &Pods, only: Option<&str>) -> Vec<IpAddr> {
        let one = only.or(match &pods.namespaces {
            Namespaces::One(name) => Some(name),
            Namespaces::Labelled(_) => None,
        });
        let from = ObjectKey::new(one.unwrap_or_default(), "");
        let candidates = self.pods.range(from..).take_while(|(key, _)| one.is_none_or(|one| key.namespace == one));
        let wanted = |key: &ObjectKey| match &pods.namespaces {
            labelled @ Namespaces::Labelled(_) if only.is_none() => self.is_of(labelled, &key.namespace),
            _ => true,
        };
        let found = candidates.filter(|(key, known)| wanted(key) && pods.labels.matches(&known.pod.labels));
        found.flat_map(|(_, known)| known.pod.addresses.iter().copied()).collect()
    }

    /// Has the sets to which the rules of a policy refer.
    pub(super) fn acquire(&mut self, policy: &Policy) {
        let References { pods, nodes, ports } = references(policy);
        for pods in pods {
            match self.sets.pods.get_mut(&pods) {
                Some(set) => set.users += 1,
                None => self.add_pods(pods),
            }
        }
        for labels in nodes {
            match self.sets.nodes.get_mut(&labels) {
                Some(set) => set.users += 1,
                None => self.add_nodes(labels),
            }
        }
        for port in ports {
            match self.sets.ports.get_mut(&port) {
                Some(set) => set.users += 1,
                None => self.add_ports(port),
            }
        }
    }

    fn add_nodes(&mut self, labels: Labelled) {
        let id = self.new_id();
        let name = nodes_name(id);
        for table in &mut self.tables {
            table.add_set(&name, table.family().address(), None);
        }
        let nodes = self.nodes.values().filter(|node| labels.matches(&node.labels));
        for address in nodes.flat_map(|node| node.addresses.clone()).collect::<Vec<_>>() {
            self.table(address).put(&name, address_key(address), None);
        }
        self.sets.nodes.insert(labels, Counted { id, users: 1 });
    }

    fn add_pods(&mut self, pods: Pods) {
        let id = self.new_id();
        let name = pods_name(id);
        for table in &mut self.tables {
            table.add_set(&name, table.family().address(), None);
        }
        for address in self.members(&pods, None) {
            self.table(address).put(&name, address_key(address), None);
        }
        self.sets.pods.insert(pods, Counted { id, users: 1 });
    }

    fn add_ports(&mut self, port: Named) {
        let id = self.new_id();
        let name = ports_name(id);
        for table in &mut self.tables {
            table.add_set(&name, table.family().address_protocol_port(), None);
        }
        let keys: Vec<_> = self.pods.values().flat_map(|known| named(&known.pod, port.0, &port.1)).collect();
        for (address, key) in keys {
            self.table(address).put(&name, key, None);
        }
        self.sets.ports.insert(port, Counted { id, users: 1 });
    }

    pub(super) fn release(&mut self, policy: &Policy) {
        let References { pods, nodes, ports } = references(policy);
        let mut unused = Vec::new();
        for pods in pods {
            unused.extend(let_go(&mut self.sets.pods, &pods).map(pods_name));
        }
        for labels in nodes {
            unused.extend(let_go(&mut self.sets.nodes, &labels).map(nodes_name));
        }
        for port in ports {
            unused.extend(let_go(&mut self.sets.ports, &port).map(ports_name));
        }
        for name in unused {
            self.tables.iter_mut().for_each(|table| table.remove_set(&name));
        }
    }
}

/// The keys of a pod's ports of a name.
pub(super) fn named(pod: &Pod, protocol: Option<u8>, name: &str) -> Vec<(IpAddr, Vec<u8>)> {
    let is_it = |port: &&NamedPort| protocol.is_none_or(|protocol| port.protocol == protocol) && port.name == name;
    let keys = pod.ports.iter().filter(is_it).flat_map(|port| {
        pod.addresses.iter().map(|address| (*address, port_key(*address, port.protocol, port.number)))
    });
    keys.collect()
}

/// What the rules of a policy refer to, each once.
pub(super) struct References {
    pub pods: BTreeSet<Pods>,
    pub nodes: BTreeSet<Labelled>,
    pub ports: BTreeSet<Named>,
}

pub(super) fn references(policy: &Policy) -> References {
    let rules = || policy.ingress.iter().chain(&policy.egress).flatten();
    let peers = || rules().flat_map(|rule| rule.peers.iter().flatten());
    let pods = peers().filter_map(|peer| match peer {
        Peer::Pods(pods) => Some(pods.clone()),
        Peer::Nodes(_) | Peer::Addresses(_) => None,
    });
    let nodes = peers().filter_map(|peer| match peer {
        Peer::Nodes(labels) => Some(labels.clone()),
        Peer::Pods(_) | Peer::Addresses(_) => None,
    });
    let ports = rules().flat_map(|rule| rule.ports.iter().flatten()).filter_map(|port| match port {
        Port::Named { protocol, name } => Some((*protocol, name.clone())),
        Port::Numbers { .. } => None,
    });
    References { pods: pods.collect(), nodes: nodes.collect(), ports: ports.collect() }
}
