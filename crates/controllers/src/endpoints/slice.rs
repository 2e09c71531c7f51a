//! EndpointSlices as pure data: which endpoints a service has, and how they are spread over slices.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::*;

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";
/// No slice has more endpoints.
pub(crate) const MAX_ENDPOINTS: usize = 100;
const ZONE: &str = "topology.kubernetes.io/zone";

/// The endpoints of one address family, by the ports that they share.
pub(crate) type Desired = HashMap<Vec<PortKey>, Vec<Endpoint>>;

/// An [`EndpointPort`] that can be compared and hashed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PortKey {
    pub name: String,
    pub protocol: String,
    pub port: Option<i32>,
    pub app_protocol: Option<String>,
}

impl PortKey {
    fn to_port(&self) -> EndpointPort {
        EndpointPort {
            name: Some(self.name.clone()),
            protocol: Some(self.protocol.clone()),
            port: self.port,
            app_protocol: self.app_protocol.clone(),
        }
    }
}

/// The ports of a slice, in an order.
pub(crate) fn port_keys(ports: Option<&[EndpointPort]>) -> Vec<PortKey> {
    let mut keys: Vec<PortKey> = ports
        .unwrap_or_default()
        .iter()
        .map(|port| PortKey {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
            port: port.port,
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    keys.sort();
    keys
}

/// The address families that a service has slices for: (`addressType`, is IPv6).
pub(crate) fn families(service: &Service) -> Vec<(&'static str, bool)> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    match families.as_slice() {
        [] => vec![("IPv4", false)],
        some => some.iter().map(|family| if family == "IPv6" { ("IPv6", true) } else { ("IPv4", false) }).collect(),
    }
}

/// What the slices of a service should say.
pub(crate) fn desired_endpoints(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    v6: bool,
) -> Desired {
    let mut desired = Desired::new();
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
    for pod in pods.iter().filter(|pod| !is_terminal(pod)) {
        let Some(ip) = pod_ip(pod, v6) else { continue };
        let mut keys: Vec<PortKey> = ports
            .iter()
            .filter_map(|port| {
                Some(PortKey {
                    name: port.name.clone().unwrap_or_default(),
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                    port: Some(target_port(pod, port)?),
                    app_protocol: port.app_protocol.clone(),
                })
            })
            .collect();
        keys.sort();
        desired.entry(keys).or_default().push(endpoint(service, pod, ip, &node));
    }
    desired
}

fn endpoint(service: &Service, pod: &Pod, ip: &str, node: impl Fn(&str) -> Option<Arc<Node>>) -> Endpoint {
    let (serving, terminating) = (is_ready(pod), is_deleting(pod));
    let ready = publishes_not_ready(service) || (serving && !terminating);
    let name = Some(node_name(pod).to_owned()).filter(|name| !name.is_empty());
    let zone = name.as_deref().and_then(node).and_then(|node| node.labels().get(ZONE).cloned());
    let distribution = service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref());
    let same_node = distribution == Some("PreferSameNode");
    let hints = match distribution {
        Some("PreferClose" | "PreferSameZone" | "PreferSameNode") if ready => {
            let for_zones = zone.clone().map(|name| vec![ForZone { name }]);
            let for_nodes = name.clone().filter(|_| same_node).map(|name| vec![ForNode { name }]);
            (for_zones.is_some() || for_nodes.is_some()).then_some(EndpointHints { for_zones, for_nodes })
        }
        _ => None,
    };
    Endpoint {
        addresses: vec![ip.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: pod_hostname(pod, service),
        node_name: name,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone,
        hints,
        deprecated_topology: None,
    }
}

/// The labels of a service's slices: its own, and what finds the slices again.
pub(crate) fn slice_labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.labels().clone();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), service.name_any());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

/// What to write so that slices become what is desired.
#[derive(Default)]
pub(crate) struct Changes {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

impl Changes {
    pub fn extend(&mut self, other: Changes) {
        self.create.extend(other.create);
        self.update.extend(other.update);
        self.delete.extend(other.delete);
    }

    /// How many slices are written.
    pub fn len(&self) -> usize {
        [self.create.len(), self.update.len(), self.delete.len()].iter().sum()
    }

    /// How many endpoints come to a service that has the slices `existing`, and how many it loses.
    pub fn moves(&self, existing: &[Arc<EndpointSlice>]) -> (usize, usize) {
        let ids = |slice: &EndpointSlice| slice.endpoints.iter().map(endpoint_id).collect::<Vec<_>>();
        let is_changed = |slice: &&Arc<EndpointSlice>| {
            let is = |changed: &EndpointSlice| changed.metadata.name == slice.metadata.name;
            self.update.iter().any(is) || self.delete.iter().any(|gone| is(gone))
        };
        let before: HashSet<String> = existing.iter().filter(is_changed).flat_map(|slice| ids(slice)).collect();
        let after: HashSet<String> = self.create.iter().chain(&self.update).flat_map(ids).collect();
        (after.difference(&before).count(), before.difference(&after).count())
    }
}

/// What all slices of one service and address family have in common.
pub(crate) struct Template {
    pub address_type: &'static str,
    /// Namespace, labels, owner, and the beginning of the name; without annotations those of slices are left alone.
    pub metadata: ObjectMeta,
    /// Whether there is an empty slice that says that there are no endpoints.
    pub never_without: bool,
}

impl Template {
    /// Of a service's own slices.
    pub fn of_service(service: &Service, address_type: &'static str) -> Template {
        let metadata = ObjectMeta {
            generate_name: Some(format!("{}-", service.name_any())),
            namespace: service.metadata.namespace.clone(),
            labels: Some(slice_labels(service)),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        };
        Template { address_type, metadata, never_without: true }
    }

    fn empty(&self) -> EndpointSlice {
        EndpointSlice {
            address_type: self.address_type.into(),
            metadata: self.metadata.clone(),
            endpoints: Vec::new(),
            ports: None,
        }
    }

    fn fits(&self, slice: &EndpointSlice) -> bool {
        let own = || slice.annotations().iter().filter(|(key, _)| *key != TRIGGER_TIME);
        Some(slice.labels()) == self.metadata.labels.as_ref()
            && self.metadata.annotations.as_ref().is_none_or(|wanted| wanted.iter().eq(own()))
    }

    fn apply(&self, slice: &mut EndpointSlice) {
        slice.metadata.labels.clone_from(&self.metadata.labels);
        if let Some(annotations) = &self.metadata.annotations {
            slice.metadata.annotations = Some(annotations.clone());
        }
    }
}

/// Spreads the desired endpoints over the slices of one family with as few writes as possible: an endpoint stays
/// in its slice; new ones fill slices that change anyway, then the fullest that has room for all, then new ones.
pub(crate) fn plan(template: &Template, desired: Desired, existing: &[Arc<EndpointSlice>]) -> Changes {
    let mut changes = Changes::default();
    let mut by_ports: HashMap<Vec<PortKey>, Vec<Arc<EndpointSlice>>> = HashMap::new();
    for slice in existing {
        by_ports.entry(port_keys(slice.ports.as_deref())).or_default().push(slice.clone());
    }
    let mut kept = 0;
    for (ports, endpoints) in desired {
        let slices = by_ports.remove(&ports).unwrap_or_default();
        kept += plan_ports(&mut changes, template, &ports, endpoints, slices);
    }
    changes.delete.extend(by_ports.into_values().flatten());
    if template.never_without && kept == 0 && changes.create.is_empty() && changes.update.is_empty() {
        let spare = changes
            .delete
            .iter()
            .position(|slice| slice.endpoints.is_empty())
            .or_else(|| (!changes.delete.is_empty()).then_some(0));
        match spare.map(|at| changes.delete.swap_remove(at)) {
            Some(slice) => {
                let blank = slice.endpoints.is_empty() && slice.ports.as_ref().is_none_or(|p| p.is_empty());
                if !blank || !template.fits(&slice) {
                    let mut slice = (*slice).clone();
                    slice.endpoints = Vec::new();
                    slice.ports = None;
                    changes.update.push(slice);
                }
            }
            None => changes.create.push(template.empty()),
        }
    }
    // A slice to delete can as well become one to create.
    while !changes.create.is_empty() && !changes.delete.is_empty() {
        let (Some(new), Some(old)) = (changes.create.pop(), changes.delete.pop()) else { break };
        let mut slice = (*old).clone();
        slice.endpoints = new.endpoints;
        slice.ports = new.ports;
        changes.update.push(slice);
    }
    changes.update.iter_mut().for_each(|slice| template.apply(slice));
    changes
}

/// Plans the slices of one set of ports; returns how many stay as they are.
fn plan_ports(
    changes: &mut Changes,
    template: &Template,
    ports: &[PortKey],
    endpoints: Vec<Endpoint>,
    slices: Vec<Arc<EndpointSlice>>,
) -> usize {
    let mut waiting: BTreeMap<String, Endpoint> =
        endpoints.into_iter().map(|endpoint| (endpoint_id(&endpoint), endpoint)).collect();
    let (mut same, mut changed): (Vec<Arc<EndpointSlice>>, Vec<EndpointSlice>) = (Vec::new(), Vec::new());
    for slice in slices {
        let mut differs = !template.fits(&slice);
        let mut found = Vec::with_capacity(slice.endpoints.len());
        for endpoint in &slice.endpoints {
            match waiting.remove(&endpoint_id(endpoint)) {
                Some(wanted) => {
                    differs |= wanted != *endpoint;
                    found.push(wanted);
                }
                None => differs = true,
            }
        }
        if found.is_empty() && !slice.endpoints.is_empty() {
            changes.delete.push(slice);
        } else if differs {
            let mut slice = (*slice).clone();
            slice.endpoints = found;
            changed.push(slice);
        } else {
            same.push(slice);
        }
    }
    let mut waiting: Vec<Endpoint> = waiting.into_values().collect();
    changed.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in &mut changed {
        let room = MAX_ENDPOINTS.saturating_sub(slice.endpoints.len()).min(waiting.len());
        slice.endpoints.extend(waiting.drain(..room));
    }
    if !waiting.is_empty() {
        let fits = |slice: &&Arc<EndpointSlice>| slice.endpoints.len() + waiting.len() % MAX_ENDPOINTS <= MAX_ENDPOINTS;
        let rest = waiting.len() % MAX_ENDPOINTS;
        let best = same.iter().filter(fits).max_by_key(|slice| slice.endpoints.len()).cloned();
        if rest > 0
            && let Some(best) = best
        {
            same.retain(|slice| !Arc::ptr_eq(slice, &best));
            let mut slice = (*best).clone();
            slice.endpoints.extend(waiting.drain(waiting.len() - rest..));
            changed.push(slice);
        }
        while !waiting.is_empty() {
            let mut slice = template.empty();
            slice.ports = Some(ports.iter().map(PortKey::to_port).collect());
            slice.endpoints = waiting.drain(..waiting.len().min(MAX_ENDPOINTS)).collect();
            changes.create.push(slice);
        }
    }
    changes.update.extend(changed);
    same.len()
}

fn endpoint_id(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{} {target}", endpoint.addresses.first().map(String::as_str).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "s"}, "spec": spec}))
            .unwrap()
    }

    fn pod(index: usize, ready: bool) -> Arc<Pod> {
        let value = json!({"metadata": {"name": format!("p{index}"), "namespace": "n", "uid": format!("u{index}")},
            "spec": {"nodeName": "a", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": format!("10.0.{}.{}", index / 250, index % 250),
                "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"}}]}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn planned(service: &Service, pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>]) -> Changes {
        plan(&Template::of_service(service, "IPv4"), desired_endpoints(service, pods, |_| None, false), existing)
    }

    fn named(slices: Vec<EndpointSlice>) -> Vec<Arc<EndpointSlice>> {
        let name = |(at, mut slice): (usize, EndpointSlice)| {
            slice.metadata.name = Some(format!("web-{at}"));
            Arc::new(slice)
        };
        slices.into_iter().enumerate().map(name).collect()
    }

    #[test]
    fn a_pod_whose_node_says_that_it_has_a_local_address_takes_none_from_the_others() {
        let service = service(json!({"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]}));
        for address in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "10.0.0.300"] {
            let mut bad = Pod::clone(&pod(1, true));
            bad.status.as_mut().unwrap().pod_ip = Some(address.into());
            let changes = planned(&service, &[bad.into(), pod(2, true)], &[]);
            let found: Vec<_> = changes.create.iter().flat_map(|slice| &slice.endpoints).collect();
            assert_eq!(found.iter().map(|endpoint| &endpoint.addresses[0]).collect::<Vec<_>>(), ["10.0.0.2"]);
        }
    }

    #[test]
    fn named_ports_and_conditions_are_resolved() {
        let service = service(json!({"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]}));
        let changes = planned(&service, &[pod(1, true), pod(2, false)], &[]);
        let slice = &changes.create[0];
        assert_eq!(slice.ports.as_ref().unwrap()[0].port, Some(8080));
        let ready: Vec<_> = slice.endpoints.iter().map(|e| e.conditions.as_ref().unwrap().ready.unwrap()).collect();
        assert_eq!(ready, [true, false]);
        assert_eq!(slice.labels()[SERVICE_NAME], "web");
        assert!(!slice.labels().contains_key(HEADLESS));
    }

    #[test]
    fn a_slice_holds_at_most_a_hundred_endpoints_and_nothing_is_written_twice() {
        let service = service(json!({"selector": {"a": "b"}, "ports": [{"port": 80}]}));
        let pods: Vec<_> = (0..250).map(|index| pod(index, true)).collect();
        let slices = named(planned(&service, &pods, &[]).create);
        let mut sizes: Vec<_> = slices.iter().map(|slice| slice.endpoints.len()).collect();
        sizes.sort();
        assert_eq!(sizes, [50, 100, 100]);
        let again = planned(&service, &pods, &slices);
        assert_eq!((again.create.len(), again.update.len(), again.delete.len()), (0, 0, 0));
        let mut more = pods.clone();
        more.push(pod(300, true));
        let one = planned(&service, &more, &slices);
        assert_eq!((again.moves(&slices), one.moves(&slices), one.len()), ((0, 0), (1, 0), 1));
        assert_eq!(planned(&service, &more[1..], &slices).moves(&slices), (1, 1));
        assert_eq!((one.create.len(), one.update.len(), one.delete.len()), (0, 1, 0));
        assert_eq!(one.update[0].endpoints.len(), 51);
    }

    #[test]
    fn a_service_without_pods_has_one_empty_slice() {
        let service = service(json!({"selector": {"a": "b"}, "clusterIP": "None", "ports": [{"port": 80}]}));
        let changes = planned(&service, &[], &[]);
        assert_eq!(changes.create.len(), 1);
        assert_eq!(changes.create[0].labels()[HEADLESS], "");
        let slices = named(changes.create);
        let again = planned(&service, &[], &slices);
        assert_eq!((again.create.len(), again.update.len(), again.delete.len()), (0, 0, 0));
        let filled = planned(&service, &[pod(1, true)], &slices);
        assert_eq!((filled.create.len(), filled.update.len(), filled.delete.len()), (0, 1, 0));
        assert_eq!(filled.update[0].endpoints.len(), 1);
        let emptied = planned(&service, &[], &[Arc::new(filled.update[0].clone())]);
        assert_eq!((emptied.create.len(), emptied.update.len(), emptied.delete.len()), (0, 1, 0));
    }
}
