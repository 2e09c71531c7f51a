//! The node table: every node with the pods on it and what they use, kept up to date change by change.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::pod::{Labels, PodInfo, normalized_image};
use crate::resources::{Amounts, CPU, MEMORY, Names, amounts, pod_limit};

/// Changes that the table remembers for those who keep results by node.
const LOG_LENGTH: usize = 65_536;

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
    pub scored: [i64; 2],
    pub pods: Vec<Arc<PodInfo>>,
    /// Bytes of each image on the node.
    pub images: HashMap<String, i64>,
}

/// All nodes, by a number that stays the same while a node exists.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub names: Names,
    nodes: Vec<NodeInfo>,
    numbers: HashMap<String, usize>,
    free: Vec<usize>,
    /// Where each pod is, by UID.
    places: HashMap<String, usize>,
    /// On how many nodes each image is.
    pub image_nodes: HashMap<String, usize>,
    /// Nodes with a pod that has required anti-affinity, and with any affinity to pods.
    pub with_anti_affinity: BTreeSet<usize>,
    pub with_affinity: BTreeSet<usize>,
    /// Pods that preemption made room for, by node.
    nominated: HashMap<usize, Vec<Arc<PodInfo>>>,
    pub namespaces: BTreeMap<String, Labels>,
    existing: usize,
    /// Counts changes.
    pub sequence: u64,
    /// Counts changes of the set of nodes or of their images.
    pub epoch: u64,
    log: VecDeque<(u64, usize)>,
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

    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// All nodes that the API has.
    pub fn existing(&self) -> impl Iterator<Item = (usize, &NodeInfo)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.exists)
    }

    pub fn pod_place(&self, uid: &str) -> Option<usize> {
        self.places.get(uid).copied()
    }

    /// The nodes that changed after `sequence`; `None` when that is too long ago to tell.
    pub fn changed_since(&self, sequence: u64) -> Option<impl Iterator<Item = usize>> {
        let missing = self.sequence - sequence;
        let known = usize::try_from(missing).ok().filter(|missing| *missing <= self.log.len())?;
        Some(self.log.range(self.log.len() - known..).map(|(_, number)| *number))
    }

    fn touch(&mut self, number: usize) {
        self.sequence += 1;
        if self.log.len() == LOG_LENGTH {
            self.log.pop_front();
        }
        self.log.push_back((self.sequence, number));
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
        let status = node.status.clone().unwrap_or_default();
        let allocatable = amounts(&mut self.names, status.allocatable.as_ref());
        let images: HashMap<String, i64> = status
            .images
            .iter()
            .flatten()
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or(0);
                image.names.iter().flatten().map(move |name| (normalized_image(name), size))
            })
            .collect();
        if images.len() != self.nodes[number].images.len()
            || images.keys().any(|image| !self.nodes[number].images.contains_key(image))
        {
            self.forget_images(number);
            for image in images.keys() {
                *self.image_nodes.entry(image.clone()).or_default() += 1;
            }
            self.epoch += 1;
        }
        let spec = node.spec.as_ref();
        let info = &mut self.nodes[number];
        if !info.exists {
            info.exists = true;
            self.existing += 1;
            self.epoch += 1;
        }
        info.labels = node.metadata.labels.clone().unwrap_or_default();
        info.taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        info.unschedulable = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        info.allocatable = allocatable;
        info.pod_limit = pod_limit(status.allocatable.as_ref());
        info.images = images;
        self.touch(number);
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
        if std::mem::take(&mut self.nodes[number].exists) {
            self.existing -= 1;
        }
        self.epoch += 1;
        self.nominated.remove(&number);
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
        self.put(number, pod);
    }

    /// Takes a pod from its node.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let number = self.places.remove(uid)?;
        let pod = self.take(number, uid);
        self.release(number);
        pod
    }

    /// Puts a pod on a node for a moment, to see what would be if it were there.
    pub fn put(&mut self, number: usize, pod: Arc<PodInfo>) {
        if pod.has_pod_affinity() {
            self.with_affinity.insert(number);
            if !pod.anti_affinity.is_empty() {
                self.with_anti_affinity.insert(number);
            }
        }
        let node = &mut self.nodes[number];
        node.requested.add(&pod.requests);
        node.scored[CPU] += pod.scored[CPU];
        node.scored[MEMORY] += pod.scored[MEMORY];
        node.pods.push(pod);
        self.touch(number);
    }

    /// Takes a pod from a node for a moment, the opposite of [`Table::put`].
    pub fn take(&mut self, number: usize, uid: &str) -> Option<Arc<PodInfo>> {
        let node = &mut self.nodes[number];
        let at = node.pods.iter().position(|pod| pod.uid == uid)?;
        let pod = node.pods.swap_remove(at);
        node.requested.subtract(&pod.requests);
        node.scored[CPU] -= pod.scored[CPU];
        node.scored[MEMORY] -= pod.scored[MEMORY];
        if pod.has_pod_affinity() {
            if !node.pods.iter().any(|pod| pod.has_pod_affinity()) {
                self.with_affinity.remove(&number);
            }
            if !node.pods.iter().any(|pod| !pod.anti_affinity.is_empty()) {
                self.with_anti_affinity.remove(&number);
            }
        }
        self.touch(number);
        Some(pod)
    }

    /// Reserves a node for a pod that others were preempted for.
    pub fn nominate(&mut self, number: usize, pod: Arc<PodInfo>) {
        self.withdraw(&pod.uid);
        self.nominated.entry(number).or_default().push(pod);
    }

    /// Ends a reservation.
    pub fn withdraw(&mut self, uid: &str) {
        self.nominated.retain(|_, pods| {
            pods.retain(|pod| pod.uid != uid);
            !pods.is_empty()
        });
    }

    /// The pods that a node is reserved for.
    pub fn nominated(&self, number: usize) -> &[Arc<PodInfo>] {
        self.nominated.get(&number).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn has_nominations(&self) -> bool {
        !self.nominated.is_empty()
    }
}
