//! What one server does for all: the service of the Ingresses, their statuses, and events about what is wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use coracle_client::{EventRecorder, EventType, ObjectKey, is_conflict, is_not_found, patch_status};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::engine::{Engine, NAMESPACE, Outcome, SERVICE, given};

/// Says that a service was made here, and goes when nobody needs it.
const LABEL: &str = "app.kubernetes.io/managed-by";
const OURS: &str = "coracle-ingress-controller";
/// How soon what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);
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
    };
    let mut outcomes = engine.outcome.subscribe();
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
            Ok(()) => wait.await,
            Err(error) => {
                tracing::warn!("what is told of Ingresses is not as it should be: {error:#}");
                tokio::time::timeout(AGAIN, wait).await.unwrap_or(true)
            }
        };
        anyhow::ensure!(goes_on, "nothing is served any more");
    }
}

struct Control {
    client: Client,
    recorder: EventRecorder,
    told: BTreeSet<String>,
    /// The addresses that were written into the statuses of Ingresses.
    written: HashMap<ObjectKey, Arc<Ingress>>,
    hears: bool,
}

impl Control {
    async fn reconcile(&mut self, engine: &Arc<Engine>, outcome: &Outcome, changed: &Arc<Notify>) -> Result<()> {
        if !outcome.ingresses.is_empty() && !self.hears {
            self.hears = true;
            let wake = changed.clone();
            engine.services().subscribe(move |event| {
                let (coracle_client::Event::Added(service)
                | coracle_client::Event::Updated { new: service, .. }
                | coracle_client::Event::Deleted(service)) = event;
                if service.name_any() == SERVICE && service.namespace().as_deref() == Some(NAMESPACE) {
                    wake.notify_one();
                }
            });
        }
        self.tell(outcome);
        let service = self.service(engine, !outcome.ingresses.is_empty()).await?;
        let addresses = service.as_deref().map(given).unwrap_or_default();
        self.statuses(outcome, &addresses).await
    }

    /// The service by which Ingresses are reached, there while it is needed. What its owner changed of it stays.
    async fn service(&self, engine: &Engine, is_needed: bool) -> Result<Option<Arc<Service>>> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), NAMESPACE);
        let found = if is_needed || self.hears {
            engine.services().store().get(NAMESPACE, SERVICE)
        } else {
            // Nobody follows services: what an earlier process made may be there.
            api.get_opt(SERVICE).await?.map(Arc::new)
        };
        match found {
            None if is_needed => {
                let made = api.create(&PostParams::default(), &serde_json::from_value(wanted())?).await;
                match made {
                    Err(error) if !is_conflict(&error) => Err(error.into()),
                    _ => Ok(None),
                }
            }
            Some(service) if !is_needed => {
                let is_ours = service.labels().get(LABEL).is_some_and(|value| value == OURS);
                if is_ours && service.metadata.deletion_timestamp.is_none() {
                    match api.delete(SERVICE, &DeleteParams::default()).await {
                        Err(error) if !is_not_found(&error) => return Err(error.into()),
                        _ => {}
                    }
                }
                Ok(None)
            }
            found => Ok(found),
        }
    }

    /// Tells once of what is wrong.
    fn tell(&mut self, outcome: &Outcome) {
        let mut now = BTreeSet::new();
        for (ingress, fault) in outcome.faults.iter().take(TOLD) {
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
        for (key, ingress) in &now {
            if shown(ingress) != addresses && self.write(key, addresses).await? {
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
            if let Some(ingress) = api.get_opt(&key.name).await?
                && Some(ingress.uid()) == written
            {
                self.write(&key, &[]).await?;
            }
            self.written.remove(&key);
        }
        Ok(())
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

fn wanted() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": SERVICE, "namespace": NAMESPACE,
            "labels": {LABEL: OURS, "app.kubernetes.io/name": "coracle-ingress"},
        },
        "spec": {
            "type": "LoadBalancer",
            // So that backends learn whose requests they are.
            "externalTrafficPolicy": "Local",
            // Nobody asked for ports of all nodes.
            "allocateLoadBalancerNodePorts": false,
            "ports": [
                {"name": "http", "port": 80, "protocol": "TCP"},
                {"name": "https", "port": 443, "protocol": "TCP"},
            ],
        },
    })
}

/// The addresses in the status of an Ingress.
fn shown(ingress: &Ingress) -> Vec<String> {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    status.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten()).filter_map(|one| one.ip.clone()).collect()
}
