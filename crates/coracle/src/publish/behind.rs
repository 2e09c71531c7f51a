//! What answers a published port that nothing on the node listens at: the service of type LoadBalancer that has it.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use coracle_client::{Indexer, Informers, Store};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::grammar::Protocol;

/// The index of services by what they are published as.
const BY_PORT: &str = "coracle.io/published-port";
/// Ingresses are meant before anything else.
const INGRESS: (&str, &str) = ("kube-system", "coracle-ingress");

/// The services of the cluster, as the node's service proxy follows them.
#[derive(Clone)]
pub struct Behind(Store<Service>);

impl Behind {
    /// Of the services that are followed anyhow.
    pub fn new(informers: &Informers) -> Behind {
        Behind(informers.indexed(vec![(BY_PORT, by_port())]).store())
    }

    /// The address of the service that has a port, and whether Ingresses or Gateways are behind it: the ways in of Ingresses if
    /// they have it, else the eldest.
    pub fn find(&self, protocol: Protocol, port: u16) -> Option<(IpAddr, bool)> {
        let found = self.0.by_index(BY_PORT, &key(&protocol.to_string(), port.into())).unwrap_or_default();
        let rank = |service: &Arc<Service>| {
            let name = (service.namespace().unwrap_or_default(), service.name_any());
            let is_ingress = (name.0.as_str(), name.1.as_str()) == INGRESS;
            (Reverse(is_ingress), service.metadata.creation_timestamp.clone().map(|time| time.0), name)
        };
        let first = found.into_iter().filter(|service| address(service).is_some()).min_by_key(rank)?;
        Some((address(&first)?, coracle_ingress::is_way_in(&first)))
    }
}

fn key(protocol: &str, port: i32) -> String {
    format!("{protocol}/{port}")
}

fn by_port() -> Indexer<Service> {
    Box::new(|service| {
        let spec = service.spec.iter().filter(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
        let ports = spec.flat_map(|spec| spec.ports.iter().flatten());
        let of = |protocol: &Option<String>| protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
        ports.map(|port| key(&of(&port.protocol), port.port)).collect()
    })
}

/// Its first address for outsiders.
fn address(service: &Service) -> Option<IpAddr> {
    let balanced = service.status.as_ref()?.load_balancer.as_ref()?;
    balanced.ingress.iter().flatten().find_map(|ingress| ingress.ip.as_deref()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, name: &str, made: &str, ip: Option<&str>, kind: &str) -> Service {
        let ingress: Vec<_> = ip.iter().map(|ip| serde_json::json!({"ip": ip})).collect();
        let object = serde_json::json!({"metadata": {"namespace": namespace, "name": name, "creationTimestamp": made},
            "spec": {"type": kind, "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]},
            "status": {"loadBalancer": {"ingress": ingress}}});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn ingresses_come_first_then_the_eldest_service_that_has_an_address() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let mut services = vec![
            service("a", "late", late, Some("10.0.0.1"), "LoadBalancer"),
            service("b", "early", early, Some("10.0.0.2"), "LoadBalancer"),
            service("a", "bare", early, None, "LoadBalancer"),
            service("a", "other", early, Some("10.0.0.4"), "NodePort"),
        ];
        let find = |services: &[Service], protocol, port| {
            Behind(Store::of(services.to_vec(), vec![(BY_PORT, by_port())])).find(protocol, port)
        };
        let expected = Some(("10.0.0.2".parse().unwrap(), false));
        assert_eq!(find(&services, Protocol::Tcp, 80), expected);
        assert_eq!(find(&services, Protocol::Udp, 53), expected);
        assert_eq!(find(&services, Protocol::Udp, 80), None);
        services.push(service("kube-system", "coracle-ingress", late, Some("10.0.0.3"), "LoadBalancer"));
        assert_eq!(find(&services, Protocol::Tcp, 80), Some(("10.0.0.3".parse().unwrap(), true)));
    }
}
