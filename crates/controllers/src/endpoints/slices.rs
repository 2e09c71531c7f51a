//! The EndpointSlice controller.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found};
use coracle_metrics::Counter;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use super::slice::*;
use super::writer::Slices;
use super::*;
use crate::metrics::METRICS;
use crate::run::{Cache, Controller};

struct SliceController {
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Slices,
    recorder: EventRecorder,
    triggers: Triggers,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(SliceController {
        services: context.services(),
        pods: context.pods(),
        nodes: context.nodes(),
        slices: Slices::new(&context, MANAGER, &METRICS.slice_changes),
        recorder: context.recorder("endpoint-slice-controller"),
        triggers: Triggers::default(),
        queue: WorkQueue::named("endpoint_slice"),
    });
    watch_services(&controller.services, &controller.pods, &controller.queue, &controller.triggers);
    let c = controller.clone();
    controller.slices.subscribe(move |key| c.queue.add(key));
    let c = controller.clone();
    controller.nodes.subscribe(move |event| {
        let zone = |node: &Node| node.labels().get("topology.kubernetes.io/zone").cloned();
        let moved = match event {
            Event::Added(node) => zone(node).is_some(),
            Event::Updated { old, new } => zone(old) != zone(new),
            Event::Deleted(_) => false,
        };
        if moved {
            c.services.store().list().iter().for_each(|service| c.queue.add(ObjectKey::of(&**service)));
        }
    });
    let _shown = controller.slices.show();
    crate::run::run(controller).await
}

impl Controller for SliceController {
    type Key = ObjectKey;
    const WORKERS: usize = 5;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.services, &self.pods, &self.nodes, &self.slices]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(service) = self.services.store().get_key(&key) else {
            // The garbage collector deletes the slices with their owner.
            self.slices.forget(&key);
            return Ok(None);
        };
        if !is_managed(&service) || is_deleting(&*service) {
            return Ok(None);
        }
        let pods: Vec<Arc<Pod>> =
            self.pods.store().list_namespace(&key.namespace).into_iter().filter(|pod| selects(&service, pod)).collect();
        let trigger = self.triggers.take(&key);
        let done = self.sync(&key, &service, &pods, trigger).await;
        let result = match &done {
            Ok(()) => "success",
            Err(error) if is_conflict(error) || is_not_found(error) => "stale",
            Err(_) => "error",
        };
        METRICS.slice_syncs.with([result], Counter::inc);
        match done {
            Ok(()) => Ok(None),
            Err(error) if is_conflict(&error) || is_not_found(&error) => {
                self.slices.forget(&key);
                Ok(Some(Duration::from_millis(20)))
            }
            Err(error) if is_namespace_terminating(&error) => Ok(None),
            Err(error) => {
                let text = format!(
                    "Error updating Endpoint Slices for Service {}/{}: {}",
                    key.namespace,
                    key.name,
                    message(&error)
                );
                self.recorder.event(&*service, EventType::Warning, "FailedToUpdateEndpointSlices", text);
                Err(error.into())
            }
        }
    }
}

impl SliceController {
    async fn sync(
        &self,
        key: &ObjectKey,
        service: &Service,
        pods: &[Arc<Pod>],
        trigger: Option<jiff::Timestamp>,
    ) -> kube::Result<()> {
        let (existing, families, nodes) = (self.slices.current(key)?, families(service), self.nodes.store());
        let parts = topology::is_asked_for(service).then(|| topology::parts(&nodes.list())).flatten();
        let of_other_family =
            |slice: &&Arc<EndpointSlice>| !families.iter().any(|(family, _)| slice.address_type == *family);
        let mut changes =
            Changes { delete: existing.iter().filter(of_other_family).cloned().collect(), ..Changes::default() };
        for (address_type, v6) in &families {
            let of_family: Vec<Arc<EndpointSlice>> =
                existing.iter().filter(|slice| slice.address_type == *address_type).cloned().collect();
            let mut desired = desired_endpoints(service, pods, |name| nodes.get("", name), *v6);
            if let Some(parts) = &parts {
                topology::give_hints(&mut desired, parts);
            }
            changes.extend(plan(&Template::of_service(service, address_type), desired, &of_family));
        }
        let ((added, removed), count) = (changes.moves(&existing), changes.len());
        let result = self.slices.write(key, changes, trigger).await;
        if result.is_ok() {
            let topology = if topology::is_asked_for(service) { "Auto" } else { "Disabled" };
            let distribution = service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref());
            let labels = [topology, distribution.unwrap_or_default()];
            METRICS.slices_changed.with(labels, |slices| slices.observe(count as f64));
            METRICS.endpoints_added.observe(added as f64);
            METRICS.endpoints_removed.observe(removed as f64);
        }
        result
    }
}
