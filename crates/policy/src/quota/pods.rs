//! Pods use compute resources until they have ended.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::meta::{self, list, text};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::usage::whole;
use crate::amounts::Amounts;
use crate::pod_resources::{self, Which, charged};

/// What a pod can use besides huge pages and extended resources.
const NAMES: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// What every container must say where a quota limits it.
const REQUIRED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

pub(super) fn is_tracked(name: &str) -> bool {
    let huge = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    NAMES.contains(&name) || huge || name.strip_prefix("requests.").is_some_and(is_extended)
}

/// Whether it is a resource that only some nodes have, such as `example.com/gpu`.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    if has_ended(pod, now) {
        return Amounts::default();
    }
    let mut used = of_lists(&charged(pod, Which::Requests), &charged(pod, Which::Limits));
    used.set("pods", whole(1));
    used
}

/// Pods that have ended use nothing, nor do those that should have ended long ago: their node may be lost.
fn has_ended(pod: &Value, now: Timestamp) -> bool {
    if matches!(text(pod, &["status", "phase"]), "Failed" | "Succeeded") {
        return true;
    }
    let (Some(at), Some(grace)) = (meta::deletion_timestamp(pod), meta::deletion_grace_period_seconds(pod)) else {
        return false;
    };
    at.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|end| now > end)
}

fn of_lists(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::default();
    for (name, amount) in &requests.0 {
        let is_native =
            matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
        if is_native {
            used.set(name, *amount);
        }
        if is_native || is_extended(name) {
            used.set(format!("requests.{name}"), *amount);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            used.set(format!("limits.{name}"), amount);
        }
    }
    used
}

/// Whether the containers of a pod say what they need of what is limited.
pub(super) fn check<'a>(pod: &Value, limited: impl Iterator<Item = &'a str>) -> Result<(), String> {
    if pod_resources::has_its_own(pod) {
        return Ok(());
    }
    let required: Vec<&str> = limited.filter(|name| REQUIRED.contains(name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in ["containers", "initContainers"].into_iter().flat_map(|key| list(pod, &["spec", key])) {
        let [requests, limits] = ["requests", "limits"].map(|key| Amounts::of(&container["resources"][key]));
        let said = of_lists(&requests, &limits);
        for name in required.iter().filter(|name| said.get(name).is_none()) {
            missing.entry(name).or_default().insert(text(container, &["name"]));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = missing
        .iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.iter().copied().collect::<Vec<_>>().join(",")))
        .collect();
    Err(format!("must specify {}", texts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({"spec": {"containers": [{"name": "c1", "resources": {
            "requests": {"cpu": "1", "memory": "1Gi", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"},
            "limits": {"cpu": "2", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"}}}]}})
    }

    #[test]
    fn a_pod_uses_what_its_containers_ask_for() {
        assert_eq!(
            usage(&pod(), Timestamp::UNIX_EPOCH).to_string(),
            "cpu=1,hugepages-2Mi=4Mi,limits.cpu=2,memory=1Gi,pods=1,requests.cpu=1,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi,requests.memory=1Gi"
        );
        for name in usage(&pod(), Timestamp::UNIX_EPOCH).0.keys() {
            assert!(is_tracked(name), "{name}");
        }
        assert!(!is_tracked("requests.storage") && !is_tracked("example.com/gpu") && !is_tracked("services"));
    }

    #[test]
    fn pods_that_have_ended_use_nothing() {
        let mut pod = pod();
        pod["status"]["phase"] = "Succeeded".into();
        assert!(usage(&pod, Timestamp::UNIX_EPOCH).0.is_empty());
        pod["status"]["phase"] = "Running".into();
        pod["metadata"] = json!({"deletionTimestamp": "1970-01-01T00:00:10Z", "deletionGracePeriodSeconds": 30});
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert!(!usage(&pod, at(40)).0.is_empty());
        assert!(usage(&pod, at(41)).0.is_empty());
    }

    #[test]
    fn containers_must_say_what_is_limited() {
        let mut pod = pod();
        pod["spec"]["initContainers"] = json!([{"name": "i"}]);
        let names = ["limits.cpu", "limits.memory", "pods", "requests.ephemeral-storage"];
        assert_eq!(
            check(&pod, names.into_iter()),
            Err("must specify limits.cpu for: i; limits.memory for: c1,i".to_owned())
        );
        pod["spec"]["resources"] = json!({"limits": {"cpu": "1"}});
        assert_eq!(check(&pod, names.into_iter()), Ok(()));
    }
}
