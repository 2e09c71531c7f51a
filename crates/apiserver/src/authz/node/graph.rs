//! Which node has to do with which object, through the pods that are bound to it.
//!
//! Kept is only what a decision cannot look up by itself: for an object and a node how many references from pods there lead
//! to the object, as three numbers, and for a secret the volumes that need it.

use std::collections::BTreeMap;
use std::hash::Hash;

use foldhash::HashMap;

use super::references::{self, Referent};
use crate::index::Derived;
use crate::object::Object;

/// A kind of objects that the graph is made of.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// Pod.
    Pods,
    /// PersistentVolume.
    Volumes,
}

/// The graph.
#[derive(Default)]
pub struct Graph {
    nodes: Numbers<Box<str>>,
    objects: Numbers<(Referent, Box<str>)>,
    /// By object and node the references.
    references: HashMap<(u32, u32), u32>,
    /// By secret the volumes that need it, and the claims that they are bound to.
    secrets: HashMap<Box<str>, BTreeMap<Box<str>, Box<str>>>,
}

impl Graph {
    /// Whether a pod on the node refers to an object, given by the key below its resource.
    pub fn is_used(&self, node: &str, kind: Referent, key: &str) -> bool {
        let object = self.objects.get(&(kind, key.into()));
        object.zip(self.nodes.get(node)).is_some_and(|edge| self.references.contains_key(&edge))
    }

    /// Whether a pod on the node refers to the secret, or has a volume that needs it.
    pub fn is_secret_used(&self, node: &str, key: &str) -> bool {
        let claims = self.secrets.get(key).into_iter().flat_map(BTreeMap::values);
        self.is_used(node, Referent::Secret, key)
            || claims.into_iter().any(|claim| self.is_used(node, Referent::Claim, claim))
    }

    fn put_pod(&mut self, key: &str, before: Option<&[u8]>, now: Option<&[u8]>) {
        let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
        let [before, now] = [before, now].map(|pod| pod.and_then(references::of_pod));
        if before == now {
            return;
        }
        // What stays is counted up before it is counted down, and so keeps its number.
        for (node, found) in now.iter() {
            found.iter().for_each(|(kind, name)| self.add(node, (*kind, format!("{namespace}/{name}").into())));
        }
        for (node, found) in before.iter() {
            found.iter().for_each(|(kind, name)| self.remove(node, &(*kind, format!("{namespace}/{name}").into())));
        }
    }

    fn add(&mut self, node: &str, object: (Referent, Box<str>)) {
        let edge = (self.objects.take(object), self.nodes.take(node.into()));
        let count = self.references.entry(edge).or_default();
        *count = count.saturating_add(1);
    }

    fn remove(&mut self, node: &str, object: &(Referent, Box<str>)) {
        let Some(edge) = self.objects.get(object).zip(self.nodes.get(node)) else { return };
        let Some(count) = self.references.get_mut(&edge) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.references.remove(&edge);
        }
        self.objects.give_back(object);
        self.nodes.give_back(node);
    }

    fn put_volume(&mut self, key: &str, before: Option<&Object>, now: Option<&Object>) {
        let of = |volume: Option<&Object>| volume.and_then(|volume| references::of_volume(&volume.value()));
        for secret in of(before).into_iter().flat_map(|(_, secrets)| secrets) {
            let Some(volumes) = self.secrets.get_mut(secret.as_str()) else { continue };
            volumes.remove(key);
            if volumes.is_empty() {
                self.secrets.remove(secret.as_str());
            }
        }
        let Some((claim, secrets)) = of(now) else { return };
        for secret in secrets {
            self.secrets.entry(secret.into()).or_default().insert(key.into(), claim.as_str().into());
        }
    }
}

impl Derived for Graph {
    type Source = Source;

    fn put(&mut self, source: Source, key: &str, before: Option<&Object>, now: Option<&Object>) {
        match source {
            Source::Pods => self.put_pod(key, before.map(Object::stored), now.map(Object::stored)),
            Source::Volumes => self.put_volume(key, before, now),
        }
    }

    fn clear(&mut self, source: Source) {
        match source {
            Source::Pods => *self = Graph { secrets: std::mem::take(&mut self.secrets), ..Graph::default() },
            Source::Volumes => self.secrets.clear(),
        }
    }
}

/// Small numbers for what is long and often meant.
struct Numbers<K> {
    /// The number of each, and how often it is taken.
    taken: HashMap<K, (u32, u32)>,
    free: Vec<u32>,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Numbers { taken: HashMap::default(), free: Vec::new() }
    }
}

impl<K: Eq + Hash> Numbers<K> {
    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.taken.get(key).map(|(number, _)| *number)
    }

    fn take(&mut self, key: K) -> u32 {
        // As many are taken as there are numbers: those that were free are none of them.
        let next = u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
        let (number, count) = self.taken.entry(key).or_insert_with(|| (self.free.pop().unwrap_or(next), 0));
        *count = count.saturating_add(1);
        *number
    }

    fn give_back<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        let Some((number, count)) = self.taken.get_mut(key) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.free.push(*number);
            self.taken.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn pod(node: &str, secrets: &[&str]) -> Vec<u8> {
        let volumes: Vec<_> = secrets.iter().map(|name| json!({"name": "v", "secret": {"secretName": name}})).collect();
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "volumes": volumes}}).to_string().into_bytes()
    }

    #[test]
    fn a_secret_is_used_as_long_as_a_pod_of_the_node_refers_to_it() {
        let mut graph = Graph::default();
        let used = |graph: &Graph, node: &str, name: &str| graph.is_secret_used(node, &format!("d/{name}"));
        graph.put_pod("d/one", None, Some(&pod("", &["s"])));
        assert!(!used(&graph, "a", "s"));
        graph.put_pod("d/one", Some(&pod("", &["s"])), Some(&pod("a", &["s"])));
        graph.put_pod("d/two", None, Some(&pod("a", &["s", "t"])));
        assert!(used(&graph, "a", "s") && used(&graph, "a", "t"));
        assert!(!used(&graph, "b", "s") && !graph.is_secret_used("a", "e/s"));
        assert!(!graph.is_used("a", Referent::ConfigMap, "d/s"));
        graph.put_pod("d/two", Some(&pod("a", &["s", "t"])), None);
        assert!(used(&graph, "a", "s") && !used(&graph, "a", "t"));
        graph.put_pod("d/one", Some(&pod("a", &["s"])), None);
        assert!(!used(&graph, "a", "s"));
        assert!(graph.references.is_empty() && graph.objects.taken.is_empty() && graph.nodes.taken.is_empty());
    }

    proptest! {
        /// Whatever order changes come in, the graph says what the pods that are left say.
        #[test]
        fn the_graph_is_what_its_pods_say(changes in proptest::collection::vec((0..4usize, 0..4usize, 0..8usize), 0..60)) {
            let names = ["s0", "s1", "s2"];
            let mut pods: [Option<(String, Vec<&str>)>; 4] = Default::default();
            let mut graph = Graph::default();
            let bytes = |pod: &Option<(String, Vec<&str>)>| pod.as_ref().map(|(node, secrets)| pod_of(node, secrets));
            fn pod_of(node: &str, secrets: &[&str]) -> Vec<u8> { pod(node, secrets) }
            for (number, node, secrets) in changes {
                let chosen = names.iter().enumerate().filter(|(bit, _)| secrets & (1 << bit) != 0).map(|(_, name)| *name);
                let new = (node < 3).then(|| (format!("n{node}"), chosen.collect()));
                graph.put_pod(&format!("d/{number}"), bytes(&pods[number]).as_deref(), bytes(&new).as_deref());
                pods[number] = new;
                for node in ["n0", "n1", "n2"] {
                    for name in names {
                        let says = pods.iter().flatten().any(|(own, secrets)| own == node && secrets.contains(&name));
                        prop_assert_eq!(graph.is_secret_used(node, &format!("d/{name}")), says);
                    }
                }
            }
        }
    }
}
