//! The EndpointSlice by which a node says that it listens for a service.

use anyhow::Result;
use coracle_client::{Cached, Store, is_not_found};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::Config;

/// The label that says who keeps a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who keeps these, as it says.
pub const MANAGER: &str = "ingress.coracle.io";

fn name(service: &str, config: &Config) -> String {
    format!("{service}-{}", config.node_name)
}

/// Sees to it that the service has this node as an endpoint.
///
/// # Errors
/// The API refuses it.
pub async fn ensure(
    client: &Client,
    service: &Service,
    known: &Store<EndpointSlice>,
    config: &Config,
    port: u16,
) -> Result<()> {
    let namespace = service.namespace().unwrap_or_default();
    let name = name(&service.name_any(), config);
    let wanted = wanted(service, &name, config, port);
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &namespace);
    match known.get(&namespace, &name) {
        Some(found) if says(&found, &wanted) => Ok(()),
        // What kind of addresses it has cannot be changed, so that of an older one is made anew.
        Some(_) => {
            let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(&wanted)).await;
            match patched {
                Err(error) if is_not_found(&error) => Ok(()),
                other => other.map(drop).map_err(Into::into),
            }
        }
        None => {
            let object = EndpointSlice::from_value(&wanted)?;
            match api.create(&PostParams::default(), &object).await {
                Err(error) if coracle_client::is_conflict(&error) => Ok(()),
                other => other.map(drop).map_err(Into::into),
            }
        }
    }
}

/// Takes the node from the endpoints of a service.
///
/// # Errors
/// The API refuses it.
pub async fn remove(client: &Client, namespace: &str, service: &str, config: &Config) -> Result<()> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    match api.delete(&name(service, config), &DeleteParams::default()).await {
        Err(error) if !is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

fn wanted(service: &Service, name: &str, config: &Config, port: u16) -> Value {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let ports: Vec<Value> = ports.map(|own| json!({"name": own.name, "port": port, "protocol": "TCP"})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/service-name": service.name_any(),
                MANAGED_BY: MANAGER,
            },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": service.name_any(), "uid": service.uid(),
                "controller": true,
            }],
        },
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": [config.node_ip.to_string()], "nodeName": config.node_name,
            "conditions": {"ready": true, "serving": true, "terminating": false},
        }],
        "ports": ports,
    })
}

/// Whether a slice says what is wanted.
fn says(found: &EndpointSlice, wanted: &Value) -> bool {
    let Ok(wanted) = EndpointSlice::from_value(wanted) else { return false };
    let owner = |slice: &EndpointSlice| slice.owner_references().first().map(|owner| owner.uid.clone());
    let ports = |slice: &EndpointSlice| {
        let ports = slice.ports.iter().flatten();
        ports.map(|port| (port.name.clone(), port.port)).collect::<Vec<_>>()
    };
    let endpoints = |slice: &EndpointSlice| {
        let all = slice.endpoints.iter();
        all.map(|one| (one.addresses.clone(), one.node_name.clone(), one.conditions.as_ref().and_then(|own| own.ready)))
            .collect::<Vec<_>>()
    };
    owner(found) == owner(&wanted) && ports(found) == ports(&wanted) && endpoints(found) == endpoints(&wanted)
}
