//! What the pods of one hollow node take of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use coracle_matching::amounts::{Amounts, Sum};
use coracle_matching::pods::{HostPort, host_ports, requests};
use coracle_values::addresses::{Family, nth};
use coracle_values::hollow;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::admission::{Taken, check};
use crate::pod::PodExt;
use crate::quantity::value;
use crate::support;

/// Addresses that are given out: one for each pod, of both families the one at the same place of the node's range.
const ADDRESSES: u16 = 254;

/// One node's.
#[derive(Debug, Default)]
pub(super) struct Room {
    taken: Taken,
    addresses: [u64; 4],
    /// The place that was given out last, so that one is not used again right after it came free.
    last: u16,
}

/// What one pod has of it.
#[derive(Debug)]
pub(super) struct Share {
    requests: Amounts,
    ports: Vec<HostPort>,
    /// The place of its address; zero has none.
    pub(super) place: u16,
}

impl Room {
    /// Checks whether a pod may come.
    ///
    /// # Errors
    /// Reason and message of its failure.
    pub(super) fn admit(
        &self,
        pod: &Pod,
        node: Option<&Node>,
        allocatable: &BTreeMap<String, Quantity>,
    ) -> Result<(), (String, String)> {
        support::admit(pod)?;
        let most = allocatable.get("pods").map_or(0, value);
        check(pod, node, allocatable, &self.taken, usize::try_from(most).unwrap_or_default())
    }

    /// Takes what a pod asks for, and an address unless it has one already.
    pub(super) fn take(&mut self, pod: &Pod, place: Option<u16>) -> Share {
        let requests = requests(pod);
        self.taken.pods = self.taken.pods.saturating_add(1);
        self.taken.resources.add(&requests);
        let ports = host_ports(pod.spec());
        self.taken.ports.extend(ports.iter().cloned());
        let place = match place {
            _ if pod.host_network() => 0,
            Some(place) => place,
            None => self.free_place(),
        };
        self.mark(place, true);
        Share { requests, ports, place }
    }

    /// Gives back what a pod had.
    pub(super) fn give_back(&mut self, share: Share) {
        self.taken.pods = self.taken.pods.saturating_sub(1);
        self.taken.resources.subtract(&share.requests);
        for port in &share.ports {
            if let Some(found) = self.taken.ports.iter().position(|taken| taken == port) {
                self.taken.ports.swap_remove(found);
            }
        }
        self.mark(share.place, false);
    }

    fn free_place(&mut self) -> u16 {
        let next = (0..ADDRESSES).map(|step| self.last.saturating_add(step) % ADDRESSES + 1);
        let found = next.into_iter().find(|place| !self.has(*place)).unwrap_or_default();
        self.last = found;
        found
    }

    fn has(&self, place: u16) -> bool {
        self.addresses.get(usize::from(place / 64)).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn mark(&mut self, place: u16, taken: bool) {
        if let Some(word) = self.addresses.get_mut(usize::from(place / 64)).filter(|_| place != 0) {
            let bit = 1 << (place % 64);
            if taken { *word |= bit } else { *word &= !bit }
        }
    }
}

/// The addresses at a place of a node's ranges.
pub(super) fn addresses(families: &[Family], node: u32, place: u16) -> Vec<IpAddr> {
    let of = |family: &Family| nth(hollow::range(*family, node), place.into());
    families.iter().filter(|_| place != 0).map(of).collect()
}

/// The place of the address that a pod's status tells.
pub(super) fn place(pod: &Pod, node: u32) -> Option<u16> {
    let told: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let range = hollow::range(Family::of(told), node);
    (1..=ADDRESSES).find(|place| nth(range, (*place).into()) == told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str, status: serde_json::Value) -> Pod {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}, "ports": [{"containerPort": 80}]});
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [container]}, "status": status});
        serde_json::from_value(pod).unwrap()
    }

    fn allocatable() -> BTreeMap<String, Quantity> {
        [("cpu", "2"), ("pods", "3")].map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into()
    }

    #[test]
    fn what_pods_take_is_given_back_and_no_more_come_than_fit() {
        let mut room = Room::default();
        let one = pod("1", json!({}));
        let shares = [room.take(&one, None), room.take(&one, None)];
        let (reason, message) = room.admit(&one, None, &allocatable()).unwrap_err();
        assert_eq!(reason, "OutOfcpu");
        assert_eq!(message, "Node didn't have enough resource: cpu, requested: 1000, used: 2000, capacity: 2000");
        let small = room.take(&pod("0", json!({})), None);
        assert_eq!(room.admit(&pod("0", json!({})), None, &allocatable()).unwrap_err().0, "OutOfpods");
        shares.into_iter().chain([small]).for_each(|share| room.give_back(share));
        assert_eq!(room.admit(&one, None, &allocatable()), Ok(()));
        assert_eq!((room.taken.pods, room.addresses), (0, [0; 4]));
    }

    #[test]
    fn an_address_is_one_pods_and_one_that_came_free_is_not_the_next() {
        let mut room = Room::default();
        let plain = pod("0", json!({}));
        let known = room.take(&plain, Some(2));
        let first = room.take(&plain, None);
        let next = room.take(&plain, None);
        assert_eq!((known.place, first.place, next.place), (2, 1, 3));
        room.give_back(first);
        assert_eq!(room.take(&plain, None).place, 4);
        for _ in 0..ADDRESSES - 3 {
            assert_ne!(room.take(&plain, None).place, 0);
        }
        assert_eq!(room.take(&plain, None).place, 0);
    }

    #[test]
    fn the_place_of_an_address_is_found_again() {
        for families in [vec![Family::V4, Family::V6], vec![Family::V6]] {
            let ips = addresses(&families, 70_000, 254);
            let told = pod("0", json!({"podIP": ips[0].to_string()}));
            assert_eq!((ips.len(), place(&told, 70_000)), (families.len(), Some(254)));
            assert_eq!(place(&told, 70_001), None);
        }
        assert!(addresses(&[Family::V4], 1, 0).is_empty());
    }
}
