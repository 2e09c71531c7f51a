//! Conversion between the versions of a kind: HorizontalPodAutoscaler v1 and v2, Event in the core
//! group and in `events.k8s.io`. Every other built-in kind has one version. Versions of a custom resource that no webhook
//! converts differ in their schemas only: fields that the other one does not have go, and its defaults come.

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::meta::{as_object, object_at};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

/// Turns an object of one version into another version of the same kind.
pub fn convert(from: &Kind, to: &Kind, obj: &mut Value) {
    match (&*from.kind, from.api_version(), to.api_version()) {
        ("HorizontalPodAutoscaler", "autoscaling/v1", "autoscaling/v2") => hpa_v1_to_v2(obj),
        ("HorizontalPodAutoscaler", "autoscaling/v2", "autoscaling/v1") => hpa_v2_to_v1(obj),
        ("Event", "v1", "events.k8s.io/v1") => event_from_core(obj),
        ("Event", "events.k8s.io/v1", "v1") => event_to_core(obj),
        _ => {}
    }
    if from != to {
        let map = as_object(obj);
        map.insert("apiVersion".into(), to.api_version().into());
        map.insert("kind".into(), (*to.kind).into());
        conform(to, obj);
    }
}

/// Brings a custom resource into the form of its schema.
pub fn conform(kind: &Kind, obj: &mut Value) {
    if let Some(definition) = kind.schema.structural() {
        definition.root.prune(obj, &mut |_| {});
        definition.root.fill(obj);
    }
}

/// Moves a field to another name; what is at the new name already stays when there is nothing to move.
fn rename(map: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.into(), value);
    }
}

fn event_from_core(obj: &mut Value) {
    let map = as_object(obj);
    for (core, new) in [
        ("involvedObject", "regarding"),
        ("message", "note"),
        ("source", "deprecatedSource"),
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
        ("count", "deprecatedCount"),
        ("reportingComponent", "reportingController"),
    ] {
        rename(map, core, new);
    }
}

fn event_to_core(obj: &mut Value) {
    let map = as_object(obj);
    for (core, new) in [
        ("involvedObject", "regarding"),
        ("message", "note"),
        ("source", "deprecatedSource"),
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
        ("count", "deprecatedCount"),
        ("reportingComponent", "reportingController"),
    ] {
        rename(map, new, core);
    }
}

fn cpu_metric(kind: &str, field: &str, utilization: Value) -> Value {
    let mut target = json!({ "averageUtilization": utilization });
    if kind == "target" {
        target["type"] = "Utilization".into();
    }
    json!({"type": "Resource", "resource": {"name": "cpu", field: target}})
}

fn is_cpu_utilization(metric: &Value, field: &str) -> bool {
    metric["type"] == "Resource"
        && metric["resource"]["name"] == "cpu"
        && metric["resource"][field].get("averageUtilization").is_some_and(|v| !v.is_null())
}

fn take_annotation(obj: &mut Value, key: &str) -> Option<Value> {
    let metadata = obj.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

fn put_annotation(obj: &mut Value, key: &str, value: &Value) {
    let annotations = crate::meta::metadata_mut(obj).entry("annotations").or_insert_with(|| json!({}));
    as_object(annotations).insert(key.into(), value.to_string().into());
}

fn hpa_v1_to_v2(obj: &mut Value) {
    let (behavior, extra) = (take_annotation(obj, BEHAVIOR), take_annotation(obj, METRICS));
    let (conditions, current) = (take_annotation(obj, CONDITIONS), take_annotation(obj, CURRENT_METRICS));
    let spec = object_at(obj, "spec");
    let mut metrics = Vec::new();
    if let Some(target) = spec.remove("targetCPUUtilizationPercentage") {
        metrics.push(cpu_metric("target", "target", target));
    }
    if let Some(Value::Array(extra)) = extra {
        metrics.extend(extra);
    }
    if !metrics.is_empty() {
        spec.insert("metrics".into(), metrics.into());
    }
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), behavior);
    }
    if obj.get("status").is_some() || conditions.is_some() || current.is_some() {
        let status = object_at(obj, "status");
        let mut metrics = Vec::new();
        if let Some(value) = status.remove("currentCPUUtilizationPercentage") {
            metrics.push(cpu_metric("current", "current", value));
        }
        if let Some(Value::Array(extra)) = current {
            metrics.extend(extra);
        }
        if !metrics.is_empty() {
            status.insert("currentMetrics".into(), metrics.into());
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions);
        }
    }
}

fn hpa_v2_to_v1(obj: &mut Value) {
    let spec = object_at(obj, "spec");
    let behavior = spec.remove("behavior");
    let mut others = Vec::new();
    if let Some(Value::Array(metrics)) = spec.remove("metrics") {
        for metric in metrics {
            let first = !spec.contains_key("targetCPUUtilizationPercentage");
            if first && is_cpu_utilization(&metric, "target") {
                let value = metric["resource"]["target"]["averageUtilization"].clone();
                spec.insert("targetCPUUtilizationPercentage".into(), value);
            } else {
                others.push(metric);
            }
        }
    }
    let mut current = Vec::new();
    let mut conditions = None;
    if let Some(status) = obj.get_mut("status").and_then(Value::as_object_mut) {
        for key in ["currentReplicas", "desiredReplicas"] {
            status.entry(key).or_insert_with(|| 0.into());
        }
        conditions = status.remove("conditions");
        if let Some(Value::Array(metrics)) = status.remove("currentMetrics") {
            for metric in metrics {
                let first = !status.contains_key("currentCPUUtilizationPercentage");
                if first && is_cpu_utilization(&metric, "current") {
                    let value = metric["resource"]["current"]["averageUtilization"].clone();
                    status.insert("currentCPUUtilizationPercentage".into(), value);
                } else {
                    current.push(metric);
                }
            }
        }
    }
    if let Some(behavior) = behavior {
        put_annotation(obj, BEHAVIOR, &behavior);
    }
    if !others.is_empty() {
        put_annotation(obj, METRICS, &others.into());
    }
    if !current.is_empty() {
        put_annotation(obj, CURRENT_METRICS, &current.into());
    }
    if let Some(conditions) = conditions {
        put_annotation(obj, CONDITIONS, &conditions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::by_kind;

    #[test]
    fn an_autoscaler_survives_the_round_trip() {
        let v1 = by_kind("autoscaling", "v1", "HorizontalPodAutoscaler").expect("it is there");
        let v2 = by_kind("autoscaling", "v2", "HorizontalPodAutoscaler").expect("it is there");
        let object = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"},
            "spec": {"maxReplicas": 3, "behavior": {"scaleDown": {}}, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}]},
            "status": {"currentReplicas": 1, "desiredReplicas": 1, "conditions": [{"type": "AbleToScale"}]}});
        let mut converted = object.clone();
        convert(v2, v1, &mut converted);
        assert_eq!(converted["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(converted["apiVersion"], "autoscaling/v1");
        convert(v1, v2, &mut converted);
        assert_eq!(converted, object);
    }

    #[test]
    fn an_event_survives_the_round_trip() {
        let core = by_kind("", "v1", "Event").expect("it is there");
        let new = by_kind("events.k8s.io", "v1", "Event").expect("it is there");
        let object =
            json!({"apiVersion": "v1", "kind": "Event", "message": "m", "involvedObject": {"name": "x"}, "count": 2});
        let mut converted = object.clone();
        convert(core, new, &mut converted);
        assert_eq!(converted["note"], "m");
        assert_eq!(converted["deprecatedCount"], 2);
        convert(new, core, &mut converted);
        assert_eq!(converted, object);
    }
}
