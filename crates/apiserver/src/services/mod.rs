//! Addresses and node ports of services.

mod addresses;
pub(crate) mod endpoint;
mod families;
pub(crate) mod ip_address;

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Kind;
use coracle_api::addresses::{Family, Ranges, nth};
use coracle_api::field::{FieldError, Path};
use coracle_api::meta::{self, list};
use coracle_api::status::Status;
use coracle_store::{Compare, Op, Revision, Txn};
use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::storage::{Storage, core, refusal};

/// Ports of nodes that services may have, as upstream's default.
pub const NODE_PORTS: RangeInclusive<u16> = 30000..=32767;

/// Whoever is given a node port writes this key, and compares that nobody did since they looked which ports are taken.
const NODE_PORTS_KEY: &str = "/registry/coracle/nodeports";

/// Gives out cluster IPs and node ports. What is taken is what the stored services say. The service's transaction compares
/// that this is still so when it is committed; a lock only keeps those who ask here at once out of each other's way.
pub struct Allocator {
    ranges: Ranges,
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
    addresses: HashSet<IpAddr>,
    ports: Ports,
}

impl Allocator {
    /// Of addresses of these ranges.
    ///
    /// # Errors
    /// A range is too large or too small to give addresses of.
    pub fn new(ranges: Ranges) -> anyhow::Result<Allocator> {
        ranges.iter().try_for_each(addresses::check_size)?;
        Ok(Allocator { ranges, lock: Arc::default() })
    }

    /// The address of the service `kubernetes`: the first of the primary range.
    pub fn first(&self) -> IpAddr {
        nth(self.ranges.primary(), 1)
    }

    /// The ranges of all addresses.
    pub fn ranges(&self) -> Ranges {
        self.ranges
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
        self.give(new, old, &taken)?;
        let newly = ports(new).difference(&old.map(ports).unwrap_or_default()).next().is_some();
        let node_ports = if newly { Some(claim_node_ports(storage, taken.revision).await?) } else { None };
        Ok(Some(Allocation { node_ports, _guard: guard }))
    }

    fn give(&self, service: &mut Value, old: Option<&Value>, taken: &Taken) -> Result<(), Status> {
        let (kind, name) = (service_type(service).to_owned(), meta::name(service).to_owned());
        let invalid = |error: FieldError| Status::invalid("", "Service", &name, vec![error]);
        if kind != "ExternalName" {
            let invalid = |errors| Status::invalid("", "Service", &name, errors);
            families::settle(&self.ranges, service, old).map_err(invalid)?;
            let kept: Vec<&str> = old.into_iter().flat_map(addresses::of).collect();
            self.give_addresses(service, &kept, taken).map_err(|error| invalid(vec![error]))?;
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

    /// Gives an address of each family that the service is to have, and has not; `kept` are those that it had.
    fn give_addresses(&self, service: &mut Value, kept: &[&str], taken: &Taken) -> Result<(), FieldError> {
        let spec = &mut service["spec"];
        if spec["clusterIP"] == "None" {
            return Ok(());
        }
        let families: Vec<Family> =
            list(spec, &["ipFamilies"]).iter().filter_map(|family| Family::named(family.as_str()?)).collect();
        let given: Vec<String> =
            list(spec, &["clusterIPs"]).iter().map(|ip| ip.as_str().unwrap_or_default().to_owned()).collect();
        let mut all = Vec::with_capacity(families.len());
        for (n, family) in families.into_iter().enumerate() {
            let text = given.get(n).map_or("", String::as_str);
            if kept.contains(&text) {
                // Also of a range that is not the cluster's any more.
                all.push(text.to_owned());
                continue;
            }
            let range = self.ranges.of(family).ok_or_else(|| families::not_configured(n, family))?;
            let address = match text {
                "" => addresses::free(range, &taken.addresses),
                text => addresses::check(text, &given, range, &taken.addresses),
            };
            all.push(address?.to_string());
        }
        spec["clusterIP"] = all.first().cloned().unwrap_or_default().into();
        spec["clusterIPs"] = all.into();
        Ok(())
    }
}

impl Taken {
    fn without(storage: &Storage, own: Option<&Value>) -> Result<Taken, Status> {
        let key = own.map(|service| crate::storage::key(Some(meta::namespace(service)), meta::name(service)));
        let snapshot = storage.cache(core("services"))?.snapshot();
        let mut taken = Taken { revision: snapshot.revision, addresses: HashSet::new(), ports: HashSet::new() };
        for object in snapshot.range("", None).filter(|other| key.as_deref() != Some(other.key())) {
            let service = object.value();
            taken.addresses.extend(addresses::of(&service).filter_map(|text| text.parse::<IpAddr>().ok()));
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
