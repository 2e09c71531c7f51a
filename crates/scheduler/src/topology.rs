//! Topology domains: the values of each label that nodes have, as numbers.

use std::collections::{BTreeMap, HashMap};

/// What is not in any domain.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Every label of nodes as a topology.
#[derive(Debug, Default)]
pub(crate) struct Topologies {
    keys: HashMap<String, usize>,
    all: Vec<Topology>,
    free: Vec<usize>,
}

/// One label's values.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    values: HashMap<String, u32>,
    /// How many nodes have each value.
    nodes: Vec<usize>,
    free: Vec<u32>,
    /// The domain of each node.
    domains: Vec<u32>,
}

impl Topology {
    /// The domain of a node, or [`NOWHERE`].
    pub fn domain(&self, node: usize) -> u32 {
        self.domains.get(node).copied().unwrap_or(NOWHERE)
    }

    /// One more than the greatest number of a domain.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    fn set(&mut self, node: usize, value: &str) {
        let domain = match self.values.get(value) {
            Some(domain) => *domain,
            None => {
                let domain = self.free.pop().unwrap_or_else(|| {
                    self.nodes.push(0);
                    self.nodes.len() as u32 - 1
                });
                self.values.insert(value.to_owned(), domain);
                domain
            }
        };
        self.nodes[domain as usize] += 1;
        if self.domains.len() <= node {
            self.domains.resize(node + 1, NOWHERE);
        }
        self.domains[node] = domain;
    }

    fn unset(&mut self, node: usize, value: &str) {
        let domain = self.domain(node);
        let Some(count) = self.nodes.get_mut(domain as usize) else { return };
        *count -= 1;
        if *count == 0 {
            self.values.remove(value);
            self.free.push(domain);
        }
        self.domains[node] = NOWHERE;
    }
}

impl Topologies {
    /// The topology of a label, if a node has it. Its number, and those of its domains, are good until the labels of any node
    /// change.
    pub fn find(&self, key: &str) -> Option<usize> {
        self.keys.get(key).copied()
    }

    pub fn get(&self, number: usize) -> &Topology {
        &self.all[number]
    }

    /// The domain of a node in a topology that may be none.
    pub fn domain(&self, topology: Option<usize>, node: usize) -> u32 {
        topology.map_or(NOWHERE, |number| self.get(number).domain(node))
    }

    /// Takes in that the labels of a node are others than before.
    pub fn relabel(&mut self, node: usize, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) {
        for (key, value) in old.iter().filter(|(key, value)| new.get(*key) != Some(*value)) {
            let Some(number) = self.find(key) else { continue };
            let topology = &mut self.all[number];
            topology.unset(node, value);
            if topology.values.is_empty() {
                self.keys.remove(key);
                self.all[number] = Topology::default();
                self.free.push(number);
            }
        }
        for (key, value) in new.iter().filter(|(key, value)| old.get(*key) != Some(*value)) {
            let number = self.find(key).unwrap_or_else(|| self.add(key));
            self.all[number].set(node, value);
        }
    }

    fn add(&mut self, key: &str) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            self.all.push(Topology::default());
            self.all.len() - 1
        });
        self.keys.insert(key.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn domains_are_those_that_nodes_have() {
        let (none, a, b) = (labels(&[]), labels(&[("zone", "a")]), labels(&[("zone", "b")]));
        let mut topologies = Topologies::default();
        topologies.relabel(0, &none, &a);
        topologies.relabel(3, &none, &b);
        let zone = topologies.find("zone");
        let domain = |topologies: &Topologies, node| topologies.domain(zone, node);
        assert_eq!((domain(&topologies, 0), domain(&topologies, 1), domain(&topologies, 3)), (0, NOWHERE, 1));
        topologies.relabel(0, &a, &b);
        assert_eq!(domain(&topologies, 0), 1);
        topologies.relabel(1, &none, &a);
        assert_eq!(domain(&topologies, 1), 0, "the number is used again");
        for node in [0, 3] {
            topologies.relabel(node, &b, &none);
        }
        topologies.relabel(1, &a, &none);
        assert_eq!(topologies.find("zone"), None);
    }
}
