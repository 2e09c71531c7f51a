//! From a question about the cluster's domain to records.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use hickory_proto::rr::rdata::{CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::zone::{Endpoint, Port, ServiceEntry, ServiceKind, Zone};

/// Seconds that records about the cluster may be kept: short, because services and pods move.
pub const TTL: u32 = 5;
/// The schema of the specification that names follow.
const SCHEMA_VERSION: &str = "1.1.0";
/// How many aliases are followed for one question.
pub const MAX_ALIASES: usize = 8;

/// What a name resolves to.
#[derive(Debug, PartialEq)]
pub enum Found {
    /// Records of the answer section and of the additional section; without any, the name exists but has no record
    /// of the type.
    Records(Vec<Record>, Vec<Record>),
    /// The name is another one's alias; how that resolves is still open.
    Alias(Box<Record>, Name),
    /// The name does not exist.
    NoSuchName,
    /// The name is not the cluster's.
    Elsewhere,
}

/// Answers questions from a [`Zone`].
pub struct Lookup {
    domain: Name,
    labels: Vec<String>,
    servers: Vec<IpAddr>,
    turn: AtomicUsize,
}

/// A question, with the labels before the cluster's domain in lower case.
struct Question<'a> {
    name: &'a Name,
    kind: RecordType,
    zone: &'a Zone,
}

impl Lookup {
    /// # Errors
    /// The domain is malformed.
    pub fn new(domain: &str, listen: &[SocketAddr]) -> Result<Lookup> {
        let mut name = Name::from_ascii(domain)?.to_lowercase();
        name.set_fqdn(true);
        let labels = labels(&name);
        anyhow::ensure!(!labels.is_empty(), "it is empty");
        let mut servers: Vec<IpAddr> =
            listen.iter().map(SocketAddr::ip).filter(|address| !address.is_unspecified()).collect();
        servers.dedup();
        Ok(Lookup { domain: name, labels, servers, turn: AtomicUsize::new(0) })
    }

    /// Whether a name is in the cluster's domain.
    pub fn owns(&self, name: &Name) -> bool {
        self.domain.zone_of(name)
    }

    /// The start-of-authority record, which negative answers carry.
    pub fn authority(&self, serial: u32) -> Record {
        let below = |label: &str| self.domain.prepend_label(label).unwrap_or_else(|_| self.domain.clone());
        let server = self.name_server();
        let soa = SOA::new(server, below("hostmaster"), serial, 7200, 1800, 86400, TTL);
        Record::from_rdata(self.domain.clone(), TTL, RData::SOA(soa))
    }

    fn name_server(&self) -> Name {
        let parent = self.domain.prepend_label("dns").and_then(|parent| parent.prepend_label("ns"));
        parent.unwrap_or_else(|_| self.domain.clone())
    }

    /// Resolves one name.
    pub fn find(&self, zone: &Zone, name: &Name, kind: RecordType, serial: u32) -> Found {
        let labels = labels(name);
        if !self.owns(name) {
            return match kind {
                RecordType::PTR => self.pointer(zone, name),
                _ => Found::Elsewhere,
            };
        }
        let question = Question { name, kind, zone };
        let inner: Vec<&str> = labels[..labels.len() - self.labels.len()].iter().map(String::as_str).collect();
        match inner.as_slice() {
            [] => self.apex(&question, serial),
            ["dns-version"] => text(&question, SCHEMA_VERSION),
            ["dns"] | ["svc"] | ["pod"] => Found::Records(Vec::new(), Vec::new()),
            ["ns", "dns"] => addresses(&question, self.servers.iter().copied()),
            [rest @ .., namespace, "svc"] => self.service(&question, namespace, rest),
            [rest @ .., _, "pod"] => pod(&question, rest),
            _ => Found::NoSuchName,
        }
    }

    fn apex(&self, question: &Question<'_>, serial: u32) -> Found {
        let mut records = Vec::new();
        let mut additional = Vec::new();
        match question.kind {
            RecordType::SOA => records.push(record(question.name, self.authority(serial).data)),
            RecordType::NS => {
                let server = self.name_server();
                records.push(record(question.name, RData::NS(NS(server.clone()))));
                additional.extend(self.servers.iter().map(|address| record(&server, RData::from(*address))));
            }
            _ => {}
        }
        Found::Records(records, additional)
    }

    /// `SERVICE.NAMESPACE.svc` and what is below it.
    fn service(&self, question: &Question<'_>, namespace: &str, rest: &[&str]) -> Found {
        let zone = question.zone;
        let Some((name, below)) = rest.split_last() else {
            return if zone.has_services(namespace) {
                Found::Records(Vec::new(), Vec::new())
            } else {
                Found::NoSuchName
            };
        };
        let Some(service) = zone.find_service(namespace, name) else { return Found::NoSuchName };
        let Ok(service_name) = self.service_name(namespace, name) else { return Found::NoSuchName };
        let target = Target { lookup: self, service, namespace, name, service_name };
        match (&service.kind, below) {
            (ServiceKind::External(external), []) => alias(question, external),
            (ServiceKind::External(_), _) => Found::NoSuchName,
            (_, []) => target.itself(question),
            (_, [port, protocol]) if port.starts_with('_') && protocol.starts_with('_') => {
                target.port(question, &port[1..], &protocol[1..])
            }
            (_, [protocol]) if protocol.starts_with('_') => target.protocol(&protocol[1..]),
            (ServiceKind::Headless, [endpoint]) => target.endpoint(question, endpoint),
            _ => Found::NoSuchName,
        }
    }

    fn service_name(&self, namespace: &str, name: &str) -> Result<Name> {
        Ok(Name::from_labels([name.as_bytes(), namespace.as_bytes(), b"svc"])?.append_domain(&self.domain)?)
    }

    /// The name of an address of the cluster.
    fn pointer(&self, zone: &Zone, name: &Name) -> Found {
        let Ok(network) = name.parse_arpa_name() else { return Found::Elsewhere };
        if network.prefix_len() != network.max_prefix_len() {
            return Found::Elsewhere;
        }
        let address = network.addr();
        let mut targets = Vec::new();
        if let Some(key) = zone.service_at(address) {
            targets.extend(self.service_name(&key.namespace, &key.name));
        }
        for (key, label) in zone.named_endpoints_at(address) {
            let service = self.service_name(&key.namespace, &key.name);
            targets.extend(service.and_then(|service| Ok(service.prepend_label(label)?)));
        }
        if targets.is_empty() {
            return Found::Elsewhere;
        }
        let records = targets.into_iter().map(|target| record(name, RData::PTR(PTR(target))));
        Found::Records(records.collect(), Vec::new())
    }
}

/// A service that a question is about.
struct Target<'a> {
    lookup: &'a Lookup,
    service: &'a ServiceEntry,
    namespace: &'a str,
    name: &'a str,
    service_name: Name,
}

impl Target<'_> {
    /// The service's own name.
    fn itself(&self, question: &Question<'_>) -> Found {
        if question.kind == RecordType::SRV {
            return self.srv(question, |_| true);
        }
        match &self.service.kind {
            ServiceKind::Cluster(found) => addresses(question, found.iter().copied()),
            _ => {
                let found = self.endpoints(question.zone);
                if found.is_empty() {
                    return Found::NoSuchName;
                }
                addresses(question, found.into_iter().map(|endpoint| endpoint.address))
            }
        }
    }

    /// Distinct ready endpoints. Each answer starts at another one, so that clients which take the first spread.
    fn endpoints(&self, zone: &Zone) -> Vec<Endpoint> {
        let all = zone.slices(self.namespace, self.name).flat_map(|slice| &slice.endpoints);
        let mut seen = std::collections::HashSet::new();
        let mut found: Vec<Endpoint> =
            all.filter(|endpoint| seen.insert((endpoint.address, endpoint.hostname.clone()))).cloned().collect();
        if !found.is_empty() {
            let turn = self.lookup.turn.fetch_add(1, Ordering::Relaxed) % found.len();
            found.rotate_left(turn);
        }
        found
    }

    /// An endpoint of a headless service, by its host name or its address with dashes.
    fn endpoint(&self, question: &Question<'_>, label: &str) -> Found {
        let all = self.endpoints(question.zone).into_iter().filter(|endpoint| endpoint.label() == label);
        let found: Vec<IpAddr> = all.map(|endpoint| endpoint.address).collect();
        if found.is_empty() { Found::NoSuchName } else { addresses(question, found) }
    }

    /// `_PORT._PROTOCOL` below the service's name.
    fn port(&self, question: &Question<'_>, port: &str, protocol: &str) -> Found {
        let same = |candidate: &Port| !port.is_empty() && candidate.name == port && candidate.protocol == protocol;
        if !self.service.ports.iter().any(same) {
            return Found::NoSuchName;
        }
        if question.kind != RecordType::SRV {
            return Found::Records(Vec::new(), Vec::new());
        }
        self.srv(question, same)
    }

    /// `_PROTOCOL` below the service's name exists only as the parent of ports.
    fn protocol(&self, protocol: &str) -> Found {
        let found = self.service.ports.iter().any(|port| port.protocol == protocol && !port.name.is_empty());
        if found { Found::Records(Vec::new(), Vec::new()) } else { Found::NoSuchName }
    }

    fn srv(&self, question: &Question<'_>, wanted: impl Fn(&Port) -> bool) -> Found {
        let mut targets: Vec<(u16, Name)> = Vec::new();
        let mut additional: Vec<Record> = Vec::new();
        let mut add = |port: u16, target: Name, found: &[IpAddr]| {
            for address in found {
                let extra = record(&target, RData::from(*address));
                if !additional.contains(&extra) {
                    additional.push(extra);
                }
            }
            if !targets.contains(&(port, target.clone())) {
                targets.push((port, target));
            }
        };
        match &self.service.kind {
            ServiceKind::Cluster(found) => {
                for port in self.service.ports.iter().filter(|port| wanted(port)) {
                    add(port.number, self.service_name.clone(), found);
                }
            }
            _ => {
                for slice in question.zone.slices(self.namespace, self.name) {
                    for port in slice.ports.iter().filter(|port| wanted(port)) {
                        for endpoint in &slice.endpoints {
                            if let Ok(target) = self.service_name.prepend_label(endpoint.label()) {
                                add(port.number, target, &[endpoint.address]);
                            }
                        }
                    }
                }
            }
        }
        if targets.is_empty() {
            return Found::NoSuchName;
        }
        let weight = u16::try_from(100 / targets.len()).unwrap_or(1).max(1);
        let records = targets
            .into_iter()
            .map(|(port, target)| record(question.name, RData::SRV(SRV::new(0, weight, port, target))));
        Found::Records(records.collect(), additional)
    }
}

/// `1-2-3-4.NAMESPACE.pod`, for any address, as CoreDNS answers where kubeadm sets it up (`pods insecure`): whether a pod has
/// it, who asks knows better. To check it, every node would have to know all pods.
fn pod(question: &Question<'_>, rest: &[&str]) -> Found {
    match rest {
        [] => Found::Records(Vec::new(), Vec::new()),
        [label] => {
            let parsed = label.replace('-', ".").parse::<IpAddr>().or_else(|_| label.replace('-', ":").parse());
            parsed.map_or(Found::NoSuchName, |address| addresses(question, [address]))
        }
        _ => Found::NoSuchName,
    }
}

fn alias(question: &Question<'_>, external: &str) -> Found {
    if let Ok(address) = external.parse::<IpAddr>() {
        return addresses(question, [address]);
    }
    let Ok(mut target) = Name::from_ascii(external) else { return Found::NoSuchName };
    target.set_fqdn(true);
    let alias = record(question.name, RData::CNAME(CNAME(target.clone())));
    if question.kind == RecordType::CNAME {
        return Found::Records(vec![alias], Vec::new());
    }
    Found::Alias(Box::new(alias), target)
}

fn addresses(question: &Question<'_>, all: impl IntoIterator<Item = IpAddr>) -> Found {
    let wanted = |address: &IpAddr| match question.kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    };
    let records = all.into_iter().filter(wanted).map(|address| record(question.name, RData::from(address)));
    Found::Records(records.collect(), Vec::new())
}

fn text(question: &Question<'_>, value: &str) -> Found {
    let matches = matches!(question.kind, RecordType::TXT | RecordType::ANY);
    let records = matches.then(|| record(question.name, RData::TXT(TXT::new(vec![value.into()]))));
    Found::Records(records.into_iter().collect(), Vec::new())
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

/// A name's labels in lower case; bytes that are not UTF-8 match nothing.
fn labels(name: &Name) -> Vec<String> {
    name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect()
}
