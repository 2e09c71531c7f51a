//! What DNS needs to know of services and endpoint slices, kept as informers tell it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use coracle_client::{Event, ObjectKey};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// A port with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// In lower case, as in a name: `tcp`.
    pub protocol: String,
    pub number: u16,
}

/// How a service is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// By its own addresses.
    Cluster(Vec<IpAddr>),
    /// By the addresses of its endpoints.
    Headless,
    /// By another name.
    External(String),
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    pub kind: ServiceKind,
    pub ports: Vec<Port>,
}

/// An address of a ready endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    /// The pod's host name, where it asked for one in this service's domain.
    pub hostname: Option<String>,
}

impl Endpoint {
    /// The label below the service's name: the host name, else the address with dashes.
    pub fn label(&self) -> String {
        self.hostname.clone().unwrap_or_else(|| self.address.to_string().replace(['.', ':'], "-"))
    }
}

/// The ready endpoints of one slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    pub endpoints: Vec<Endpoint>,
    pub ports: Vec<Port>,
}

/// All that names can be resolved to.
#[derive(Default)]
pub struct Zone {
    services: HashMap<ObjectKey, ServiceEntry>,
    namespaces: HashMap<String, usize>,
    service_addresses: HashMap<IpAddr, ObjectKey>,
    /// By service, then by the slice's name.
    slices: HashMap<ObjectKey, BTreeMap<String, Slice>>,
    /// Which services an endpoint's address belongs to.
    endpoint_addresses: HashMap<IpAddr, BTreeMap<ObjectKey, usize>>,
}

impl Zone {
    /// A service came, changed or went.
    pub fn service(&mut self, event: &Event<Service>) {
        match event {
            Event::Added(new) => self.add_service(new),
            Event::Updated { old, new } => {
                self.remove_service(&ObjectKey::of(&**old));
                self.add_service(new);
            }
            Event::Deleted(old) => self.remove_service(&ObjectKey::of(&**old)),
        }
    }

    fn add_service(&mut self, service: &Service) {
        let key = ObjectKey::of(service);
        self.remove_service(&key);
        let Some(entry) = service_entry(service) else { return };
        if let ServiceKind::Cluster(addresses) = &entry.kind {
            self.service_addresses.extend(addresses.iter().map(|address| (*address, key.clone())));
        }
        *self.namespaces.entry(key.namespace.clone()).or_default() += 1;
        self.services.insert(key, entry);
    }

    fn remove_service(&mut self, key: &ObjectKey) {
        let Some(entry) = self.services.remove(key) else { return };
        if let ServiceKind::Cluster(addresses) = &entry.kind {
            for address in addresses {
                // The address may belong to another service by now.
                if self.service_addresses.get(address) == Some(key) {
                    self.service_addresses.remove(address);
                }
            }
        }
        if let Some(count) = self.namespaces.get_mut(&key.namespace) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(&key.namespace);
            }
        }
    }

    /// A slice came, changed or went.
    pub fn slice(&mut self, event: &Event<EndpointSlice>) {
        match event {
            Event::Added(new) => self.add_slice(new),
            Event::Updated { old, new } => {
                self.remove_slice(old);
                self.add_slice(new);
            }
            Event::Deleted(old) => self.remove_slice(old),
        }
    }

    fn add_slice(&mut self, object: &EndpointSlice) {
        let Some((service, name)) = slice_key(object) else { return };
        self.remove_slice(object);
        let slice = slice_entry(object);
        for endpoint in &slice.endpoints {
            let owners = self.endpoint_addresses.entry(endpoint.address).or_default();
            *owners.entry(service.clone()).or_default() += 1;
        }
        self.slices.entry(service).or_default().insert(name, slice);
    }

    fn remove_slice(&mut self, object: &EndpointSlice) {
        let Some((service, name)) = slice_key(object) else { return };
        let Some(slices) = self.slices.get_mut(&service) else { return };
        let removed = slices.remove(&name);
        if slices.is_empty() {
            self.slices.remove(&service);
        }
        for endpoint in removed.iter().flat_map(|slice| &slice.endpoints) {
            let Some(owners) = self.endpoint_addresses.get_mut(&endpoint.address) else { continue };
            if let Some(count) = owners.get_mut(&service) {
                *count -= 1;
                if *count == 0 {
                    owners.remove(&service);
                }
            }
            if owners.is_empty() {
                self.endpoint_addresses.remove(&endpoint.address);
            }
        }
    }

    /// The service of a name.
    pub fn find_service(&self, namespace: &str, name: &str) -> Option<&ServiceEntry> {
        self.services.get(&ObjectKey::new(namespace, name))
    }

    /// Whether a namespace has services.
    pub fn has_services(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// The slices of a service.
    pub fn slices(&self, namespace: &str, name: &str) -> impl Iterator<Item = &Slice> {
        self.slices.get(&ObjectKey::new(namespace, name)).into_iter().flat_map(BTreeMap::values)
    }

    /// The service that has an address.
    pub fn service_at(&self, address: IpAddr) -> Option<&ObjectKey> {
        self.service_addresses.get(&address)
    }

    /// The headless services and labels of the endpoints that have an address and a host name.
    pub fn named_endpoints_at(&self, address: IpAddr) -> Vec<(&ObjectKey, String)> {
        let owners = self.endpoint_addresses.get(&address).into_iter().flat_map(BTreeMap::keys);
        let headless =
            owners.filter(|key| self.services.get(key).is_some_and(|entry| entry.kind == ServiceKind::Headless));
        let mut found = Vec::new();
        for key in headless {
            let endpoints = self.slices.get(key).into_iter().flat_map(BTreeMap::values).flat_map(|s| &s.endpoints);
            for endpoint in endpoints.filter(|endpoint| endpoint.address == address) {
                let entry = (key, endpoint.label());
                if endpoint.hostname.is_some() && !found.contains(&entry) {
                    found.push(entry);
                }
            }
        }
        found
    }
}

fn service_entry(service: &Service) -> Option<ServiceEntry> {
    let spec = service.spec.as_ref()?;
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        Some(Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
            number: u16::try_from(port.port).ok()?,
        })
    });
    let mut addresses = spec.cluster_ips.clone().unwrap_or_default();
    if addresses.is_empty() {
        addresses.extend(spec.cluster_ip.clone());
    }
    let kind = if spec.type_.as_deref() == Some("ExternalName") {
        ServiceKind::External(spec.external_name.clone().filter(|name| !name.is_empty())?)
    } else if addresses.iter().any(|address| address == "None") {
        ServiceKind::Headless
    } else {
        let parsed: Vec<IpAddr> = addresses.iter().filter_map(|address| address.parse().ok()).collect();
        if parsed.is_empty() {
            return None;
        }
        ServiceKind::Cluster(parsed)
    };
    Some(ServiceEntry { kind, ports: ports.collect() })
}

fn slice_key(slice: &EndpointSlice) -> Option<(ObjectKey, String)> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    let key = ObjectKey::of(slice);
    Some((ObjectKey::new(key.namespace, service.clone()), key.name))
}

fn slice_entry(slice: &EndpointSlice) -> Slice {
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        Some(Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
            number: u16::try_from(port.port?).ok()?,
        })
    });
    // An unknown readiness counts as ready: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>
    let ready = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
    };
    let endpoints = slice.endpoints.iter().filter(ready).flat_map(|endpoint| {
        let hostname = endpoint.hostname.as_ref().filter(|name| !name.is_empty()).map(|name| name.to_ascii_lowercase());
        let addresses = endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
        addresses.map(move |address| Endpoint { address, hostname: hostname.clone() })
    });
    Slice { endpoints: endpoints.collect(), ports: ports.collect() }
}
