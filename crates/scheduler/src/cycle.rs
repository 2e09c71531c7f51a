//! One scheduling decision: filter, score, pick.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use crate::extender::Extenders;
use crate::filters::{Filters, Known, filter_node};
use crate::framework::profile::{RELATIVE, Scoring};
use crate::framework::{MAX_SCORE, Normalize, Prepared, Profile, Refusal, Scope};
use crate::metrics::{METRICS, Metrics, sample};
use crate::pod::PodInfo;
use crate::table::{NodeInfo, Table};

/// Templates whose results are kept.
const TEMPLATES: usize = 64;
/// With this many nodes or fewer all are looked at.
const FEW_NODES: usize = 100;

/// What is known of a template on one node.
#[derive(Clone, Default)]
struct Entry {
    is_known: bool,
    refusal: Option<Arc<(usize, Refusal)>>,
    /// Weighted scores that need no normalizing, added up.
    absolute: i64,
    /// Those that do, in the order of [`Profile::scores`].
    relative: [i32; RELATIVE],
}

/// What is kept between pods that are alike.
struct Template {
    /// One of them.
    pod: Arc<PodInfo>,
    used: u64,
    sequence: u64,
    epoch: u64,
    entries: Vec<Entry>,
    /// The last one.
    refusal: Option<Arc<(usize, Refusal)>>,
    layout: u64,
    placed: u64,
    filters: Option<Filters>,
    /// Those of [`Profile::scores`] that look at the cluster, by their place there.
    scorers: Option<Vec<(usize, Box<dyn Prepared>)>>,
}

/// The algorithm and what it remembers between pods.
pub(crate) struct Cycle {
    /// By profile.
    templates: Vec<HashMap<String, Box<Template>>>,
    used: u64,
    /// Where the next search starts, so that all nodes get their turn.
    start: usize,
    random: u64,
}

/// Why no node was found.
#[derive(Debug, Default)]
pub(crate) struct Unfit {
    /// No node would do, whichever.
    pub pre_filter: Option<Refusal>,
    /// What each node was refused for.
    pub refusals: Vec<(usize, Arc<(usize, Refusal)>)>,
    /// Why the nodes that are not among them were not looked at.
    pub others: Option<Refusal>,
}

impl Unfit {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.`
    pub fn message(&self, table: &Table) -> String {
        if table.count() == 0 {
            return "no nodes available to schedule pods".into();
        }
        if let Some(refusal) = &self.pre_filter {
            return format!("0/{} nodes are available: {}.", table.count(), refusal.reasons.join(", "));
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for alike in self.refusals.chunk_by(|(_, one), (_, other)| Arc::ptr_eq(one, other)) {
            let reasons = alike.first().into_iter().flat_map(|(_, refusal)| &refusal.1.reasons);
            reasons.for_each(|reason| *counts.entry(reason).or_default() += alike.len());
        }
        let others = table.count().saturating_sub(self.refusals.len());
        if let Some(refusal) = self.others.as_ref().filter(|_| others > 0) {
            refusal.reasons.iter().for_each(|reason| *counts.entry(reason).or_default() += others);
        }
        available(table, counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect())
    }

    /// The plugins that refused.
    pub fn plugins(&self) -> Vec<&'static str> {
        let alike = self.refusals.chunk_by(|(_, one), (_, other)| Arc::ptr_eq(one, other));
        let refusals = alike.filter_map(|alike| alike.first()).map(|(_, refusal)| &refusal.1);
        let mut plugins: Vec<&'static str> =
            refusals.chain(&self.pre_filter).chain(&self.others).map(|refusal| refusal.plugin).collect();
        plugins.sort_unstable();
        plugins.dedup();
        plugins
    }
}

/// The sentence about nodes that events begin with.
pub(crate) fn available(table: &Table, mut texts: Vec<String>) -> String {
    texts.sort();
    format!("0/{} nodes are available: {}.", table.count(), texts.join(", "))
}

/// How a search ended. The filters serve preemption.
pub(crate) enum Found {
    /// These are the best, and all alike.
    Nodes(Vec<usize>),
    /// The filters are missing where PreFilter ended early.
    None(Unfit, Option<Box<Filters>>),
    /// An extender had no answer.
    Failed(String),
}

impl Cycle {
    /// `seed` decides how ties are broken.
    pub fn new(profiles: usize, seed: u64) -> Cycle {
        Cycle { templates: (0..profiles).map(|_| HashMap::new()).collect(), used: 0, start: 0, random: seed | 1 }
    }

    pub fn random(&mut self, below: usize) -> usize {
        // xorshift64: only ties hang on it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }

    /// One of the nodes that are best.
    pub fn choose(&mut self, nodes: &[usize]) -> Option<usize> {
        let chosen = self.random(nodes.len());
        nodes.get(chosen).copied()
    }

    /// The best nodes for a pod of a profile, which is named by its number, too.
    pub async fn schedule(
        &mut self,
        pod: &Arc<PodInfo>,
        table: &mut Table,
        number: usize,
        profile: &Profile,
        extenders: &Extenders,
    ) -> Found {
        let mut template = self.template(pod, table, number);
        sample(self.used);
        let began = Instant::now();
        let prepared = Filters::prepare(pod, table, profile, template.filters.take());
        let status = if prepared.is_ok() { "Success" } else { "Unschedulable" };
        METRICS.ran("PreFilter", status, &profile.scheduler_name, began);
        let mut filters = match prepared {
            Ok(filters) => filters,
            Err(refusal) => {
                self.keep(number, template);
                return Found::None(Unfit { pre_filter: Some(refusal), ..Unfit::default() }, None);
            }
        };
        let found = self.find(pod, table, profile, extenders, &mut template, &mut filters).await;
        let is_narrowed = filters.nodes.is_some();
        let found = match found {
            Ok(Err(unfit)) => Found::None(unfit, Some(Box::new(filters))),
            other => {
                filters.forget_pod();
                template.filters = Some(filters);
                match other {
                    Ok(Ok(nodes)) => Found::Nodes(nodes),
                    Ok(Err(unfit)) => Found::None(unfit, None),
                    Err(error) => Found::Failed(format!("{error:#}")),
                }
            }
        };
        // Pods for one node each, as those of a DaemonSet, have a template each.
        if !is_narrowed {
            self.keep(number, template);
        }
        found
    }

    /// Keeps filters for the next pod of the template that [`Found::None`] gave away.
    pub fn give_back(&mut self, pod: &PodInfo, number: usize, mut filters: Filters) {
        filters.forget_pod();
        if let Some(template) = self.templates.get_mut(number).and_then(|all| all.get_mut(&pod.template)) {
            template.filters = Some(filters);
        }
    }

    /// Takes in what has happened while nothing is to be scheduled, so that nobody has to remember it.
    pub fn catch_up(&mut self, table: &mut Table) {
        for template in self.templates.iter_mut().flat_map(HashMap::values_mut) {
            template.refresh_prepared(table);
        }
        table.forget_placements();
    }

    async fn find(
        &mut self,
        pod: &Arc<PodInfo>,
        table: &mut Table,
        profile: &Profile,
        extenders: &Extenders,
        template: &mut Template,
        filters: &mut Filters,
    ) -> anyhow::Result<Result<Vec<usize>, Unfit>> {
        if let Some(node) = pod.nominated().and_then(|name| table.number(name))
            && table.node(node).exists
            && filters.allow_beside_nominated(pod, table, profile, node, Known::Nothing).is_ok()
        {
            let mut nodes = vec![node];
            extenders.filter(pod, &mut nodes, table).await?;
            if !nodes.is_empty() {
                return Ok(Ok(nodes));
            }
        }
        let needs_all = !profile.scores.is_empty() || extenders.filter_any();
        let began = Instant::now();
        let (mut found, mut unfit) = self.feasible(pod, table, profile, template, filters, needs_all);
        let status = if found.is_empty() { "Unschedulable" } else { "Success" };
        METRICS.ran("Filter", status, &profile.scheduler_name, began);
        unfit.refusals.extend(extenders.filter(pod, &mut found, table).await?);
        if found.is_empty() {
            unfit.others = filters.narrowed_by.clone();
            return Ok(Err(unfit));
        }
        if found.len() == 1 {
            return Ok(Ok(found));
        }
        let began = Instant::now();
        let mut scores = score(pod, table, profile, template, &found, filters.nodes.is_some());
        METRICS.ran("Score", "Success", &profile.scheduler_name, began);
        extenders.prioritize(pod, &found, &mut scores, table).await;
        let best = scores.iter().copied().max();
        let mut scores = scores.into_iter();
        found.retain(|_| scores.next() == best);
        Ok(Ok(found))
    }

    /// What is kept for the pod's template, brought up to date with the table; [`Cycle::keep`] puts it back.
    fn template(&mut self, pod: &Arc<PodInfo>, table: &Table, number: usize) -> Box<Template> {
        self.used += 1;
        let used = self.used;
        let known = self.templates[number].remove(&pod.template);
        let mut template = known.unwrap_or_else(|| {
            Box::new(Template {
                pod: pod.clone(),
                used,
                sequence: 0,
                epoch: u64::MAX,
                entries: Vec::new(),
                refusal: None,
                layout: u64::MAX,
                placed: 0,
                filters: None,
                scorers: None,
            })
        });
        template.used = used;
        template.refresh_prepared(table);
        template.refresh_entries(table);
        template
    }

    fn keep(&mut self, number: usize, template: Box<Template>) {
        let templates = &mut self.templates[number];
        if templates.len() >= TEMPLATES {
            let oldest = templates.iter().min_by_key(|(_, template)| template.used).map(|(key, _)| key.clone());
            oldest.map(|key| templates.remove(&key));
        }
        templates.insert(template.pod.template.clone(), template);
    }

    /// How many nodes to find before scoring: all of few, a share of many.
    fn enough(count: usize, percentage: Option<u64>) -> usize {
        let percentage = percentage.unwrap_or_else(|| 50_u64.saturating_sub(count as u64 / 125).max(5)) as usize;
        if count <= FEW_NODES || percentage >= 100 {
            return count;
        }
        (count.saturating_mul(percentage) / 100).max(FEW_NODES)
    }

    fn feasible(
        &mut self,
        pod: &Arc<PodInfo>,
        table: &mut Table,
        profile: &Profile,
        template: &mut Template,
        filters: &mut Filters,
        needs_all: bool,
    ) -> (Vec<usize>, Unfit) {
        let enough = if needs_all { Self::enough(table.count(), profile.percentage_of_nodes_to_score) } else { 1 };
        let named: Option<Arc<[usize]>> = filters.nodes.as_ref().map(|nodes| nodes.iter().copied().collect());
        let order = named.clone().unwrap_or_else(|| table.order());
        let (mut found, mut unfit) = (Vec::with_capacity(enough.min(order.len())), Unfit::default());
        let (before, after) = order.split_at(self.start % order.len().max(1));
        let (mut seen, allow_all) = (0, filters.allow_all());
        for &node in after.iter().chain(before) {
            if found.len() >= enough {
                break;
            }
            seen += 1;
            if !table.node(node).exists {
                continue;
            }
            let refusal = match template.entry(pod, table, profile, node, named.is_some()).refusal.clone() {
                Some(refusal) => match filters.allow_before(pod, table, node, refusal.0) {
                    Ok(()) => Some(refusal),
                    Err(first) => Some(template.shared(first)),
                },
                None if allow_all && table.nominated(node).is_empty() => None,
                None => match filters.allow_beside_nominated(pod, table, profile, node, Known::Node) {
                    Ok(()) => None,
                    Err(refusal) => Some(template.shared(refusal)),
                },
            };
            match refusal {
                None => found.push(node),
                Some(refusal) => unfit.refusals.push((node, refusal)),
            }
        }
        if named.is_none() && !order.is_empty() {
            self.start = (self.start + seen) % order.len();
        }
        (found, unfit)
    }
}

impl Template {
    fn refresh_entries(&mut self, table: &Table) {
        if self.epoch != table.epoch {
            self.entries.clear();
            self.epoch = table.epoch;
        } else if self.sequence != table.sequence {
            match table.changed_since(self.sequence) {
                Some(changed) => {
                    for node in changed {
                        if let Some(entry) = self.entries.get_mut(node) {
                            entry.is_known = false;
                        }
                        if let Some(filters) = &mut self.filters {
                            filters.candidates.forget(node);
                        }
                    }
                }
                None => {
                    self.entries.clear();
                    self.filters = None;
                }
            }
        }
        self.sequence = table.sequence;
    }

    fn refresh_prepared(&mut self, table: &Table) {
        let placements = (self.layout == table.layout).then(|| table.placements_since(self.placed)).flatten();
        match placements {
            None => {
                self.filters = None;
                self.scorers = None;
            }
            Some(placements) => {
                for placement in placements {
                    let filters = self.filters.iter_mut().flat_map(Filters::kept);
                    let scorers = self.scorers.iter_mut().flatten().map(|(_, scorer)| scorer);
                    for prepared in filters.chain(scorers) {
                        if placement.added {
                            prepared.add_pod(&self.pod, &placement.pod, placement.node, table);
                        } else {
                            prepared.remove_pod(&self.pod, &placement.pod, placement.node, table);
                        }
                    }
                }
            }
        }
        (self.layout, self.placed) = (table.layout, table.placed);
    }

    /// What is known of a node. With `is_narrowed` few nodes are asked for, and a table of all is not worth it.
    fn entry(&mut self, pod: &PodInfo, table: &Table, profile: &Profile, node: usize, is_narrowed: bool) -> &Entry {
        let at = if is_narrowed { 0 } else { node };
        let size = if is_narrowed { 1 } else { table.size() };
        if self.entries.len() < size {
            self.entries.resize(size, Entry::default());
        }
        if is_narrowed || !self.entries[at].is_known {
            let mut entry = Entry::of(pod, table.node(node), table, profile);
            entry.refusal = entry.refusal.map(|refusal| self.share(refusal));
            self.entries[at] = entry;
        }
        &self.entries[at]
    }

    /// Nodes mostly refuse a pod for the same reason, which is kept once.
    fn share(&mut self, refusal: Arc<(usize, Refusal)>) -> Arc<(usize, Refusal)> {
        match &self.refusal {
            Some(last) if *last == refusal => last.clone(),
            _ => self.refusal.insert(refusal).clone(),
        }
    }

    fn shared(&mut self, refusal: (usize, Refusal)) -> Arc<(usize, Refusal)> {
        match &self.refusal {
            Some(last) if **last == refusal => last.clone(),
            _ => self.refusal.insert(Arc::new(refusal)).clone(),
        }
    }
}

impl Entry {
    fn of(pod: &PodInfo, node: &NodeInfo, table: &Table, profile: &Profile) -> Entry {
        let mut entry = Entry { is_known: true, ..Entry::default() };
        if let Err(refusal) = filter_node(pod, node, table, profile) {
            entry.refusal = Some(Arc::new(refusal));
            return entry;
        }
        let mut relative = entry.relative.iter_mut();
        for scoring in profile.scores.iter().filter(|scoring| scoring.scope == Scope::Node) {
            let score = scored(scoring, || scoring.plugin.score(pod, node, table));
            if scoring.plugin.normalize() == Normalize::No {
                entry.absolute = entry.absolute.saturating_add(score.saturating_mul(scoring.weight));
            } else if let Some(place) = relative.next() {
                *place = i32::try_from(score).unwrap_or(i32::MAX);
            }
        }
        entry
    }
}

/// Runs what a plugin scores by.
fn scored<T>(scoring: &Scoring, run: impl FnOnce() -> T) -> T {
    Metrics::plugin(scoring.plugin.name(), "Score", |_| "Success", run)
}

/// The scores of nodes, all plugins' together.
fn score(
    pod: &PodInfo,
    table: &Table,
    profile: &Profile,
    template: &mut Template,
    nodes: &[usize],
    is_narrowed: bool,
) -> Vec<i64> {
    let mut totals = Vec::with_capacity(nodes.len());
    let mut relative: [Vec<i64>; RELATIVE] = Default::default();
    for &node in nodes {
        let entry = template.entry(pod, table, profile, node, is_narrowed);
        totals.push(entry.absolute);
        for (scores, score) in relative.iter_mut().zip(entry.relative) {
            // What is nothing so far needs no list.
            if score != 0 || !scores.is_empty() {
                scores.resize(totals.len() - 1, 0);
                scores.push(score.into());
            }
        }
    }
    let mut add = |scores: &[i64], weight: i64| {
        totals.iter_mut().zip(scores).for_each(|(total, score)| *total += weight * score);
    };
    let normalized = profile
        .scores
        .iter()
        .filter(|scoring| scoring.scope == Scope::Node && scoring.plugin.normalize() != Normalize::No);
    for (scoring, mut scores) in normalized.zip(relative) {
        // All alike change nothing.
        if !scores.is_empty() {
            scores.resize(nodes.len(), 0);
            normalize(&mut scores, scoring.plugin.normalize() == Normalize::Reverse);
            add(&scores, scoring.weight);
        }
    }
    let pre_score = |scoring: &Scoring| {
        let run = || scoring.plugin.pre_score(pod, table);
        Metrics::plugin(scoring.plugin.name(), "PreScore", |_| "Success", run)
    };
    let prepare = || {
        let scores = profile.scores.iter().enumerate().filter(|(_, scoring)| scoring.scope == Scope::Cluster);
        scores.filter_map(|(at, scoring)| Some((at, pre_score(scoring)?))).collect()
    };
    for (at, scorer) in template.scorers.get_or_insert_with(prepare) {
        let scoring = &profile.scores[*at];
        if let Some(scores) = scored(scoring, || scorer.scores(pod, nodes, table)) {
            add(&scores, scoring.weight);
        }
    }
    for scoring in profile.scores.iter().filter(|scoring| scoring.scope == Scope::Pod) {
        let scorer = pre_score(scoring);
        if let Some(scores) = scorer.and_then(|mut scorer| scored(scoring, || scorer.scores(pod, nodes, table))) {
            add(&scores, scoring.weight);
        }
    }
    totals
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
