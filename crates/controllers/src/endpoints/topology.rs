//! Hints by zone in proportion to what the zones' nodes can compute, for services that ask for it by the annotation
//! `service.kubernetes.io/topology-mode: Auto`.
//! <https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/>

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, ForZone};
use kube::ResourceExt;

use super::slice::Desired;

const MODE: &str = "service.kubernetes.io/topology-mode";
/// The annotation's name before 1.27.
const OLD_MODE: &str = "service.kubernetes.io/topology-aware-hints";
const ZONE: &str = "topology.kubernetes.io/zone";
/// How much more than its part of the traffic an endpoint may get.
const OVERLOAD: f64 = 0.2;

/// Whether a service asks for hints.
pub(crate) fn is_asked_for(service: &Service) -> bool {
    let mode = service.annotations().get(MODE).or_else(|| service.annotations().get(OLD_MODE));
    mode.is_some_and(|mode| mode == "Auto" || mode == "auto")
}

/// The part of each zone in what all nodes can compute; `None` where a node says too little, or where there is one zone.
pub(crate) fn parts(nodes: &[Arc<Node>]) -> Option<BTreeMap<String, f64>> {
    const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
    let mut parts: BTreeMap<String, f64> = BTreeMap::new();
    for node in nodes.iter().filter(|node| is_ready(node)) {
        if CONTROL_PLANE.iter().any(|role| node.labels().contains_key(*role)) {
            continue;
        }
        let allocatable = node.status.as_ref()?.allocatable.as_ref()?;
        let cpu = allocatable.get("cpu")?.0.parse::<Quantity>().ok()?.milli_value() as f64;
        *parts.entry(node.labels().get(ZONE)?.clone()).or_default() += cpu;
    }
    let all: f64 = parts.values().sum();
    (parts.len() > 1 && all > 0.0).then(|| parts.into_iter().map(|(zone, cpu)| (zone, cpu / all)).collect())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Gives all ready endpoints of each set of ports the hint of a zone, or none of them one.
pub(crate) fn give_hints(desired: &mut Desired, parts: &BTreeMap<String, f64>) {
    for endpoints in desired.values_mut() {
        let mut ready: Vec<&mut Endpoint> = endpoints.iter_mut().filter(|endpoint| is_served(endpoint)).collect();
        let Some(zones) = zones(&ready, parts) else { continue };
        for (endpoint, zone) in ready.iter_mut().zip(zones) {
            let for_zones = Some(vec![ForZone { name: zone }]);
            endpoint.hints = Some(EndpointHints { for_zones, for_nodes: None });
        }
    }
}

fn is_served(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

/// The zone that each endpoint is for: its own, but for those that zones with too few are given.
fn zones(ready: &[&mut Endpoint], parts: &BTreeMap<String, f64>) -> Option<Vec<String>> {
    if ready.len() < parts.len() {
        return None;
    }
    let mut zones: Vec<String> = Vec::with_capacity(ready.len());
    for endpoint in ready {
        zones.push(endpoint.zone.clone().filter(|zone| parts.contains_key(zone))?);
    }
    let wanted = |zone: &str| parts.get(zone).copied().unwrap_or_default() * ready.len() as f64;
    let least = |zone: &str| (wanted(zone) / (1.0 + OVERLOAD)).ceil() as usize;
    let count = |zones: &[String], zone: &str| zones.iter().filter(|other| *other == zone).count();
    for poor in parts.keys() {
        while count(&zones, poor) < least(poor).max(1) {
            let spare = |zone: &&String| count(&zones, zone) as f64 - wanted(zone);
            let rich = parts.keys().filter(|zone| count(&zones, zone) > least(zone).max(1));
            let rich = rich.max_by(|a, b| spare(a).total_cmp(&spare(b)))?;
            let given = zones.iter().position(|zone| zone == rich)?;
            *zones.get_mut(given)? = poor.clone();
        }
    }
    Some(zones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(zone: &str, cpu: &str) -> Arc<Node> {
        let condition = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let object = json!({"metadata": {"name": "n", "labels": {ZONE: zone}},
            "status": {"allocatable": {"cpu": cpu}, "conditions": [condition]}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn hinted(endpoints: &[(&str, usize)], nodes: &[Arc<Node>]) -> BTreeMap<String, usize> {
        let all = endpoints.iter().flat_map(|(zone, count)| (0..*count).map(|_| zone.to_string()));
        let all =
            all.map(|zone| Endpoint { addresses: vec!["10.0.0.1".into()], zone: Some(zone), ..Endpoint::default() });
        let mut desired = Desired::from([(Vec::new(), all.collect())]);
        give_hints(&mut desired, &parts(nodes).unwrap());
        let mut counts = BTreeMap::new();
        for endpoint in desired.values().flatten() {
            let zone = endpoint.hints.as_ref().and_then(|hints| Some(hints.for_zones.as_ref()?[0].name.clone()));
            *counts.entry(zone.unwrap_or_else(|| "none".into())).or_default() += 1;
        }
        counts
    }

    fn counts(list: &[(&str, usize)]) -> BTreeMap<String, usize> {
        list.iter().map(|(zone, count)| (zone.to_string(), *count)).collect()
    }

    #[test]
    fn endpoints_are_for_zones_in_proportion_to_their_processors() {
        let even = [node("a", "2"), node("b", "2")];
        assert_eq!(hinted(&[("a", 3), ("b", 3)], &even), counts(&[("a", 3), ("b", 3)]));
        assert_eq!(hinted(&[("a", 6)], &even), counts(&[("a", 3), ("b", 3)]));
        assert_eq!(hinted(&[("a", 4), ("b", 2)], &[node("a", "2"), node("b", "1500m")]), counts(&[("a", 3), ("b", 3)]));
        assert_eq!(hinted(&[("a", 1)], &even), counts(&[("none", 1)]), "fewer than zones");
        assert_eq!(hinted(&[("a", 1), ("c", 3)], &even), counts(&[("none", 4)]), "one is in a zone without nodes");
    }

    #[test]
    fn one_zone_or_a_node_without_one_has_no_parts() {
        assert!(parts(&[node("a", "2"), node("a", "1")]).is_none());
        let mut without = (*node("a", "2")).clone();
        without.metadata.labels = None;
        assert!(parts(&[node("a", "2"), Arc::new(without), node("b", "2")]).is_none());
    }
}
