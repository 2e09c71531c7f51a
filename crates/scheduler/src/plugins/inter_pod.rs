//! InterPodAffinity: pods that must or would like to be near to, or far from, other pods.

use std::collections::HashMap;

use super::{MAX_SCORE, Reason, Verdict};
use crate::pod::{PodInfo, Term};
use crate::table::{NodeInfo, Table};

/// Numbers by topology key and domain.
type Domains = HashMap<String, HashMap<String, i64>>;

fn add(domains: &mut Domains, key: &str, node: &NodeInfo, number: i64) {
    if let Some(value) = node.labels.get(key) {
        match domains.get_mut(key) {
            Some(values) => *values.entry(value.clone()).or_default() += number,
            None => {
                domains.insert(key.to_owned(), HashMap::from([(value.clone(), number)]));
            }
        }
    }
}

fn at(domains: &Domains, key: &str, node: &NodeInfo) -> Option<i64> {
    let value = node.labels.get(key)?;
    Some(domains.get(key).and_then(|values| values.get(value)).copied().unwrap_or(0))
}

/// What the pods that run mean for one that does not yet.
#[derive(Default)]
pub(crate) struct Filter {
    affinity: Domains,
    anti: Domains,
    existing_anti: Domains,
    /// No pod matches the affinity, but the pod matches its own: the first of a group may go anywhere.
    first_of_group: bool,
}

/// Whether the filter has anything to say about a pod.
pub(crate) fn is_needed(pod: &PodInfo, table: &Table) -> bool {
    !pod.affinity.is_empty() || !pod.anti_affinity.is_empty() || !table.with_anti_affinity.is_empty()
}

impl Filter {
    pub fn new(pod: &PodInfo, table: &Table) -> Filter {
        let mut filter = Filter::default();
        let matches = |term: &Term, other: &PodInfo| term.matches(other, &table.namespaces);
        for &number in &table.with_anti_affinity {
            let node = table.node(number);
            for other in &node.pods {
                for term in other.anti_affinity.iter().filter(|term| matches(term, pod)) {
                    add(&mut filter.existing_anti, &term.topology_key, node, 1);
                }
            }
        }
        if !pod.affinity.is_empty() || !pod.anti_affinity.is_empty() {
            for (_, node) in table.existing() {
                for other in &node.pods {
                    if !pod.affinity.is_empty() && pod.affinity.iter().all(|term| matches(term, other)) {
                        for term in &pod.affinity {
                            add(&mut filter.affinity, &term.topology_key, node, 1);
                        }
                    }
                    for term in pod.anti_affinity.iter().filter(|term| matches(term, other)) {
                        add(&mut filter.anti, &term.topology_key, node, 1);
                    }
                }
            }
            filter.first_of_group = filter.affinity.is_empty() && pod.affinity.iter().all(|term| matches(term, pod));
        }
        filter
    }

    pub fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Verdict {
        let near = |term: &Term| at(&self.affinity, &term.topology_key, node);
        let labeled = pod.affinity.iter().all(|term| near(term).is_some());
        if !labeled || !(self.first_of_group || pod.affinity.iter().all(|term| near(term).is_some_and(|n| n > 0))) {
            return Verdict::refused(Reason::PodAffinity, false);
        }
        let far = |term: &Term| at(&self.anti, &term.topology_key, node).is_some_and(|n| n > 0);
        if pod.anti_affinity.iter().any(far) {
            return Verdict::refused(Reason::PodAntiAffinity, true);
        }
        if self.existing_anti.keys().any(|key| at(&self.existing_anti, key, node).is_some_and(|n| n > 0)) {
            return Verdict::refused(Reason::ExistingAntiAffinity, true);
        }
        Verdict::Fits
    }
}

/// Scores nodes by the preferences of the pod, and of the pods there about it. `None` when there are none.
pub(crate) fn score(pod: &PodInfo, table: &Table, nodes: &[usize]) -> Option<Vec<i64>> {
    if pod.preferred.is_empty() && table.with_affinity.is_empty() {
        return None;
    }
    let mut sums = Domains::new();
    let matches = |term: &Term, other: &PodInfo| term.matches(other, &table.namespaces);
    let theirs = |sums: &mut Domains, node: &NodeInfo, other: &PodInfo| {
        // A required affinity of a pod that runs counts a little in favour of being near it.
        for term in other.affinity.iter().filter(|term| matches(term, pod)) {
            add(sums, &term.topology_key, node, 1);
        }
        for (weight, term) in other.preferred.iter().filter(|(_, term)| matches(term, pod)) {
            add(sums, &term.topology_key, node, *weight);
        }
    };
    if pod.preferred.is_empty() {
        for &number in &table.with_affinity {
            let node = table.node(number);
            node.pods.iter().for_each(|other| theirs(&mut sums, node, other));
        }
    } else {
        for (_, node) in table.existing() {
            for other in &node.pods {
                for (weight, term) in pod.preferred.iter().filter(|(_, term)| matches(term, other)) {
                    add(&mut sums, &term.topology_key, node, *weight);
                }
                theirs(&mut sums, node, other);
            }
        }
    }
    if sums.is_empty() {
        return None;
    }
    let mut scores: Vec<i64> =
        nodes.iter().map(|number| sums.keys().filter_map(|key| at(&sums, key, table.node(*number))).sum()).collect();
    let (least, most) = (scores.iter().copied().min()?, scores.iter().copied().max()?);
    for score in &mut scores {
        *score = if most > least { MAX_SCORE * (*score - least) / (most - least) } else { 0 };
    }
    Some(scores)
}
