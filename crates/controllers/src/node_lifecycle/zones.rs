//! How fast nodes lose their pods: zone by zone, slowly where much of a zone is silent, and not at all where everything is,
//! since then it is rather us who are cut off.
//! <https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction>

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use super::condition_status;

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

/// How fast nodes of a zone lose their pods now.
pub(super) fn pace(nodes: &[Arc<Node>], zone: &str) -> Pace {
    let is_ready = |node: &Node| condition_status(node, "Ready") == "True";
    let counted = || nodes.iter().filter(|node| !node.labels().contains_key(EXCLUDED));
    let (mut ready, mut silent) = (0_usize, 0_usize);
    for node in counted().filter(|node| zone_of(node) == zone) {
        let count = if is_ready(node) { &mut ready } else { &mut silent };
        *count = count.saturating_add(1);
    }
    let size = ready.saturating_add(silent);
    if ready == 0 {
        return if counted().any(|node| is_ready(node)) { Pace::Every(INTERVAL) } else { Pace::Undo };
    }
    match silent > 2 && silent.saturating_mul(100) >= size.saturating_mul(MUCH) {
        true if size > LARGE => Pace::Every(SLOW),
        true => Pace::Wait,
        false => Pace::Every(INTERVAL),
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

    fn nodes(zones: &[(&str, usize, usize)]) -> Vec<Arc<Node>> {
        let node = |zone: &str, ready: bool| {
            let status = if ready { "True" } else { "Unknown" };
            let node = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}},
                "status": {"conditions": [{"type": "Ready", "status": status}]}});
            Arc::new(serde_json::from_value::<Node>(node).unwrap())
        };
        let of = |(zone, ready, silent): &(&str, usize, usize)| {
            let ready = (0..*ready).map(|_| node(zone, true));
            ready.chain((0..*silent).map(|_| node(zone, false))).collect::<Vec<_>>()
        };
        zones.iter().flat_map(of).collect()
    }

    #[test]
    fn pods_go_more_slowly_the_more_of_a_zone_is_silent() {
        let pace = |zones: &[(&str, usize, usize)]| pace(&nodes(zones), ":\0:a");
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
        assert_eq!(pace(&all, ":\0:a"), Pace::Wait);
        let exclude = |node: &mut Arc<Node>| {
            Arc::make_mut(node).metadata.labels.get_or_insert_default().insert(EXCLUDED.into(), String::new());
        };
        exclude(&mut all[4]);
        assert_eq!(pace(&all, ":\0:a"), Pace::Every(INTERVAL));
        all[..2].iter_mut().for_each(exclude);
        assert_eq!(pace(&all, ":\0:a"), Pace::Undo);
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
