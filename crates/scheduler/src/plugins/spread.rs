//! PodTopologySpread: pods of a kind are to be spread evenly over domains (nodes, zones).

use std::collections::HashMap;

use super::{MAX_SCORE, Reason, Verdict, node_affinity, taints};
use crate::pod::{PodInfo, Spread};
use crate::table::{NodeInfo, Table};

const HOSTNAME: &str = "kubernetes.io/hostname";

/// How many pods of a node a constraint counts.
fn count(constraint: &Spread, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let counted = |other: &&std::sync::Arc<PodInfo>| {
        other.namespace == pod.namespace && !other.is_terminating() && constraint.selector.matches(other)
    };
    node.pods.iter().filter(counted).count() as i64
}

fn is_eligible(constraint: &Spread, pod: &PodInfo, node: &NodeInfo) -> bool {
    (!constraint.honor_affinity || node_affinity::matches(pod, node))
        && (!constraint.honor_taints || taints::untolerated(&pod.tolerations, &node.taints).is_none())
}

/// The pods in each domain of each hard constraint.
pub(crate) struct Filter {
    domains: Vec<HashMap<String, i64>>,
}

impl Filter {
    pub fn new(pod: &PodInfo, table: &Table) -> Filter {
        let mut domains = vec![HashMap::new(); pod.hard_spread.len()];
        for (_, node) in table.existing() {
            if !pod.hard_spread.iter().all(|constraint| node.labels.contains_key(&constraint.topology_key)) {
                continue;
            }
            for (constraint, domains) in pod.hard_spread.iter().zip(&mut domains) {
                if is_eligible(constraint, pod, node)
                    && let Some(value) = node.labels.get(&constraint.topology_key)
                {
                    *domains.entry(value.clone()).or_insert(0) += count(constraint, pod, node);
                }
            }
        }
        Filter { domains }
    }

    pub fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Verdict {
        for (constraint, domains) in pod.hard_spread.iter().zip(&self.domains) {
            let Some(value) = node.labels.get(&constraint.topology_key) else {
                return Verdict::refused(Reason::SpreadLabel, false);
            };
            let too_few = constraint.min_domains.is_some_and(|least| (domains.len() as i64) < least);
            let least = if too_few { 0 } else { domains.values().copied().min().unwrap_or(0) };
            let itself = i64::from(constraint.selector.matches(pod));
            let there = domains.get(value).copied().unwrap_or(0);
            if there + itself - least > constraint.max_skew {
                return Verdict::refused(Reason::Spread, true);
            }
        }
        Verdict::Fits
    }
}

/// Scores nodes by how few pods their domains have. With `defaults` the constraints are the cluster's own, which
/// do not ask that nodes have all labels.
pub(crate) fn score(
    pod: &PodInfo,
    constraints: &[Spread],
    defaults: bool,
    table: &Table,
    nodes: &[usize],
) -> Option<Vec<i64>> {
    if constraints.is_empty() {
        return None;
    }
    let ignored = |node: &NodeInfo| {
        !defaults && !constraints.iter().all(|constraint| node.labels.contains_key(&constraint.topology_key))
    };
    let considered = nodes.iter().filter(|number| !ignored(table.node(**number))).count();
    let mut weights = Vec::with_capacity(constraints.len());
    let mut domains: Vec<HashMap<&str, i64>> = vec![HashMap::new(); constraints.len()];
    for (constraint, domains) in constraints.iter().zip(&mut domains) {
        if constraint.topology_key != HOSTNAME {
            for number in nodes.iter().filter(|number| !ignored(table.node(**number))) {
                if let Some(value) = table.node(*number).labels.get(&constraint.topology_key) {
                    domains.insert(value.as_str(), 0);
                }
            }
            if !domains.is_empty() {
                for (_, node) in table.existing().filter(|(_, node)| !ignored(node)) {
                    if let Some(value) = node.labels.get(&constraint.topology_key)
                        && let Some(sum) = domains.get_mut(value.as_str())
                        && is_eligible(constraint, pod, node)
                    {
                        *sum += count(constraint, pod, node);
                    }
                }
            }
        }
        let size = if constraint.topology_key == HOSTNAME { considered } else { domains.len() };
        weights.push((size as f64 + 2.0).ln());
    }
    let raw: Vec<Option<i64>> = nodes
        .iter()
        .map(|number| {
            let node = table.node(*number);
            if ignored(node) {
                return None;
            }
            let mut score = 0.0;
            for ((constraint, domains), weight) in constraints.iter().zip(&domains).zip(&weights) {
                if let Some(value) = node.labels.get(&constraint.topology_key) {
                    let there = if constraint.topology_key == HOSTNAME {
                        count(constraint, pod, node)
                    } else {
                        domains.get(value.as_str()).copied().unwrap_or(0)
                    };
                    score += there as f64 * weight + (constraint.max_skew - 1) as f64;
                }
            }
            Some(score.round() as i64)
        })
        .collect();
    let most = raw.iter().flatten().copied().max().unwrap_or(0);
    let least = raw.iter().flatten().copied().min().unwrap_or(0);
    let normalized = |score: Option<i64>| match score {
        None => 0,
        Some(_) if most == 0 => MAX_SCORE,
        Some(score) => MAX_SCORE * (most + least - score) / most,
    };
    Some(raw.into_iter().map(normalized).collect())
}
