//! The rules: filters say whether a node can take a pod, scores say how well it would suit.
//!
//! What looks at one node only is here and its results are kept between pods of one template; what looks at pods
//! elsewhere is in [`inter_pod`] and [`spread`].

pub(crate) mod inter_pod;
pub(crate) mod node_affinity;
pub(crate) mod spread;
pub(crate) mod taints;

use k8s_openapi::api::core::v1::Taint;

use crate::pod::PodInfo;
use crate::resources::{Amounts, CPU, MEMORY};
use crate::table::{NodeInfo, Table};

/// The best score that a plugin gives.
pub(crate) const MAX_SCORE: i64 = 100;

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    Unschedulable,
    NodeName,
    Taint(String, String),
    NodeAffinity,
    /// Not one of the nodes that the pod names.
    NotNamed,
    Ports,
    TooManyPods,
    /// Too little of a resource, by its number.
    Insufficient(usize),
    Spread,
    SpreadLabel,
    PodAffinity,
    PodAntiAffinity,
    ExistingAntiAffinity,
}

impl Reason {
    /// As events and conditions word it.
    pub fn text(&self, table: &Table) -> String {
        match self {
            Reason::Unschedulable => "node(s) were unschedulable".into(),
            Reason::NodeName => "node(s) didn't match the requested node name".into(),
            Reason::Taint(key, value) => format!("node(s) had untolerated taint {{{key}: {value}}}"),
            Reason::NodeAffinity => "node(s) didn't match Pod's node affinity/selector".into(),
            Reason::NotNamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]".into(),
            Reason::Ports => "node(s) didn't have free ports for the requested pod ports".into(),
            Reason::TooManyPods => "Too many pods".into(),
            Reason::Insufficient(resource) => format!("Insufficient {}", table.names.name(*resource)),
            Reason::Spread => "node(s) didn't match pod topology spread constraints".into(),
            Reason::SpreadLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)".into()
            }
            Reason::PodAffinity => "node(s) didn't match pod affinity rules".into(),
            Reason::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules".into(),
            Reason::ExistingAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules".into(),
        }
    }
}

/// What a filter found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fits,
    /// It does not fit. `resolvable` says whether it could if other pods went.
    Refused {
        reasons: Vec<Reason>,
        resolvable: bool,
    },
}

impl Verdict {
    pub fn refused(reason: Reason, resolvable: bool) -> Verdict {
        Verdict::Refused { reasons: vec![reason], resolvable }
    }

    pub fn fits(&self) -> bool {
        *self == Verdict::Fits
    }
}

/// All filters that look at the node alone, in upstream's order; the first that refuses counts.
pub(crate) fn filter_node(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let unschedulable =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    if node.unschedulable && !taints::tolerates(&pod.tolerations, &unschedulable) {
        return Verdict::refused(Reason::Unschedulable, false);
    }
    if pod.node_name().is_some_and(|name| name != node.name) {
        return Verdict::refused(Reason::NodeName, false);
    }
    if let Some(taint) = taints::untolerated(&pod.tolerations, &node.taints) {
        let reason = Reason::Taint(taint.key.clone(), taint.value.clone().unwrap_or_default());
        return Verdict::refused(reason, false);
    }
    if !node_affinity::matches(pod, node) {
        return Verdict::refused(Reason::NodeAffinity, false);
    }
    let taken = |port| node.pods.iter().flat_map(|other| &other.ports).any(|other| other.conflicts(port));
    if pod.ports.iter().any(taken) {
        return Verdict::refused(Reason::Ports, true);
    }
    filter_resources(pod, node)
}

fn filter_resources(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let mut reasons = Vec::new();
    let mut resolvable = true;
    if node.pods.len() as i64 + 1 > node.pod_limit {
        reasons.push(Reason::TooManyPods);
    }
    for (resource, &wanted) in pod.requests.0.iter().enumerate().filter(|(_, wanted)| **wanted > 0) {
        let allocatable = node.allocatable.get(resource);
        if wanted > allocatable - node.requested.get(resource) {
            reasons.push(Reason::Insufficient(resource));
            resolvable &= wanted <= allocatable;
        }
    }
    if reasons.is_empty() { Verdict::Fits } else { Verdict::Refused { reasons, resolvable } }
}

/// Scores of the plugins that look at one node alone, before they are normalized over all nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeScores {
    /// LeastAllocated, BalancedAllocation and ImageLocality, weighted and added; they need no normalizing.
    pub absolute: i64,
    /// Taints of effect PreferNoSchedule that the pod does not tolerate.
    pub taints: i64,
    /// Weights of the preferred node affinity terms that match.
    pub affinity: i64,
}

pub(crate) fn score_node(pod: &PodInfo, node: &NodeInfo, table: &Table) -> NodeScores {
    NodeScores {
        absolute: least_allocated(pod, node) + balanced_allocation(pod, node) + image_locality(pod, node, table),
        taints: taints::unpreferred(&pod.tolerations, &node.taints),
        affinity: node_affinity::preference(pod, node),
    }
}

/// More for nodes with more room for CPU and memory left.
fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let (mut sum, mut weights) = (0, 0);
    for resource in [CPU, MEMORY] {
        let capacity = node.allocatable.get(resource);
        if capacity <= 0 {
            continue;
        }
        let used = node.scored[resource] + pod.scored[resource];
        weights += 1;
        if used <= capacity {
            sum += ((capacity - used) as i128 * i128::from(MAX_SCORE) / i128::from(capacity)) as i64;
        }
    }
    if weights == 0 { 0 } else { sum / weights }
}

/// More for nodes whose CPU and memory are used to about the same share.
fn balanced_allocation(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let share = |amounts: &Amounts, extra: i64, resource: usize| {
        let capacity = node.allocatable.get(resource);
        (capacity > 0).then(|| ((amounts.get(resource) + extra) as f64 / capacity as f64).min(1.0))
    };
    let shares = [CPU, MEMORY].map(|resource| share(&node.requested, pod.requests.get(resource), resource));
    match shares {
        [Some(cpu), Some(memory)] => ((1.0 - (cpu - memory).abs() / 2.0) * MAX_SCORE as f64) as i64,
        _ => MAX_SCORE,
    }
}

/// More for nodes that have large images of the pod, in as far as other nodes have them too: else all pods of an
/// image would end up on the one node that pulled it first.
fn image_locality(pod: &PodInfo, node: &NodeInfo, table: &Table) -> i64 {
    const MIB: i64 = 1 << 20;
    let sum: i64 = pod
        .images
        .iter()
        .filter_map(|image| {
            let size = node.images.get(image)?;
            let spread = table.image_nodes.get(image).copied().unwrap_or(0) as f64 / table.count().max(1) as f64;
            Some((*size as f64 * spread) as i64)
        })
        .sum();
    let least = 23 * MIB;
    let most = 1000 * MIB * pod.images.len().max(1) as i64;
    MAX_SCORE * (sum.clamp(least, most) - least) / (most - least)
}

/// Scales scores so that the best is 100, or the other way round. Without any score all are alike.
pub(crate) fn normalize(scores: &mut [i64], reverse: bool) {
    let best = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        *score = match (best, reverse) {
            (0, true) => MAX_SCORE,
            (0, false) => 0,
            (_, false) => MAX_SCORE * *score / best,
            (_, true) => MAX_SCORE - MAX_SCORE * *score / best,
        };
    }
}
