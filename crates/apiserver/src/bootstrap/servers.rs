//! The servers of the cluster: where several stand on one store, each holds a lease under its address, as upstream's do, and
//! the service `kubernetes` leads to all whose lease has not ended.
//! <https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/> (`--endpoint-reconciler-type=lease`)

use std::net::IpAddr;
use std::time::Duration;

use coracle_store::{Op, Txn};
use serde_json::json;

use crate::storage::Storage;

/// Below it is a key for each server, by its address.
const LEASES: &str = "/registry/masterleases/";
/// How long a server that says nothing counts as there.
const LIFE: Duration = Duration::from_secs(15);
/// Servers that are led to at most.
const MOST: usize = 100;

/// Renews the lease of this server; answers with the addresses of all that hold one, in their order.
///
/// # Errors
/// The store does not answer.
pub(super) async fn all(storage: &Storage, own: IpAddr) -> coracle_store::Result<Vec<IpAddr>> {
    if storage.store.settled_revision().is_some() {
        // Nobody else can be there.
        return Ok(vec![own]);
    }
    let value = json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {},
        "subsets": [{"addresses": [{"ip": own.to_string()}]}]});
    let key = format!("{LEASES}{own}").into();
    let lease = Op::Put { key, value: value.to_string().into(), ttl: Some(LIFE) };
    storage.store.txn(Txn { compares: Vec::new(), ops: vec![lease] }).await?;
    let held = storage.store.list(LEASES, None, None, Some(MOST)).await?;
    let mut addresses: Vec<IpAddr> =
        held.items.iter().filter_map(|kv| kv.key().strip_prefix(LEASES)?.parse().ok()).collect();
    if !addresses.contains(&own) {
        addresses.push(own);
    }
    addresses.sort_unstable();
    Ok(addresses)
}
