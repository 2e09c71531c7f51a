//! Addresses and node ports of services.

pub(crate) mod endpoint;
pub(crate) mod ip_address;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Kind;
use coracle_api::field::{FieldError, Path};
use coracle_api::meta;
use coracle_api::status::Status;
use coracle_store::{Compare, Op, Revision, Txn};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::storage::{Storage, core, refusal};

/// Ports of nodes that services may have, as upstream's default.
pub const NODE_PORTS: RangeInclusive<u16> = 30000..=32767;

/// Whoever is given a node port writes this key, and compares that nobody did since they looked which ports are taken.
const NODE_PORTS_KEY: &str = "/registry/coracle/nodeports";

/// Gives out cluster IPs and node ports. What is taken is what the stored services say. The service's transaction compares
/// that this is still so when it is committed; a lock only keeps those who ask here at once out of each other's way.
pub struct Allocator {
    range: Ipv4Net,
    lock: Arc<Mutex<()>>,
}

/// What a service was given, until it is stored.
pub struct Allocation {
    node_ports: Option<(Compare, Op)>,
    _guard: OwnedMutexGuard<()>,
}

impl Allocation {
    /// Adds to the service's transaction that what was given is still free.
    pub fn claim(&self, txn: &mut Txn) {
        if let Some((compare, op)) = &self.node_ports {
            txn.compares.push(compare.clone());
            txn.ops.push(op.clone());
        }
    }
}

type Ports = HashSet<(u16, String)>;

struct Taken {
    /// The revision at which this was so.
    revision: Revision,
    addresses: HashSet<Ipv4Addr>,
    ports: Ports,
}

impl Allocator {
    pub fn new(range: Ipv4Net) -> Allocator {
        Allocator { range, lock: Arc::default() }
    }

    /// The address of the service `kubernetes`: the first of the range.
    pub fn first(&self) -> Ipv4Addr {
        self.nth(1)
    }

    /// The range of all addresses.
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    fn nth(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.range.network()).wrapping_add(n))
    }

    /// Gives a new service what it needs, or a changed one what it newly needs. Other kinds pass.
    pub async fn allocate(
        &self,
        storage: &Storage,
        kind: &Kind,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<Option<Allocation>, Status> {
        if !is_service(kind) {
            return Ok(None);
        }
        let guard = self.lock.clone().lock_owned().await;
        let taken = Taken::without(storage, old)?;
        self.give(new, &taken)?;
        let newly = ports(new).difference(&old.map(ports).unwrap_or_default()).next().is_some();
        let node_ports = if newly { Some(claim_node_ports(storage, taken.revision).await?) } else { None };
        Ok(Some(Allocation { node_ports, _guard: guard }))
    }

    fn give(&self, service: &mut Value, taken: &Taken) -> Result<(), Status> {
        let (kind, name) = (service_type(service).to_owned(), meta::name(service).to_owned());
        let invalid = |error: FieldError| Status::invalid("", "Service", &name, vec![error]);
        if kind != "ExternalName" {
            self.give_address(service, taken).map_err(invalid)?;
        }
        if !has_node_ports(&kind) {
            return Ok(());
        }
        if service["spec"]["allocateLoadBalancerNodePorts"] != false {
            give_node_ports(service, taken).map_err(invalid)?;
        }
        if kind == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local" {
            give_health_check_port(service, taken).map_err(invalid)?;
        }
        Ok(())
    }

    fn give_address(&self, service: &mut Value, taken: &Taken) -> Result<(), FieldError> {
        let spec = &mut service["spec"];
        // Without a selector someone else says what the addresses are, of either family.
        let selects = spec["selector"].as_object().is_some_and(|selector| !selector.is_empty());
        if spec["clusterIP"] != "None" || selects {
            families(spec)?;
        }
        let given = spec["clusterIP"]
            .as_str()
            .filter(|text| !text.is_empty())
            .or_else(|| spec["clusterIPs"][0].as_str())
            .unwrap_or_default()
            .to_owned();
        if given != "None" {
            let address = match given.as_str() {
                "" => self.free(taken)?,
                text => self.check(text, taken)?,
            };
            spec["clusterIP"] = address.to_string().into();
        } else {
            spec["clusterIP"] = "None".into();
        }
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
        if !spec["ipFamilies"].is_array() {
            spec["ipFamilies"] = json!(["IPv4"]);
        }
        if spec["ipFamilyPolicy"].is_null() {
            spec["ipFamilyPolicy"] = "SingleStack".into();
        }
        Ok(())
    }

    fn check(&self, text: &str, taken: &Taken) -> Result<Ipv4Addr, FieldError> {
        let path = Path::new("spec").child("clusterIPs");
        let invalid = |why: &str| FieldError::invalid(&path, &json!([text]), why.to_owned());
        let address = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => address,
            Ok(IpAddr::V6(_)) => return Err(invalid("failed to allocate IP: IPv6 is not configured on this cluster")),
            Err(_) => return Err(invalid("must be a valid IP address")),
        };
        if !self.range.contains(&address) {
            return Err(invalid(&format!(
                "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                self.range
            )));
        }
        if taken.addresses.contains(&address) {
            return Err(invalid(&format!("failed to allocate IP {address}: provided IP is already allocated")));
        }
        Ok(address)
    }

    /// A random free address, outside the lower band that upstream leaves to addresses chosen by users
    /// while there are others (KEP-3070).
    fn free(&self, taken: &Taken) -> Result<Ipv4Addr, FieldError> {
        let size = 1u32.checked_shl(32 - u32::from(self.range.prefix_len())).unwrap_or(u32::MAX);
        let band = (size / 16).clamp(16, 256).min(size / 2);
        let (low, high) = (band.max(2), size.saturating_sub(1));
        let start = random() % (high - low).max(1);
        let upper = (0..high - low).map(|n| low + (start + n) % (high - low));
        upper.chain(2..low).map(|n| self.nth(n)).find(|address| !taken.addresses.contains(address)).ok_or_else(|| {
            FieldError::invalid(
                &Path::new("spec").child("clusterIPs"),
                &Value::Null,
                "failed to allocate a serviceIP: range is full",
            )
        })
    }
}

impl Taken {
    fn without(storage: &Storage, own: Option<&Value>) -> Result<Taken, Status> {
        let key = own.map(|service| crate::storage::key(Some(meta::namespace(service)), meta::name(service)));
        let snapshot = storage.cache(core("services"))?.snapshot();
        let mut taken = Taken { revision: snapshot.revision, addresses: HashSet::new(), ports: HashSet::new() };
        for object in snapshot.range("", None).filter(|other| key.as_deref() != Some(other.key())) {
            let service = object.value();
            taken
                .addresses
                .extend(service["spec"]["clusterIP"].as_str().and_then(|text| text.parse::<Ipv4Addr>().ok()));
            taken.ports.extend(ports(&service));
        }
        taken.addresses.extend(ip_address::reserved(storage, own)?);
        Ok(taken)
    }
}

/// The ports of nodes that a service has.
fn ports(service: &Value) -> Ports {
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|port| *port != 0);
    let health = number(&service["spec"]["healthCheckNodePort"]).map(|port| (port, "TCP".to_owned()));
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports.filter_map(|port| Some((number(&port["nodePort"])?, protocol(port).to_owned()))).chain(health).collect()
}

/// What a transaction that gives out node ports compares and writes, if it looked at the services of a revision.
async fn claim_node_ports(storage: &Storage, revision: Revision) -> Result<(Compare, Op), Status> {
    let key: Arc<str> = NODE_PORTS_KEY.into();
    let last = storage.store.get(&key, Some(revision)).await.map_err(|error| refusal(&error))?;
    let compare = Compare::ModRevision(key.clone(), last.map_or(0, |last| last.mod_revision()));
    Ok((compare, Op::Put { key, value: Bytes::new(), ttl: None }))
}

/// This cluster has addresses of one family.
fn families(spec: &Value) -> Result<(), FieldError> {
    let path = Path::new("spec");
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        return Err(FieldError::invalid(&path.child("ipFamilyPolicy"), &spec["ipFamilyPolicy"], detail));
    }
    let given = spec["ipFamilies"].as_array().map(Vec::as_slice).unwrap_or_default();
    match given.iter().enumerate().find(|(_, family)| *family == "IPv6") {
        Some((n, family)) => {
            let path = path.child("ipFamilies").index(n);
            Err(FieldError::invalid(&path, family, "not configured on this cluster"))
        }
        None => Ok(()),
    }
}

pub(crate) fn is_service(kind: &Kind) -> bool {
    kind.is("", "Service")
}

fn service_type(service: &Value) -> &str {
    service["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

fn has_node_ports(service_type: &str) -> bool {
    matches!(service_type, "NodePort" | "LoadBalancer")
}

fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}

fn give_node_ports(service: &mut Value, taken: &Taken) -> Result<(), FieldError> {
    let mut own: HashSet<(u16, String)> = HashSet::new();
    for (n, port) in service["spec"]["ports"].as_array_mut().into_iter().flatten().enumerate() {
        let path = Path::new("spec").child("ports").index(n).child("nodePort");
        let protocol = protocol(port).to_owned();
        let given = port["nodePort"].as_u64().unwrap_or(0);
        let number = match given {
            0 => {
                let free = |number: &u16| {
                    !taken.ports.contains(&(*number, protocol.clone())) && !own.iter().any(|(other, _)| other == number)
                };
                free_port(free).ok_or_else(|| {
                    FieldError::invalid(&path, &0.into(), "failed to allocate a nodePort: range is full")
                })?
            }
            given => {
                let number = u16::try_from(given).ok().filter(|number| NODE_PORTS.contains(number));
                let number = number.ok_or_else(|| {
                    let range = format!("{}-{}", NODE_PORTS.start(), NODE_PORTS.end());
                    FieldError::invalid(
                        &path,
                        &given.into(),
                        format!("provided port is not in the valid range. The range of valid ports is {range}"),
                    )
                })?;
                if taken.ports.contains(&(number, protocol.clone())) {
                    return Err(FieldError::invalid(&path, &given.into(), "provided port is already allocated"));
                }
                number
            }
        };
        own.insert((number, protocol));
        port["nodePort"] = number.into();
    }
    Ok(())
}

/// A random port of those that fit.
fn free_port(fits: impl Fn(&u16) -> bool) -> Option<u16> {
    let count = u32::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
    let start = random() % count;
    (0..count).map(|n| NODE_PORTS.start() + ((start + n) % count) as u16).find(fits)
}

/// The port at which nodes tell a load balancer whether they have endpoints.
fn give_health_check_port(service: &mut Value, taken: &Taken) -> Result<(), FieldError> {
    if service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0) != 0 {
        return Ok(());
    }
    let own: Vec<u64> = service["spec"]["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|port| port["nodePort"].as_u64())
        .collect();
    let free = |number: &u16| !taken.ports.contains(&(*number, "TCP".to_owned())) && !own.contains(&u64::from(*number));
    let path = Path::new("spec").child("healthCheckNodePort");
    let number = free_port(free)
        .ok_or_else(|| FieldError::invalid(&path, &0.into(), "failed to allocate a nodePort: range is full"))?;
    service["spec"]["healthCheckNodePort"] = number.into();
    Ok(())
}

fn random() -> u32 {
    let uuid = uuid::Uuid::new_v4();
    let bytes = uuid.as_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
