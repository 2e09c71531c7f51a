//! IPAddress objects: each address of a service has one that names the service, written and deleted in the same
//! transaction as the service.
//! <https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/>

use std::sync::Arc;

use std::net::Ipv4Addr;

use coracle_api::meta;
use coracle_api::status::Status;
use coracle_api::{Kind, kinds};
use coracle_store::{Compare, Op, Txn};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::encode;
use crate::object::Object;
use crate::storage::{Storage, core, store_key};

/// The kind of the objects.
fn kind() -> Result<&'static Arc<Kind>, Status> {
    kinds::by_resource("networking.k8s.io", "v1", "ipaddresses").ok_or_else(Status::path_not_found)
}

/// The address of a service, if it has one.
fn address_of(service: &Value) -> Option<&str> {
    service["spec"]["clusterIP"].as_str().filter(|ip| ip.parse::<Ipv4Addr>().is_ok())
}

/// The object for an address of a service.
pub(crate) fn object(address: &str, service: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": address, "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": meta::format_time(Timestamp::now()),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "group": "", "resource": "services", "namespace": meta::namespace(service), "name": meta::name(service),
        }},
    })
}

fn is_of(address: &Value, namespace: &str, name: &str) -> bool {
    let parent = &address["spec"]["parentRef"];
    parent["resource"] == "services" && parent["namespace"] == namespace && parent["name"] == name
}

/// Adds to the transaction of a service what it does to the objects of its addresses, if these are still as they are
/// now; other kinds pass.
pub(crate) fn follow(
    storage: &Storage,
    of: &Kind,
    old: Option<&Value>,
    new: Option<&Value>,
    txn: &mut Txn,
) -> Result<(), Status> {
    if !super::is_service(of) {
        return Ok(());
    }
    let (before, now) = (old.and_then(address_of), new.and_then(address_of));
    let kind = kind()?;
    let addresses = storage.cache(kind)?;
    if let (Some(address), Some(service)) = (before.filter(|_| before != now), old) {
        let ours = |value: Value| is_of(&value, meta::namespace(service), meta::name(service));
        if let Some(object) = addresses.get(address)?.filter(|object| ours(object.value())) {
            let key = store_key(kind, None, address);
            txn.compares.push(Compare::ModRevision(key.clone(), object.revision()));
            txn.ops.push(Op::Delete { key });
        }
    }
    if let (Some(address), Some(service)) = (now, new)
        && addresses.get(address)?.is_none()
    {
        let (key, value) = (store_key(kind, None, address), encode::for_store(&object(address, service), None).bytes);
        txn.compares.push(Compare::ModRevision(key.clone(), 0));
        txn.ops.push(Op::Put { key, value, ttl: None });
    }
    Ok(())
}

/// Addresses that objects reserve, but for that of one service.
pub(super) fn reserved(storage: &Storage, own: Option<&Value>) -> Result<Vec<Ipv4Addr>, Status> {
    let snapshot = storage.cache(kind()?)?.snapshot();
    let is_own = |object: &&Object| {
        own.is_some_and(|service| {
            address_of(service) == Some(object.key())
                && is_of(&object.value(), meta::namespace(service), meta::name(service))
        })
    };
    let others = snapshot.range("", None).filter(|object| !is_own(object));
    Ok(others.filter_map(|object| object.key().parse().ok()).collect())
}

/// The objects that are missing: of services that are older than they, or deleted by someone.
pub(crate) fn missing(storage: &Storage) -> Result<Vec<Value>, Status> {
    let addresses = storage.cache(kind()?)?;
    let services = core("services");
    let snapshot = storage.cache(services)?.snapshot();
    let without = snapshot.range("", None).filter_map(|service| {
        let address = service.field(services, "spec.clusterIP").filter(|ip| ip.parse::<Ipv4Addr>().is_ok())?;
        addresses.get(address).is_ok_and(|found| found.is_none()).then(|| object(address, &service.value()))
    });
    Ok(without.collect())
}
