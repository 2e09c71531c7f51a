//! DefaultPreemption: which pods of lower priority have to go so that a pod fits.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/#preemption>

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{Selector, SelectorExt};

use crate::cycle::{Unfit, available};
use crate::filters::{Filters, Known};
use crate::framework::{Profile, Refusal};
use crate::pod::PodInfo;
use crate::table::Table;

pub(crate) const NAME: &str = "DefaultPreemption";

/// How many nodes are tried.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PreemptionArgs {
    /// Of 100 that may do, so many at least.
    pub min_candidate_nodes_percentage: usize,
    /// And so many, however few nodes there are.
    pub min_candidate_nodes_absolute: usize,
}

impl Default for PreemptionArgs {
    fn default() -> Self {
        PreemptionArgs { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

/// Where a pod fits once the victims are gone.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub node: usize,
    /// The most important first.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them a disruption budget would rather keep.
    pub violations: usize,
    harm: Harm,
}

/// What is the less the better: violated budgets, the most important victim, the sum of all, their number; and of the most
/// important ones, how long the first of them has run.
type Harm = (usize, i32, i64, usize, Reverse<Option<Timestamp>>);

impl Candidate {
    pub fn new(node: usize, victims: Vec<Arc<PodInfo>>, violations: usize) -> Candidate {
        let highest = victims.iter().map(|victim| victim.priority).max().unwrap_or(i32::MIN);
        let sum = victims.iter().map(|victim| i64::from(victim.priority) - i64::from(i32::MIN)).sum();
        let earliest = victims.iter().filter(|victim| victim.priority == highest).map(|victim| started(victim)).min();
        let harm = (violations, highest, sum, victims.len(), Reverse(earliest));
        Candidate { node, victims, violations, harm }
    }
}

/// Why nobody is preempted.
#[derive(Debug)]
pub(crate) enum NotPreempted {
    /// The pod may not, or waits for earlier victims.
    NotEligible(String),
    /// It would not help: what the pod was promised earlier is void.
    NotHelpful(String),
}

/// What was found on each node for pods of a template, as long as the node stays as it is and only its own pods matter.
#[derive(Default)]
pub(crate) struct Candidates {
    priority: i32,
    budgets: Vec<Budget>,
    found: HashMap<usize, Outcome>,
}

/// What was found on one node.
type Outcome = Result<Arc<Candidate>, Arc<Refusal>>;

impl Candidates {
    /// The node has changed.
    pub fn forget(&mut self, node: usize) {
        self.found.remove(&node);
    }

    /// What was found for others is of no use.
    fn adapt(&mut self, search: &Search<'_>) {
        if self.priority != search.pod.priority || self.budgets != search.budgets {
            *self =
                Candidates { priority: search.pod.priority, budgets: search.budgets.to_vec(), found: HashMap::new() };
        }
    }
}

/// A disruption budget, and how many pods may go under it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Budget {
    namespace: String,
    selector: Selector,
    allowed: i32,
    /// Pods whose disruption the budget has counted already.
    disrupted: Vec<String>,
}

impl Budget {
    pub fn new(budget: &PodDisruptionBudget) -> Option<Budget> {
        let status = budget.status.as_ref();
        Some(Budget {
            namespace: budget.metadata.namespace.clone()?,
            selector: budget.spec.as_ref()?.selector.clone()?.try_into().ok()?,
            allowed: status.map_or(0, |status| status.disruptions_allowed),
            disrupted: status
                .and_then(|status| status.disrupted_pods.as_ref())
                .map(|pods| pods.keys().cloned().collect())
                .unwrap_or_default(),
        })
    }
}

/// A search for candidates.
pub(crate) struct Search<'a> {
    pub pod: &'a Arc<PodInfo>,
    pub profile: &'a Profile,
    pub args: &'a PreemptionArgs,
    pub budgets: &'a [Budget],
}

impl Search<'_> {
    /// Whether the pod may preempt others now.
    fn check_eligible(&self, table: &Table, unfit: &Unfit) -> Result<(), NotPreempted> {
        let not_eligible = |why: &str| Err(NotPreempted::NotEligible(why.into()));
        let policy = self.pod.pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref());
        if policy == Some("Never") {
            return not_eligible("not eligible due to preemptionPolicy=Never.");
        }
        let Some(node) = self.pod.nominated().and_then(|name| table.number(name)) else { return Ok(()) };
        // What was promised is of no use any more.
        if unfit.refusals.iter().any(|(number, refusal)| *number == node && !refusal.1.resolvable) {
            return Ok(());
        }
        // One that ends for another reason than preemption does not hold the next up.
        let is_victim = |other: &Arc<PodInfo>| {
            let conditions = other.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|condition| {
                condition.type_ == "DisruptionTarget"
                    && condition.status == "True"
                    && condition.reason.as_deref() == Some("PreemptionByScheduler")
            })
        };
        let mut pods = table.node(node).pods.iter();
        if pods.any(|other| other.is_terminating() && other.priority < self.pod.priority && is_victim(other)) {
            return not_eligible("not eligible due to a terminating pod on the nominated node.");
        }
        Ok(())
    }

    /// Finds nodes where preempting helps: `random` is where the search begins.
    ///
    /// # Errors
    /// Why it does not, as the pod's event tells it.
    pub fn candidates(
        &self,
        table: &mut Table,
        filters: &mut Filters,
        unfit: &Unfit,
        random: usize,
    ) -> Result<Vec<Arc<Candidate>>, NotPreempted> {
        self.check_eligible(table, unfit)?;
        let nodes: Vec<usize> =
            unfit.refusals.iter().filter(|(_, refusal)| refusal.1.resolvable).map(|(node, _)| *node).collect();
        let wanted = (nodes.len().saturating_mul(self.args.min_candidate_nodes_percentage) / 100)
            .max(self.args.min_candidate_nodes_absolute)
            .min(nodes.len());
        let (mut found, mut refusals, mut harmless): (Vec<Arc<Candidate>>, Vec<Arc<Refusal>>, bool) =
            (Vec::new(), Vec::new(), false);
        filters.candidates.adapt(self);
        let own_pods_only = filters.allow_all();
        let (before, after) = nodes.split_at(random % nodes.len().max(1));
        for &node in after.iter().chain(before) {
            if found.len() >= wanted && harmless {
                break;
            }
            let is_kept = own_pods_only && table.nominated(node).is_empty();
            let known = filters.candidates.found.get(&node).filter(|_| is_kept).cloned();
            let outcome = known.unwrap_or_else(|| self.victims(table, filters, node));
            if is_kept {
                filters.candidates.found.entry(node).or_insert_with(|| outcome.clone());
            }
            match outcome {
                Ok(candidate) => {
                    harmless |= candidate.violations == 0;
                    found.push(candidate);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        if found.is_empty() { Err(not_helpful(table, &refusals)) } else { Ok(found) }
    }

    /// The fewest pods whose going makes room on a node: all of lower priority are taken away, then as many as
    /// possible put back, the ones under a violated budget first, then the most important.
    fn victims(&self, table: &mut Table, filters: &mut Filters, node: usize) -> Outcome {
        let pod = self.pod.as_ref();
        let is_lower = |other: &&Arc<PodInfo>| other.priority < pod.priority;
        let mut lower: Vec<Arc<PodInfo>> = table.node(node).pods.iter().filter(is_lower).cloned().collect();
        if lower.is_empty() {
            let reason = "No preemption victims found for incoming pod";
            return Err(Arc::new(Refusal::unresolvable(NAME, reason)));
        }
        for other in &lower {
            filters.remove(pod, other, node, table);
        }
        if let Err((_, refusal)) = filters.allow_beside_nominated(pod, table, self.profile, node, Known::AllButPods) {
            lower.iter().for_each(|other| filters.add(pod, other, node, table));
            return Err(Arc::new(refusal));
        }
        lower.sort_by_key(by_importance);
        let (violating, others) = split_by_budget(lower, self.budgets);
        let (mut victims, mut violations) = (Vec::new(), 0);
        for (list, counts) in [(violating, true), (others, false)] {
            for other in list {
                filters.add(pod, &other, node, table);
                if filters.allow_beside_nominated(pod, table, self.profile, node, Known::AllButPods).is_err() {
                    filters.remove(pod, &other, node, table);
                    violations += usize::from(counts);
                    victims.push(other);
                }
            }
        }
        victims.iter().for_each(|victim| filters.add(pod, victim, node, table));
        victims.sort_by_key(by_importance);
        Ok(Arc::new(Candidate::new(node, victims, violations)))
    }
}

/// Nobody is to go, and why on each node.
fn not_helpful(table: &Table, refusals: &[Arc<Refusal>]) -> NotPreempted {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for refusal in refusals {
        refusal.reasons.iter().for_each(|reason| *counts.entry(reason).or_default() += 1);
    }
    let others = table.count().saturating_sub(refusals.len());
    if others > 0 {
        *counts.entry("Preemption is not helpful for scheduling").or_default() += others;
    }
    let texts = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    NotPreempted::NotHelpful(available(table, texts))
}

/// A pod that has not begun counts as the youngest.
fn started(pod: &PodInfo) -> Timestamp {
    pod.started().unwrap_or(Timestamp::MAX)
}

fn by_importance(pod: &Arc<PodInfo>) -> (Reverse<i32>, Timestamp) {
    (Reverse(pod.priority), started(pod))
}

/// The candidate that does the least harm.
pub(crate) fn best(candidates: Vec<Arc<Candidate>>) -> Option<Arc<Candidate>> {
    candidates.into_iter().min_by_key(|candidate| candidate.harm)
}

/// Pods that no budget lets go, and the others.
fn split_by_budget(pods: Vec<Arc<PodInfo>>, budgets: &[Budget]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    if budgets.is_empty() {
        return (Vec::new(), pods);
    }
    let mut allowed: Vec<i32> = budgets.iter().map(|budget| budget.allowed).collect();
    pods.into_iter().partition(|pod| {
        let mut violates = false;
        for (budget, allowed) in budgets.iter().zip(&mut allowed) {
            if budget.namespace == pod.namespace
                && !pod.labels().is_empty()
                && budget.selector.matches(pod.labels())
                && !budget.disrupted.contains(&pod.name)
            {
                *allowed -= 1;
                violates |= *allowed < 0;
            }
        }
        violates
    })
}
