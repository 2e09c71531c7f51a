//! PodTopologySpread: pods of a kind are to be spread evenly over domains (nodes, zones).
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::{node_affinity, taint_toleration};
use crate::framework::{
    Actions, ClusterEvent, MAX_SCORE, Plugin, PreFilter, Prepared, Refusal, Scope, Subject, Verdict,
};
use crate::pod::{Labels, PodInfo, Selects, Spread};
use crate::table::{NodeInfo, Table};
use crate::topology::NOWHERE;

pub(crate) const NAME: &str = "PodTopologySpread";
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The plugin, with its arguments.
pub(crate) struct PodTopologySpread {
    /// Constraints of pods that bring none. `None` are the system's own, which do not ask that nodes have all labels.
    pub default_constraints: Option<Vec<TopologySpreadConstraint>>,
}

impl PodTopologySpread {
    /// The constraints of a pod that are of a kind, and whether they are the system's own.
    fn constraints(&self, pod: &PodInfo, table: &Table, hard: bool) -> (Vec<Spread>, bool) {
        if !pod.hard_spread.is_empty() || !pod.soft_spread.is_empty() {
            return (if hard { pod.hard_spread.clone() } else { pod.soft_spread.clone() }, false);
        }
        let system = [(HOSTNAME, 3), (ZONE, 5)].map(|(key, max_skew)| TopologySpreadConstraint {
            topology_key: key.into(),
            max_skew,
            when_unsatisfiable: "ScheduleAnyway".into(),
            ..TopologySpreadConstraint::default()
        });
        let defaults = self.default_constraints.as_deref().unwrap_or(&system);
        let mut chosen =
            defaults.iter().filter(|constraint| (constraint.when_unsatisfiable == "DoNotSchedule") == hard).peekable();
        let is_system = self.default_constraints.is_none();
        if chosen.peek().is_none() {
            return (Vec::new(), is_system);
        }
        match peers(pod, table) {
            Selects::Nothing => (Vec::new(), is_system),
            peers => (chosen.map(|constraint| Spread::with_selector(constraint, peers.clone())).collect(), is_system),
        }
    }
}

/// The pods that a pod without constraints should be spread from: those of its controller, or else those that the same services
/// select.
fn peers(pod: &PodInfo, table: &Table) -> Selects {
    if let Some(owner) = &pod.owner {
        return Selects::Owner(owner.clone());
    }
    let from = (pod.namespace.clone(), String::new());
    let mut all = Labels::new();
    for (_, selector) in table.services.range(from..).take_while(|((namespace, _), _)| *namespace == pod.namespace) {
        if selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value)) {
            all.extend(selector.clone());
        }
    }
    if all.is_empty() { Selects::Nothing } else { Selects::Labels(all.into_iter().collect()) }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        NAME
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }

    fn pre_filter(&self, pod: &PodInfo, table: &Table) -> Result<PreFilter, Refusal> {
        let (constraints, _) = self.constraints(pod, table, true);
        if constraints.is_empty() {
            return Ok(PreFilter::default());
        }
        Ok(PreFilter { nodes: None, filter: Some(Box::new(Filter::new(constraints, pod, table))) })
    }

    fn pre_score(&self, pod: &PodInfo, table: &Table) -> Option<Box<dyn Prepared>> {
        let (constraints, is_system) = self.constraints(pod, table, false);
        (!constraints.is_empty()).then(|| Box::new(Scores::new(constraints, is_system, pod, table)) as _)
    }

    fn events(&self) -> Actions {
        Actions::POD_ADD
            | Actions::POD_DELETE
            | Actions::POD_LABEL
            | Actions::NODE_ADD
            | Actions::NODE_DELETE
            | Actions::NODE_LABEL
            | Actions::NODE_TAINT
            | Actions::OWN_UPDATE
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent<'_>, table: &Table) -> bool {
        match event.subject {
            Subject::Pod(other) if other.namespace != pod.namespace => false,
            Subject::Pod(_) if event.actions.meets(Actions::POD_LABEL) => true,
            Subject::Pod(other) => {
                let (constraints, _) = self.constraints(pod, table, true);
                constraints.iter().any(|constraint| constraint.selector.matches(other))
            }
            Subject::Node(_) | Subject::Other => true,
        }
    }
}

/// Whether a constraint counts the pods of a node.
fn is_eligible(constraint: &Spread, pod: &PodInfo, node: &NodeInfo) -> bool {
    (!constraint.honor_affinity || node_affinity::matches(pod, node))
        && (!constraint.honor_taints || taint_toleration::untolerated(&pod.tolerations, &node.taints).is_none())
}

/// Whether a constraint counts a pod.
fn is_counted(constraint: &Spread, pod: &PodInfo, other: &PodInfo) -> bool {
    other.namespace == pod.namespace && !other.is_terminating() && constraint.selector.matches(other)
}

/// The pods that one constraint counts, by domain.
struct Counts {
    constraint: Spread,
    topology: Option<usize>,
    /// Nothing for domains without an eligible node.
    domains: Vec<Option<i64>>,
    /// Whether the pods of each node are counted.
    eligible: Vec<bool>,
}

impl Counts {
    fn new(constraint: Spread, pod: &PodInfo, table: &Table, is_considered: &dyn Fn(usize) -> bool) -> Counts {
        let topology = table.topologies.find(&constraint.topology_key);
        let size = topology.map_or(0, |number| table.topologies.get(number).size());
        let (mut domains, mut eligible) = (vec![None; size], vec![false; table.size()]);
        for (number, node) in table.existing() {
            let domain = table.topologies.domain(topology, number);
            if domain == NOWHERE || !is_considered(number) || !is_eligible(&constraint, pod, node) {
                continue;
            }
            eligible[number] = true;
            let counted = node.pods.iter().filter(|other| is_counted(&constraint, pod, other)).count() as i64;
            *domains[domain as usize].get_or_insert(0) += counted;
        }
        Counts { constraint, topology, domains, eligible }
    }

    /// The count that changes when a pod comes to a node or goes, if it is counted there: before and after.
    fn count(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, by: i64, table: &Table) -> Option<(i64, i64)> {
        if !self.eligible.get(node).copied().unwrap_or(false) || !is_counted(&self.constraint, pod, other) {
            return None;
        }
        let domain = table.topologies.domain(self.topology, node);
        let count = self.domains.get_mut(domain as usize)?.as_mut()?;
        let before = *count;
        *count += by;
        Some((before, *count))
    }

    fn at(&self, node: usize, table: &Table) -> Option<i64> {
        let domain = table.topologies.domain(self.topology, node);
        (domain != NOWHERE).then(|| self.domains.get(domain as usize).copied().flatten().unwrap_or(0))
    }
}

/// A constraint that has to be kept.
struct Hard {
    counts: Counts,
    /// How many domains have each count, so that the least is known at once.
    tally: BTreeMap<i64, usize>,
    domains: i64,
    /// Whether the pod counts itself.
    counts_itself: i64,
}

impl Hard {
    fn new(counts: Counts, pod: &PodInfo) -> Hard {
        let mut tally = BTreeMap::new();
        for count in counts.domains.iter().flatten() {
            *tally.entry(*count).or_insert(0) += 1;
        }
        let domains = tally.values().sum::<usize>() as i64;
        let counts_itself = i64::from(counts.constraint.selector.matches(pod));
        Hard { counts, tally, domains, counts_itself }
    }

    fn count(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, by: i64, table: &Table) {
        let Some((before, after)) = self.counts.count(pod, other, node, by, table) else { return };
        if let Some(domains) = self.tally.get_mut(&before) {
            *domains -= 1;
            if *domains == 0 {
                self.tally.remove(&before);
            }
        }
        *self.tally.entry(after).or_insert(0) += 1;
    }

    /// The pods in the domain that has the fewest. Domains that are asked for and missing have none.
    fn least(&self) -> i64 {
        if self.counts.constraint.min_domains.is_some_and(|asked| self.domains < asked) {
            return 0;
        }
        self.tally.keys().next().copied().unwrap_or(i32::MAX.into())
    }
}

/// The constraints of a pod that have to be kept.
struct Filter(Vec<Hard>);

impl Filter {
    fn new(constraints: Vec<Spread>, pod: &PodInfo, table: &Table) -> Filter {
        let topologies: Vec<_> =
            constraints.iter().map(|constraint| table.topologies.find(&constraint.topology_key)).collect();
        let has_all =
            |node: usize| topologies.iter().all(|topology| table.topologies.domain(*topology, node) != NOWHERE);
        let counted = constraints.into_iter().map(|constraint| Counts::new(constraint, pod, table, &has_all));
        Filter(counted.map(|counts| Hard::new(counts, pod)).collect())
    }
}

impl Prepared for Filter {
    fn filter(&self, _pod: &PodInfo, node: usize, table: &Table) -> Verdict {
        for hard in &self.0 {
            let Some(there) = hard.counts.at(node, table) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Refusal::unresolvable(NAME, reason));
            };
            if there + hard.counts_itself - hard.least() > hard.counts.constraint.max_skew {
                return Err(Refusal::resolvable(NAME, "node(s) didn't match pod topology spread constraints"));
            }
        }
        Ok(())
    }

    fn add_pod(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, table: &Table) {
        self.0.iter_mut().for_each(|hard| hard.count(pod, other, node, 1, table));
    }

    fn remove_pod(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, table: &Table) {
        self.0.iter_mut().for_each(|hard| hard.count(pod, other, node, -1, table));
    }
}

/// The constraints of a pod that should be kept: the fewer pods the domains of a node have, the better.
struct Scores {
    soft: Vec<Counts>,
    /// Nodes without one of the labels are not scored.
    needs_all: bool,
}

impl Scores {
    fn new(constraints: Vec<Spread>, is_system: bool, pod: &PodInfo, table: &Table) -> Scores {
        let topologies: Vec<_> =
            constraints.iter().map(|constraint| table.topologies.find(&constraint.topology_key)).collect();
        let is_considered = |node: usize| {
            is_system || topologies.iter().all(|topology| table.topologies.domain(*topology, node) != NOWHERE)
        };
        let soft = constraints.into_iter().map(|constraint| {
            // The pods of one host are counted whether or not it is eligible.
            let by_host = constraint.topology_key == HOSTNAME;
            let constraint =
                if by_host { Spread { honor_affinity: false, honor_taints: false, ..constraint } } else { constraint };
            Counts::new(constraint, pod, table, if by_host { &|_| true } else { &is_considered })
        });
        Scores { soft: soft.collect(), needs_all: !is_system }
    }

    fn is_ignored(&self, node: usize, table: &Table) -> bool {
        self.needs_all && self.soft.iter().any(|counts| table.topologies.domain(counts.topology, node) == NOWHERE)
    }

    /// How much a constraint counts: less, the fewer domains there are among the nodes.
    fn weight(counts: &Counts, nodes: &[usize], table: &Table) -> f64 {
        let size = if counts.constraint.topology_key == HOSTNAME {
            nodes.len()
        } else {
            let mut seen = vec![false; counts.domains.len() + 1];
            for node in nodes {
                let domain = table.topologies.domain(counts.topology, *node);
                // Nodes that are in none are in one together.
                let at = if domain == NOWHERE { counts.domains.len() } else { domain as usize };
                if let Some(seen) = seen.get_mut(at) {
                    *seen = true;
                }
            }
            seen.into_iter().filter(|seen| *seen).count()
        };
        (size as f64 + 2.0).ln()
    }
}

impl Prepared for Scores {
    fn scores(&mut self, _pod: &PodInfo, nodes: &[usize], table: &Table) -> Option<Vec<i64>> {
        let considered: Vec<usize> = nodes.iter().copied().filter(|node| !self.is_ignored(*node, table)).collect();
        let weights: Vec<f64> = self.soft.iter().map(|counts| Scores::weight(counts, &considered, table)).collect();
        let score = |node: usize| {
            let mut score = 0.0;
            for (counts, weight) in self.soft.iter().zip(&weights) {
                if let Some(there) = counts.at(node, table) {
                    score += there as f64 * weight + (counts.constraint.max_skew - 1) as f64;
                }
            }
            f64::round(score) as i64
        };
        let raw: Vec<i64> = considered.iter().map(|node| score(*node)).collect();
        let (least, most) = (raw.iter().copied().min()?, raw.iter().copied().max()?);
        let normalized = |score: i64| if most == 0 { MAX_SCORE } else { MAX_SCORE * (most + least - score) / most };
        if considered.len() == nodes.len() {
            return Some(raw.into_iter().map(normalized).collect());
        }
        let mut raw = raw.into_iter();
        let scored =
            nodes.iter().map(|node| if self.is_ignored(*node, table) { 0 } else { raw.next().map_or(0, normalized) });
        Some(scored.collect())
    }

    fn add_pod(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, table: &Table) {
        for counts in &mut self.soft {
            counts.count(pod, other, node, 1, table);
        }
    }

    fn remove_pod(&mut self, pod: &PodInfo, other: &PodInfo, node: usize, table: &Table) {
        for counts in &mut self.soft {
            counts.count(pod, other, node, -1, table);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{core, decide, node, pod};

    const REFUSED: &str = "node(s) didn't match pod topology spread constraints";

    fn spread(more: Value) -> Value {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        for (key, value) in more.as_object().into_iter().flatten() {
            constraint[key] = value.clone();
        }
        json!({"topologySpreadConstraints": [constraint]})
    }

    #[test]
    fn domains_that_are_asked_for_and_missing_have_no_pods() {
        let mut core = core(&[node("a", "8", json!({})), node("b", "8", json!({}))]);
        let three = spread(json!({"minDomains": 3}));
        for name in ["p", "q"] {
            assert!(decide(&mut core, &pod(name, "0", three.clone())).is_ok());
        }
        assert!(decide(&mut core, &pod("r", "0", three)).unwrap_err().contains(&format!("2 {REFUSED}")));
        core.node_changed(None, &node("c", "8", json!({})));
        assert!(decide(&mut core, &pod("s", "0", spread(json!({"minDomains": 3})))).is_ok());
    }

    #[test]
    fn nodes_that_a_pod_cannot_be_on_count_as_their_policy_says() {
        let tainted = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
        let places = |policy: &str| {
            let mut core = core(&[node("a", "8", json!({})), node("b", "8", tainted.clone())]);
            let spread = spread(json!({"nodeTaintsPolicy": policy}));
            ["p", "q"].map(|name| decide(&mut core, &pod(name, "0", spread.clone())).is_ok())
        };
        assert_eq!(places("Honor"), [true, true]);
        assert_eq!(places("Ignore"), [true, false]);
        let chosen = |policy: &str| {
            let mut core = core(&[node("a", "8", json!({})), node("b", "8", json!({}))]);
            let mut spec = spread(json!({"nodeAffinityPolicy": policy}));
            spec["nodeSelector"] = json!({"zone": "a"});
            ["p", "q"].map(|name| decide(&mut core, &pod(name, "0", spec.clone())).is_ok())
        };
        assert_eq!(chosen("Honor"), [true, true]);
        assert_eq!(chosen("Ignore"), [true, false]);
    }

    #[test]
    fn label_keys_count_pods_of_the_same_version_only() {
        let mut core = core(&[node("a", "8", json!({})), node("b", "8", json!({}))]);
        let versioned = |name: &str, version: &str| {
            let mut pod = (*pod(name, "0", spread(json!({"matchLabelKeys": ["version"]})))).clone();
            pod.metadata.labels.get_or_insert_default().insert("version".into(), version.into());
            std::sync::Arc::new(pod)
        };
        let first = decide(&mut core, &versioned("p", "1")).unwrap();
        let second = decide(&mut core, &versioned("q", "1")).unwrap();
        assert_ne!(first, second);
        for name in ["r", "s"] {
            assert!(decide(&mut core, &versioned(name, "2")).is_ok());
        }
    }
}
