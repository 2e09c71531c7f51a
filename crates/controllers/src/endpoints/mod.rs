//! Where Services become addresses: Endpoints and EndpointSlices of the pods that a selector matches.

pub(crate) mod legacy;
pub(crate) mod mirroring;
pub(crate) mod slice;
pub(crate) mod slices;
pub(crate) mod topology;
pub(crate) mod writer;

use std::collections::HashMap;

use coracle_api::strategy::endpoints::endpoint_ip;
use coracle_client::{Event, Informer, ObjectKey, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use parking_lot::Mutex;
use std::sync::Arc;

use crate::common::*;

pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// When the first change happened that a service was not yet brought up to.
#[derive(Clone, Default)]
pub(crate) struct Triggers(Arc<Mutex<HashMap<ObjectKey, Timestamp>>>);

impl Triggers {
    fn note(&self, key: &ObjectKey, time: Timestamp) {
        let mut times = self.0.lock();
        let first = times.entry(key.clone()).or_insert(time);
        *first = time.min(*first);
    }

    /// Takes the time, for the objects that are about to be written.
    pub fn take(&self, key: &ObjectKey) -> Option<Timestamp> {
        self.0.lock().remove(key)
    }
}

/// Queues services when they, or pods that they select, change in a way that addresses show.
pub(crate) fn watch_services(
    services: &Informer<Service>,
    pods: &Informer<Pod>,
    queue: &WorkQueue<ObjectKey>,
    triggers: &Triggers,
) {
    let (q, t) = (queue.clone(), triggers.clone());
    services.subscribe(move |event| match event {
        Event::Added(service) => {
            let key = ObjectKey::of(&**service);
            if let Some(created) = &service.metadata.creation_timestamp {
                t.note(&key, created.0);
            }
            q.add(key);
        }
        Event::Updated { new: service, .. } => q.add(ObjectKey::of(&**service)),
        Event::Deleted(service) => {
            let key = ObjectKey::of(&**service);
            t.take(&key);
            q.add(key);
        }
    });
    let (q, t, store) = (queue.clone(), triggers.clone(), services.store());
    pods.subscribe(move |event| {
        let (old, new, time) = match event {
            Event::Added(pod) => (None, &**pod, ready_since(pod)),
            Event::Updated { old, new } if is_same_endpoint(old, new) => return,
            Event::Updated { old, new } => (Some(&**old), &**new, ready_since(new).filter(|_| !is_ready(old))),
            Event::Deleted(pod) => (None, &**pod, None),
        };
        let relabeled = old.filter(|old| old.metadata.labels != new.metadata.labels);
        for service in store.list_namespace(namespace_of(new)) {
            if selects(&service, new) || relabeled.is_some_and(|old| selects(&service, old)) {
                let key = ObjectKey::of(&*service);
                t.note(&key, time.unwrap_or_else(Timestamp::now));
                q.add(key);
            }
        }
    });
}

fn is_same_endpoint(old: &Pod, new: &Pod) -> bool {
    let ips = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ips.clone());
    is_ready(old) == is_ready(new)
        && is_deleting(old) == is_deleting(new)
        && is_terminal(old) == is_terminal(new)
        && old.metadata.labels == new.metadata.labels
        && ips(old) == ips(new)
        && node_name(old) == node_name(new)
        && old.status.as_ref().map(|s| &s.pod_ip) == new.status.as_ref().map(|s| &s.pod_ip)
}

/// Whether a service's selector matches a pod; a service without a selector selects none.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|labels| !labels.is_empty());
    selector.is_some_and(|labels| labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value)))
}

/// Whether the controllers make addresses for this service at all.
pub(crate) fn is_managed(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() != Some("ExternalName") && spec.selector.as_ref().is_some_and(|labels| !labels.is_empty())
    })
}

pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"))
}

pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

/// The pod's address of a family, if traffic can be sent there. What a node says of its pod may be anything; of a service with an
/// address that none may have, no other pod's would be taken either.
pub(crate) fn pod_ip(pod: &Pod, v6: bool) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let listed = status.pod_ips.iter().flatten().map(|entry| entry.ip.as_str());
    let mut all = listed.chain(status.pod_ip.as_deref());
    all.find(|ip| !ip.is_empty() && ip.contains(':') == v6).filter(|ip| endpoint_ip(ip).is_empty())
}

/// The number of a service's target port on a pod; `None` when the pod has no port of that name and protocol.
pub(crate) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => Some(port.port),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|container| container.restart_policy.as_deref() == Some("Always"));
            spec.containers
                .iter()
                .chain(sidecars)
                .flat_map(|container| container.ports.iter().flatten())
                .find(|p| p.name.as_deref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol)
                .map(|p| p.container_port)
        }
    }
}

/// The pod's own name in the service's domain.
pub(crate) fn pod_hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.clone().filter(|name| !name.is_empty())?;
    (spec.subdomain.as_deref() == service.metadata.name.as_deref()
        && pod.metadata.namespace == service.metadata.namespace)
        .then_some(hostname)
}
