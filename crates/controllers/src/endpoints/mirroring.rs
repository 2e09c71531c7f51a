//! The EndpointSliceMirroring controller: Endpoints that people wrote, for a service without a selector, become
//! EndpointSlices, which are what service proxies read.
//! <https://kubernetes.io/docs/concepts/services-networking/service/#endpointslice-mirroring>

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::slice::*;
use super::writer::Slices;
use super::*;
use crate::metrics::METRICS;
use crate::run::{Cache, Controller};

const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Further addresses of a subset are not mirrored.
const MAX_ADDRESSES: usize = 1000;

struct MirroringController {
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Slices,
    recorder: EventRecorder,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(MirroringController {
        services: context.services(),
        endpoints: context.informers.all(),
        slices: Slices::new(&context, MIRROR, &METRICS.mirrored_slice_changes),
        recorder: context.recorder("endpoint-slice-mirroring-controller"),
        queue: WorkQueue::named("endpoint_slice_mirroring"),
    });
    let q = controller.queue.clone();
    controller.slices.subscribe(move |key| q.add(key));
    let q = controller.queue.clone();
    controller.endpoints.subscribe(move |event| match event {
        Event::Added(endpoints) if !is_mirrored(endpoints) => {}
        Event::Updated { old, new } if !is_mirrored(old) && !is_mirrored(new) => {}
        Event::Added(object) | Event::Updated { new: object, .. } | Event::Deleted(object) => {
            q.add(ObjectKey::of(&**object))
        }
    });
    let q = controller.queue.clone();
    controller.services.subscribe(move |event| match event {
        Event::Updated { old, new } if has_selector(old) == has_selector(new) => {}
        Event::Added(object) | Event::Updated { new: object, .. } | Event::Deleted(object) => {
            q.add(ObjectKey::of(&**object))
        }
    });
    crate::run::run(controller).await
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(SKIP).is_none_or(|skip| skip != "true") && !endpoints.annotations().contains_key(LEADER)
}

fn has_selector(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.selector.as_ref().is_some_and(|labels| !labels.is_empty()))
}

impl Controller for MirroringController {
    type Key = ObjectKey;
    const WORKERS: usize = 5;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.services, &self.endpoints, &self.slices]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let existing = self.slices.current(&key)?;
        let wanted = self.services.store().get_key(&key).is_some_and(|service| !has_selector(&service));
        let endpoints = self.endpoints.store().get_key(&key).filter(|found| wanted && is_mirrored(found));
        let mut changes = Changes::default();
        match &endpoints {
            None => changes.delete = existing,
            Some(endpoints) => {
                for (address_type, v6) in [("IPv4", false), ("IPv6", true)] {
                    let of_family: Vec<_> =
                        existing.iter().filter(|slice| slice.address_type == address_type).cloned().collect();
                    changes.extend(plan(&template(endpoints, address_type), desired(endpoints, v6), &of_family));
                }
            }
        }
        let trigger = endpoints.as_ref().and_then(|found| found.annotations().get(TRIGGER_TIME)?.parse().ok());
        match self.slices.write(&key, changes, trigger).await {
            Ok(()) => Ok(None),
            Err(error) if is_conflict(&error) || is_not_found(&error) => {
                self.slices.forget(&key);
                Ok(Some(Duration::from_millis(20)))
            }
            Err(error) if is_namespace_terminating(&error) => Ok(None),
            Err(error) => {
                if let Some(endpoints) = &endpoints {
                    let text = format!(
                        "Error updating Endpoint Slices for Endpoints {}/{}: {}",
                        key.namespace,
                        key.name,
                        message(&error)
                    );
                    self.recorder.event(&**endpoints, EventType::Warning, "FailedToUpdateEndpointSlices", text);
                }
                Err(error.into())
            }
        }
    }
}

fn template(endpoints: &Endpoints, address_type: &'static str) -> Template {
    let mut labels = endpoints.labels().clone();
    labels.insert(SERVICE_NAME.into(), endpoints.name_any());
    labels.insert(MANAGED_BY.into(), MIRROR.into());
    let mut annotations = endpoints.annotations().clone();
    annotations.retain(|key, _| key != TRIGGER_TIME && key != LAST_APPLIED);
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", endpoints.name_any())),
        namespace: endpoints.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(vec![controller_reference(endpoints)]),
        ..ObjectMeta::default()
    };
    Template { address_type, metadata, never_without: false }
}

/// The addresses of one family, by their ports.
fn desired(endpoints: &Endpoints, v6: bool) -> Desired {
    let mut desired = Desired::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let of_family =
            ready.chain(not_ready).take(MAX_ADDRESSES).filter(|(address, _)| address.ip.contains(':') == v6);
        let found: Vec<Endpoint> = of_family.map(|(address, ready)| endpoint(address, ready)).collect();
        if !found.is_empty() {
            desired.entry(ports(subset)).or_default().extend(found);
        }
    }
    desired
}

fn ports(subset: &EndpointSubset) -> Vec<PortKey> {
    let ports = subset.ports.iter().flatten().map(|port| PortKey {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
        port: Some(port.port),
        app_protocol: port.app_protocol.clone(),
    });
    let mut ports: Vec<PortKey> = ports.collect();
    ports.sort();
    ports
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn endpoints(subsets: Value) -> Endpoints {
        let metadata = json!({"name": "db", "namespace": "n", "uid": "e", "labels": {"a": "b"},
            "annotations": {"c": "d", TRIGGER_TIME: "2026-01-01T00:00:00Z", LAST_APPLIED: "{}"}});
        serde_json::from_value(json!({"metadata": metadata, "subsets": subsets})).unwrap()
    }

    fn changes(endpoints: &Endpoints, existing: &[Arc<k8s_openapi::api::discovery::v1::EndpointSlice>]) -> Changes {
        plan(&template(endpoints, "IPv4"), desired(endpoints, false), existing)
    }

    #[test]
    fn a_subset_becomes_a_slice_of_each_family() {
        let both = endpoints(json!([{"addresses": [{"ip": "10.0.0.1", "hostname": "h"}, {"ip": "fd00::1"}],
            "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "p", "port": 5432}]}]));
        let made = changes(&both, &[]).create.remove(0);
        assert_eq!(made.labels()[SERVICE_NAME], "db");
        assert_eq!((made.labels()["a"].as_str(), made.annotations().len()), ("b", 1));
        let ready: Vec<_> =
            made.endpoints.iter().map(|e| (&*e.addresses[0], e.conditions.as_ref().unwrap().ready)).collect();
        assert_eq!(ready, [("10.0.0.1", Some(true)), ("10.0.0.2", Some(false))]);
        assert_eq!(made.ports.as_ref().unwrap()[0].port, Some(5432));
        assert_eq!(desired(&both, true).into_values().flatten().count(), 1);
        let again = changes(&both, &[Arc::new(made.clone())]);
        assert_eq!((again.create.len(), again.update.len(), again.delete.len()), (0, 0, 0));
        let moved = endpoints(json!([{"addresses": [{"ip": "10.0.0.9"}], "ports": [{"name": "q", "port": 1}]}]));
        let next = changes(&moved, &[Arc::new(made.clone())]);
        assert_eq!((next.create.len(), next.update.len(), next.delete.len()), (0, 1, 0));
        let none = changes(&endpoints(json!([])), &[Arc::new(made)]);
        assert_eq!((none.create.len(), none.update.len(), none.delete.len()), (0, 0, 1));
    }

    #[test]
    fn locks_and_what_asks_for_it_are_not_mirrored() {
        let mut lock = endpoints(json!([]));
        assert!(is_mirrored(&lock));
        lock.annotations_mut().insert(LEADER.into(), "{}".into());
        assert!(!is_mirrored(&lock));
        let mut skipped = endpoints(json!([]));
        skipped.labels_mut().insert(SKIP.into(), "true".into());
        assert!(!is_mirrored(&skipped));
    }
}
