//! What services take of a node. A service of many ports, addresses and endpoints takes the product of them, which is far more than its
//! objects have: with more than there is room for, the node does not serve it until there is.

use std::collections::{BTreeSet, HashMap};

use coracle_client::ObjectKey;
use coracle_values::limits::SERVICES;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::room::Room;

const ROOM: Room = Room { most: SERVICES, total: 1_000_000, share: 20_000 };

/// What each service takes, and those for which there was no room.
pub(super) struct Costs {
    room: Room,
    of: HashMap<ObjectKey, usize>,
    of_namespace: HashMap<String, usize>,
    all: usize,
    beyond: BTreeSet<ObjectKey>,
}

impl Costs {
    pub fn new() -> Costs {
        let (of, of_namespace) = (HashMap::new(), HashMap::new());
        Costs { room: ROOM, of, of_namespace, all: 0, beyond: BTreeSet::new() }
    }

    /// Whether there is room for what a service takes now.
    pub fn admit(&mut self, key: &ObjectKey, cost: usize) -> bool {
        self.set(key, 0);
        let own = self.of_namespace.get(&key.namespace).copied().unwrap_or_default();
        let has_room = cost <= self.room.left(own, self.all);
        if has_room {
            self.set(key, cost);
            self.beyond.remove(key);
        } else if self.beyond.insert(key.clone()) {
            tracing::warn!(
                namespace = key.namespace,
                name = key.name,
                "the service has so many ports, addresses and endpoints that there is no room for them beside the others of its \
                 namespace: this node does not serve it until there is"
            );
        }
        has_room
    }

    /// What became of the room in a namespace: the services to be looked at again after one came to take less than `before`.
    pub fn waiting(&self, key: &ObjectKey, before: usize) -> Vec<ObjectKey> {
        if self.of(key) >= before {
            return Vec::new();
        }
        let own = self.beyond.range(ObjectKey::new(key.namespace.clone(), "")..);
        own.take_while(|other| other.namespace == key.namespace).filter(|other| *other != key).cloned().collect()
    }

    /// What a service takes.
    pub fn of(&self, key: &ObjectKey) -> usize {
        self.of.get(key).copied().unwrap_or_default()
    }

    /// A service is gone.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.set(key, 0);
        self.beyond.remove(key);
    }

    fn set(&mut self, key: &ObjectKey, cost: usize) {
        let before = if cost == 0 { self.of.remove(key) } else { self.of.insert(key.clone(), cost) };
        let changed = |sum: usize| sum.saturating_sub(before.unwrap_or_default()).saturating_add(cost);
        self.all = changed(self.all);
        let own = changed(self.of_namespace.get(&key.namespace).copied().unwrap_or_default());
        match own {
            0 => drop(self.of_namespace.remove(&key.namespace)),
            own => drop(self.of_namespace.insert(key.namespace.clone(), own)),
        }
    }
}

/// What a service with these slices takes at most.
pub(super) fn cost<'a>(service: &Service, slices: impl Iterator<Item = &'a EndpointSlice>) -> usize {
    let Some(spec) = &service.spec else { return 0 };
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let listed = [
        spec.external_ips.as_ref().map_or(0, Vec::len),
        spec.load_balancer_source_ranges.as_ref().map_or(0, Vec::len),
        balancer.and_then(|balancer| balancer.ingress.as_ref()).map_or(0, Vec::len),
    ];
    let endpoints: usize = slices.map(|slice| slice.endpoints.len()).sum();
    let each = listed.iter().sum::<usize>().saturating_add(endpoints).saturating_add(1);
    spec.ports.as_ref().map_or(0, Vec::len).saturating_mul(each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_takes_the_product_of_its_ports_and_of_where_they_lead() {
        let service = json!({"metadata": {}, "spec": {"ports": [{"port": 1}, {"port": 2}], "externalIPs": ["1.1.1.1", "1.1.1.2"],
            "loadBalancerSourceRanges": ["10.0.0.0/8"]}, "status": {"loadBalancer": {"ingress": [{"ip": "1.1.1.3"}]}}});
        let slice = json!({"metadata": {}, "addressType": "IPv4", "endpoints": [{"addresses": []}, {"addresses": []}]});
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        assert_eq!(
            cost(&serde_json::from_value(service).unwrap(), [&slice, &slice].into_iter()),
            2 * (1 + 2 + 1 + 1 + 4)
        );
    }

    #[test]
    fn one_without_room_is_looked_at_again_when_another_of_its_namespace_takes_less() {
        let mut costs = Costs { room: Room { most: 5_000, total: 6_000, share: 500 }, ..Costs::new() };
        let [a, b, other] =
            [("n", "a"), ("n", "b"), ("m", "c")].map(|(namespace, name)| ObjectKey::new(namespace, name));
        assert!(costs.admit(&a, 4_000) && !costs.admit(&b, 1_001) && costs.admit(&b, 1_000));
        assert!(!costs.admit(&other, 1_001) && costs.admit(&other, 1_000), "what all have");
        assert!(!costs.admit(&a, 4_001));
        assert_eq!(costs.of(&a), 0);
        assert_eq!(costs.waiting(&b, 1_000), []);
        let before = costs.of(&b);
        costs.forget(&b);
        assert_eq!(costs.waiting(&b, before), std::slice::from_ref(&a));
        assert!(costs.admit(&a, 4_001) && costs.waiting(&b, before).is_empty());
    }
}
