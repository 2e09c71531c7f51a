//! The Node object: registration, status, conditions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Backoff, EventType, NodeLease, is_conflict, is_not_found, merge_diff};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::config::KubeletConfig;
use crate::eviction::Pressure;
use crate::eviction::config::Signal;
use crate::kubelet::Kubelet;
use crate::message_of;
use crate::stats::node::{FileSystem, Memory};

/// How often pressure is looked at, and a changed status written.
const CHECK_PERIOD: Duration = Duration::from_secs(10);
/// An unchanged status is written this often.
const REPORT_PERIOD: Duration = Duration::from_secs(300);
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

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
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

fn pressures(pressure: &Pressure) -> [(&'static str, bool, &'static str, &'static str); 3] {
    let [memory, disk, pids] = ["MemoryPressure", "DiskPressure", "PIDPressure"].map(|name| pressure.has(name));
    let choose = |bad, yes: (&'static str, &'static str), no: (&'static str, &'static str)| if bad { yes } else { no };
    let (memory_reason, memory_message) = choose(
        memory,
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    );
    let (disk_reason, disk_message) = choose(
        disk,
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    );
    let (pid_reason, pid_message) = choose(
        pids,
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    );
    [
        ("MemoryPressure", memory, memory_reason, memory_message),
        ("DiskPressure", disk, disk_reason, disk_message),
        ("PIDPressure", pids, pid_reason, pid_message),
    ]
}

/// Whether pods can be connected.
fn has_network(config: &KubeletConfig) -> bool {
    config.pod_cidr.borrow().is_some()
}

fn conditions(pressure: &Pressure, has_network: bool, old: &[Value], now: &str) -> Vec<Value> {
    const NO_NETWORK: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
        message:Network plugin returns error: the node has no range of pod addresses yet";
    let ready = match has_network {
        true => ("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        false => ("Ready", false, "KubeletNotReady", NO_NETWORK),
    };
    pressures(pressure)
        .into_iter()
        .chain([ready])
        .map(|(kind, value, reason, message)| {
            let status = if value { "True" } else { "False" };
            let since = old
                .iter()
                .find(|condition| condition["type"] == kind && condition["status"] == status)
                .and_then(|condition| condition["lastTransitionTime"].as_str())
                .unwrap_or(now);
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now, "lastTransitionTime": since})
        })
        .collect()
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
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let known = old["conditions"].as_array().cloned().unwrap_or_default();
    json!({
        "capacity": capacity,
        "allocatable": allocatable,
        "conditions": conditions(&k.pressure, has_network(&k.config), &known, &now),
        "addresses": addresses(&k.config),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": node_info(k),
        "images": images(k).await,
        "features": {"supplementalGroupsPolicy": true},
        "runtimeHandlers": [{"name": "", "features": {"recursiveReadOnlyMounts": true, "userNamespaces": false}}],
    })
}

fn addresses(config: &KubeletConfig) -> Vec<Value> {
    let internal = config.node_ips().into_iter().map(|ip| json!({"type": "InternalIP", "address": ip.to_string()}));
    internal.chain([json!({"type": "Hostname", "address": config.node_name})]).collect()
}

fn labels(config: &KubeletConfig) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    labels.insert("kubernetes.io/hostname".into(), config.node_name.clone());
    for prefix in ["", "beta."] {
        labels.insert(format!("{prefix}kubernetes.io/os"), "linux".into());
        labels.insert(format!("{prefix}kubernetes.io/arch"), architecture().into());
    }
    labels
}

/// Registers the node, or takes over the object that is there; answers with it.
async fn register(k: &Kubelet, port: u16) -> kube::Result<Node> {
    let api: Api<Node> = Api::all(k.client.clone());
    let config = &k.config;
    let mut annotations: BTreeMap<&str, &str> =
        config.annotations.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?))).collect();
    annotations.insert("volumes.kubernetes.io/controller-managed-attach-detach", "true");
    let node: Node = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": config.node_name,
            "labels": labels(config),
            "annotations": annotations,
        },
        "spec": {
            "providerID": config.provider_id, "taints": config.taints,
            "podCIDR": ranges_of(config).as_ref().and_then(|ranges| ranges.first()),
            "podCIDRs": ranges_of(config),
        },
        "status": status(k, port, &Value::Null).await,
    }))
    .map_err(kube::Error::SerdeError)?;
    let current = match api.create(&PostParams::default(), &node).await {
        Ok(created) => created,
        Err(error) if is_conflict(&error) => {
            let patch = json!({"metadata": {"labels": labels(config), "annotations": config.annotations}});
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
    let plain = |status: &Value| {
        let mut status = status.clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            if let Some(condition) = condition.as_object_mut() {
                condition.remove("lastHeartbeatTime");
            }
        }
        status
    };
    let wanted = merged(&old, &new);
    if !force && plain(&wanted) == plain(&old) {
        return Ok(node.clone());
    }
    let Some(patch) = merge_diff(&old, &wanted) else { return Ok(node.clone()) };
    let api: Api<Node> = Api::all(k.client.clone());
    coracle_client::patch_status(&api, &k.config.node_name, patch).await
}

/// The status with what others have written into it: their fields and conditions, and resources that the kubelet knows
/// nothing of, all of which pods can have.
/// <https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/>
fn merged(old: &Value, new: &Value) -> Value {
    let mut merged = old.as_object().cloned().unwrap_or_default();
    for (key, value) in new.as_object().into_iter().flatten() {
        merged.insert(key.clone(), value.clone());
    }
    let mut conditions = new["conditions"].as_array().cloned().unwrap_or_default();
    let is_ours = |theirs: &&Value| !conditions.iter().any(|ours| ours["type"] == theirs["type"]);
    let theirs: Vec<Value> = old["conditions"].as_array().into_iter().flatten().filter(is_ours).cloned().collect();
    conditions.extend(theirs);
    merged.insert("conditions".into(), Value::Array(conditions));
    let ours = new["capacity"].as_object();
    let is_others = |(name, _): &(&String, &Value)| !ours.is_some_and(|ours| ours.contains_key(*name));
    for (name, amount) in old["capacity"].as_object().into_iter().flatten().filter(is_others) {
        for list in ["capacity", "allocatable"] {
            if let Some(list) = merged.get_mut(list).and_then(Value::as_object_mut) {
                list.insert(name.clone(), amount.clone());
            }
        }
    }
    Value::Object(merged)
}

/// Registers the node and keeps its status and lease, for ever. `registered` is called once it is Ready.
pub(crate) async fn run(k: Arc<Kubelet>, port: u16, registered: impl FnOnce()) {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(7));
    let mut registered = Some(registered);
    let mut network = k.config.pod_cidr.clone();
    let mut lease = None;
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
        let renewal = NodeLease::new(k.client.clone(), &k.config.node_name, node.metadata.uid.clone());
        lease = Some(AbortOnDropHandle::new(tokio::spawn(renewal.run())));
        let mut reported = tokio::time::Instant::now();
        loop {
            if has_network(&k.config)
                && let Some(registered) = registered.take()
            {
                k.recorder.event(
                    &node,
                    EventType::Normal,
                    "NodeReady",
                    format!("Node {} status is now: NodeReady", k.config.node_name),
                );
                registered();
            }
            tokio::select! {
                () = tokio::time::sleep(CHECK_PERIOD) => {}
                () = k.pressure.changed.notified() => {}
                Ok(()) = network.changed() => {}
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_into_the_status_stays_and_their_resources_can_be_used() {
        let old = json!({
            "capacity": {"cpu": "1", "example.com/dongle": "4"}, "allocatable": {"cpu": "1", "example.com/gone": "1"},
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "Theirs", "status": "True"}], "config": {},
        });
        let new = json!({
            "capacity": {"cpu": "2"}, "allocatable": {"cpu": "2"}, "conditions": [{"type": "Ready", "status": "True"}],
        });
        let all = json!({"cpu": "2", "example.com/dongle": "4"});
        let conditions = json!([{"type": "Ready", "status": "True"}, {"type": "Theirs", "status": "True"}]);
        assert_eq!(
            merged(&old, &new),
            json!({"capacity": all, "allocatable": all, "conditions": conditions, "config": {}})
        );
    }
}
