//! Finds out again and again whether the servers behind APIServices answer, says so in their conditions, and learns what
//! they have.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::status::Status;
use coracle_api::{kinds, meta};
use coracle_metrics::Counter;
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::discovery::{Description, Known, Remotes};
use super::{Aggregator, Remote, api_services};
use crate::metrics::METRICS;
use crate::objects::Objects;
use crate::operation::Operation;
use crate::services::endpoint::ready_endpoints;
use crate::storage::{Storage, core, key};

/// How often a server is asked that nothing has changed of.
const EVERY: Duration = Duration::from_secs(30);
/// How soon one is asked again that did not answer; the next times it takes twice as long each, up to [`EVERY`].
const AGAIN: Duration = Duration::from_millis(200);
/// How long changes are gathered before it is looked what they mean.
const GATHER: Duration = Duration::from_millis(50);
/// Servers asked at once.
const AT_ONCE: usize = 16;

/// The reason when a server was asked in vain. That it begins to answer is no change of any object.
const DID_NOT_ANSWER: &str = "FailedDiscoveryCheck";

/// What is found of a server: the status, reason and message of its condition `Available`.
struct Found {
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// Goes on until the objects are dropped.
pub(crate) fn start(objects: &Arc<Objects>, aggregator: &Arc<Aggregator>) {
    let slices = kinds::by_resource("discovery.k8s.io", "v1", "endpointslices");
    let followed = [Some(api_services()), Some(core("services")), slices].into_iter().flatten();
    let mut changed: Vec<watch::Receiver<()>> =
        followed.filter_map(|kind| objects.storage.caches.of(kind)).map(|cache| cache.subscribe()).collect();
    let (objects, aggregator) = (Arc::downgrade(objects), aggregator.clone());
    tokio::spawn(async move {
        let mut again = AGAIN;
        loop {
            changed.iter_mut().for_each(|one| drop(one.borrow_and_update()));
            let Some(objects) = objects.upgrade() else { return };
            if let Err(error) = aggregator.renew() {
                tracing::error!("failed to renew the certificate for other API servers: {error:#}");
            }
            let (wait, next) = match look(&objects, &aggregator).await {
                true => (EVERY, AGAIN),
                false => (again, again.saturating_mul(2).min(EVERY)),
            };
            again = next;
            drop(objects);
            let any = futures::future::select_all(changed.iter_mut().map(|one| Box::pin(one.changed())));
            // Closed with the caches, which go with the server.
            if let Ok((Err(_), ..)) = tokio::time::timeout(wait, any).await {
                return;
            }
            tokio::time::sleep(GATHER).await;
        }
    });
}

/// Looks at all servers once. Says whether each answers whose service has somebody to answer.
async fn look(objects: &Objects, aggregator: &Aggregator) -> bool {
    let before = aggregator.remotes();
    let all = aggregator.all();
    if all.is_empty() && before.known.is_empty() {
        return true;
    }
    let asked = futures::stream::iter(all).map(|remote| ask(objects, &before, remote)).buffered(AT_ONCE);
    let asked: Vec<(Known, bool)> = asked.collect().await;
    for gone in before.known.iter().filter(|known| !asked.iter().any(|(now, _)| now.remote.name == known.remote.name)) {
        METRICS.unavailable.forget([&gone.remote.name]);
    }
    let all_answer = asked.iter().all(|(_, answers)| *answers);
    // Conditions have been written meanwhile.
    let known: Vec<Known> = asked
        .into_iter()
        .filter_map(|(known, _)| {
            Some(Known { remote: aggregator.route(&known.remote.group, &known.remote.version)?, ..known })
        })
        .collect();
    let same = known.len() == before.known.len() && known.iter().zip(&before.known).all(|(now, then)| now.is(then));
    if !same {
        let revision = before.revision.saturating_add(1);
        aggregator.remotes.store(Arc::new(Remotes { revision, known }));
    }
    all_answer
}

/// Asks one server, and writes down whether it answers. Says so, unless nobody is asked.
async fn ask(objects: &Objects, before: &Remotes, remote: Arc<Remote>) -> (Known, bool) {
    let storage = &objects.storage;
    let last = before.known.iter().find(|known| known.remote.name == remote.name);
    let mut described = last.map(|known| known.described.clone()).unwrap_or_default();
    let found = match check(storage, &remote) {
        Some(found) => found,
        None => {
            let path = format!("/apis/{}/{}", remote.group, remote.version);
            match remote.describe(storage, &path).await {
                Ok(list) => {
                    described = Arc::new(Description::ask(storage, &remote, &list).await);
                    Found { status: "True", reason: "Passed", message: "all checks passed".into() }
                }
                Err(error) => Found {
                    status: "False",
                    reason: DID_NOT_ANSWER,
                    message: format!("failing or missing response from {}: {error:#}", remote.url(&path)),
                },
            }
        }
    };
    METRICS.unavailable.with([&remote.name], |gauge| {
        let is_new = gauge.get() == 0 && found.status != "True";
        gauge.set(i64::from(found.status != "True"));
        if is_new {
            METRICS.became_unavailable.with([&remote.name, found.reason], Counter::inc);
        }
    });
    if let Err(status) = write(objects, &remote, &found).await
        && status.code != 404
    {
        tracing::warn!("failed to say whether {} is available: {}", remote.name, status.message);
    }
    (Known { remote, described }, found.reason != DID_NOT_ANSWER)
}

/// What is wrong with the service, without asking it.
fn check(storage: &Storage, remote: &Remote) -> Option<Found> {
    let (namespace, name) = (&remote.namespace, &remote.service);
    let wrong = |reason, message| Some(Found { status: "False", reason, message });
    let service = storage.cache(core("services")).and_then(|cache| cache.get(&key(Some(namespace), name)));
    let service = match service {
        Ok(Some(service)) => service.value(),
        Ok(None) => return wrong("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")),
        Err(status) => {
            let why = status.message;
            let message = format!("service/{name} in {namespace:?} cannot be accessed due to: {why}");
            return Some(Found { status: "Unknown", reason: "ServiceAccessError", message });
        }
    };
    if service["spec"]["type"] == "ExternalName" {
        return None;
    }
    let ports = meta::list(&service, &["spec", "ports"]);
    let Some(port) = ports.iter().find(|port| port["port"].as_i64() == Some(remote.port)) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {}", remote.port);
        return wrong("ServicePortError", message);
    };
    let port = meta::text(port, &["name"]);
    match ready_endpoints(storage, namespace, name, port) {
        Ok(found) if found.is_empty() => wrong(
            "MissingEndpoints",
            format!("endpoints for service/{name} in {namespace:?} have no addresses with port name {port:?}"),
        ),
        Ok(_) => None,
        Err(why) => {
            wrong("EndpointsAccessError", format!("service/{name} in {namespace:?} cannot be accessed due to: {why}"))
        }
    }
}

async fn write(objects: &Objects, remote: &Remote, found: &Found) -> Result<(), Status> {
    let mut make = |current: &Value| {
        let mut new = current.clone();
        set_condition(&mut new, found);
        Ok(new)
    };
    objects.update(&Operation::status_by_server(api_services()), &remote.name, &mut make).await.map(drop)
}

/// Its time changes when its status does.
fn set_condition(object: &mut Value, found: &Found) {
    let conditions = meta::object_at(object, "status").entry("conditions").or_insert_with(|| json!([]));
    let Value::Array(conditions) = conditions else { return };
    let before = conditions.iter().position(|condition| condition["type"] == "Available");
    let since = before.map(|at| &conditions[at]).filter(|condition| condition["status"] == found.status);
    let since =
        since.map_or_else(|| meta::format_time(Timestamp::now()).into(), |one| one["lastTransitionTime"].clone());
    let new = json!({
        "type": "Available", "status": found.status, "reason": found.reason, "message": found.message,
        "lastTransitionTime": since,
    });
    match before {
        Some(at) => conditions[at] = new,
        None => conditions.push(new),
    }
}
