//! Addresses and node ports of services.

pub(crate) mod ip_address;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use coracle_api::field::{FieldError, Path};
use coracle_api::kinds::Kind;
use coracle_api::meta;
use coracle_api::status::Status;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::rest::{cache, core};
use crate::server::Inner;

/// Ports of nodes that services may have, as upstream's default.
pub const NODE_PORTS: RangeInclusive<u16> = 30000..=32767;

/// Gives out cluster IPs and node ports. What is taken is what the stored services say; a lock held until
/// the service is stored keeps two of them from being given the same.
pub struct Allocator {
    range: Ipv4Net,
    lock: Arc<Mutex<()>>,
}

/// Holds what was given out until the service is stored.
pub type Allocation = Option<OwnedMutexGuard<()>>;

struct Taken {
    addresses: HashSet<Ipv4Addr>,
    ports: HashSet<(u16, String)>,
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

    /// Gives a new service what it needs. Other kinds pass.
    pub async fn on_create(&self, inner: &Inner, kind: &Kind, service: &mut Value) -> Result<Allocation, Status> {
        if !is_service(kind) {
            return Ok(None);
        }
        let guard = self.lock.clone().lock_owned().await;
        let taken = Taken::without(inner, None)?;
        self.give(service, &taken)?;
        Ok(Some(guard))
    }

    /// Gives a changed service what it newly needs, and takes what its new type does not have.
    pub async fn on_update(
        &self,
        inner: &Inner,
        kind: &Kind,
        new: &mut Value,
        old: &Value,
    ) -> Result<Allocation, Status> {
        if !is_service(kind) {
            return Ok(None);
        }
        let guard = self.lock.clone().lock_owned().await;
        let key = crate::request::key(Some(meta::namespace(old)), meta::name(old));
        let taken = Taken::without(inner, Some(&key))?;
        self.give(new, &taken)?;
        Ok(Some(guard))
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
    fn without(inner: &Inner, own: Option<&str>) -> Result<Taken, Status> {
        let mut taken = Taken { addresses: HashSet::new(), ports: HashSet::new() };
        let snapshot = cache(inner, core("services"))?.snapshot();
        for (_, object) in snapshot.range("", None).filter(|(key, _)| own != Some(&***key)) {
            let service = object.value();
            taken
                .addresses
                .extend(service["spec"]["clusterIP"].as_str().and_then(|text| text.parse::<Ipv4Addr>().ok()));
            let health = service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0) as u16;
            if health != 0 {
                taken.ports.insert((health, "TCP".to_owned()));
            }
            for port in service["spec"]["ports"].as_array().into_iter().flatten() {
                let number = port["nodePort"].as_u64().unwrap_or(0) as u16;
                if number != 0 {
                    taken.ports.insert((number, protocol(port).to_owned()));
                }
            }
        }
        taken.addresses.extend(ip_address::reserved(inner, own)?);
        Ok(taken)
    }
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

fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "services"
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
