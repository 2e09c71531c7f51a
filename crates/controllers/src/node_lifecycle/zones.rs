//! How fast nodes lose their pods: zone by zone, slowly where much of a zone is silent, and not at all where everything is,
//! since then it is rather us who are cut off.
//! <https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction>

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use super::condition_status;
use crate::metrics::Zone;

/// How long after one node of a zone the next one loses its pods (`--node-eviction-rate` 0.1).
const INTERVAL: Duration = Duration::from_secs(10);
/// The same in a large zone of which much is silent (`--secondary-node-eviction-rate` 0.01).
const SLOW: Duration = Duration::from_secs(100);
/// How many nodes a large zone has more than (`--large-cluster-size-threshold`).
const LARGE: usize = 50;
/// From which part of a hundred on much of a zone is silent (`--unhealthy-zone-threshold` 0.55).
const MUCH: usize = 55;

/// The label of nodes that say nothing of whether it is us who are cut off.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// What may be done to the pods of a node that is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// One node of the zone after the other, with so much time between them.
    Every(Duration),
    /// Nothing, as too much of the zone is silent.
    Wait,
    /// Nothing, and what was begun is taken back: no zone has a node that is heard of.
    Undo,
}

/// What upstream calls the zone of a node; nothing where it is in none.
pub(super) fn zone_of(node: &Node) -> String {
    let label = |name: &str| {
        let names = [format!("topology.kubernetes.io/{name}"), format!("failure-domain.beta.kubernetes.io/{name}")];
        names.iter().find_map(|name| node.labels().get(name)).cloned().unwrap_or_default()
    };
    match (label("region"), label("zone")) {
        (region, zone) if region.is_empty() && zone.is_empty() => String::new(),
        (region, zone) => format!("{region}:\0:{zone}"),
    }
}

/// What counts of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    zone: String,
    is_ready: bool,
    is_excluded: bool,
}

impl Seen {
    fn of(node: &Node) -> Seen {
        Seen {
            zone: zone_of(node),
            is_ready: condition_status(node, "Ready") == "True",
            is_excluded: node.labels().contains_key(EXCLUDED),
        }
    }
}

/// Nodes of a zone, or of all zones.
#[derive(Default)]
struct Count {
    all: Zone,
    excluded: Zone,
}

impl Count {
    fn put(&mut self, seen: &Seen) {
        for zone in self.of(seen) {
            zone.nodes = zone.nodes.saturating_add(1);
            zone.unhealthy = zone.unhealthy.saturating_add(usize::from(!seen.is_ready));
        }
    }

    fn remove(&mut self, seen: &Seen) {
        for zone in self.of(seen) {
            zone.nodes = zone.nodes.saturating_sub(1);
            zone.unhealthy = zone.unhealthy.saturating_sub(usize::from(!seen.is_ready));
        }
    }

    fn of(&mut self, seen: &Seen) -> impl Iterator<Item = &mut Zone> {
        std::iter::once(&mut self.all).chain(Some(&mut self.excluded).filter(|_| seen.is_excluded))
    }

    /// How many nodes that are not excluded are ready, and how many are not.
    fn counted(&self) -> (usize, usize) {
        let silent = self.all.unhealthy.saturating_sub(self.excluded.unhealthy);
        (self.all.nodes.saturating_sub(self.excluded.nodes).saturating_sub(silent), silent)
    }
}

/// How many nodes of each zone are heard of, kept change by change: whoever asks does not look at all nodes.
#[derive(Default)]
pub(super) struct Census {
    nodes: HashMap<String, Seen>,
    zones: BTreeMap<String, Count>,
    total: Count,
}

impl Census {
    /// Takes in a new or changed node.
    pub fn put(&mut self, node: &Node) {
        let (name, seen) = (node.name_any(), Seen::of(node));
        if self.nodes.get(&name) == Some(&seen) {
            return;
        }
        self.remove(&name);
        self.zones.entry(seen.zone.clone()).or_default().put(&seen);
        self.total.put(&seen);
        self.nodes.insert(name, seen);
    }

    /// Takes in what was just written of a node, unless that is gone.
    pub fn written(&mut self, node: &Node) {
        if self.nodes.contains_key(&node.name_any()) {
            self.put(node);
        }
    }

    /// Forgets a node.
    pub fn remove(&mut self, name: &str) {
        let Some(seen) = self.nodes.remove(name) else { return };
        self.total.remove(&seen);
        if let Some(zone) = self.zones.get_mut(&seen.zone) {
            zone.remove(&seen);
            if zone.all.nodes == 0 {
                self.zones.remove(&seen.zone);
            }
        }
    }

    /// Whether a zone has nodes.
    pub fn has(&self, zone: &str) -> bool {
        self.zones.contains_key(zone)
    }

    /// How many nodes zones have.
    pub fn zones(&self) -> BTreeMap<String, Zone> {
        self.zones.iter().map(|(name, count)| (name.clone(), count.all)).collect()
    }

    /// How fast nodes of a zone lose their pods now.
    pub fn pace(&self, zone: &str) -> Pace {
        let (ready, silent) = self.zones.get(zone).map_or((0, 0), Count::counted);
        let size = ready.saturating_add(silent);
        if ready == 0 {
            return if self.total.counted().0 > 0 { Pace::Every(INTERVAL) } else { Pace::Undo };
        }
        match silent > 2 && silent.saturating_mul(100) >= size.saturating_mul(MUCH) {
            true if size > LARGE => Pace::Every(SLOW),
            true => Pace::Wait,
            false => Pace::Every(INTERVAL),
        }
    }
}

/// When a node of each zone last lost its pods.
#[derive(Default)]
pub(super) struct Turns(HashMap<String, Instant>);

impl Turns {
    /// Takes a turn of a zone.
    ///
    /// # Errors
    /// It is not the time yet; how long that takes.
    pub fn take(&mut self, zone: &str, interval: Duration, now: Instant) -> Result<(), Duration> {
        let last = self.0.get(zone).map(|last| now.saturating_duration_since(*last));
        match last.and_then(|since| interval.checked_sub(since)).filter(|left| !left.is_zero()) {
            Some(left) => Err(left),
            None => {
                self.0.insert(zone.to_owned(), now);
                Ok(())
            }
        }
    }

    /// Gives a turn back that came to nothing.
    pub fn give_back(&mut self, zone: &str) {
        self.0.remove(zone);
    }

    /// Forgets zones that have no nodes any more.
    pub fn retain(&mut self, zones: impl Fn(&str) -> bool) {
        self.0.retain(|zone, _| zones(zone));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Nodes that are ready and that are not, zone by zone.
    fn nodes(zones: &[(&str, usize, usize)]) -> Vec<Node> {
        let node = |zone: &str, number: usize, ready: bool| {
            let status = if ready { "True" } else { "Unknown" };
            let node = json!({"metadata": {"name": format!("{zone}-{number}"), "labels": {"topology.kubernetes.io/zone": zone}},
                "status": {"conditions": [{"type": "Ready", "status": status}]}});
            serde_json::from_value::<Node>(node).unwrap()
        };
        let of = |(zone, ready, silent): &(&str, usize, usize)| {
            (0..ready + silent).map(|number| node(zone, number, number < *ready)).collect::<Vec<_>>()
        };
        zones.iter().flat_map(of).collect()
    }

    fn census(nodes: &[Node]) -> Census {
        let mut census = Census::default();
        nodes.iter().for_each(|node| census.put(node));
        census
    }

    #[test]
    fn pods_go_more_slowly_the_more_of_a_zone_is_silent() {
        let pace = |zones: &[(&str, usize, usize)]| census(&nodes(zones)).pace(":\0:a");
        assert_eq!(pace(&[("a", 2, 1)]), Pace::Every(INTERVAL));
        // Two silent ones are never much.
        assert_eq!(pace(&[("a", 1, 2)]), Pace::Every(INTERVAL));
        assert_eq!(pace(&[("a", 2, 3)]), Pace::Wait);
        assert_eq!(pace(&[("a", 20, 30)]), Pace::Wait);
        assert_eq!(pace(&[("a", 20, 31)]), Pace::Every(SLOW));
        assert_eq!(pace(&[("a", 30, 30)]), Pace::Every(INTERVAL));
        assert_eq!(pace(&[("a", 0, 3), ("b", 1, 0)]), Pace::Every(INTERVAL), "a zone that went");
        assert_eq!(pace(&[("a", 0, 3), ("b", 0, 1)]), Pace::Undo);
        assert_eq!(pace(&[("a", 0, 1)]), Pace::Undo);
    }

    #[test]
    fn nodes_that_are_excluded_do_not_count() {
        let mut all = nodes(&[("a", 2, 3)]);
        let mut census = census(&all);
        assert_eq!(census.pace(":\0:a"), Pace::Wait);
        let exclude = |node: &mut Node| node.labels_mut().insert(EXCLUDED.into(), String::new());
        exclude(&mut all[4]);
        census.put(&all[4]);
        assert_eq!(census.pace(":\0:a"), Pace::Every(INTERVAL));
        for node in &mut all[..2] {
            exclude(node);
            census.put(node);
        }
        assert_eq!(census.pace(":\0:a"), Pace::Undo);
        assert_eq!(census.zones()[":\0:a"], Zone { nodes: 5, unhealthy: 3 });
    }

    #[test]
    fn what_changes_and_goes_is_counted_anew() {
        let (before, after) = (nodes(&[("a", 5, 0), ("b", 1, 0)]), nodes(&[("a", 1, 4)]));
        let mut census = census(&before);
        after.iter().for_each(|node| census.written(node));
        assert_eq!(census.zones()[":\0:a"], Zone { nodes: 5, unhealthy: 4 });
        assert_eq!(census.pace(":\0:a"), Pace::Wait);
        census.remove("b-0");
        assert!(census.has(":\0:a") && !census.has(":\0:b"));
        // It is gone, whatever was just written of it.
        census.written(&before[5]);
        assert!(!census.has(":\0:b"));
        (0..5).for_each(|number| census.remove(&format!("a-{number}")));
        assert!(census.zones().is_empty());
        assert_eq!(census.pace(":\0:a"), Pace::Undo);
    }

    #[test]
    fn nodes_of_a_zone_take_turns() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        assert_eq!(turns.take("a", INTERVAL, now), Ok(()));
        let later = now + Duration::from_secs(4);
        assert_eq!(turns.take("a", INTERVAL, later), Err(Duration::from_secs(6)));
        assert_eq!(turns.take("b", INTERVAL, later), Ok(()));
        assert_eq!(turns.take("a", INTERVAL, now + INTERVAL), Ok(()));
        turns.give_back("a");
        assert_eq!(turns.take("a", INTERVAL, now + INTERVAL), Ok(()));
        turns.retain(|zone| zone == "b");
        assert_eq!(turns.take("a", INTERVAL, now + INTERVAL), Ok(()));
    }
}
