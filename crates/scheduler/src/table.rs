//! The node table: every node with the pods on it and what they use, kept up to date change by change.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use coracle_matching::amounts::{Amounts, Sum, amounts};
use coracle_matching::nodes::Place;
use k8s_openapi::api::core::v1::{Node, Taint};

use crate::plugins::volumes::Volumes;
use crate::pod::{Labels, PodInfo, normalized_image};
use crate::resources::pod_limit;
use crate::topology::Topologies;

/// Changes of nodes that the table remembers for those who keep results by node.
const LOG_LENGTH: usize = 65_536;
/// Pods that came to nodes or went, which it remembers for those who count them. They hold on to the pods.
const PLACEMENTS_LENGTH: usize = 2048;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";

/// One node.
#[derive(Debug, Default)]
pub(crate) struct NodeInfo {
    pub name: String,
    /// Whether the API has the node; pods may be known before it.
    pub exists: bool,
    pub labels: Labels,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Amounts,
    pub pod_limit: i64,
    pub requested: Amounts,
    /// CPU and memory of its pods, with defaults for those that request none.
    pub scored: (i64, i64),
    pub pods: Vec<Arc<PodInfo>>,
    /// Bytes of each image on the node.
    pub images: HashMap<String, i64>,
}

impl NodeInfo {
    /// What node selectors look at.
    pub fn place(&self) -> Place<'_> {
        Place { name: &self.name, labels: &self.labels }
    }
}

/// A pod that came to a node or went.
#[derive(Debug)]
pub(crate) struct Placement {
    pub pod: Arc<PodInfo>,
    pub node: usize,
    /// It came.
    pub added: bool,
}

/// All nodes, by a number that stays the same while a node exists.
#[derive(Debug, Default)]
pub(crate) struct Table {
    nodes: Vec<NodeInfo>,
    numbers: HashMap<String, usize>,
    free: Vec<usize>,
    /// The nodes that the API has, those of one zone after those of another in turn.
    order: Arc<[usize]>,
    /// The layout that `order` is of.
    ordered: Option<u64>,
    pub topologies: Topologies,
    /// Where each pod is, by UID.
    places: HashMap<String, usize>,
    /// On how many nodes each image is.
    pub image_nodes: HashMap<String, usize>,
    /// Nodes with a pod that has required anti-affinity, and with any affinity to pods.
    pub with_anti_affinity: BTreeSet<usize>,
    pub with_affinity: BTreeSet<usize>,
    /// Pods that preemption made room for, by node; and where each is, by UID.
    nominated: HashMap<usize, Vec<Arc<PodInfo>>>,
    nominations: HashMap<String, usize>,
    pub namespaces: BTreeMap<String, Labels>,
    /// Selectors of services, by namespace and name.
    pub services: BTreeMap<(String, String), Labels>,
    /// Claims and volumes.
    pub volumes: Arc<Volumes>,
    existing: usize,
    /// Counts changes of nodes and of the pods on them.
    pub sequence: u64,
    /// Counts changes of the set of nodes and of their images.
    pub epoch: u64,
    /// Counts changes of what there is but pods and resources: nodes, their labels and taints, namespaces, services.
    pub layout: u64,
    log: VecDeque<usize>,
    /// Counts placements.
    pub placed: u64,
    placements: VecDeque<Placement>,
}

impl Table {
    /// How many numbers were given out.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes the API has.
    pub fn count(&self) -> usize {
        self.existing
    }

    pub fn node(&self, number: usize) -> &NodeInfo {
        &self.nodes[number]
    }

    /// The number of a node.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// All nodes that the API has.
    pub fn existing(&self) -> impl Iterator<Item = (usize, &NodeInfo)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.exists)
    }

    /// All nodes that the API has, in the order in which they are looked at: zone by zone in turn, so that the first ones are of
    /// all zones.
    pub fn order(&mut self) -> Arc<[usize]> {
        if self.ordered != Some(self.layout) {
            let mut zones: BTreeMap<(Option<&String>, Option<&String>), Vec<usize>> = BTreeMap::new();
            for (number, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.exists) {
                zones.entry((node.labels.get(REGION), node.labels.get(ZONE))).or_default().push(number);
            }
            let longest = zones.values().map(Vec::len).max().unwrap_or(0);
            self.order =
                (0..longest).flat_map(|turn| zones.values().filter_map(move |zone| zone.get(turn).copied())).collect();
            self.ordered = Some(self.layout);
        }
        self.order.clone()
    }

    /// The number of the node that a pod is on.
    pub fn pod_place(&self, uid: &str) -> Option<usize> {
        self.places.get(uid).copied()
    }

    /// A pod that is on a node.
    pub fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        let number = self.pod_place(uid)?;
        self.nodes[number].pods.iter().find(|pod| pod.uid == uid)
    }

    /// The nodes that changed after `sequence`; `None` when that is too long ago to tell.
    pub fn changed_since(&self, sequence: u64) -> Option<impl Iterator<Item = usize>> {
        let missing = usize::try_from(self.sequence.saturating_sub(sequence)).ok()?;
        let from = self.log.len().checked_sub(missing)?;
        Some(self.log.range(from..).copied())
    }

    /// The pods that came and went after so many placements; `None` when that is too long ago to tell.
    pub fn placements_since(&self, placed: u64) -> Option<impl Iterator<Item = &Placement>> {
        let missing = usize::try_from(self.placed.saturating_sub(placed)).ok()?;
        let from = self.placements.len().checked_sub(missing)?;
        Some(self.placements.range(from..))
    }

    /// Whoever counts pods has been told of all of them.
    pub fn forget_placements(&mut self) {
        self.placements.clear();
    }

    fn touch(&mut self, number: usize) {
        self.sequence += 1;
        if self.log.len() == LOG_LENGTH {
            self.log.pop_front();
        }
        self.log.push_back(number);
    }

    fn slot(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let info = NodeInfo { name: name.to_owned(), ..NodeInfo::default() };
        let number = match self.free.pop() {
            Some(number) => {
                self.nodes[number] = info;
                number
            }
            None => {
                self.nodes.push(info);
                self.nodes.len() - 1
            }
        };
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// Takes in a new or changed node.
    pub fn set_node(&mut self, node: &Node) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let number = self.slot(name);
        let status = node.status.as_ref();
        self.set_images(number, images(node));
        let spec = node.spec.as_ref();
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let unschedulable = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        let info = &mut self.nodes[number];
        if !info.exists {
            info.exists = true;
            self.existing += 1;
            self.epoch += 1;
            self.layout += 1;
        } else if info.labels != labels || info.taints != taints || info.unschedulable != unschedulable {
            self.layout += 1;
        }
        self.topologies.relabel(number, &info.labels, &labels);
        info.labels = labels;
        info.taints = taints;
        info.unschedulable = unschedulable;
        let allocatable = status.and_then(|status| status.allocatable.as_ref());
        info.allocatable = amounts(allocatable);
        info.pod_limit = pod_limit(allocatable);
        self.touch(number);
    }

    fn set_images(&mut self, number: usize, images: HashMap<String, i64>) {
        if self.nodes[number].images == images {
            return;
        }
        self.forget_images(number);
        for image in images.keys() {
            *self.image_nodes.entry(image.clone()).or_default() += 1;
        }
        self.nodes[number].images = images;
        self.epoch += 1;
    }

    fn forget_images(&mut self, number: usize) {
        for (image, _) in std::mem::take(&mut self.nodes[number].images) {
            if let Some(count) = self.image_nodes.get_mut(&image) {
                *count -= 1;
                if *count == 0 {
                    self.image_nodes.remove(&image);
                }
            }
        }
    }

    /// Forgets a node; pods that are still on it are kept until they go.
    pub fn remove_node(&mut self, name: &str) {
        let Some(number) = self.number(name) else { return };
        self.forget_images(number);
        let labels = std::mem::take(&mut self.nodes[number].labels);
        self.topologies.relabel(number, &labels, &Labels::new());
        if std::mem::take(&mut self.nodes[number].exists) {
            self.existing -= 1;
        }
        self.epoch += 1;
        self.layout += 1;
        for pod in self.nominated.remove(&number).into_iter().flatten() {
            self.nominations.remove(&pod.uid);
        }
        self.touch(number);
        self.release(number);
    }

    fn release(&mut self, number: usize) {
        let node = &self.nodes[number];
        if !node.exists && node.pods.is_empty() {
            self.numbers.remove(&node.name);
            self.free.push(number);
            self.nodes[number] = NodeInfo::default();
        }
    }

    /// Puts a pod on a node; one that is there (or elsewhere) already is replaced.
    pub fn add_pod(&mut self, node: &str, pod: Arc<PodInfo>) {
        self.remove_pod(&pod.uid);
        let number = self.slot(node);
        self.places.insert(pod.uid.clone(), number);
        if pod.has_pod_affinity() {
            self.with_affinity.insert(number);
            if !pod.anti_affinity.is_empty() {
                self.with_anti_affinity.insert(number);
            }
        }
        self.put(number, pod.clone());
        self.touch(number);
        self.record(Placement { pod, node: number, added: true });
    }

    /// Takes a pod from its node.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let number = self.places.remove(uid)?;
        let pod = self.take(number, uid)?;
        if pod.has_pod_affinity() {
            let pods = &self.nodes[number].pods;
            if !pods.iter().any(|pod| pod.has_pod_affinity()) {
                self.with_affinity.remove(&number);
            }
            if !pods.iter().any(|pod| !pod.anti_affinity.is_empty()) {
                self.with_anti_affinity.remove(&number);
            }
        }
        self.touch(number);
        self.record(Placement { pod: pod.clone(), node: number, added: false });
        self.release(number);
        Some(pod)
    }

    /// Takes in another state of a pod on a node that differs in nothing that is counted.
    pub fn replace_pod(&mut self, pod: Arc<PodInfo>) {
        let Some(number) = self.pod_place(&pod.uid) else { return };
        let mut pods = self.nodes[number].pods.iter_mut();
        let Some(known) = pods.find(|other| other.uid == pod.uid) else { return };
        // How long it runs decides who is preempted.
        let has_begun = known.started() != pod.started();
        *known = pod;
        if has_begun {
            self.touch(number);
        }
    }

    fn record(&mut self, placement: Placement) {
        self.placed += 1;
        if self.placements.len() == PLACEMENTS_LENGTH {
            self.placements.pop_front();
        }
        self.placements.push_back(placement);
    }

    /// Puts a pod on a node for a moment, to see what would be if it were there. Nobody else is told.
    pub fn put(&mut self, number: usize, pod: Arc<PodInfo>) {
        let node = &mut self.nodes[number];
        node.requested.add(&pod.requests);
        node.scored.0 = node.scored.0.saturating_add(pod.scored.0);
        node.scored.1 = node.scored.1.saturating_add(pod.scored.1);
        node.pods.push(pod);
    }

    /// Takes a pod from a node for a moment, the opposite of [`Table::put`].
    pub fn take(&mut self, number: usize, uid: &str) -> Option<Arc<PodInfo>> {
        let node = &mut self.nodes[number];
        let at = node.pods.iter().rposition(|pod| pod.uid == uid)?;
        let pod = node.pods.swap_remove(at);
        node.requested.subtract(&pod.requests);
        node.scored.0 = node.scored.0.saturating_sub(pod.scored.0);
        node.scored.1 = node.scored.1.saturating_sub(pod.scored.1);
        Some(pod)
    }

    /// Reserves a node for a pod that others were preempted for.
    pub fn nominate(&mut self, number: usize, pod: Arc<PodInfo>) {
        self.withdraw(&pod.uid);
        self.nominations.insert(pod.uid.clone(), number);
        self.nominated.entry(number).or_default().push(pod);
    }

    /// Ends a reservation.
    pub fn withdraw(&mut self, uid: &str) {
        let Some(number) = self.nominations.remove(uid) else { return };
        if let Some(pods) = self.nominated.get_mut(&number) {
            pods.retain(|pod| pod.uid != uid);
            if pods.is_empty() {
                self.nominated.remove(&number);
            }
        }
    }

    /// The pods that a node is reserved for.
    pub fn nominated(&self, number: usize) -> &[Arc<PodInfo>] {
        self.nominated.get(&number).map(Vec::as_slice).unwrap_or_default()
    }

    /// The node that is reserved for a pod.
    pub fn nomination(&self, uid: &str) -> Option<usize> {
        self.nominations.get(uid).copied()
    }

    /// Takes in the labels of a namespace, or forgets it.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
        self.layout += 1;
    }

    /// Takes in the selector of a service, or forgets it.
    pub fn set_service(&mut self, key: (String, String), selector: Option<Labels>) {
        let changed = match selector {
            Some(selector) => self.services.insert(key, selector.clone()).as_ref() != Some(&selector),
            None => self.services.remove(&key).is_some(),
        };
        self.layout += u64::from(changed);
    }
}

/// Bytes of each image that a node says it has.
fn images(node: &Node) -> HashMap<String, i64> {
    let images = node.status.as_ref().and_then(|status| status.images.as_deref()).unwrap_or_default();
    let named = images.iter().flat_map(|image| {
        let size = image.size_bytes.unwrap_or(0);
        image.names.iter().flatten().map(move |name| (normalized_image(name), size))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_are_looked_at_zone_by_zone_in_turn() {
        let mut table = Table::default();
        for (name, zone) in [("a", "x"), ("b", "x"), ("c", "x"), ("d", "y"), ("e", "z")] {
            let node = json!({"metadata": {"name": name, "labels": {ZONE: zone}}});
            table.set_node(&serde_json::from_value(node).unwrap());
        }
        assert_eq!(*table.order(), [0, 3, 4, 1, 2]);
        table.remove_node("d");
        assert_eq!(*table.order(), [0, 4, 1, 2]);
    }

    #[test]
    fn who_counts_pods_hears_of_those_that_came_and_went() {
        let mut table = Table::default();
        let pod = |uid: &str| {
            Arc::new(PodInfo::new(Arc::new(serde_json::from_value(json!({"metadata": {"uid": uid}})).unwrap())))
        };
        table.add_pod("a", pod("1"));
        let then = table.placed;
        table.add_pod("a", pod("2"));
        table.remove_pod("1");
        let told: Vec<_> = table.placements_since(then).unwrap().map(|p| (p.pod.uid.as_str(), p.added)).collect();
        assert_eq!(told, [("2", true), ("1", false)]);
        for n in 0..PLACEMENTS_LENGTH {
            table.add_pod("a", pod(&n.to_string()));
        }
        assert!(table.placements_since(then).is_none());
    }
}
