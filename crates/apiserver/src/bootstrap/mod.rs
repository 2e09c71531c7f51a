//! Objects that every cluster has from its first second: made before the server answers, and again when someone deletes
//! them. The same round forgets old history of the caches.

mod cluster_info;
mod initial;
mod roles;
mod servers;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use coracle_api::addresses::{Family, nth};
use coracle_api::status::Status;
use coracle_api::{Registry, kinds, meta};
use coracle_pki::FRONT_PROXY;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::admission::SYSTEM_NAMESPACES;
use crate::object::Object;
use crate::objects::{DeleteOptions, Objects};
use crate::operation::{Operation, Verb};
use crate::token_tracking;
use crate::{resource_metrics, services};

/// The address of the cluster's DNS within the service range: the tenth, as kubeadm has it.
pub const DNS_ADDRESS: u128 = 10;

/// How often what was deleted is made again, as upstream does with the `kubernetes` service.
const EVERY: Duration = Duration::from_secs(10);

/// How long a server that begins waits for what it wrote itself. Each time it looks takes seconds.
const LONGEST_LAG: Duration = Duration::from_secs(60);

/// Marks the objects that say what is served, and those of what was served from the start.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const AT_START: &str = "onstart";

/// What the objects say of this server.
pub(crate) struct Own {
    /// Where nodes and pods reach it.
    pub endpoint: SocketAddr,
    pub trust: Trust,
}

/// The certificates, in PEM, of authorities: of clients, and of servers that pass requests on.
pub(crate) struct Trust {
    pub clients: String,
    pub front_proxy: String,
}

/// Goes on making what someone deletes, and forgets old history, until the server is dropped. Where nothing is missing
/// or old this only reads memory.
pub(crate) fn keep(objects: &Arc<Objects>, own: Arc<Own>) {
    let objects = Arc::downgrade(objects);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(objects) = objects.upgrade() else { break };
            objects.storage.caches.tidy();
            if let Err(error) = again(&objects, &own).await {
                tracing::warn!("{error:#}");
            }
        }
    });
}

async fn again(objects: &Objects, own: &Own) -> Result<()> {
    namespaces(objects).await?;
    make(objects, own).await
}

/// Makes what every cluster has, and of a new one also what it begins with.
///
/// # Errors
/// The store refuses.
pub(crate) async fn run(objects: &Arc<Objects>, own: &Own, initial: Vec<Value>) -> Result<()> {
    initial::make(objects, initial).await?;
    namespaces(objects).await?;
    caught_up(objects).await?;
    // Most of them are roles: another processor makes those.
    let shared = objects.clone();
    let roles = AbortOnDropHandle::new(tokio::spawn(async move { roles::run(&shared).await }));
    tokio::try_join!(make(objects, own), async { roles.await? }, forget_api_services(objects)).map(|_| ())
}

/// What all others are in. They come first; what follows is written side by side, so that the store syncs a few times and
/// not once for each.
async fn namespaces(objects: &Objects) -> Result<()> {
    let namespace = |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    ensure_all(objects, "", "namespaces", SYSTEM_NAMESPACES.into_iter().map(namespace).collect()).await
}

/// Waits until the caches have what was written: what is made next is in the namespaces.
async fn caught_up(objects: &Objects) -> Result<()> {
    let begin = Instant::now();
    while let Err(status) = objects.storage.freshen().await {
        if begin.elapsed() > LONGEST_LAG {
            return Err(failed("namespaces", &status));
        }
        tracing::warn!("the store tells late of what was written: {}", status.message);
    }
    Ok(())
}

/// Makes what is missing and brings up to date what names this server.
async fn make(objects: &Objects, own: &Own) -> Result<()> {
    let served = served_api_services(&objects.storage.kinds.look());
    let addresses = async {
        tokio::try_join!(kubernetes_service(objects, own.endpoint), dns_service(objects))?;
        let missing =
            services::ip_address::missing(&objects.storage).map_err(|status| failed("ipaddresses", &status))?;
        ensure_all(objects, "networking.k8s.io", "ipaddresses", missing).await
    };
    tokio::try_join!(
        addresses,
        cluster_range(objects),
        ensure_all(objects, "scheduling.k8s.io", "priorityclasses", priority_classes()),
        authentication(objects, &own.trust),
        cluster_info::make(objects, own.endpoint, &own.trust.clients),
        ensure(objects, "", "v1", "configmaps", token_tracking::since()),
        ensure_all(objects, "", "componentstatuses", component_statuses()),
        ensure_all(objects, "apiregistration.k8s.io", "apiservices", served),
    )
    .map(|_| ())
}

/// What pods of the system have by name.
fn priority_classes() -> Vec<Value> {
    let classes = [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ];
    let class = |(name, value, description)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "globalDefault": false, "description": description,
        })
    };
    classes.map(class).into()
}

/// A condition that holds.
fn condition(kind: &str, reason: &str, message: &str) -> Value {
    let now = meta::format_time(Timestamp::now());
    json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now})
}

/// The ranges that the addresses of services are from. A cluster of one family may come to have the other one, too.
async fn cluster_range(objects: &Objects) -> Result<()> {
    let ranges: Vec<String> = objects.services.ranges().iter().map(|range| range.to_string()).collect();
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ranges},
    });
    let status = json!({"conditions": [condition("Ready", "", "Kubernetes Service CIDR is ready")]});
    let (group, plural) = ("networking.k8s.io", "servicecidrs");
    ensure_with_status(objects, group, plural, object, status).await?;
    let kind = kinds::by_resource(group, "v1", plural).ok_or_else(|| anyhow!("{plural} are not in the kind table"))?;
    let known = objects.storage.cache(kind).and_then(|cache| cache.get("kubernetes"));
    // The caches do not have it yet, or somebody deleted it: the next round looks again.
    let Ok(Some(known)) = known else { return Ok(()) };
    let known = known.value();
    let has: Vec<&str> = meta::list(&known, &["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
    if has == ranges {
        return Ok(());
    }
    // A second range may come and, as what has addresses of it keeps them, be left out again.
    anyhow::ensure!(
        has.first().copied() == ranges.first().map(String::as_str) && (has.len() == 1 || ranges.len() == 1),
        "the services of this cluster have addresses of {}, and --service-cluster-ip-range says {}: only a second range, of \
         the other family, can be added or left out",
        has.join(","),
        ranges.join(",")
    );
    if ranges.len() == 1 {
        static TELL: std::sync::Once = std::sync::Once::new();
        TELL.call_once(|| {
            tracing::warn!(?has, ?ranges, "new services get addresses of fewer ranges than the cluster has")
        });
        return Ok(());
    }
    let mut add = |current: &Value| {
        let mut new = current.clone();
        new["spec"]["cidrs"] = json!(ranges);
        Ok(new)
    };
    match Box::pin(objects.update(&Operation::by_server(kind, Verb::Update), "kubernetes", &mut add)).await {
        Err(status) if status.code == 404 => Ok(()),
        other => other.map(|_| ()).map_err(|status| failed(plural, &status)),
    }
}

/// What upstream answers for its components when it asks them. Here they live and end with this server.
fn component_statuses() -> Vec<Value> {
    let status = |name: &&str| {
        json!({
            "apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name},
            "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
        })
    };
    ["scheduler", "controller-manager", "etcd-0"].iter().map(status).collect()
}

/// Deletes the objects of groups and versions that were served by who began before and are not now. That is done once: another
/// server of the cluster may serve them still, and makes them again.
async fn forget_api_services(objects: &Objects) -> Result<()> {
    let served = served_api_services(&objects.storage.kinds.look());
    let names: HashSet<&str> = served.iter().map(meta::name).collect();
    let kind = kinds::by_resource("apiregistration.k8s.io", "v1", "apiservices")
        .ok_or_else(|| anyhow!("apiservices are not in the kind table"))?;
    let snapshot = objects.storage.cache(kind).map_err(|status| failed("apiservices", &status))?.snapshot();
    let is_ours = |object: &&Object| object.label(MANAGED) == Some(AT_START);
    let others = snapshot.range("", None).filter(is_ours).filter(|object| !names.contains(object.name()));
    for name in others.map(Object::name) {
        let op = Operation::by_server(kind, Verb::Delete);
        match Box::pin(objects.delete(&op, name, &DeleteOptions::default())).await {
            Err(status) if status.code != 404 => return Err(failed("apiservices", &status)),
            _ => {}
        }
    }
    Ok(())
}

/// One object for each group and version that is built in and served.
fn served_api_services(registry: &Registry) -> Vec<Value> {
    let mut out = Vec::new();
    for group in registry.groups() {
        let Some(minimum) = group.priority else { continue };
        // Those that definitions define come and go with them.
        for version in group.versions.iter().filter(|version| kinds::built_in().serves(&group.name, version)) {
            let preferred = group.versions.len() > 1 && group.versions.first() == Some(version);
            let priority = match (&*group.name, preferred) {
                ("", _) => 1,
                (_, true) => 30,
                (_, false) => 15,
            };
            out.push(json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {
                    "name": format!("{version}.{}", group.name),
                    "labels": {MANAGED: AT_START},
                },
                "spec": {
                    "group": group.name, "version": version,
                    "groupPriorityMinimum": minimum, "versionPriority": priority,
                },
            }));
        }
    }
    if registry.serves(resource_metrics::GROUP, "v1beta1") {
        let mut object = resource_metrics::api_service();
        object["metadata"]["labels"] = json!({MANAGED: AT_START});
        out.push(object);
    }
    out
}

/// Makes what is missing of many objects, side by side.
async fn ensure_all(objects: &Objects, group: &str, plural: &str, all: Vec<Value>) -> Result<()> {
    let writes = all.into_iter().map(|object| ensure(objects, group, "v1", plural, object));
    futures::future::try_join_all(writes).await.map(|_| ())
}

/// Makes an object, in version 1 of its group, that has a status from the start.
async fn ensure_with_status(objects: &Objects, group: &str, plural: &str, object: Value, status: Value) -> Result<()> {
    let kind = kinds::by_resource(group, "v1", plural).ok_or_else(|| anyhow!("{plural} are not in the kind table"))?;
    let name = meta::name(&object).to_owned();
    ensure(objects, group, "v1", plural, object).await?;
    let has_status = objects.storage.cache(kind).is_ok_and(|cache| {
        cache.get(&name).ok().flatten().is_some_and(|object| object.value()["status"]["conditions"].is_array())
    });
    if has_status {
        return Ok(());
    }
    let mut make = |current: &Value| {
        let mut new = current.clone();
        new["status"] = status.clone();
        Ok(new)
    };
    let op = Operation::status_by_server(kind);
    match Box::pin(objects.update(&op, &name, &mut make)).await {
        // The caches do not have it yet, or somebody deleted it: the next round looks again.
        Err(status) if status.code == 404 => Ok(()),
        other => other.map(|_| ()).map_err(|status| failed(plural, &status)),
    }
}

async fn kubernetes_service(objects: &Objects, endpoint: SocketAddr) -> Result<()> {
    let port = endpoint.port();
    let servers = servers::all(&objects.storage, endpoint.ip()).await?;
    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let addresses: Vec<Value> = servers.iter().map(|address| json!({"ip": address})).collect();
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": objects.services.first().to_string(), "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        },
    });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    let ready = |address: &String| json!({"addresses": [address], "conditions": {"ready": true}});
    let of_slice: Vec<Value> = servers.iter().map(ready).collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": Family::of(endpoint.ip()).name(), "endpoints": of_slice,
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    tokio::try_join!(
        ensure(objects, "", "v1", "services", service),
        replace(objects, "", "v1", "endpoints", endpoints, &["subsets"]),
        replace(objects, "discovery.k8s.io", "v1", "endpointslices", slice, &["endpoints", "ports"]),
    )
    .map(|_| ())
}

/// How other servers of the API know whom this one passes on.
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/>
async fn authentication(objects: &Objects, trust: &Trust) -> Result<()> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": trust.clients, "requestheader-client-ca-file": trust.front_proxy,
            "requestheader-allowed-names": json!([FRONT_PROXY]).to_string(),
            "requestheader-username-headers": r#"["X-Remote-User"]"#,
            "requestheader-uid-headers": r#"["X-Remote-Uid"]"#,
            "requestheader-group-headers": r#"["X-Remote-Group"]"#,
            "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
        },
    });
    replace(objects, "", "v1", "configmaps", map, &["data"]).await
}

/// The DNS server is part of every node; the service gives it its usual name and address. Each node
/// answers at that address itself, so the service has no endpoints.
async fn dns_service(objects: &Objects) -> Result<()> {
    let address = nth(objects.services.ranges().primary(), DNS_ADDRESS);
    let labels =
        json!({"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
        "spec": {"type": "ClusterIP", "clusterIP": address.to_string(), "ports": [
            {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53},
            {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": 53},
        ]},
    });
    ensure(objects, "", "v1", "services", service).await
}

async fn ensure(objects: &Objects, group: &str, version: &str, plural: &str, object: Value) -> Result<()> {
    made(objects, group, version, plural, object).await.map(|_| ())
}

/// Makes an object if it is missing; whether it was.
async fn made(objects: &Objects, group: &str, version: &str, plural: &str, object: Value) -> Result<bool> {
    let kind =
        kinds::by_resource(group, version, plural).ok_or_else(|| anyhow!("{plural} are not in the kind table"))?;
    let key = crate::storage::key(object["metadata"]["namespace"].as_str(), meta::name(&object));
    if objects.storage.cache(kind).and_then(|cache| cache.get(&key)).is_ok_and(|object| object.is_some()) {
        return Ok(false);
    }
    // A write's own state is large, and many are waited for at once.
    match Box::pin(objects.create(&Operation::by_server(kind, Verb::Create), object)).await {
        Ok(_) => Ok(true),
        // Another server made it at the same time; what follows must see it.
        Err(status) if status.code == 409 => {
            objects.storage.freshen().await.map(|()| false).map_err(|status| failed(plural, &status))
        }
        Err(status) => Err(failed(plural, &status)),
    }
}

async fn replace(
    objects: &Objects,
    group: &str,
    version: &str,
    plural: &str,
    object: Value,
    fields: &[&str],
) -> Result<()> {
    let kind =
        kinds::by_resource(group, version, plural).ok_or_else(|| anyhow!("{plural} are not in the kind table"))?;
    if made(objects, group, version, plural, object.clone()).await? {
        return Ok(());
    }
    let key = crate::storage::key(
        object["metadata"]["namespace"].as_str(),
        object["metadata"]["name"].as_str().unwrap_or_default(),
    );
    let mut make = |current: &Value| {
        let mut new = current.clone();
        for field in fields {
            new[*field] = object[*field].clone();
        }
        Ok(new)
    };
    Box::pin(objects.update(&Operation::by_server(kind, Verb::Update), &key, &mut make))
        .await
        .map(|_| ())
        .map_err(|status| failed(plural, &status))
}

fn failed(plural: &str, status: &Status) -> anyhow::Error {
    anyhow!("failed to make {plural} that every cluster has: {}", status.message)
}
