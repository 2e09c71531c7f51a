//! How many of its pods a disruption budget can spare: what upstream's disruption controller writes into its status, found
//! at the moment of an eviction, as there is no such controller here.
//! <https://kubernetes.io/docs/concepts/workloads/pods/disruptions/>

use std::collections::HashSet;

use coracle_api::kinds;
use coracle_api::meta;
use coracle_api::selector::LabelSelector;
use coracle_api::status::Status;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::object::Object;
use crate::storage::{Storage, core, key};

/// How long a pod that was evicted may take until its deletion is seen; then it counts as healthy again.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// Whether the pod is ready.
pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The status of a budget now.
pub(super) fn status(storage: &Storage, budget: &Value) -> Result<Value, Status> {
    let namespace = meta::namespace(budget);
    let pods = selected(storage, budget)?;
    let disrupted = still_disrupted(budget, &pods);
    let healthy = pods
        .iter()
        .filter(|pod| !meta::is_deleting(pod) && !disrupted.contains_key(meta::name(pod)) && is_ready(pod))
        .count() as i64;
    let spec = &budget["spec"];
    let scale = || expected(storage, namespace, &pods);
    let (expected, desired) = match (&spec["maxUnavailable"], &spec["minAvailable"]) {
        (unavailable, _) if !unavailable.is_null() => {
            let expected = scale()?;
            (expected, (expected - share(unavailable, expected)).max(0))
        }
        (_, available @ Value::String(_)) => {
            let expected = scale()?;
            (expected, share(available, expected))
        }
        (_, available) => (pods.len() as i64, available.as_i64().unwrap_or(0)),
    };
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let (state, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let before = budget["status"]["conditions"]
        .as_array()
        .and_then(|conditions| conditions.iter().find(|c| c["type"] == "DisruptionAllowed" && c["status"] == state));
    let since = before.map_or_else(|| meta::format_time(Timestamp::now()).into(), |c| c["lastTransitionTime"].clone());
    let mut status = json!({
        "observedGeneration": meta::generation(budget),
        "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected, "disruptionsAllowed": allowed,
        "conditions": [{
            "type": "DisruptionAllowed", "status": state, "reason": reason, "message": "",
            "observedGeneration": meta::generation(budget), "lastTransitionTime": since,
        }],
    });
    if !disrupted.is_empty() {
        status["disruptedPods"] = Value::Object(disrupted);
    }
    Ok(status)
}

fn selected(storage: &Storage, budget: &Value) -> Result<Vec<Value>, Status> {
    let selector = LabelSelector::from_object(&budget["spec"]["selector"]).map_err(Status::internal)?;
    let prefix = format!("{}/", meta::namespace(budget));
    let snapshot = storage.cache(core("pods"))?.snapshot();
    snapshot.check(&prefix, None)?;
    let pods = snapshot.range(&prefix, None).map(Object::value);
    let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    Ok(pods.filter(|pod| !ended(pod) && selector.matches(&pod["metadata"]["labels"])).collect())
}

/// Pods that were evicted a short time ago and whose deletion has not been seen.
fn still_disrupted(budget: &Value, pods: &[Value]) -> Map<String, Value> {
    let known: HashSet<&str> = pods.iter().filter(|pod| !meta::is_deleting(pod)).map(meta::name).collect();
    let recent = |time: &Value| {
        let since = time.as_str().and_then(meta::parse_time);
        since.is_some_and(|since| Timestamp::now().duration_since(since) < DELETION_TIMEOUT)
    };
    let all = budget["status"]["disruptedPods"].as_object().cloned().unwrap_or_default();
    all.into_iter().filter(|(name, time)| known.contains(&**name) && recent(time)).collect()
}

/// A number, or a percentage of `whole`, rounded up.
fn share(amount: &Value, whole: i64) -> i64 {
    let percent = amount.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    percent.map_or_else(|| amount.as_i64().unwrap_or(0), |percent| (percent.saturating_mul(whole) + 99) / 100)
}

/// How many pods the controllers of these pods want together.
fn expected(storage: &Storage, namespace: &str, pods: &[Value]) -> Result<i64, Status> {
    let mut seen: HashSet<String> = HashSet::new();
    let mut total = 0;
    for pod in pods {
        let Some((uid, replicas)) = scale_of(storage, namespace, pod)? else {
            // Of a pod that nothing scales nobody knows how many there should be: upstream lets none of them go.
            return Ok(0);
        };
        if seen.insert(uid) {
            total += replicas;
        }
    }
    Ok(total)
}

/// The UID and the wanted replicas of what scales a pod: its controller, or the one of that.
fn scale_of(storage: &Storage, namespace: &str, pod: &Value) -> Result<Option<(String, i64)>, Status> {
    let mut found = None;
    let mut object = pod.clone();
    // A replica set may belong to a deployment.
    for _ in 0..2 {
        let Some(owner) = meta::controller_of(&object) else { break };
        let (group, version) = owner.api_version.rsplit_once('/').unwrap_or(("", &owner.api_version));
        let kind = kinds::by_kind(group, version, &owner.kind).filter(|kind| kind.subresource("scale").is_some());
        let Some(kind) = kind else { return Ok(None) };
        let controller = storage.cache(kind)?.get(&key(Some(namespace), &owner.name))?;
        let Some(controller) = controller.filter(|controller| *controller.uid() == *owner.uid) else { return Ok(None) };
        object = controller.value();
        found = Some((owner.uid, object["spec"]["replicas"].as_i64().unwrap_or(1)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_up() {
        assert_eq!(share(&json!("50%"), 3), 2);
        assert_eq!(share(&json!("0%"), 3), 0);
        assert_eq!(share(&json!(2), 9), 2);
        assert_eq!(share(&json!("100%"), i64::MAX / 200), i64::MAX / 200);
    }
}
