//! Preemption: which pods of lower priority have to go so that a pod fits.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{Selector, SelectorExt};

use crate::cycle::{Unfit, available, filter_all};
use crate::plugins::Verdict;
use crate::pod::PodInfo;
use crate::table::Table;

/// At least this many candidates are tried, or a tenth of the nodes.
const MIN_CANDIDATES: usize = 100;

/// Where a pod fits once the victims are gone.
#[derive(Debug)]
pub(crate) struct Plan {
    pub node: usize,
    pub victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

/// A disruption budget, and how many pods may go under it.
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

/// Finds the node where preempting does the least harm, or says why nowhere helps.
pub(crate) fn plan(pod: &Arc<PodInfo>, table: &mut Table, unfit: &Unfit, budgets: &[Budget]) -> Result<Plan, String> {
    if pod.pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return Err("not eligible due to preemptionPolicy=Never.".into());
    }
    if let Some(number) = pod.nominated().and_then(|name| table.number(name))
        && table.node(number).pods.iter().any(|other| other.is_terminating() && other.priority < pod.priority)
    {
        return Err("not eligible due to a terminating pod on the nominated node.".into());
    }
    let limit = MIN_CANDIDATES.max(table.count() / 10);
    let (mut plans, mut hopeless, mut fruitless) = (Vec::new(), 0, 0);
    for (number, verdict) in &unfit.verdicts {
        match verdict {
            Verdict::Refused { resolvable: true, .. } if plans.len() < limit => {
                match victims(pod, table, *number, budgets) {
                    Some(plan) => plans.push(plan),
                    None => fruitless += 1,
                }
            }
            Verdict::Refused { resolvable: true, .. } | Verdict::Fits => {}
            Verdict::Refused { .. } => hopeless += 1,
        }
    }
    let best = plans.into_iter().min_by_key(|plan| {
        let highest = plan.victims.iter().map(|victim| victim.priority).max().unwrap_or(i32::MIN);
        let sum: i64 = plan.victims.iter().map(|victim| i64::from(victim.priority) - i64::from(i32::MIN)).sum();
        let started = |victim: &Arc<PodInfo>| victim.pod.status.as_ref().and_then(|status| status.start_time.clone());
        let latest_of_highest =
            plan.victims.iter().filter(|victim| victim.priority == highest).map(started).min().flatten();
        (plan.violations, highest, sum, plan.victims.len(), Reverse(latest_of_highest))
    });
    best.ok_or_else(|| {
        let mut texts = Vec::new();
        if hopeless > 0 {
            texts.push(format!("{hopeless} Preemption is not helpful for scheduling"));
        }
        if fruitless > 0 {
            texts.push(format!("{fruitless} No preemption victims found for incoming pod"));
        }
        available(table, texts)
    })
}

/// The fewest pods whose going makes room on a node: all of lower priority are taken away, then as many as
/// possible put back, the ones under a violated budget first, then the most important.
fn victims(pod: &Arc<PodInfo>, table: &mut Table, number: usize, budgets: &[Budget]) -> Option<Plan> {
    let mut lower: Vec<Arc<PodInfo>> =
        table.node(number).pods.iter().filter(|other| other.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return None;
    }
    for other in &lower {
        table.take(number, &other.uid);
    }
    if !filter_all(pod, table, number).fits() {
        lower.into_iter().for_each(|other| table.put(number, other));
        return None;
    }
    lower.sort_by_key(|other| {
        let started = other.pod.status.as_ref().and_then(|status| status.start_time.clone());
        (Reverse(other.priority), started.is_none(), started)
    });
    let (violating, others) = split_by_budget(lower, budgets);
    let (mut victims, mut violations) = (Vec::new(), 0);
    for (list, counts) in [(violating, true), (others, false)] {
        for other in list {
            table.put(number, other.clone());
            if !filter_all(pod, table, number).fits() {
                table.take(number, &other.uid);
                violations += usize::from(counts);
                victims.push(other);
            }
        }
    }
    for victim in &victims {
        table.put(number, victim.clone());
    }
    (!victims.is_empty()).then_some(Plan { node: number, victims, violations })
}

/// Pods that no budget lets go, and the others.
fn split_by_budget(pods: Vec<Arc<PodInfo>>, budgets: &[Budget]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
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
