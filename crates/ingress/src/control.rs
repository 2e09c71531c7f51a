//! What one server does for all: the service of the Ingresses, their statuses, and events about what is wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use coracle_client::{Cached, EventRecorder, EventType, ObjectKey, is_conflict, is_not_found, patch_status};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::engine::{Engine, MADE_BY, NAMESPACE, OURS, Outcome, SERVICE, gateway_service, given, is_ours, port_name};
use crate::gateway::{self, Needed};

/// How soon what failed is tried again, at first and at last.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How many faults are told of one Ingress.
const TOLD_OF_ONE: usize = 20;
/// The lease that says for which definition the class of Gateways was made.
const CLASS_MADE: &str = "coracle-gateway-class";
/// The annotation of a Gateway's service that says which labels and annotations it has from the Gateway.
const SET: &str = "coracle.io/set-for-gateway";
/// How many faults are remembered as told.
const TOLD: usize = 10_000;

/// Tells of what is served, until the future is dropped.
pub async fn run(client: Client, engine: Arc<Engine>) -> Result<()> {
    let changed = Arc::new(Notify::new());
    let mut control = Control {
        recorder: EventRecorder::new(client.clone(), "coracle-ingress", ""),
        client,
        told: BTreeSet::new(),
        written: HashMap::new(),
        hears: false,
        has_looked: false,
        class_for: None,
    };
    let mut outcomes = engine.outcome.subscribe();
    let mut again = AGAIN;
    loop {
        let outcome = outcomes.borrow_and_update().clone();
        let done = control.reconcile(&engine, &outcome, &changed).await;
        let wait = async {
            tokio::select! {
                ended = outcomes.changed() => ended.is_ok(),
                () = changed.notified() => true,
            }
        };
        let goes_on = match done {
            Ok(()) => {
                again = AGAIN;
                wait.await
            }
            Err(error) => {
                tracing::warn!("what is told of Ingresses is not as it should be: {error:#}");
                let pause = again;
                again = (again * 2).min(AGAIN_MAX);
                tokio::time::timeout(pause, wait).await.unwrap_or(true)
            }
        };
        anyhow::ensure!(goes_on, "nothing is served any more");
    }
}

/// What failed, while all else goes on: the first counts as the error.
#[derive(Default)]
struct Failed(Option<anyhow::Error>);

impl Failed {
    fn note<T>(&mut self, result: Result<T, impl Into<anyhow::Error>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let error = error.into();
                tracing::debug!("an object is not as it should be: {error:#}");
                self.0.get_or_insert(error);
                None
            }
        }
    }

    fn done(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

struct Control {
    client: Client,
    recorder: EventRecorder,
    told: BTreeSet<String>,
    /// The addresses that were written into the statuses of Ingresses.
    written: HashMap<ObjectKey, Arc<Ingress>>,
    hears: bool,
    /// Whether Ingresses were looked at that were ours before this process told of any.
    has_looked: bool,
    /// The definition for which the class is known to have been made.
    class_for: Option<String>,
}

impl Control {
    async fn reconcile(&mut self, engine: &Arc<Engine>, outcome: &Outcome, changed: &Arc<Notify>) -> Result<()> {
        // What an earlier process made is not to go because this one has not looked yet.
        if !outcome.is_read {
            return Ok(());
        }
        let is_asked_for = !outcome.ingresses.is_empty() || !outcome.needed.is_empty();
        if is_asked_for && !self.hears {
            self.hears = true;
            let wake = changed.clone();
            engine.services().subscribe(move |event| {
                let (coracle_client::Event::Added(service)
                | coracle_client::Event::Updated { new: service, .. }
                | coracle_client::Event::Deleted(service)) = event;
                if is_ours(service) {
                    wake.notify_one();
                }
            });
        }
        self.tell(outcome);
        let mut failed = Failed::default();
        failed.note(self.services(engine, outcome).await);
        failed.note(self.gateways(outcome).await);
        let service = engine.services().store().get(NAMESPACE, SERVICE);
        let addresses = service.as_deref().map(given).unwrap_or_default();
        failed.note(self.statuses(outcome, &addresses).await);
        failed.done()
    }

    /// The services by which Ingresses and Gateways are reached, there while they are needed. What their owner changed
    /// of them stays, but for ports of Gateways and what their infrastructure says.
    async fn services(&mut self, engine: &Engine, outcome: &Outcome) -> Result<()> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut failed = Failed::default();
        let mut wanted: BTreeMap<String, Value> =
            outcome.needed.iter().map(|needed| (gateway_service(&needed.uid), of_gateway(needed))).collect();
        if !outcome.ingresses.is_empty() {
            wanted.insert(SERVICE.to_owned(), of_ingresses());
        }
        let found: Vec<Arc<Service>> = if self.hears {
            engine.services().store().list_namespace(NAMESPACE)
        } else {
            // Nobody follows services: what an earlier process made may be there.
            let made = ListParams::default().labels(&format!("{MADE_BY}={OURS}"));
            api.list(&made).await?.items.into_iter().map(Arc::new).collect()
        };
        if !self.has_looked {
            let ways_in = found.iter().find(|service| service.name_any() == SERVICE);
            let addresses = ways_in.map(|service| given(service)).unwrap_or_default();
            let looked = self.take_back(engine, outcome, &addresses).await;
            self.has_looked = failed.note(looked).is_some();
        }
        for service in found.iter().filter(|service| service.metadata.deletion_timestamp.is_none()) {
            let is_made = service.labels().get(MADE_BY).is_some_and(|value| value == OURS);
            match wanted.remove(&service.name_any()) {
                // Of a Gateway of which nothing is known yet.
                None if !outcome.is_whole && service.name_any() != SERVICE => {}
                None if is_made => {
                    failed.note(gone(api.delete(&service.name_any(), &DeleteParams::default()).await.map(drop)));
                }
                Some(wanted) if is_made && service.name_any() != SERVICE => {
                    if let Some(changes) = changes(service, &wanted) {
                        let patch = Patch::Merge(changes);
                        failed.note(gone(
                            api.patch(&service.name_any(), &PatchParams::default(), &patch).await.map(drop),
                        ));
                    }
                }
                _ => {}
            }
        }
        for (name, wanted) in wanted {
            // One that ends has the name still. Without ports there can be none.
            if has_any_port(&wanted) && !found.iter().any(|service| service.name_any() == name) {
                match api.create(&PostParams::default(), &Service::from_value(&wanted)?).await {
                    Err(error) if is_conflict(&error) => {}
                    made => drop(failed.note(made)),
                }
            }
        }
        failed.done()
    }

    /// Takes our addresses from Ingresses that stopped being ours while nobody looked.
    async fn take_back(&self, engine: &Engine, outcome: &Outcome, addresses: &[String]) -> Result<()> {
        let ours: BTreeSet<ObjectKey> = outcome.ingresses.iter().map(|ingress| ObjectKey::of(&**ingress)).collect();
        for ingress in engine.all_ingresses() {
            let key = ObjectKey::of(&*ingress);
            if is_left(&shown(&ingress), addresses) && !ours.contains(&key) {
                self.write(&key, &[]).await?;
            }
        }
        Ok(())
    }

    /// Makes the class of Gateways, once for each definition of classes: an owner who deletes it does not get it again. For
    /// which one it was made stays in a lease, which this account may write as it may the one of its election.
    async fn class(&mut self, definition: &str) -> Result<()> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let found = api.get_opt(CLASS_MADE).await?;
        let holder = found.as_ref().and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
        if holder != Some(definition) {
            let class = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
                "metadata": {"name": "coracle"}, "spec": {"controllerName": gateway::CONTROLLER}});
            let path = "/apis/gateway.networking.k8s.io/v1/gatewayclasses";
            let request = http::Request::post(path).header("content-type", "application/json");
            match self.client.request::<Value>(request.body(serde_json::to_vec(&class)?)?).await {
                Err(error) if !is_conflict(&error) => return Err(error.into()),
                _ => {}
            }
            let mut lease = found.clone().unwrap_or_default();
            lease.metadata.name = Some(CLASS_MADE.to_owned());
            lease.spec.get_or_insert_default().holder_identity = Some(definition.to_owned());
            match found {
                Some(_) => api.replace(CLASS_MADE, &PostParams::default(), &lease).await?,
                None => api.create(&PostParams::default(), &lease).await?,
            };
        }
        self.class_for = Some(definition.to_owned());
        Ok(())
    }

    /// Writes what is told of objects of the Gateway API.
    async fn gateways(&mut self, outcome: &Outcome) -> Result<()> {
        let mut failed = Failed::default();
        if let Some(definition) = outcome.definition.as_ref().filter(|own| self.class_for.as_ref() != Some(*own)) {
            let made = self.class(definition).await;
            failed.note(made);
        }
        for told in &outcome.told {
            let mut patch = json!({"status": told.status});
            if let Some(version) = &told.version {
                patch["metadata"] = json!({"resourceVersion": version});
            }
            let request = http::Request::patch(format!("{}/status", told.path))
                .header("content-type", "application/merge-patch+json")
                .body(serde_json::to_vec(&patch)?)?;
            match self.client.request::<Value>(request).await {
                // It has changed meanwhile, and is looked at anew.
                Err(error) if is_conflict(&error) || is_not_found(&error) => {}
                other => drop(failed.note(other)),
            }
        }
        failed.done()
    }

    /// Tells once of what is wrong.
    fn tell(&mut self, outcome: &Outcome) {
        let mut now = BTreeSet::new();
        let mut of_one: HashMap<Option<String>, usize> = HashMap::new();
        for (ingress, fault) in outcome.faults.iter().take(TOLD) {
            let count = of_one.entry(ingress.uid()).or_default();
            *count += 1;
            if *count > TOLD_OF_ONE {
                continue;
            }
            let key = format!("{}/{fault}", ingress.uid().unwrap_or_default());
            if !self.told.contains(&key) {
                self.recorder.event(&**ingress, EventType::Warning, "Rejected", fault.clone());
            }
            now.insert(key);
        }
        self.told = now;
    }

    async fn statuses(&mut self, outcome: &Outcome, addresses: &[String]) -> Result<()> {
        let now: BTreeMap<ObjectKey, &Arc<Ingress>> =
            outcome.ingresses.iter().map(|ingress| (ObjectKey::of(&**ingress), ingress)).collect();
        let mut failed = Failed::default();
        for (key, ingress) in &now {
            let is_shown = shown(ingress) == addresses;
            if !is_shown && failed.note(self.write(key, addresses).await) == Some(true) {
                let message = format!("Reached at {}", addresses.join(", "));
                if !addresses.is_empty() {
                    self.recorder.event(&***ingress, EventType::Normal, "Sync", message);
                }
            }
            self.written.insert(key.clone(), (*ingress).clone());
        }
        let gone: Vec<ObjectKey> = self.written.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
        for key in gone {
            // It is another's now, or nobody's, and is reached here no longer.
            let api: Api<Ingress> = Api::namespaced(self.client.clone(), &key.namespace);
            let written = self.written.get(&key).map(|ingress| ingress.uid());
            let Some(found) = failed.note(api.get_opt(&key.name).await) else { continue };
            if found.is_some_and(|ingress| Some(ingress.uid()) == written)
                && failed.note(self.write(&key, &[]).await).is_none()
            {
                continue;
            }
            self.written.remove(&key);
        }
        failed.done()
    }

    async fn write(&self, key: &ObjectKey, addresses: &[String]) -> Result<bool> {
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), &key.namespace);
        let ingress: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
        let ingress = if ingress.is_empty() { Value::Null } else { ingress.into() };
        match patch_status(&api, &key.name, json!({"loadBalancer": {"ingress": ingress}})).await {
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(true),
        }
    }
}

fn of_ingresses() -> Value {
    let ports =
        json!([{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "https", "port": 443, "protocol": "TCP"}]);
    let labels = json!({MADE_BY: OURS, "app.kubernetes.io/name": "coracle-ingress"});
    service(SERVICE, labels, json!({}), ports)
}

fn of_gateway(needed: &Needed) -> Value {
    const NAME: &str = "gateway.networking.k8s.io/gateway-name";
    const OF: &str = "gateway.networking.k8s.io/gateway-namespace";
    let port = |port: &u16| json!({"name": port_name(*port), "port": port, "protocol": "TCP"});
    let mut labels = json!({MADE_BY: OURS, OF: needed.gateway.namespace});
    // Names may be longer than the values of labels.
    if needed.gateway.name.len() <= 63 {
        labels[NAME] = needed.gateway.name.clone().into();
    }
    // What its owner wants there in addition says nothing else about whose it is.
    for (name, value) in &needed.labels {
        if labels[name].is_null() {
            labels[name] = value.clone().into();
        }
    }
    let mut annotations = json!(needed.annotations);
    if let Some(all) = annotations.as_object_mut() {
        all.retain(|name, _| is_theirs(name));
    }
    if let Some(address) = &needed.address {
        annotations["metallb.io/loadBalancerIPs"] = address.clone().into();
    }
    let names = |all: &Value| all.as_object().into_iter().flat_map(|all| all.keys().cloned()).collect::<Vec<_>>();
    let set = json!({"labels": names(&labels), "annotations": names(&annotations)});
    annotations[SET] = set.to_string().into();
    let ports: Vec<Value> = needed.ports.iter().map(port).collect();
    service(&gateway_service(&needed.uid), labels, annotations, ports.into())
}

/// Whether the owner of a Gateway may say this of its service: its address, and nothing else of what gives addresses.
fn is_theirs(annotation: &str) -> bool {
    annotation == "metallb.io/loadBalancerIPs"
        || !["metallb.io/", "coracle.io/"].iter().any(|prefix| annotation.starts_with(prefix))
}

fn service(name: &str, labels: Value, annotations: Value, ports: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            // So that backends learn whose requests they are.
            "externalTrafficPolicy": "Local",
            // Nobody asked for ports of all nodes.
            "allocateLoadBalancerNodePorts": false,
            "ports": ports,
        },
    })
}

fn has_any_port(wanted: &Value) -> bool {
    wanted["spec"]["ports"].as_array().is_some_and(|ports| !ports.is_empty())
}

/// What is to change of a Gateway's service: its ports, and the labels and annotations that were set for the Gateway. What
/// others set there stays.
fn changes(service: &Service, wanted: &Value) -> Option<Value> {
    if !has_any_port(wanted) {
        return None;
    }
    let set: Value =
        service.annotations().get(SET).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut changes = json!({});
    for (kind, found) in [("labels", service.labels()), ("annotations", service.annotations())] {
        let wanted = &wanted["metadata"][kind];
        let new = wanted.as_object().into_iter().flatten();
        let new = new.filter(|(name, value)| found.get(*name).map(String::as_str) != value.as_str());
        let old = set[kind].as_array().into_iter().flatten().filter_map(Value::as_str);
        let old = old.filter(|name| wanted[*name].is_null() && found.contains_key(*name));
        let new = new.map(|(name, value)| (name.clone(), value.clone()));
        let all: serde_json::Map<String, Value> = old.map(|name| (name.to_owned(), Value::Null)).chain(new).collect();
        if !all.is_empty() {
            changes["metadata"][kind] = all.into();
        }
    }
    if !has_ports(service, wanted) {
        changes["spec"]["ports"] = wanted["spec"]["ports"].clone();
    }
    changes.as_object().is_some_and(|all| !all.is_empty()).then_some(changes)
}

/// Whether the status of an Ingress shows addresses of ours.
fn is_left(shown: &[String], ours: &[String]) -> bool {
    !ours.is_empty() && shown == ours
}

/// Whether a service has the ports that it should have.
fn has_ports(service: &Service, wanted: &Value) -> bool {
    let found = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).map(|port| i64::from(port.port));
    let wanted = wanted["spec"]["ports"].as_array().into_iter().flatten().filter_map(|port| port["port"].as_i64());
    found.collect::<BTreeSet<_>>() == wanted.collect::<BTreeSet<_>>()
}

/// It is no error that something is not there which is to go.
fn gone(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(error) if is_not_found(&error) => Ok(()),
        other => other,
    }
}

/// The addresses in the status of an Ingress.
fn shown(ingress: &Ingress) -> Vec<String> {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    status.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten()).filter_map(|one| one.ip.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_does_not_end_the_pass_and_is_told() {
        let mut failed = Failed::default();
        assert_eq!(failed.note(Err::<i32, _>(anyhow::anyhow!("first"))), None);
        assert_eq!(failed.note(Ok::<_, anyhow::Error>(1)), Some(1));
        failed.note(Err::<i32, _>(anyhow::anyhow!("second")));
        assert_eq!(failed.done().unwrap_err().to_string(), "first");
    }

    #[test]
    fn the_owner_of_a_gateway_does_not_speak_for_what_gives_addresses() {
        let kept =
            ["metallb.io/loadBalancerIPs", "example.com/x", "metallb.io/address-pool", "coracle.io/x"].map(is_theirs);
        assert_eq!(kept, [true, true, false, false]);
    }

    fn needed(annotations: &[(&str, &str)], address: Option<&str>, ports: &[u16]) -> Value {
        of_gateway(&Needed {
            gateway: ObjectKey::new("n", "gw"),
            uid: "u".into(),
            ports: ports.iter().copied().collect(),
            annotations: annotations.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            labels: BTreeMap::new(),
            address: address.map(str::to_owned),
        })
    }

    #[test]
    fn a_service_follows_its_gateway_and_keeps_what_others_set() {
        let mut made: Service = serde_json::from_value(needed(&[("a", "1"), ("b", "1")], None, &[80])).unwrap();
        made.annotations_mut().insert("mine".into(), "x".into());
        assert_eq!(changes(&made, &needed(&[("a", "1"), ("b", "1")], None, &[80])), None);
        let changed = changes(&made, &needed(&[("a", "2")], Some("10.0.0.7"), &[80, 81])).unwrap();
        let annotations = &changed["metadata"]["annotations"];
        assert_eq!((&annotations["a"], &annotations["metallb.io/loadBalancerIPs"]), (&json!("2"), &json!("10.0.0.7")));
        let all = annotations.as_object().unwrap();
        assert!(all["b"].is_null() && all.contains_key("b") && !all.contains_key("mine"), "{all:?}");
        assert_eq!(changed["spec"]["ports"].as_array().unwrap().len(), 2);
        // A Gateway of which nothing can be served at the moment keeps what it has.
        assert_eq!(changes(&made, &needed(&[], None, &[])), None);
    }

    #[test]
    fn an_address_is_taken_back_only_if_it_is_ours() {
        let text = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert!(is_left(&text(&["10.0.0.1"]), &text(&["10.0.0.1"])));
        assert!(!is_left(&text(&["10.0.0.2"]), &text(&["10.0.0.1"])) && !is_left(&[], &[]));
    }
}
