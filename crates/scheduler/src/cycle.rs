//! One scheduling decision: filter, score, pick.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::plugins::{
    NodeScores, Reason, Verdict, filter_node, inter_pod, node_affinity, normalize, score_node, spread,
};
use crate::pod::{PodInfo, Selects, Spread};
use crate::table::Table;

/// Templates whose results are kept.
const TEMPLATES: usize = 64;
/// With this many nodes or fewer all are looked at.
const FEW_NODES: usize = 100;

#[derive(Clone)]
struct Entry {
    verdict: Verdict,
    scores: NodeScores,
}

/// What is known of one template, node by node.
struct Template {
    sequence: u64,
    epoch: u64,
    used: u64,
    entries: Vec<Option<Entry>>,
}

/// The algorithm and what it remembers between pods.
pub(crate) struct Cycle {
    templates: HashMap<String, Template>,
    used: u64,
    /// Where the next search starts, so that all nodes get their turn.
    start: usize,
    random: u64,
}

/// Why no node was found: what each node said.
#[derive(Debug, Default)]
pub(crate) struct Unfit {
    pub verdicts: Vec<(usize, Verdict)>,
}

impl Unfit {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.`
    pub fn message(&self, table: &Table) -> String {
        if table.count() == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut counts: BTreeMap<&Reason, usize> = BTreeMap::new();
        for (_, verdict) in &self.verdicts {
            if let Verdict::Refused { reasons, .. } = verdict {
                for reason in reasons {
                    *counts.entry(reason).or_default() += 1;
                }
            }
        }
        let texts = counts.into_iter().map(|(reason, count)| format!("{count} {}", reason.text(table)));
        available(table, texts.collect())
    }

    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        self.verdicts.iter().flat_map(|(_, verdict)| match verdict {
            Verdict::Refused { reasons, .. } => reasons.as_slice(),
            Verdict::Fits => &[],
        })
    }
}

/// The sentence about nodes that events begin with.
pub(crate) fn available(table: &Table, mut texts: Vec<String>) -> String {
    texts.sort();
    format!("0/{} nodes are available: {}.", table.count(), texts.join(", "))
}

/// The filters that look at pods elsewhere, prepared for one pod.
pub(crate) struct Global {
    spread: Option<spread::Filter>,
    inter_pod: Option<inter_pod::Filter>,
}

impl Global {
    pub fn new(pod: &PodInfo, table: &Table) -> Global {
        Global {
            spread: (!pod.hard_spread.is_empty()).then(|| spread::Filter::new(pod, table)),
            inter_pod: inter_pod::is_needed(pod, table).then(|| inter_pod::Filter::new(pod, table)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.spread.is_none() && self.inter_pod.is_none()
    }

    pub fn filter(&self, pod: &PodInfo, table: &Table, number: usize) -> Verdict {
        let node = table.node(number);
        let spread = self.spread.as_ref().map_or(Verdict::Fits, |filter| filter.filter(pod, node));
        if !spread.fits() {
            return spread;
        }
        self.inter_pod.as_ref().map_or(Verdict::Fits, |filter| filter.filter(pod, node))
    }
}

/// All filters on one node, as things are now.
pub(crate) fn filter_all(pod: &PodInfo, table: &Table, number: usize) -> Verdict {
    let verdict = filter_node(pod, table.node(number));
    if verdict.fits() { Global::new(pod, table).filter(pod, table, number) } else { verdict }
}

/// The cluster's own constraints, for pods that bring none: `selector` says which pods count.
fn default_spread(selector: Selects) -> Vec<Spread> {
    [("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5)]
        .into_iter()
        .map(|(key, max_skew)| Spread {
            max_skew,
            topology_key: key.into(),
            selector: selector.clone(),
            min_domains: None,
            honor_affinity: true,
            honor_taints: false,
        })
        .collect()
}

impl Cycle {
    /// `seed` decides how ties are broken.
    pub fn new(seed: u64) -> Cycle {
        Cycle { templates: HashMap::new(), used: 0, start: 0, random: seed | 1 }
    }

    fn random(&mut self, below: usize) -> usize {
        // xorshift64: only ties hang on it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }

    /// The best node for a pod. `peers` selects the pods it should be spread from if it has no constraints itself.
    pub fn schedule(&mut self, pod: &Arc<PodInfo>, table: &mut Table, peers: Selects) -> Result<usize, Unfit> {
        self.refresh(pod, table);
        if let Some(number) = pod.nominated().and_then(|name| table.number(name))
            && table.node(number).exists
            && self.fits_beside_nominated(pod, table, number)
        {
            return Ok(number);
        }
        let found = self.feasible(pod, table)?;
        if let [only] = found.as_slice() {
            return Ok(*only);
        }
        let scores = self.score(pod, table, &found, peers);
        let best = scores.iter().copied().max().unwrap_or(0);
        let ties: Vec<usize> =
            found.iter().zip(&scores).filter(|(_, score)| **score == best).map(|(number, _)| *number).collect();
        Ok(ties[self.random(ties.len())])
    }

    /// Brings what is kept for the pod's template up to date with the table.
    fn refresh(&mut self, pod: &PodInfo, table: &Table) {
        self.used += 1;
        if !self.templates.contains_key(&pod.template) && self.templates.len() >= TEMPLATES {
            let oldest = self.templates.iter().min_by_key(|(_, t)| t.used).map(|(key, _)| key.clone());
            oldest.map(|key| self.templates.remove(&key));
        }
        let template = self.templates.entry(pod.template.clone()).or_insert_with(|| Template {
            sequence: 0,
            epoch: 0,
            used: 0,
            entries: Vec::new(),
        });
        template.used = self.used;
        if template.epoch != table.epoch {
            template.entries.clear();
            template.epoch = table.epoch;
        } else if template.sequence != table.sequence {
            match table.changed_since(template.sequence) {
                Some(changed) => {
                    for number in changed {
                        if let Some(entry) = template.entries.get_mut(number) {
                            *entry = None;
                        }
                    }
                }
                None => template.entries.clear(),
            }
        }
        template.sequence = table.sequence;
        template.entries.resize(table.size(), None);
    }

    fn entry(&mut self, pod: &PodInfo, table: &Table, number: usize) -> Option<&Entry> {
        let template = self.templates.get_mut(&pod.template)?;
        let entry = template.entries.get_mut(number)?;
        Some(entry.get_or_insert_with(|| {
            let node = table.node(number);
            let verdict = filter_node(pod, node);
            let scores = if verdict.fits() { score_node(pod, node, table) } else { NodeScores::default() };
            Entry { verdict, scores }
        }))
    }

    /// How many nodes to find before scoring: all of few, a share of many.
    fn enough(count: usize) -> usize {
        if count <= FEW_NODES {
            return count;
        }
        let percent = (50 - count as i64 / 125).max(5) as usize;
        (count * percent / 100).max(FEW_NODES)
    }

    fn feasible(&mut self, pod: &Arc<PodInfo>, table: &mut Table) -> Result<Vec<usize>, Unfit> {
        let enough = Self::enough(table.count());
        let global = Global::new(pod, table);
        let (mut found, mut unfit) = (Vec::new(), Unfit::default());
        let (size, start) = (table.size(), self.start);
        let named = pod.required_nodes.as_ref().and_then(node_affinity::named);
        let named: Option<Vec<usize>> =
            named.map(|names| names.into_iter().filter_map(|name| table.number(name)).collect());
        let mut seen = 0;
        while seen < named.as_ref().map_or(size, Vec::len) && found.len() < enough {
            let number = named.as_ref().map_or_else(|| (start + seen) % size, |numbers| numbers[seen]);
            seen += 1;
            if !table.node(number).exists {
                continue;
            }
            let Some(entry) = self.entry(pod, table, number) else { continue };
            if !entry.verdict.fits() {
                unfit.verdicts.push((number, entry.verdict.clone()));
                continue;
            }
            let mut verdict = if global.is_empty() { Verdict::Fits } else { global.filter(pod, table, number) };
            if verdict.fits() && table.has_nominations() {
                verdict = with_nominated(pod, table, number);
            }
            match verdict {
                Verdict::Fits => found.push(number),
                refused => unfit.verdicts.push((number, refused)),
            }
        }
        match named {
            Some(numbers) if found.is_empty() => {
                let others = table.existing().map(|(number, _)| number).filter(|number| !numbers.contains(number));
                unfit.verdicts.extend(others.map(|number| (number, Verdict::refused(Reason::NotNamed, false))));
            }
            None if size > 0 => self.start = (start + seen) % size,
            _ => {}
        }
        if found.is_empty() { Err(unfit) } else { Ok(found) }
    }

    fn fits_beside_nominated(&mut self, pod: &Arc<PodInfo>, table: &mut Table, number: usize) -> bool {
        filter_all(pod, table, number).fits() && with_nominated(pod, table, number).fits()
    }

    fn score(&mut self, pod: &PodInfo, table: &Table, found: &[usize], peers: Selects) -> Vec<i64> {
        let raw: Vec<NodeScores> = found
            .iter()
            .map(|number| self.entry(pod, table, *number).map(|entry| entry.scores).unwrap_or_default())
            .collect();
        let mut totals: Vec<i64> = raw.iter().map(|scores| scores.absolute).collect();
        let mut add = |scores: &[i64], weight: i64| {
            totals.iter_mut().zip(scores).for_each(|(total, score)| *total += weight * score);
        };
        let mut taints: Vec<i64> = raw.iter().map(|scores| scores.taints).collect();
        normalize(&mut taints, true);
        add(&taints, 3);
        if !pod.preferred_nodes.is_empty() {
            let mut affinity: Vec<i64> = raw.iter().map(|scores| scores.affinity).collect();
            normalize(&mut affinity, false);
            add(&affinity, 2);
        }
        let own = !pod.soft_spread.is_empty() || !pod.hard_spread.is_empty();
        let spread = if own {
            spread::score(pod, &pod.soft_spread, false, table, found)
        } else if matches!(peers, Selects::Nothing) {
            None
        } else {
            spread::score(pod, &default_spread(peers), true, table, found)
        };
        if let Some(scores) = spread {
            add(&scores, 2);
        }
        if let Some(scores) = inter_pod::score(pod, table, found) {
            add(&scores, 2);
        }
        totals
    }
}

/// All filters on a node, as if the pods that it is reserved for and that matter as much were there already.
fn with_nominated(pod: &PodInfo, table: &mut Table, number: usize) -> Verdict {
    let others: Vec<Arc<PodInfo>> = table
        .nominated(number)
        .iter()
        .filter(|other| other.priority >= pod.priority && other.uid != pod.uid)
        .cloned()
        .collect();
    if others.is_empty() {
        return Verdict::Fits;
    }
    others.iter().for_each(|other| table.put(number, other.clone()));
    let verdict = filter_all(pod, table, number);
    for other in &others {
        table.take(number, &other.uid);
    }
    verdict
}
