//! The Node object: registration, status, conditions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Backoff, Event, EventType, NodeLease, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::config::KubeletConfig;
use crate::eviction::config::Signal;
use crate::kubelet::Kubelet;
use crate::message_of;
use crate::network;
use crate::node_events;
use crate::node_object::{self, Registration, addresses, architecture, conditions, labels, now};
use crate::stats::node::{FileSystem, Memory};

/// How often pressure is looked at, and a changed status written.
pub(crate) const CHECK_PERIOD: Duration = Duration::from_secs(10);
/// An unchanged status is written this often.
pub(crate) const REPORT_PERIOD: Duration = Duration::from_secs(300);
/// Images named in the status.
const MAX_IMAGES: usize = 50;

/// Bytes of memory of the node.
pub(crate) fn memory() -> i64 {
    i64::try_from(Memory::read().total).unwrap_or(i64::MAX)
}

/// Capacity and allocatable resources: pods cannot have what is below the hard eviction thresholds.
pub(crate) fn resources(config: &KubeletConfig) -> (BTreeMap<String, Quantity>, BTreeMap<String, Quantity>) {
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
    let memory = Memory::read().total;
    let disk = FileSystem::of(&config.root_dir).map_or(0, |disk| disk.capacity);
    let left = |signal: Signal, capacity: u64| {
        capacity.saturating_sub(config.eviction.hard.get(&signal).map_or(0, |amount| amount.of(capacity)))
    };
    let list = |memory: u64, disk: String| {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(cpus.to_string())),
            ("memory".to_owned(), Quantity(format!("{}Ki", memory >> 10))),
            ("pods".to_owned(), Quantity(config.max_pods.to_string())),
            ("ephemeral-storage".to_owned(), Quantity(disk)),
            ("hugepages-1Gi".to_owned(), Quantity("0".into())),
            ("hugepages-2Mi".to_owned(), Quantity("0".into())),
        ])
    };
    let (memory_left, disk_left) = (left(Signal::MemoryAvailable, memory), left(Signal::NodeFsAvailable, disk));
    (list(memory, format!("{}Ki", disk >> 10)), list(memory_left, disk_left.to_string()))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn node_info(k: &Kubelet) -> Value {
    let release = read("/etc/os-release");
    let pretty = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned());
    let (runtime, version) = k.runtime.version();
    let machine = read("/etc/machine-id");
    let uuid = read("/sys/class/dmi/id/product_uuid");
    json!({
        "machineID": machine,
        "systemUUID": if uuid.is_empty() { machine.clone() } else { uuid },
        "bootID": read("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": read("/proc/sys/kernel/osrelease"),
        "osImage": pretty.unwrap_or_else(|| "Linux".to_owned()),
        "containerRuntimeVersion": format!("{runtime}://{version}"),
        "kubeletVersion": k.config.kubernetes_version,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": architecture(),
    })
}

async fn images(k: &Kubelet) -> Vec<Value> {
    let mut images = k.images.service().list_images().await.unwrap_or_default();
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    images.truncate(MAX_IMAGES);
    images
        .into_iter()
        .map(|image| {
            let names: Vec<String> = image.repo_digests.into_iter().chain(image.repo_tags).take(5).collect();
            json!({"names": names, "sizeBytes": image.size})
        })
        .collect()
}

async fn status(k: &Kubelet, port: u16, old: &Value) -> Value {
    let (capacity, allocatable) = resources(&k.config);
    let known = old["conditions"].as_array().cloned().unwrap_or_default();
    json!({
        "capacity": capacity,
        "allocatable": allocatable,
        "conditions": conditions(&k.pressure, network::not_ready(&k.config).as_deref(), &known, &now()),
        "addresses": addresses(&k.config.node_ips(), &k.config.node_name),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": node_info(k),
        "images": images(k).await,
        "features": {"supplementalGroupsPolicy": true},
        "runtimeHandlers": [{"name": "", "features": {"recursiveReadOnlyMounts": true, "userNamespaces": false}}],
    })
}

/// Registers the node, or takes over the object that is there; answers with it.
async fn register(k: &Kubelet, port: u16) -> kube::Result<Node> {
    let api: Api<Node> = Api::all(k.client.clone());
    let config = &k.config;
    let registration = Registration {
        name: &config.node_name,
        labels: &config.labels,
        annotations: config.annotations.iter().filter_map(|(key, value)| Some((&**key, value.as_deref()?))).collect(),
        taints: &config.taints,
        provider_id: config.provider_id.as_deref(),
        ranges: ranges_of(config),
    };
    let node = registration.object(&status(k, port, &Value::Null).await).map_err(kube::Error::SerdeError)?;
    let current = match api.create(&PostParams::default(), &node).await {
        Ok(created) => created,
        Err(error) if is_conflict(&error) => {
            let labels = labels(&config.labels, &config.node_name);
            let patch = json!({"metadata": {"labels": labels, "annotations": config.annotations}});
            let current = api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            tell_range(&api, config, current).await?
        }
        Err(error) => return Err(error),
    };
    report(k, port, &current, true).await
}

fn ranges_of(config: &KubeletConfig) -> Option<Vec<String>> {
    config.pod_cidr.borrow().map(|ranges| ranges.iter().map(|range| range.to_string()).collect())
}

/// Tells of the range of the addresses of pods where the node has none yet. One that it has cannot be changed.
async fn tell_range(api: &Api<Node>, config: &KubeletConfig, node: Node) -> kube::Result<Node> {
    let known = node.spec.as_ref().and_then(|spec| {
        let single = || spec.pod_cidr.clone().map(|range| vec![range]);
        spec.pod_cidrs.clone().filter(|ranges| !ranges.is_empty()).or_else(single)
    });
    let Some(ranges) = ranges_of(config) else { return Ok(node) };
    match known {
        None => {
            let patch = json!({"spec": {"podCIDR": ranges.first(), "podCIDRs": ranges}});
            api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(patch)).await
        }
        Some(known) => {
            if known != ranges {
                let (ranges, known) = (ranges.join(","), known.join(","));
                tracing::error!(
                    "pods of this node get addresses of {ranges}, but its object says {known}: \
                     delete the object, so that the node registers anew, or give the node that range"
                );
            }
            Ok(node)
        }
    }
}

/// Writes the status if it changed, or in any case with `force`; answers with the node as it then is.
async fn report(k: &Kubelet, port: u16, node: &Node, force: bool) -> kube::Result<Node> {
    let old = serde_json::to_value(&node.status).map_err(kube::Error::SerdeError)?;
    let new = status(k, port, &old).await;
    let api: Api<Node> = Api::all(k.client.clone());
    node_object::report(&api, &k.config.node_name, node, (&old, &new), force).await
}

/// Whether nothing was heard of the node for so long that nobody knows how it is: the sooner it says so, the sooner it has pods.
fn is_given_up(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}

fn tell(k: &Kubelet, node: &Node, reason: &str) {
    let text = format!("Node {} status is now: {reason}", k.config.node_name);
    k.recorder.event(node, EventType::Normal, reason, text);
}

/// Registers the node and keeps its status and lease, for ever. `registered` is called once it is Ready.
pub(crate) async fn run(k: Arc<Kubelet>, port: u16, registered: impl FnOnce()) {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(7));
    let mut registered = Some(registered);
    let mut network = network::Changes::of(&k.config);
    let mut lease = None;
    let given_up = Arc::new(Notify::new());
    let told = given_up.clone();
    k.nodes.subscribe(move |event| {
        if let Event::Added(node) | Event::Updated { new: node, .. } = event
            && is_given_up(node)
        {
            told.notify_one();
        }
    });
    loop {
        let mut node = loop {
            match register(&k, port).await {
                Ok(node) => break node,
                Err(error) => {
                    tracing::debug!(node = k.config.node_name, "failed to register the node: {}", message_of(&error));
                    backoff.sleep().await;
                }
            }
        };
        backoff.reset();
        drop(lease.take());
        let renewal = NodeLease::new(&k.config.node_name, node.metadata.uid.clone());
        lease = Some(AbortOnDropHandle::new(tokio::spawn(renewal.run(k.client.clone()))));
        let mut reported = tokio::time::Instant::now();
        loop {
            if network::not_ready(&k.config).is_none()
                && let Some(registered) = registered.take()
            {
                tell(&k, &node, "NodeReady");
                registered();
            }
            tokio::select! {
                () = tokio::time::sleep(CHECK_PERIOD) => {}
                () = k.pressure.changed.notified() => {}
                () = network.next() => {}
                () = given_up.notified() => {}
            }
            let before = node.clone();
            // What others changed (conditions, labels) is taken from the informer; a node deleted there registers anew.
            if k.nodes.has_synced() {
                match k.nodes.store().get("", &k.config.node_name) {
                    Some(current) => node = (*current).clone(),
                    None => break,
                }
            }
            let force = reported.elapsed() >= REPORT_PERIOD;
            match report(&k, port, &node, force).await {
                Ok(current) => {
                    if force || current.metadata.resource_version != node.metadata.resource_version {
                        reported = tokio::time::Instant::now();
                    }
                    node = current;
                    // That it is Ready for the first time is told above.
                    let is_told = |reason: &&str| registered.is_none() || *reason != "NodeReady";
                    for reason in node_events::reasons(&before, &node).into_iter().filter(is_told) {
                        tell(&k, &node, reason);
                    }
                }
                Err(error) if is_not_found(&error) => break,
                Err(error) => tracing::warn!(
                    node = k.config.node_name,
                    "failed to write the node's status: {}",
                    message_of(&error)
                ),
            }
        }
    }
}
