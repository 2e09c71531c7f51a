//! The EndpointSlice controller.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;

use super::slice::*;
use super::*;

const WORKERS: usize = 5;

/// A slice as this controller last wrote it; `None` when it deleted it.
type Written = HashMap<String, Option<Arc<EndpointSlice>>>;

struct Controller {
    client: Client,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    recorder: EventRecorder,
    triggers: Triggers,
    /// What was written and is not in the cache yet, by service. It lets the next change be planned at once.
    written: Mutex<HashMap<ObjectKey, Written>>,
    queue: WorkQueue<ObjectKey>,
}

/// The informer of slices, indexed by service.
pub(crate) fn informer(context: &Context) -> Informer<EndpointSlice> {
    context.informers.indexed(vec![(
        "service",
        Box::new(|slice: &EndpointSlice| service_of(slice).map(|key| key.to_string()).into_iter().collect()),
    )])
}

/// The service that a slice belongs to.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.labels().get(SERVICE_NAME).filter(|name| !name.is_empty())?;
    Some(ObjectKey::new(namespace_of(slice), name.as_str()))
}

fn is_mine(slice: &EndpointSlice) -> bool {
    slice.labels().get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
}

fn version(slice: &EndpointSlice) -> u64 {
    slice.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        services: context.services(),
        pods: context.pods(),
        nodes: context.nodes(),
        slices: informer(&context),
        recorder: EventRecorder::new(context.client.clone(), "endpoint-slice-controller", ""),
        triggers: Triggers::default(),
        written: Mutex::default(),
        queue: WorkQueue::new(),
    });
    watch_services(&controller.services, &controller.pods, &controller.queue, &controller.triggers);
    let c = controller.clone();
    controller.slices.subscribe(move |event| c.slice_changed(event));
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
    controller.services.synced().await;
    controller.pods.synced().await;
    controller.nodes.synced().await;
    controller.slices.synced().await;
    let queue = controller.queue.clone();
    coracle_client::run(queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(key).await }
    })
    .await;
    Ok(())
}

impl Controller {
    fn slice_changed(&self, event: &Event<EndpointSlice>) {
        let (Event::Added(slice) | Event::Updated { new: slice, .. } | Event::Deleted(slice)) = event;
        let before = match event {
            Event::Updated { old, .. } => service_of(old).filter(|_| is_mine(old)),
            _ => None,
        };
        let Some(key) = service_of(slice).filter(|_| is_mine(slice)).or(before) else { return };
        let mut written = self.written.lock();
        let mine = written.get_mut(&key);
        let name = slice.name_any();
        let expected = match mine {
            None => false,
            Some(mine) => {
                let caught_up = match (event, mine.get(&name)) {
                    (Event::Deleted(_), Some(last)) => {
                        let expected = last.is_none();
                        mine.remove(&name);
                        expected
                    }
                    (_, Some(Some(last))) if version(slice) >= version(last) => {
                        let expected = version(slice) == version(last);
                        mine.remove(&name);
                        expected
                    }
                    // An older state than the one written.
                    (_, Some(_)) => true,
                    (_, None) => false,
                };
                if mine.is_empty() {
                    written.remove(&key);
                }
                caught_up
            }
        };
        drop(written);
        if !expected {
            self.queue.add(key);
        }
    }

    /// The service's slices: the cache, with what was written since.
    fn current(&self, key: &ObjectKey) -> Vec<Arc<EndpointSlice>> {
        let cached = self.slices.store().by_index("service", &key.to_string());
        let mut slices: BTreeMap<String, Arc<EndpointSlice>> =
            cached.into_iter().filter(|slice| is_mine(slice)).map(|slice| (slice.name_any(), slice)).collect();
        for (name, last) in self.written.lock().get(key).into_iter().flatten() {
            match last {
                None => {
                    slices.remove(name);
                }
                Some(last) if slices.get(name).is_none_or(|cached| version(cached) < version(last)) => {
                    slices.insert(name.clone(), last.clone());
                }
                Some(_) => {}
            }
        }
        slices.into_values().filter(|slice| !is_deleting(&**slice)).collect()
    }

    fn note(&self, key: &ObjectKey, name: String, slice: Option<EndpointSlice>) {
        // The watch may have been faster than the answer.
        let cached = self.slices.store().get(&key.namespace, &name);
        let seen = match &slice {
            Some(slice) => cached.is_some_and(|cached| version(&cached) >= version(slice)),
            None => cached.is_none(),
        };
        if !seen {
            self.written.lock().entry(key.clone()).or_default().insert(name, slice.map(Arc::new));
        }
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(service) = self.services.store().get_key(&key) else {
            // The garbage collector deletes the slices with their owner.
            self.written.lock().remove(&key);
            return Ok(None);
        };
        if !is_managed(&service) || is_deleting(&*service) {
            return Ok(None);
        }
        let pods: Vec<Arc<Pod>> =
            self.pods.store().list_namespace(&key.namespace).into_iter().filter(|pod| selects(&service, pod)).collect();
        let trigger = self.triggers.take(&key);
        match self.sync(&key, &service, &pods, trigger).await {
            Ok(()) => Ok(None),
            Err(error) if is_conflict(&error) || is_not_found(&error) => {
                self.written.lock().remove(&key);
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

    async fn sync(
        &self,
        key: &ObjectKey,
        service: &Service,
        pods: &[Arc<Pod>],
        trigger: Option<jiff::Timestamp>,
    ) -> kube::Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let owner = controller_reference(service);
        let existing = self.current(key);
        let families = families(service);
        let nodes = self.nodes.store();
        let mut stale: Vec<Arc<EndpointSlice>> = existing
            .iter()
            .filter(|slice| !families.iter().any(|(family, _)| slice.address_type == *family))
            .cloned()
            .collect();
        let annotate = |slice: &mut EndpointSlice| {
            let annotations = slice.metadata.annotations.get_or_insert_default();
            match trigger {
                Some(time) => annotations.insert(TRIGGER_TIME.into(), time.to_string()),
                None => annotations.remove(TRIGGER_TIME),
            };
        };
        for (address_type, v6) in families {
            let of_family: Vec<Arc<EndpointSlice>> =
                existing.iter().filter(|slice| slice.address_type == address_type).cloned().collect();
            let desired = desired_endpoints(service, pods, |name| nodes.get("", name), v6);
            let changes = plan(service, &owner, address_type, desired, &of_family);
            for mut slice in changes.create {
                annotate(&mut slice);
                let made = api.create(&PostParams::default(), &slice).await?;
                self.note(key, made.name_any(), Some(made));
            }
            for mut slice in changes.update {
                annotate(&mut slice);
                let name = slice.name_any();
                let updated = api.replace(&name, &PostParams::default(), &slice).await?;
                self.note(key, name, Some(updated));
            }
            stale.extend(changes.delete);
        }
        for slice in stale {
            let name = slice.name_any();
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => self.note(key, name, None),
                Err(error) if is_not_found(&error) => self.note(key, name, None),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
