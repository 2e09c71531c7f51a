//! What a kubelet writes into its Node object, and how: shared by kubelets of machines and those of hollow nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use coracle_client::{Cached, merge_diff};
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::Api;
use serde_json::{Value, json};

use crate::eviction::Pressure;

/// What a node registers with.
pub(crate) struct Registration<'a> {
    pub(crate) name: &'a str,
    /// Besides the standard ones.
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<&'a str, &'a str>,
    pub(crate) taints: &'a [Taint],
    pub(crate) provider_id: Option<&'a str>,
    /// The ranges of the addresses of its pods, if they are known yet.
    pub(crate) ranges: Option<Vec<String>>,
}

impl Registration<'_> {
    /// The object that is created.
    pub(crate) fn object(&self, status: &Value) -> serde_json::Result<Node> {
        let mut annotations = self.annotations.clone();
        annotations.insert("volumes.kubernetes.io/controller-managed-attach-detach", "true");
        Node::from_value(&json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": self.name,
                "labels": labels(self.labels, self.name),
                "annotations": annotations,
            },
            "spec": {
                "providerID": self.provider_id, "taints": self.taints,
                "podCIDR": self.ranges.as_ref().and_then(|ranges| ranges.first()),
                "podCIDRs": self.ranges,
            },
            "status": status,
        }))
    }
}

pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
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

/// The conditions that the kubelet tells, with why no pod can be connected, if none can; `old` are those that there are, whose
/// times are kept where nothing changed.
pub(crate) fn conditions(pressure: &Pressure, network: Option<&str>, old: &[Value], now: &str) -> Vec<Value> {
    let ready = match network {
        None => ("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        Some(why) => ("Ready", false, "KubeletNotReady", why),
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

/// `status.addresses`.
pub(crate) fn addresses(ips: &[IpAddr], name: &str) -> Vec<Value> {
    let internal = ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip.to_string()}));
    internal.chain([json!({"type": "Hostname", "address": name})]).collect()
}

/// The standard labels of a node, besides others.
pub(crate) fn labels(others: &BTreeMap<String, String>, name: &str) -> BTreeMap<String, String> {
    let mut labels = others.clone();
    labels.insert("kubernetes.io/hostname".into(), name.to_owned());
    for prefix in ["", "beta."] {
        labels.insert(format!("{prefix}kubernetes.io/os"), "linux".into());
        labels.insert(format!("{prefix}kubernetes.io/arch"), architecture().into());
    }
    labels
}

/// Now, as conditions tell it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether the node's status says something else than a new one, but for when it was told.
pub(crate) fn is_changed(old: &Value, new: &Value) -> bool {
    let plain = |status: &Value| {
        let mut status = status.clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            if let Some(condition) = condition.as_object_mut() {
                condition.remove("lastHeartbeatTime");
            }
        }
        status
    };
    plain(&merged(old, new)) != plain(old)
}

/// Writes the status if it changed, or in any case with `force`; answers with the node as it then is.
pub(crate) async fn report(
    api: &Api<Node>,
    name: &str,
    node: &Node,
    status: (&Value, &Value),
    force: bool,
) -> kube::Result<Node> {
    let (old, new) = status;
    if !force && !is_changed(old, new) {
        return Ok(node.clone());
    }
    let Some(patch) = merge_diff(old, &merged(old, new)) else { return Ok(node.clone()) };
    coracle_client::patch_status(api, name, patch).await
}

/// The status with what others have written into it: their fields and conditions, and resources that the kubelet knows
/// nothing of, all of which pods can have.
/// <https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/>
fn merged(old: &Value, new: &Value) -> Value {
    let mut merged = old.as_object().cloned().unwrap_or_default();
    for (key, value) in new.as_object().into_iter().flatten() {
        // The API has no empty lists, so that one would be a change each time.
        if value.as_array().is_some_and(Vec::is_empty) {
            merged.remove(key);
        } else {
            merged.insert(key.clone(), value.clone());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_written_but_for_when_it_was_told() {
        let status = |images: Value, at: &str| {
            json!({
                "capacity": {"cpu": "1"}, "allocatable": {"cpu": "1"}, "images": images,
                "conditions": conditions(&Pressure::default(), None, &[], at),
            })
        };
        let (image, none) = (json!([{"names": ["a"], "sizeBytes": 1}]), json!([]));
        // As the API answers: without what is empty.
        let mut told = status(none.clone(), "2026-01-01T00:00:00Z");
        told.as_object_mut().unwrap().remove("images");
        let since = told["conditions"].as_array().unwrap().clone();
        let mut later = status(none.clone(), "2026-01-01T00:00:10Z");
        later["conditions"] = json!(conditions(&Pressure::default(), None, &since, "2026-01-01T00:00:10Z"));
        assert!(!is_changed(&told, &later));
        later["images"] = image.clone();
        assert!(is_changed(&told, &later));
        let patch = merge_diff(&later, &merged(&later, &status(none, "2026-01-01T00:00:10Z"))).unwrap();
        assert_eq!(patch["images"], Value::Null);
        assert!(patch.as_object().unwrap().contains_key("images"));
    }

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
