//! Addresses for load balancers, and which services have them.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use coracle_client::ObjectKey;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

/// The addresses that a service asks for, as users of MetalLB say it.
const ADDRESSES: [&str; 2] = ["metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"];
/// Services with the same value may have one address, at different ports.
const SHARING: [&str; 2] = ["metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"];

/// What a service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// This address and no other.
    pub address: Option<Ipv4Addr>,
    sharing: Option<String>,
    ports: Vec<(String, i32)>,
    /// Services whose traffic stays on nodes share an address only when they have the same pods.
    pods: Option<BTreeMap<String, String>>,
}

impl Request {
    /// Reads what a service asks for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(service: &Service) -> Result<Request, String> {
        let Some(spec) = &service.spec else { return Ok(Request::default()) };
        let annotation = |names: &[&str]| names.iter().find_map(|name| service.annotations().get(*name));
        let given = annotation(&ADDRESSES).or(spec.load_balancer_ip.as_ref()).filter(|text| !text.is_empty());
        let mut addresses = Vec::new();
        for text in given.iter().flat_map(|text| text.split(',')) {
            let text = text.trim();
            addresses.push(text.parse::<Ipv4Addr>().map_err(|_| format!("invalid load balancer IP {text:?}"))?);
        }
        if addresses.len() > 1 {
            return Err(format!("more than one load balancer IP is requested: {addresses:?}"));
        }
        let ports = spec.ports.iter().flatten();
        let is_local = spec.external_traffic_policy.as_deref() == Some("Local");
        Ok(Request {
            address: addresses.pop(),
            sharing: annotation(&SHARING).filter(|key| !key.is_empty()).cloned(),
            ports: ports.map(|port| (port.protocol.clone().unwrap_or_else(|| "TCP".into()), port.port)).collect(),
            pods: is_local.then(|| spec.selector.clone().unwrap_or_default()),
        })
    }

    fn may_share(&self, other: &Request) -> bool {
        self.sharing.is_some()
            && self.sharing == other.sharing
            && self.pods == other.pods
            && !self.ports.iter().any(|port| other.ports.contains(port))
    }
}

/// The addresses there are, and who has which.
#[derive(Debug)]
pub(super) struct Pool {
    ranges: Vec<Ipv4Net>,
    given: HashMap<ObjectKey, (Ipv4Addr, Request)>,
    holders: HashMap<Ipv4Addr, Vec<ObjectKey>>,
}

impl Pool {
    pub fn new(ranges: Vec<Ipv4Net>) -> Pool {
        Pool { ranges, given: HashMap::new(), holders: HashMap::new() }
    }

    /// Notes that a service has an address already. It is not taken from another one that has it.
    pub fn keep(&mut self, key: &ObjectKey, address: Ipv4Addr, request: Request) {
        if self.fits(key, address, &request).is_ok() {
            self.give(key, address, request);
        }
    }

    /// Gives a service an address: the one that it asks for or has, or any.
    ///
    /// # Errors
    /// Why there is none for it.
    pub fn assign(&mut self, key: &ObjectKey, request: Request) -> Result<Ipv4Addr, String> {
        let before = self.given.get(key).map(|(address, _)| *address);
        self.release(key);
        let address = match (request.address, before) {
            (Some(asked), _) => self.fits(key, asked, &request).map(|()| asked)?,
            (None, Some(has)) if self.fits(key, has, &request).is_ok() => has,
            (None, _) => {
                let all = self.ranges.iter().flat_map(Ipv4Net::hosts).filter(|address| is_plain(*address));
                let mut free = all.filter(|address| self.fits(key, *address, &request).is_ok());
                free.next().ok_or("no available IPs: every address of the pool is taken")?
            }
        };
        self.give(key, address, request);
        Ok(address)
    }

    /// What a service has, and as what it has it.
    pub fn of(&self, key: &ObjectKey) -> Option<(Ipv4Addr, Request)> {
        self.given.get(key).cloned()
    }

    /// Takes the address of a service back; whether it had one.
    pub fn release(&mut self, key: &ObjectKey) -> bool {
        let Some((address, _)) = self.given.remove(key) else { return false };
        if let Some(holders) = self.holders.get_mut(&address) {
            holders.retain(|holder| holder != key);
            if holders.is_empty() {
                self.holders.remove(&address);
            }
        }
        true
    }

    fn give(&mut self, key: &ObjectKey, address: Ipv4Addr, request: Request) {
        self.given.insert(key.clone(), (address, request));
        self.holders.entry(address).or_default().push(key.clone());
    }

    fn fits(&self, key: &ObjectKey, address: Ipv4Addr, request: &Request) -> Result<(), String> {
        if !self.ranges.iter().any(|range| range.contains(&address)) {
            return Err(format!("{address} is not in the pool {:?}", self.ranges));
        }
        let mut others = self.holders.get(&address).into_iter().flatten().filter(|other| *other != key);
        let refuses = |other: &&ObjectKey| self.given.get(other).is_none_or(|(_, has)| !request.may_share(has));
        match others.find(refuses) {
            Some(other) => Err(format!("can't change sharing key for {key}, address also in use by {other}")),
            None => Ok(()),
        }
    }
}

/// Not one that old equipment takes for a network's own or for everybody's.
fn is_plain(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[3], 0 | 255)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(annotations: Value, spec: Value) -> Result<Request, String> {
        let service = json!({"metadata": {"name": "s", "annotations": annotations}, "spec": spec});
        Request::of(&serde_json::from_value(service).unwrap())
    }

    fn plain() -> Request {
        request(json!({}), json!({"ports": [{"port": 80}]})).unwrap()
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("n", name)
    }

    fn pool(range: &str) -> Pool {
        Pool::new(vec![range.parse().unwrap()])
    }

    #[test]
    fn a_service_keeps_its_address_and_gives_it_back() {
        let mut pool = pool("10.0.0.128/30");
        let first = pool.assign(&key("a"), plain()).unwrap();
        assert_eq!(pool.assign(&key("a"), plain()), Ok(first));
        let second = pool.assign(&key("b"), plain()).unwrap();
        assert_ne!(first, second);
        assert!(pool.assign(&key("c"), plain()).unwrap_err().contains("no available IPs"));
        assert!(pool.release(&key("a")) && !pool.release(&key("a")));
        assert_eq!(pool.assign(&key("c"), plain()), Ok(first));
    }

    #[test]
    fn an_address_that_is_asked_for_is_given_or_none() {
        let asks = |address: &str| request(json!({ADDRESSES[0]: address}), json!({"ports": [{"port": 80}]}));
        let mut pool = pool("10.0.0.128/25");
        let nine: Ipv4Addr = "10.0.0.129".parse().unwrap();
        assert_eq!(pool.assign(&key("a"), asks("10.0.0.129").unwrap()), Ok(nine));
        assert!(pool.assign(&key("b"), asks("10.0.0.129").unwrap()).is_err());
        assert!(pool.assign(&key("b"), asks("10.0.1.129").unwrap()).unwrap_err().contains("not in the pool"));
        assert!(asks("ten").is_err() && asks("10.0.0.1,10.0.0.2").is_err());
        let by_field = request(json!({}), json!({"loadBalancerIP": "10.0.0.200"})).unwrap();
        assert_eq!(by_field.address, Some("10.0.0.200".parse().unwrap()));
    }

    #[test]
    fn an_address_is_shared_by_those_who_say_so_at_different_ports() {
        let shares = |sharing: &str, port: u16| {
            let annotations = json!({SHARING[0]: sharing, ADDRESSES[0]: "10.0.0.129"});
            request(annotations, json!({"ports": [{"port": port}]})).unwrap()
        };
        let mut pool = pool("10.0.0.128/25");
        pool.assign(&key("a"), shares("x", 80)).unwrap();
        assert!(pool.assign(&key("b"), shares("x", 443)).is_ok());
        assert!(pool.assign(&key("c"), shares("x", 80)).is_err());
        assert!(pool.assign(&key("c"), shares("y", 81)).is_err());
    }
}
