//! IPAddress objects: each address of a service has one that names the service, written and deleted in the same
//! transaction as the service.
//! <https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/>

use std::sync::Arc;

use std::net::IpAddr;

use coracle_api::addresses::Family;
use coracle_api::meta;
use coracle_api::status::Status;
use coracle_api::{Kind, kinds};
use coracle_store::{Compare, Op, Txn};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::addresses;
use crate::encode;
use crate::object::Object;
use crate::storage::{Storage, core, store_key};

/// The kind of the objects.
fn kind() -> Result<&'static Arc<Kind>, Status> {
    kinds::by_resource("networking.k8s.io", "v1", "ipaddresses").ok_or_else(Status::path_not_found)
}

/// The object for an address of a service.
pub(crate) fn object(address: &str, service: &Value) -> Value {
    let family = address.parse().map_or(Family::V4, Family::of).name();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": address, "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": meta::format_time(Timestamp::now()),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
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
    let all = |service: Option<&Value>| -> Vec<String> {
        service.into_iter().flat_map(addresses::of).map(str::to_owned).collect()
    };
    let (before, now) = (all(old), all(new));
    let kind = kind()?;
    let objects = storage.cache(kind)?;
    for (address, service) in before.iter().filter(|address| !now.contains(address)).zip(old.into_iter().cycle()) {
        let ours = |value: Value| is_of(&value, meta::namespace(service), meta::name(service));
        if let Some(object) = objects.get(address)?.filter(|object| ours(object.value())) {
            let key = store_key(kind, None, address);
            txn.compares.push(Compare::ModRevision(key.clone(), object.revision()));
            txn.ops.push(Op::Delete { key });
        }
    }
    for (address, service) in now.iter().zip(new.into_iter().cycle()) {
        if objects.get(address)?.is_none() {
            let (key, value) =
                (store_key(kind, None, address), encode::for_store(&object(address, service), None).bytes);
            txn.compares.push(Compare::ModRevision(key.clone(), 0));
            txn.ops.push(Op::Put { key, value, ttl: None });
        }
    }
    Ok(())
}

/// Addresses that objects reserve, but for those of one service.
pub(super) fn reserved(storage: &Storage, own: Option<&Value>) -> Result<Vec<IpAddr>, Status> {
    let snapshot = storage.cache(kind()?)?.snapshot();
    let is_own = |object: &&Object| {
        own.is_some_and(|service| {
            addresses::of(service).any(|address| address == object.key())
                && is_of(&object.value(), meta::namespace(service), meta::name(service))
        })
    };
    let others = snapshot.range("", None).filter(|object| !is_own(object));
    Ok(others.filter_map(|object| object.key().parse().ok()).collect())
}

/// The objects that are missing: of services that are older than they, or deleted by someone.
pub(crate) fn missing(storage: &Storage) -> Result<Vec<Value>, Status> {
    let found = storage.cache(kind()?)?;
    let services = core("services");
    let snapshot = storage.cache(services)?.snapshot();
    let without = |service: &Value| -> Vec<Value> {
        let is_missing = |address: &&str| found.get(address).is_ok_and(|found| found.is_none());
        addresses::of(service).filter(is_missing).map(|address| object(address, service)).collect()
    };
    // Those with no address need not be read.
    let addressed = snapshot
        .range("", None)
        .filter(|service| service.field(services, "spec.clusterIP").is_some_and(|ip| ip.parse::<IpAddr>().is_ok()));
    Ok(addressed.flat_map(|service| without(&service.value())).collect())
}
