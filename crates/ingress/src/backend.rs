//! Services as backends: the addresses of their pods, followed while a route leads there.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use coracle_client::{ObjectKey, Store};
use coracle_values::addresses::Ranges;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use parking_lot::Mutex;
use smol_str::SmolStr;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A port of a service, as an object names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// By its name.
    Name(String),
    /// By its number.
    Number(i32),
}

/// What is spoken with a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 over TLS. The certificate is not verified, as it is nobody's that is known here.
    Https,
    /// HTTP/2 without TLS.
    H2c,
    /// HTTP/2 over TLS.
    H2,
}

/// Which backend is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The service.
    pub service: ObjectKey,
    /// Its port.
    pub port: Port,
    /// What is spoken there; `None` is what the port itself says.
    pub protocol: Option<Protocol>,
}

/// Why a backend has no endpoints that requests may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such service.
    NoService,
    /// It has no such port.
    NoPort,
    /// It is a name elsewhere. Such names may lead to what only the node reaches, so none is followed.
    ExternalName,
}

/// Where a backend is at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Where its pods are reached, sorted.
    pub addresses: Vec<SocketAddr>,
    /// What they speak.
    pub protocol: Protocol,
    /// Why there are none.
    pub fault: Option<Fault>,
}

/// A port of a service to which routes lead.
#[derive(Debug)]
pub struct Backend {
    /// Which one.
    pub reference: Reference,
    /// Its name in logs and metrics.
    pub name: SmolStr,
    endpoints: ArcSwap<Endpoints>,
    turn: AtomicUsize,
}

impl Backend {
    /// One that is at fixed addresses.
    pub fn fixed(name: &str, addresses: Vec<SocketAddr>, protocol: Protocol) -> Arc<Backend> {
        let reference =
            Reference { service: ObjectKey::new("", name), port: Port::Number(0), protocol: Some(protocol) };
        let endpoints = Endpoints { addresses, protocol, fault: None };
        Arc::new(Backend::new(reference, endpoints))
    }

    fn new(reference: Reference, endpoints: Endpoints) -> Backend {
        let name = format!("{}/{}", reference.service.namespace, reference.service.name).into();
        Backend { reference, name, endpoints: ArcSwap::from_pointee(endpoints), turn: AtomicUsize::new(0) }
    }

    /// Where it is now.
    pub fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// Has it be elsewhere.
    #[cfg(test)]
    pub fn is_now_at(&self, addresses: Vec<SocketAddr>) {
        self.endpoints.store(Arc::new(Endpoints { addresses, ..(**self.endpoints.load()).clone() }));
    }

    /// Whose turn it is, of so many.
    pub fn next(&self, count: usize) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) % count.max(1)
    }
}

/// Addresses to which no request ever goes, whatever slices say. Which others lead to this machine changes at any time: that
/// is asked when a connection is made ([`crate::proxy::Dial`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forbidden {
    /// Addresses of services: what is there is reached through its own pods.
    pub services: Option<Ranges>,
    /// The node's own, but for pods in its network.
    pub node: Vec<IpAddr>,
    /// Those of the bridge of its pods, at which no pod is.
    pub bridge: Vec<IpAddr>,
    /// The ports at which the node's own parts listen, this proxy among them: no pod has these.
    pub ports: BTreeSet<u16>,
}

impl Forbidden {
    fn has(&self, at: SocketAddr, is_pod: impl FnOnce() -> bool) -> bool {
        let nowhere = match at.ip() {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast() || address.octets()[0] == 0,
            // An address of IPv4 in disguise is none of a pod.
            IpAddr::V6(address) => {
                address.is_unicast_link_local() || address.is_unspecified() || address.to_ipv4_mapped().is_some()
            }
        };
        nowhere
            || at.ip().is_loopback()
            || at.ip().is_multicast()
            || self.services.is_some_and(|ranges| ranges.contains(at.ip()))
            || self.bridge.contains(&at.ip())
            || (self.node.contains(&at.ip()) && (self.ports.contains(&at.port()) || !is_pod()))
    }
}

/// The backends to which routes lead.
pub struct Backends {
    pods: Store<Pod>,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    forbidden: Mutex<Forbidden>,
    known: Mutex<HashMap<Reference, Arc<Backend>>>,
}

impl Backends {
    /// None yet. The stores are those of informers; the pods are those of this node.
    pub fn new(
        services: Store<Service>,
        slices: Store<EndpointSlice>,
        pods: Store<Pod>,
        forbidden: Forbidden,
    ) -> Backends {
        Backends { services, slices, pods, forbidden: Mutex::new(forbidden), known: Mutex::default() }
    }

    /// The port of the node at which this proxy is: no request comes back there.
    pub fn forbid(&self, port: u16) {
        let is_new = self.forbidden.lock().ports.insert(port);
        if is_new {
            self.look_at_all();
        }
    }

    /// Looks anew at all of them: a pod in the node's network came, changed or went.
    pub fn look_at_all(&self) {
        self.known.lock().values().for_each(|backend| self.look(backend));
    }

    fn look(&self, backend: &Backend) {
        let endpoints = self.resolve(&backend.reference);
        if **backend.endpoints.load() != endpoints {
            backend.endpoints.store(Arc::new(endpoints));
        }
    }

    /// The backend that is meant: the same one as long as a route leads there.
    pub fn get(&self, reference: Reference) -> Arc<Backend> {
        let mut known = self.known.lock();
        if let Some(backend) = known.get(&reference) {
            return backend.clone();
        }
        let endpoints = self.resolve(&reference);
        let backend = Arc::new(Backend::new(reference.clone(), endpoints));
        known.insert(reference, backend.clone());
        backend
    }

    /// What the port of a service says that it speaks; `None` if there is none.
    pub fn says(&self, service: &ObjectKey, port: &Port) -> Option<Protocol> {
        self.services.get_key(service).and_then(|service| port_of(&service, port).map(protocol_of))
    }

    /// Looks anew at a service that changed, or whose slices did. Whether a route leads there.
    pub fn changed(&self, service: &ObjectKey) -> bool {
        let known = self.known.lock();
        let of_it: Vec<&Arc<Backend>> =
            known.iter().filter(|(reference, _)| reference.service == *service).map(|(_, backend)| backend).collect();
        of_it.iter().for_each(|backend| self.look(backend));
        !of_it.is_empty()
    }

    /// Whether a route leads to a service.
    pub fn has(&self, service: &ObjectKey) -> bool {
        self.known.lock().keys().any(|reference| reference.service == *service)
    }

    /// Forgets those to which no route leads any more.
    pub fn retain_used(&self) {
        self.known.lock().retain(|_, backend| Arc::strong_count(backend) > 1);
    }

    fn resolve(&self, reference: &Reference) -> Endpoints {
        let fault = |fault| Endpoints { fault: Some(fault), ..Endpoints::default() };
        let Some(service) = self.services.get_key(&reference.service) else { return fault(Fault::NoService) };
        if service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
            return fault(Fault::ExternalName);
        }
        let Some(port) = port_of(&service, &reference.port) else { return fault(Fault::NoPort) };
        let protocol = reference.protocol.unwrap_or_else(|| protocol_of(port));
        let slices = self.slices.list_namespace(&reference.service.namespace);
        let own = slices.iter().filter(|slice| service_of(slice).as_ref() == Some(&reference.service));
        let addresses = addresses(port, own.map(|slice| &**slice), &self.pods, &self.forbidden.lock());
        Endpoints { addresses, protocol, fault: None }
    }
}

fn port_of<'a>(service: &'a Service, meant: &Port) -> Option<&'a ServicePort> {
    let is_meant = |port: &&ServicePort| match meant {
        Port::Name(name) => port.name.as_deref() == Some(name),
        Port::Number(number) => port.port == *number,
    };
    let is_tcp = |port: &&ServicePort| port.protocol.as_deref().unwrap_or("TCP") == "TCP";
    service.spec.as_ref()?.ports.iter().flatten().find(|port| is_meant(port) && is_tcp(port))
}

/// The service that a slice is of.
pub fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}

/// What the port of a service says that it speaks.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol>
fn protocol_of(port: &ServicePort) -> Protocol {
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c" | "grpc") => Protocol::H2c,
        Some("https" | "HTTPS" | "kubernetes.io/wss") => Protocol::Https,
        _ => Protocol::Http,
    }
}

/// The ready endpoints of a port, or those that end and still serve where there are no others.
fn addresses<'a>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'a EndpointSlice>,
    pods: &Store<Pod>,
    forbidden: &Forbidden,
) -> Vec<SocketAddr> {
    let name = port.name.as_deref().unwrap_or_default();
    let (mut ready, mut last) = (Vec::new(), Vec::new());
    for slice in slices.filter(|slice| slice.address_type != "FQDN") {
        let own = slice.ports.iter().flatten().find(|own| {
            own.name.as_deref().unwrap_or_default() == name && own.protocol.as_deref().unwrap_or("TCP") == "TCP"
        });
        let Some(number) = own.and_then(|own| u16::try_from(own.port?).ok()) else { continue };
        for endpoint in &slice.endpoints {
            let into = match state(endpoint) {
                State::Ready => &mut ready,
                State::Ends => &mut last,
                State::Not => continue,
            };
            let parsed = endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
            let is_pod = |at| is_pod(pods, endpoint, slice.metadata.namespace.as_deref(), at);
            let at = parsed.map(|address| SocketAddr::new(address, number));
            into.extend(at.filter(|at| !forbidden.has(*at, || is_pod(*at))));
        }
    }
    let mut found = if ready.is_empty() { last } else { ready };
    // A pod with two addresses is one endpoint.
    if found.iter().any(SocketAddr::is_ipv4) {
        found.retain(SocketAddr::is_ipv4);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether an endpoint is a pod of its slice's namespace in the network of this node, as the pod itself says, and offers
/// the port: beside it, that address has what belongs to the node, as its kubelet and API server.
fn is_pod(pods: &Store<Pod>, endpoint: &Endpoint, namespace: Option<&str>, at: SocketAddr) -> bool {
    let Some(target) = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod")) else {
        return false;
    };
    let (Some(namespace), Some(name)) = (namespace, target.name.as_deref()) else { return false };
    if target.namespace.as_deref().is_some_and(|own| own != namespace) {
        return false;
    }
    pods.get(namespace, name)
        .is_some_and(|pod| shares_network(&pod) && is_running(&pod) && has_address(&pod, at.ip()) && offers(&pod, at))
}

/// Whether its containers may still have ports: it has not ended, and has time left where it was told to.
fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let ends = pod.metadata.deletion_timestamp.as_ref().map(|at| SystemTime::from(at.0));
    phase == Some("Running") && ends.is_none_or(|at| at > SystemTime::now())
}

/// Whether a pod is in the network of its node.
pub fn shares_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

fn has_address(pod: &Pod, address: IpAddr) -> bool {
    let addresses = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    addresses.filter_map(|one| one.ip.parse::<IpAddr>().ok()).any(|own| own == address)
}

/// Whether a container of it says that it has a port.
fn offers(pod: &Pod, at: SocketAddr) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let sidecars = spec.init_containers.iter().flatten().filter(|one| one.restart_policy.as_deref() == Some("Always"));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .any(|port| port.container_port == i32::from(at.port()) && port.protocol.as_deref().unwrap_or("TCP") == "TCP")
}

enum State {
    Ready,
    /// It ends, and serves until then.
    Ends,
    Not,
}

fn state(endpoint: &Endpoint) -> State {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let is_ready = conditions.ready.unwrap_or(true);
    match (is_ready, conditions.serving.unwrap_or(is_ready) && conditions.terminating.unwrap_or(false)) {
        (true, _) => State::Ready,
        (false, true) => State::Ends,
        (false, false) => State::Not,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn backends(service: Value, slices: Vec<Value>) -> Backends {
        backends_with(service, slices, json!([]))
    }

    fn backends_with(service: Value, slices: Vec<Value>, pods: Value) -> Backends {
        let services = Store::of(vec![serde_json::from_value(service).unwrap()], Vec::new());
        let slices = slices.into_iter().map(|slice| serde_json::from_value(slice).unwrap()).collect();
        let forbidden = Forbidden {
            services: Some("10.96.0.0/16".parse().unwrap()),
            node: vec![[10, 90, 0, 2].into()],
            bridge: vec!["10.244.0.1".parse().unwrap(), "fd00:10:244::1".parse().unwrap()],
            ports: [10250].into(),
        };
        let pods = serde_json::from_value(pods).unwrap();
        Backends::new(services, Store::of(slices, Vec::new()), Store::of(pods, Vec::new()), forbidden)
    }

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "web", "namespace": "n"}, "spec": spec})
    }

    fn slice(endpoints: Value) -> Value {
        json!({"metadata": {"name": "web-1", "namespace": "n", "labels": {SERVICE_NAME: "web"}}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints})
    }

    fn resolved(backends: &Backends, port: Port) -> Endpoints {
        let reference = Reference { service: ObjectKey::new("n", "web"), port, protocol: None };
        (*backends.get(reference).endpoints()).clone()
    }

    fn endpoint(address: &str, state: &str) -> Value {
        let conditions = json!({"ready": state == "ready", "serving": state != "not", "terminating": state == "ends"});
        json!({"addresses": [address], "conditions": conditions})
    }

    #[test]
    fn requests_go_to_ready_endpoints_and_else_to_those_that_end() {
        let spec = json!({"ports": [{"name": "http", "port": 80, "appProtocol": "kubernetes.io/h2c"}]});
        let of = |endpoints: Value| {
            let found = resolved(&backends(service(spec.clone()), vec![slice(endpoints)]), Port::Number(80));
            assert_eq!(found.protocol, Protocol::H2c);
            found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let (a, b) = (endpoint("10.244.0.5", "ends"), endpoint("10.244.0.4", "ready"));
        assert_eq!(of(json!([a, b])), "10.244.0.4:8080");
        assert_eq!(of(json!([a, endpoint("10.244.0.4", "not")])), "10.244.0.5:8080");
    }

    #[test]
    fn no_slice_leads_to_what_only_the_node_reaches() {
        let spec = json!({"ports": [{"name": "http", "port": 80}]});
        let bad = ["127.0.0.1", "169.254.169.254", "0.0.0.0", "10.96.0.1", "224.0.0.1"];
        let all = Value::Array(bad.iter().map(|address| endpoint(address, "ready")).collect());
        let own = json!({"metadata": {"name": "web-2", "namespace": "n", "labels": {SERVICE_NAME: "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 10380}],
            "endpoints": [endpoint("10.90.0.2", "ready"), endpoint("10.90.0.3", "ready")]});
        let found = resolved(&backends(service(spec), vec![slice(all), own]), Port::Name("http".into()));
        assert_eq!(found.addresses, ["10.90.0.3:10380".parse().unwrap()]);
    }

    fn pod(name: &str, host_network: bool, address: &str, port: u16) -> Value {
        json!({"metadata": {"name": name, "namespace": "n"},
            "spec": {"hostNetwork": host_network, "containers": [{"name": "c", "ports": [{"containerPort": port}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": address}]}})
    }

    #[test]
    fn the_node_itself_is_reached_for_what_a_pod_in_its_network_offers_and_this_proxy_never() {
        let spec = json!({"ports": [{"name": "http", "port": 80}]});
        let with = |target: Value| {
            let mut one = endpoint("10.90.0.2", "ready");
            one["targetRef"] = target;
            let (mut ended, mut late, mut ends) = (
                pod("ended", true, "10.90.0.2", 8080),
                pod("late", true, "10.90.0.2", 8080),
                pod("ends", true, "10.90.0.2", 8080),
            );
            ended["status"]["phase"] = json!("Succeeded");
            late["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
            ends["metadata"]["deletionTimestamp"] = json!("2999-01-01T00:00:00Z");
            let pods = json!([
                ended,
                late,
                ends,
                pod("right", true, "10.90.0.2", 8080),
                pod("inside", false, "10.90.0.2", 8080),
                pod("elsewhere", true, "10.90.0.3", 8080),
                pod("other-port", true, "10.90.0.2", 8081),
            ]);
            backends_with(service(spec.clone()), vec![slice(json!([one]))], pods)
        };
        let named = |name: &str| json!({"kind": "Pod", "name": name, "namespace": "n"});
        for wrong in [
            named("none"),
            named("inside"),
            named("elsewhere"),
            named("other-port"),
            named("ended"),
            named("late"),
            json!({"kind": "Pod", "name": "right", "namespace": "other"}),
            json!({"kind": "Node", "name": "right", "namespace": "n"}),
            json!({"kind": "Pod", "namespace": "n"}),
        ] {
            assert!(resolved(&with(wrong.clone()), Port::Number(80)).addresses.is_empty(), "{wrong}");
        }
        assert_eq!(resolved(&with(named("ends")), Port::Number(80)).addresses.len(), 1);
        let backends = with(named("right"));
        let reference = Reference { service: ObjectKey::new("n", "web"), port: Port::Number(80), protocol: None };
        let backend = backends.get(reference);
        assert_eq!(backend.endpoints().addresses, ["10.90.0.2:8080".parse().unwrap()]);
        backends.forbid(8080);
        assert!(backend.endpoints().addresses.is_empty());
        let mut kubelet = slice(json!([endpoint("10.90.0.2", "ready")]));
        kubelet["ports"][0]["port"] = json!(10250);
        kubelet["endpoints"][0]["targetRef"] = named("kubelet");
        let pods = json!([pod("kubelet", true, "10.90.0.2", 10250)]);
        let backends = backends_with(service(spec), vec![kubelet], pods);
        assert!(resolved(&backends, Port::Number(80)).addresses.is_empty(), "no pod has a port of the daemon");
    }

    #[test]
    fn nothing_leads_to_the_bridge_of_the_nodes_pods_whatever_it_says_it_is() {
        let mut endpoints = ["10.244.0.1", "fd00:10:244::1", "10.244.0.2"].map(|address| endpoint(address, "ready"));
        for one in &mut endpoints {
            one["targetRef"] = json!({"kind": "Pod", "name": "p", "namespace": "n"});
        }
        let web = service(json!({"ports": [{"name": "http", "port": 80}]}));
        let found = resolved(&backends(web, vec![slice(json!(endpoints))]), Port::Number(80));
        assert_eq!(found.addresses, ["10.244.0.2:8080".parse().unwrap()]);
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        let named = service(json!({"type": "ExternalName", "externalName": "localhost", "ports": [{"port": 80}]}));
        assert_eq!(resolved(&backends(named, vec![]), Port::Number(80)).fault, Some(Fault::ExternalName));
        let plain = service(json!({"ports": [{"port": 80}]}));
        assert_eq!(resolved(&backends(plain, vec![]), Port::Number(81)).fault, Some(Fault::NoPort));
        let other = json!({"metadata": {"name": "other", "namespace": "n"}});
        assert_eq!(resolved(&backends(other, vec![]), Port::Number(80)).fault, Some(Fault::NoService));
    }
}
