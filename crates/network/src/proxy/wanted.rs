//! What services ask of a node, as a function of the objects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use coracle_client::ObjectKey;
use coracle_values::addresses::Family;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::endpoints::{self, Chosen, Endpoints, Place};
use super::{FamilyConfig, protocol};

/// Another proxy is to see to the services and slices that have this label.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Nobody sees to those that have this one.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Where traffic goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    To(Endpoints),
    /// There is nobody: clients are told so.
    Refuse,
    /// There are others elsewhere: clients try again.
    Drop,
}

impl Target {
    pub fn endpoints(&self) -> &[endpoints::At] {
        match self {
            Target::To(endpoints) => endpoints,
            Target::Refuse | Target::Drop => &[],
        }
    }
}

/// Where the traffic of one service port goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortRules {
    pub protocol: String,
    pub port: u16,
    /// The address within the cluster.
    pub cluster_ip: IpAddr,
    /// Addresses for those outside: external ones, and those that a load balancer leads here.
    pub external_addresses: BTreeSet<IpAddr>,
    pub node_port: Option<u16>,
    /// Traffic to the cluster's address.
    pub internal: Target,
    /// Traffic from outside.
    pub external: Target,
    /// Where pods and the node itself are led that use an address for outsiders, if not to where these are.
    pub shortcut: Option<Endpoints>,
    /// How long a client that is idle keeps its endpoint (`sessionAffinity: ClientIP`).
    pub affinity: Option<Duration>,
    /// Who may use the load balancer's addresses, and which those are.
    pub fence: Option<Fence>,
}

/// Who may use which addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    pub addresses: BTreeSet<IpAddr>,
    pub sources: Vec<IpNet>,
}

/// What a load balancer asks: whether the node has endpoints (`healthCheckNodePort`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    pub service: ObjectKey,
    pub local: usize,
}

/// What one service asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// By a name that no other port has.
    pub ports: BTreeMap<String, PortRules>,
    pub health: Option<(u16, Health)>,
}

/// What a service with these slices asks of a node.
pub(super) fn wanted<'a>(
    config: &FamilyConfig,
    place: &Place,
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
) -> Wanted {
    let (key, Some(spec)) = (ObjectKey::of(service), &service.spec) else { return Wanted::default() };
    let Some(cluster_ip) = cluster_ip(service, spec, config) else { return Wanted::default() };
    let external = spec.external_ips.iter().flatten().filter_map(|text| text.parse().ok());
    // Addresses within the cluster are given by it alone: nobody takes another service's, or the cluster's DNS.
    let is_outside = |address: &IpAddr| {
        let is_within = config.service_cidr.is_some_and(|range| range.contains(address));
        Family::of(*address) == config.family && !is_within && !config.own_addresses.contains(address)
    };
    let balanced: BTreeSet<IpAddr> = balanced(service).into_iter().filter(is_outside).collect();
    let external_addresses: BTreeSet<IpAddr> = external.filter(is_outside).chain(balanced.iter().copied()).collect();
    let ours = slices.filter(|slice| !is_others(slice.metadata.labels.as_ref()));
    let rules = spec.ports.iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.port).ok()?;
        let chosen = endpoints::choose(port, ours.clone(), place);
        let rules = PortRules {
            protocol: protocol(port).to_owned(),
            port: number,
            cluster_ip,
            external_addresses: external_addresses.clone(),
            node_port: node_port(port),
            internal: target(&chosen, is_local(spec.internal_traffic_policy.as_ref())),
            external: target(&chosen, is_local(spec.external_traffic_policy.as_ref())),
            shortcut: is_local(spec.external_traffic_policy.as_ref()).then(|| chosen.cluster.clone()),
            affinity: affinity(spec),
            fence: fence(spec, config.family, &balanced),
        };
        Some((format!("{}/{}/{}/{number}", key.namespace, key.name, protocol(port)), rules))
    });
    let ports = rules.collect();
    let number = spec.health_check_node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let health = number.map(|port| (port, Health { service: key.clone(), local: endpoints::count_local(ours, place) }));
    Wanted { ports, health }
}

fn is_others(labels: Option<&BTreeMap<String, String>>) -> bool {
    labels.is_some_and(|labels| labels.contains_key(PROXY_NAME) || labels.contains_key(HEADLESS))
}

fn is_local(policy: Option<&String>) -> bool {
    policy.is_some_and(|policy| policy == "Local")
}

/// The address of the family of a service that is to be seen to.
fn cluster_ip(service: &Service, spec: &ServiceSpec, config: &FamilyConfig) -> Option<IpAddr> {
    if spec.type_.as_deref() == Some("ExternalName") || is_others(service.metadata.labels.as_ref()) {
        return None;
    }
    // One of an older version has the one field alone.
    let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut addresses = listed.filter_map(|text| text.parse::<IpAddr>().ok());
    let address = addresses.find(|address| Family::of(*address) == config.family)?;
    (!config.own_addresses.contains(&address)).then_some(address)
}

/// The addresses that a load balancer leads here as they are; those in the mode `Proxy` it answers itself.
fn balanced(service: &Service) -> BTreeSet<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    let here = ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    here.filter_map(|ingress| ingress.ip.as_deref()?.parse().ok()).collect()
}

fn node_port(port: &ServicePort) -> Option<u16> {
    port.node_port.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)
}

fn target(chosen: &Chosen, local: bool) -> Target {
    let endpoints = if local { &chosen.local } else { &chosen.cluster };
    match (endpoints.is_empty(), chosen.any) {
        (false, _) => Target::To(endpoints.clone()),
        (true, true) => Target::Drop,
        (true, false) => Target::Refuse,
    }
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    let spec = (spec.session_affinity.as_deref() == Some("ClientIP")).then_some(spec)?;
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(10_800);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(1)))
}

/// Without ranges everybody may; ranges of the other family alone let nobody in.
fn fence(spec: &ServiceSpec, family: Family, balanced: &BTreeSet<IpAddr>) -> Option<Fence> {
    let ranges = spec.load_balancer_source_ranges.as_ref().filter(|ranges| !ranges.is_empty())?;
    let sources: Vec<IpNet> = ranges.iter().filter_map(|text| text.trim().parse().ok()).collect();
    let family = |range: &&IpNet| Family::of_range(**range) == family;
    let sources: Vec<IpNet> = sources.iter().filter(family).copied().collect();
    let everybody = sources.iter().any(|range| range.prefix_len() == 0);
    (!everybody && !balanced.is_empty()).then(|| Fence { addresses: balanced.clone(), sources })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(service: Value, endpoints: &[(&str, &str)]) -> Wanted {
        let config = FamilyConfig {
            family: Family::V4,
            node_name: "here".into(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            service_cidr: "10.96.0.0/16".parse().ok(),
            own_addresses: vec!["10.1.0.10".parse().unwrap()],
            node_port_addresses: Vec::new(),
        };
        let endpoints: Vec<_> =
            endpoints.iter().map(|(ip, node)| json!({"addresses": [ip], "nodeName": node})).collect();
        let slice = json!({"metadata": {}, "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints});
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        let place = Place { family: Family::V4, node: "here".into(), zone: None };
        wanted(&config, &place, &serde_json::from_value(service).unwrap(), [&slice].into_iter())
    }

    fn service(labels: Value, spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "s", "namespace": "n", "labels": labels},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}});
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        object
    }

    fn one(wanted: Wanted) -> PortRules {
        wanted.ports.into_values().next().unwrap()
    }

    #[test]
    fn a_local_policy_keeps_to_the_node_and_tells_where_nobody_is_from_where_others_are() {
        let local = service(json!({}), json!({"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"}));
        let rules = one(of(local.clone(), &[("10.0.0.1", "here"), ("10.0.0.2", "there")]));
        assert_eq!(rules.internal.endpoints(), [(IpAddr::from([10, 0, 0, 1]), 8080)]);
        assert_eq!((&rules.internal, rules.shortcut.unwrap().len()), (&rules.external, 2));
        assert_eq!(one(of(local.clone(), &[("10.0.0.2", "there")])).internal, Target::Drop);
        assert_eq!(one(of(local, &[])).external, Target::Refuse);
    }

    #[test]
    fn services_of_others_without_an_address_and_by_another_name_are_left_alone() {
        for (labels, spec) in [
            (json!({PROXY_NAME: "other"}), json!({})),
            (json!({HEADLESS: ""}), json!({})),
            (json!({}), json!({"clusterIP": "None"})),
            (json!({}), json!({"type": "ExternalName"})),
        ] {
            assert_eq!(of(service(labels, spec), &[]), Wanted::default());
        }
    }

    #[test]
    fn nobody_takes_the_addresses_of_other_services_and_of_the_node_from_outside() {
        let mut object =
            service(json!({}), json!({"type": "LoadBalancer", "externalIPs": ["10.96.0.10", "1.1.1.1", "10.1.0.10"]}));
        let ingress = json!([{"ip": "10.96.0.8"}, {"ip": "2.2.2.2"}]);
        object["spec"]["loadBalancerSourceRanges"] = json!(["10.0.0.0/8"]);
        object["status"] = json!({"loadBalancer": {"ingress": ingress}});
        let rules = one(of(object, &[]));
        let two = BTreeSet::from([IpAddr::from([1, 1, 1, 1]), IpAddr::from([2, 2, 2, 2])]);
        assert_eq!(rules.external_addresses, two);
        assert_eq!(rules.fence.unwrap().addresses, BTreeSet::from([IpAddr::from([2, 2, 2, 2])]));
    }

    #[test]
    fn a_load_balancers_addresses_are_for_outsiders_and_for_those_that_may() {
        let mut object = service(
            json!({}),
            json!({"type": "LoadBalancer", "externalIPs": ["1.1.1.1"], "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 31_000, "loadBalancerSourceRanges": ["10.0.0.0/8", "fd00::/8"]}),
        );
        object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"ip": "3.3.3.3", "ipMode": "Proxy"},
            {"ip": "4.4.4.4", "ipMode": "VIP"}, {"hostname": "h"}]}});
        let wanted = of(object, &[("10.0.0.1", "here"), ("10.0.0.2", "there")]);
        let health = Health { service: ObjectKey::new("n", "s"), local: 1 };
        assert_eq!(wanted.health, Some((31_000, health)));
        let rules = one(wanted);
        let text = |addresses: &BTreeSet<IpAddr>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(&rules.external_addresses), ["1.1.1.1", "2.2.2.2", "4.4.4.4"]);
        let fence = rules.fence.unwrap();
        assert_eq!(text(&fence.addresses), ["2.2.2.2", "4.4.4.4"]);
        assert_eq!(fence.sources, ["10.0.0.0/8".parse().unwrap()]);
    }
}
