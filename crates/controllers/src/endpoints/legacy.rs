//! The Endpoints controller: the older form of the same addresses, one object a service.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt};

use super::*;
use crate::run::{Cache, Controller};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// An object with more addresses is cut.
const MAX_ADDRESSES: usize = 1000;

struct EndpointsController {
    client: Client,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
    recorder: EventRecorder,
    triggers: Triggers,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(EndpointsController {
        client: context.client.clone(),
        services: context.services(),
        pods: context.pods(),
        endpoints: context.informers.all(),
        recorder: context.recorder("endpoint-controller"),
        triggers: Triggers::default(),
        queue: WorkQueue::named("endpoint"),
    });
    watch_services(&controller.services, &controller.pods, &controller.queue, &controller.triggers);
    let c = controller.clone();
    controller.endpoints.subscribe(move |event| {
        if let Event::Deleted(endpoints) = event {
            c.queue.add(ObjectKey::of(&**endpoints));
        }
    });
    // What was left when its service went while nobody watched.
    for endpoints in controller.endpoints.store().list() {
        if endpoints.labels().get(MANAGED_BY).is_some_and(|manager| manager == MANAGER) {
            controller.queue.add(ObjectKey::of(&*endpoints));
        }
    }
    crate::run::run(controller).await
}

impl Controller for EndpointsController {
    type Key = ObjectKey;
    const WORKERS: usize = 5;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.services, &self.pods, &self.endpoints]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &key.namespace);
        let cached = self.endpoints.store().get_key(&key);
        let Some(service) = self.services.store().get_key(&key) else {
            let leader_lock = "control-plane.alpha.kubernetes.io/leader";
            if cached.is_some_and(|endpoints| !endpoints.annotations().contains_key(leader_lock)) {
                match api.delete(&key.name, &DeleteParams::default()).await {
                    Err(error) if !is_not_found(&error) => return Err(error.into()),
                    _ => {}
                }
            }
            return Ok(None);
        };
        if !is_managed(&service) {
            return Ok(None);
        }
        let pods: Vec<Arc<Pod>> =
            self.pods.store().list_namespace(&key.namespace).into_iter().filter(|pod| selects(&service, pod)).collect();
        let (subsets, truncated) = subsets(&service, &pods);
        let subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
        let labels = labels(&service);
        let trigger = self.triggers.take(&key);
        if cached.as_ref().is_some_and(|cached| {
            cached.subsets.clone().filter(|subsets| !subsets.is_empty()) == subsets
                && cached.labels() == &labels
                && cached.annotations().contains_key(OVER_CAPACITY) == truncated
        }) {
            return Ok(None);
        }
        let mut endpoints = cached.as_deref().cloned().unwrap_or_else(|| Endpoints {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                ..ObjectMeta::default()
            },
            subsets: None,
        });
        endpoints.subsets = subsets;
        endpoints.metadata.labels = Some(labels);
        let annotations = endpoints.metadata.annotations.get_or_insert_default();
        match trigger {
            Some(time) => annotations.insert(TRIGGER_TIME.into(), time.to_string()),
            None => annotations.remove(TRIGGER_TIME),
        };
        match truncated {
            true => annotations.insert(OVER_CAPACITY.into(), "truncated".into()),
            false => annotations.remove(OVER_CAPACITY),
        };
        let exists = cached.is_some();
        let outcome = match exists {
            true => api.replace(&key.name, &PostParams::default(), &endpoints).await,
            false => api.create(&PostParams::default(), &endpoints).await,
        };
        match outcome {
            Ok(_) => Ok(None),
            Err(error) if is_conflict(&error) || (exists && is_not_found(&error)) => {
                Ok(Some(Duration::from_millis(20)))
            }
            Err(error) if is_namespace_terminating(&error) => Ok(None),
            Err(error) => {
                let (reason, verb) =
                    if exists { ("FailedToUpdateEndpoint", "update") } else { ("FailedToCreateEndpoint", "create") };
                let text = format!("Failed to {verb} endpoint {}/{}: {}", key.namespace, key.name, message(&error));
                self.recorder.event(&*service, EventType::Warning, reason, text);
                Err(error.into())
            }
        }
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.labels().clone();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

/// The subsets of a service, one for each set of ports that pods share, and whether addresses had to be left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let publish = publishes_not_ready(service);
    let v6 = slice::families(service).first().is_some_and(|(_, v6)| *v6);
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
    type Key = Vec<(i32, String, String, Option<String>)>;
    let mut groups: HashMap<Key, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = HashMap::new();
    for pod in pods.iter().filter(|pod| !is_terminal(pod) && (publish || !is_deleting(&***pod))) {
        let Some(ip) = pod_ip(pod, v6) else { continue };
        let mut found: Key = ports
            .iter()
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
                let number = target_port(pod, port)?;
                Some((number, protocol, port.name.clone().unwrap_or_default(), port.app_protocol.clone()))
            })
            .collect();
        if found.is_empty() && !(is_headless(service) && ports.is_empty()) {
            continue;
        }
        found.sort();
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: pod_hostname(pod, service),
            node_name: Some(node_name(pod).to_owned()).filter(|name| !name.is_empty()),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".into()),
                namespace: pod.metadata.namespace.clone(),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
        };
        let group = groups.entry(found).or_default();
        if publish || is_ready(pod) { group.0.push(address) } else { group.1.push(address) }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    let total: usize = groups.iter().map(|(_, (ready, not_ready))| ready.len() + not_ready.len()).sum();
    let mut room = MAX_ADDRESSES;
    // Ready addresses are the last to be left out.
    for pass in 0..2 {
        for (_, group) in &mut groups {
            let list = if pass == 0 { &mut group.0 } else { &mut group.1 };
            list.sort_by(|a, b| a.ip.cmp(&b.ip).then_with(|| uid_of(a).cmp(&uid_of(b))));
            list.truncate(room);
            room -= list.len();
        }
    }
    let subset = |(ports, (ready, not_ready)): (Key, (Vec<EndpointAddress>, Vec<EndpointAddress>))| EndpointSubset {
        addresses: Some(ready).filter(|list| !list.is_empty()),
        not_ready_addresses: Some(not_ready).filter(|list| !list.is_empty()),
        ports: Some(ports).filter(|list| !list.is_empty()).map(|list| {
            list.into_iter()
                .map(|(port, protocol, name, app_protocol)| EndpointPort {
                    name: Some(name).filter(|name| !name.is_empty()),
                    port,
                    protocol: Some(protocol),
                    app_protocol,
                })
                .collect()
        }),
    };
    let subsets = groups
        .into_iter()
        .map(subset)
        .filter(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some())
        .collect();
    (subsets, total > MAX_ADDRESSES)
}

fn uid_of(address: &EndpointAddress) -> Option<&str> {
    address.target_ref.as_ref()?.uid.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, ip: &str, ready: bool) -> Arc<Pod> {
        let value = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Running", "podIP": ip,
                "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"}}]}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn ready_and_not_ready_addresses_are_told_apart() {
        let mut service: Service = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n"},
            "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": 8080}]}}))
        .unwrap();
        let pods = [pod("b", "10.0.0.2", true), pod("a", "10.0.0.1", true), pod("c", "10.0.0.3", false)];
        let (all, truncated) = subsets(&service, &pods);
        assert_eq!((all.len(), truncated), (1, false));
        let ips = |list: &Option<Vec<EndpointAddress>>| list.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>();
        assert_eq!(ips(&all[0].addresses), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(ips(&all[0].not_ready_addresses), ["10.0.0.3"]);
        service.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
        assert_eq!(ips(&subsets(&service, &pods).0[0].addresses).len(), 3);
    }
}
