//! InterPodAffinity: pods that must or would like to be near to, or far from, other pods.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity>

use crate::framework::{
    Actions, ClusterEvent, MAX_SCORE, Plugin, PreFilter, Prepared, Refusal, Scope, Subject, Verdict,
};
use crate::pod::{PodInfo, Term};
use crate::table::Table;
use crate::topology::NOWHERE;

pub(crate) const NAME: &str = "InterPodAffinity";

/// The plugin, with its arguments.
#[derive(Debug)]
pub(crate) struct InterPodAffinity {
    /// What a required affinity of a pod that runs counts in favour of being near it.
    pub hard_pod_affinity_weight: i64,
    /// Only pods that have preferences themselves are scored.
    pub ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinity {
    fn default() -> Self {
        InterPodAffinity { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }

    fn pre_filter(&self, pod: &PodInfo, table: &Table) -> Result<PreFilter, Refusal> {
        Ok(PreFilter { nodes: None, filter: Some(Box::new(Filter::new(pod, table))) })
    }

    fn pre_score(&self, pod: &PodInfo, table: &Table) -> Option<Box<dyn Prepared>> {
        if pod.preferred.is_empty() && self.ignore_preferred_terms_of_existing_pods {
            return None;
        }
        Some(Box::new(Scores::new(self.hard_pod_affinity_weight, pod, table)))
    }

    fn events(&self) -> Actions {
        Actions::POD_ADD
            | Actions::POD_DELETE
            | Actions::POD_LABEL
            | Actions::NODE_ADD
            | Actions::NODE_LABEL
            | Actions::NAMESPACE_LABEL
            | Actions::OWN_UPDATE
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent<'_>, table: &Table) -> bool {
        let Subject::Pod(other) = event.subject else { return true };
        let matches = |term: &Term, pod: &PodInfo| term.matches(pod, &table.namespaces);
        if event.actions.meets(Actions::POD_LABEL) {
            return true;
        }
        if event.actions.meets(Actions::POD_DELETE) {
            return pod.anti_affinity.iter().any(|term| matches(term, other))
                || other.anti_affinity.iter().any(|term| matches(term, pod));
        }
        !pod.affinity.is_empty() && pod.affinity.iter().all(|term| matches(term, other))
    }
}

/// Numbers by domain of one topology.
struct Counts {
    topology: Option<usize>,
    domains: Vec<i64>,
    /// The sum of all domains' amounts.
    total: i64,
}

impl Counts {
    fn new(key: &str, table: &Table) -> Counts {
        let topology = table.topologies.find(key);
        let size = topology.map_or(0, |number| table.topologies.get(number).size());
        Counts { topology, domains: vec![0; size], total: 0 }
    }

    fn add(&mut self, node: usize, number: i64, table: &Table) {
        let domain = table.topologies.domain(self.topology, node);
        if let Some(count) = self.domains.get_mut(domain as usize) {
            *count += number;
            self.total += number;
        }
    }

    /// `None` where the node is in no domain.
    fn at(&self, node: usize, table: &Table) -> Option<i64> {
        let domain = table.topologies.domain(self.topology, node);
        (domain != NOWHERE).then(|| self.domains.get(domain as usize).copied().unwrap_or(0))
    }
}

/// What the pods that run mean for one that does not yet.
struct Filter {
    /// For each term of the pod.
    affinity: Vec<Counts>,
    anti_affinity: Vec<Counts>,
    /// For each topology of terms by which pods that run keep this one off.
    existing_anti_affinity: Vec<(String, Counts)>,
    /// The pod matches its own affinity: while nobody else does, it may go anywhere, as the first of a group.
    matches_itself: bool,
}

impl Filter {
    fn new(pod: &PodInfo, table: &Table) -> Filter {
        let counts = |terms: &[Term]| terms.iter().map(|term| Counts::new(&term.topology_key, table)).collect();
        let mut filter = Filter {
            affinity: counts(&pod.affinity),
            anti_affinity: counts(&pod.anti_affinity),
            existing_anti_affinity: Vec::new(),
            matches_itself: pod.affinity.iter().all(|term| term.matches(pod, &table.namespaces)),
        };
        for &node in &table.with_anti_affinity {
            let pods = table.node(node).pods.iter();
            pods.for_each(|other| filter.count_existing(pod, other, node, 1, table));
        }
        if !pod.affinity.is_empty() || !pod.anti_affinity.is_empty() {
            for (node, info) in table.existing() {
                info.pods.iter().for_each(|other| filter.count_incoming(pod, other, node, 1, table));
            }
        }
        filter
    }

    fn count_existing(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, by: i64, table: &Table) {
        for term in other.anti_affinity.iter().filter(|term| term.matches(pod, &table.namespaces)) {
            let known = self.existing_anti_affinity.iter().position(|(key, _)| *key == term.topology_key);
            let at = known.unwrap_or_else(|| {
                let counts = Counts::new(&term.topology_key, table);
                self.existing_anti_affinity.push((term.topology_key.clone(), counts));
                self.existing_anti_affinity.len() - 1
            });
            self.existing_anti_affinity[at].1.add(node, by, table);
        }
    }

    fn count_incoming(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, by: i64, table: &Table) {
        let matches = |term: &Term| term.matches(other, &table.namespaces);
        if !pod.affinity.is_empty() && pod.affinity.iter().all(matches) {
            self.affinity.iter_mut().for_each(|counts| counts.add(node, by, table));
        }
        for (counts, _) in self.anti_affinity.iter_mut().zip(&pod.anti_affinity).filter(|(_, term)| matches(term)) {
            counts.add(node, by, table);
        }
    }

    fn count(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, by: i64, table: &Table) {
        self.count_existing(pod, other, node, by, table);
        if table.node(node).exists {
            self.count_incoming(pod, other, node, by, table);
        }
    }
}

impl Prepared for Filter {
    fn filter(&self, _pod: &PodInfo, node: usize, table: &Table) -> Verdict {
        let mut near = self.affinity.iter().map(|counts| counts.at(node, table));
        let is_near = if self.matches_itself && self.affinity.iter().all(|counts| counts.total == 0) {
            near.all(|count| count.is_some())
        } else {
            near.all(|count| count.is_some_and(|count| count > 0))
        };
        if !is_near {
            return Err(Refusal::unresolvable(NAME, "node(s) didn't match pod affinity rules"));
        }
        let far = |counts: &Counts| counts.at(node, table).is_some_and(|count| count > 0);
        if self.anti_affinity.iter().any(far) {
            return Err(Refusal::resolvable(NAME, "node(s) didn't match pod anti-affinity rules"));
        }
        if self.existing_anti_affinity.iter().any(|(_, counts)| far(counts)) {
            return Err(Refusal::resolvable(NAME, "node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }

    fn allows_all(&self) -> bool {
        let nowhere = |counts: &Counts| counts.total == 0;
        self.affinity.is_empty()
            && self.anti_affinity.iter().all(nowhere)
            && self.existing_anti_affinity.iter().all(|(_, counts)| nowhere(counts))
    }

    fn add_pod(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, table: &Table) {
        self.count(pod, other, node, 1, table);
    }

    fn remove_pod(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, table: &Table) {
        self.count(pod, other, node, -1, table);
    }
}

/// The preferences of the pod, and of the pods that run about it.
struct Scores {
    hard_pod_affinity_weight: i64,
    sums: Vec<(String, Counts)>,
}

impl Scores {
    fn new(hard_pod_affinity_weight: i64, pod: &PodInfo, table: &Table) -> Scores {
        let mut scores = Scores { hard_pod_affinity_weight, sums: Vec::new() };
        if pod.preferred.is_empty() {
            for &node in &table.with_affinity {
                let pods = table.node(node).pods.iter();
                pods.for_each(|other| scores.count(pod, other, node, 1, table));
            }
        } else {
            for (node, info) in table.existing() {
                info.pods.iter().for_each(|other| scores.count(pod, other, node, 1, table));
            }
        }
        scores
    }

    fn count(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, by: i64, table: &Table) {
        for (weight, term) in pod.preferred.iter().filter(|(_, term)| term.matches(other, &table.namespaces)) {
            self.add(term, node, by * weight, table);
        }
        let matches = |term: &Term| term.matches(pod, &table.namespaces);
        if self.hard_pod_affinity_weight > 0 {
            for term in other.affinity.iter().filter(|term| matches(term)) {
                self.add(term, node, by * self.hard_pod_affinity_weight, table);
            }
        }
        for (weight, term) in other.preferred.iter().filter(|(_, term)| matches(term)) {
            self.add(term, node, by * weight, table);
        }
    }

    fn add(&mut self, term: &Term, node: usize, number: i64, table: &Table) {
        let known = self.sums.iter().position(|(key, _)| *key == term.topology_key);
        let at = known.unwrap_or_else(|| {
            self.sums.push((term.topology_key.clone(), Counts::new(&term.topology_key, table)));
            self.sums.len() - 1
        });
        self.sums[at].1.add(node, number, table);
    }
}

impl Prepared for Scores {
    fn scores(&mut self, _pod: &PodInfo, nodes: &[usize], table: &Table) -> Option<Vec<i64>> {
        if self.sums.is_empty() {
            return None;
        }
        let sum = |node: &usize| self.sums.iter().filter_map(|(_, counts)| counts.at(*node, table)).sum();
        let mut scores: Vec<i64> = nodes.iter().map(sum).collect();
        let (least, most) = (scores.iter().copied().min()?, scores.iter().copied().max()?);
        if most == least {
            return None;
        }
        for score in &mut scores {
            *score = (MAX_SCORE as f64 * ((*score - least) as f64 / (most - least) as f64)) as i64;
        }
        Some(scores)
    }

    fn add_pod(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, table: &Table) {
        self.count(pod, other, node, 1, table);
    }

    fn remove_pod(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, table: &Table) {
        self.count(pod, other, node, -1, table);
    }
}
