//! Which endpoints a port's traffic may go to: all or those of this node, the near ones if the slices say so, and those
//! that end only where no others are.
//! <https://kubernetes.io/docs/reference/networking/virtual-ips/>, KEP-1669, KEP-2433, KEP-3015.

use std::net::IpAddr;
use std::sync::Arc;

use coracle_values::addresses::Family;
use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// Address and port of an endpoint.
pub(super) type At = (IpAddr, u16);

/// Endpoints in order, each once.
pub(super) type Endpoints = Arc<[At]>;

/// Where this is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Of which family the endpoints are.
    pub family: Family,
    pub node: String,
    pub zone: Option<String>,
}

/// The endpoints of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// For traffic that may go anywhere in the cluster.
    pub cluster: Endpoints,
    /// For traffic that stays on this node.
    pub local: Endpoints,
    /// There are some, if not for every traffic.
    pub any: bool,
}

struct Candidate<'a> {
    at: At,
    endpoint: &'a Endpoint,
}

impl Candidate<'_> {
    fn is_ready(&self) -> bool {
        self.condition(|conditions| conditions.ready).unwrap_or(true)
    }

    /// It still answers while it ends.
    fn is_last_resort(&self) -> bool {
        let serving = self.condition(|conditions| conditions.serving).unwrap_or_else(|| self.is_ready());
        serving && self.condition(|conditions| conditions.terminating).unwrap_or(false)
    }

    fn condition(
        &self,
        which: impl Fn(&k8s_openapi::api::discovery::v1::EndpointConditions) -> Option<bool>,
    ) -> Option<bool> {
        self.endpoint.conditions.as_ref().and_then(which)
    }

    fn is_on(&self, place: &Place) -> bool {
        self.endpoint.node_name.as_deref() == Some(&place.node)
    }

    /// Whether it is meant for a node; `None` when it does not say.
    fn for_node(&self, place: &Place) -> Option<bool> {
        let nodes = self.endpoint.hints.as_ref()?.for_nodes.as_ref().filter(|nodes| !nodes.is_empty())?;
        Some(nodes.iter().any(|node| node.name == place.node))
    }

    /// Whether it is meant for the zone of a node; `None` when it does not say.
    fn for_zone(&self, place: &Place) -> Option<bool> {
        let zones = self.endpoint.hints.as_ref()?.for_zones.as_ref().filter(|zones| !zones.is_empty())?;
        Some(zones.iter().any(|zone| Some(&zone.name) == place.zone.as_ref()))
    }
}

/// Chooses the endpoints of a port.
pub(super) fn choose<'a>(port: &ServicePort, slices: impl Iterator<Item = &'a EndpointSlice>, place: &Place) -> Chosen {
    let all: Vec<Candidate<'_>> = slices.flat_map(|slice| candidates(port, slice, place.family)).collect();
    let ready: Vec<&Candidate<'_>> = all.iter().filter(|one| one.is_ready()).collect();
    let last: Vec<&Candidate<'_>> = all.iter().filter(|one| one.is_last_resort()).collect();
    let local = |of: &[&Candidate<'_>]| sorted(of.iter().filter(|one| one.is_on(place)));
    let or_last = |first: Endpoints, last: Endpoints| if first.is_empty() { last } else { first };
    Chosen {
        cluster: or_last(near(&ready, place), sorted(last.iter())),
        local: or_last(local(&ready), local(&last)),
        any: !ready.is_empty() || !last.is_empty(),
    }
}

/// How many endpoints of a service are ready on a node, whatever their port.
pub(super) fn count_local<'a>(slices: impl Iterator<Item = &'a EndpointSlice>, place: &Place) -> usize {
    let mut addresses: Vec<&str> = slices
        .filter(|slice| slice.address_type == place.family.name())
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| endpoint.node_name.as_deref() == Some(&place.node))
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true))
        .flat_map(|endpoint| endpoint.addresses.iter().map(String::as_str))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.len()
}

/// Hints count only if every endpoint has them, and one of them is for here.
fn near(ready: &[&Candidate<'_>], place: &Place) -> Endpoints {
    let hinted = |hint: &dyn Fn(&Candidate<'_>) -> Option<bool>| {
        let all_say = ready.iter().all(|one| hint(one).is_some());
        let found = sorted(ready.iter().filter(|one| hint(one) == Some(true)));
        (all_say && !found.is_empty()).then_some(found)
    };
    hinted(&|one| one.for_node(place))
        .or_else(|| hinted(&|one| one.for_zone(place)))
        .unwrap_or_else(|| sorted(ready.iter()))
}

fn sorted<'a, 'b: 'a>(candidates: impl Iterator<Item = &'a &'a Candidate<'b>>) -> Endpoints {
    let mut found: Vec<At> = candidates.map(|one| one.at).collect();
    found.sort_unstable();
    found.dedup();
    found.into()
}

fn candidates<'a>(port: &ServicePort, slice: &'a EndpointSlice, family: Family) -> Vec<Candidate<'a>> {
    let name = port.name.as_deref().unwrap_or_default();
    let protocol = super::protocol(port);
    let fits = |own: &&k8s_openapi::api::discovery::v1::EndpointPort| {
        own.name.as_deref().unwrap_or_default() == name && own.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    let number = slice.ports.iter().flatten().find(fits).and_then(|own| u16::try_from(own.port?).ok());
    let Some(number) = number.filter(|_| slice.address_type == family.name()) else { return Vec::new() };
    let at = |endpoint: &'a Endpoint| {
        let addresses = endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
        let addresses = addresses.filter(move |address| Family::of(*address) == family);
        addresses.map(move |address| Candidate { at: (address, number), endpoint })
    };
    slice.endpoints.iter().flat_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::octets;
    use serde_json::{Value, json};

    fn chosen(endpoints: &[Value]) -> Chosen {
        let slice = json!({"metadata": {}, "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": endpoints});
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        let place = Place { family: Family::V4, node: "here".into(), zone: Some("z".into()) };
        choose(&ServicePort { port: 1, ..ServicePort::default() }, [&slice].into_iter(), &place)
    }

    fn endpoint(last: u8, node: &str, state: &str, hints: Value) -> Value {
        let conditions = json!({"ready": state == "ready", "serving": state != "not", "terminating": state == "ends"});
        json!({"addresses": [format!("10.0.0.{last}")], "nodeName": node, "conditions": conditions, "hints": hints})
    }

    fn numbers(endpoints: &Endpoints) -> Vec<u8> {
        endpoints.iter().map(|(address, _)| octets(*address)[3]).collect()
    }

    #[test]
    fn endpoints_that_end_are_for_when_there_are_no_others() {
        let none = Value::Null;
        let some = [endpoint(1, "here", "ends", none.clone()), endpoint(2, "there", "ready", none.clone())];
        let found = chosen(&some);
        assert_eq!((numbers(&found.cluster), numbers(&found.local)), (vec![2], vec![1]));
        let found = chosen(&[endpoint(1, "there", "ends", none.clone()), endpoint(2, "there", "not", none.clone())]);
        assert_eq!((numbers(&found.cluster), numbers(&found.local), found.any), (vec![1], vec![], true));
        assert!(!chosen(&[endpoint(2, "here", "not", none)]).any);
    }

    #[test]
    fn hints_count_when_all_have_them_and_one_is_for_here() {
        let zone = |name: &str| json!({"forZones": [{"name": name}]});
        let both = |node: &str, zone: &str| json!({"forZones": [{"name": zone}], "forNodes": [{"name": node}]});
        let of = |hints: [Value; 3]| {
            let endpoints = hints.into_iter().enumerate().map(|(n, hints)| endpoint(n as u8, "n", "ready", hints));
            numbers(&chosen(&endpoints.collect::<Vec<_>>()).cluster)
        };
        assert_eq!(of([zone("z"), zone("y"), zone("z")]), [0, 2]);
        assert_eq!(of([zone("z"), zone("y"), Value::Null]), [0, 1, 2]);
        assert_eq!(of([zone("x"), zone("y"), zone("x")]), [0, 1, 2]);
        assert_eq!(of([both("here", "z"), both("there", "z"), both("there", "y")]), [0]);
        assert_eq!(of([both("there", "z"), both("there", "z"), both("there", "y")]), [0, 1]);
    }
}
