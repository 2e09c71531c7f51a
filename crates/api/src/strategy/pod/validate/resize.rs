//! Checks of a change through the subresource `resize`: processor and memory of containers.
//! <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>

use serde_json::{Map, Value, json};

use super::Errors;
use crate::field::{FieldError, Path};
use crate::meta::{at, list, text};
use crate::strategy::pod::resources::qos_class;

/// Checks that a pod may be given other resources.
pub fn resize(new: &Value, old: &Value) -> Errors {
    let spec = Path::new("spec");
    let whole = |pod: &Value| {
        ["requests", "limits"]
            .iter()
            .any(|k| at(pod, &["spec", "resources", k]).as_object().is_some_and(|m| !m.is_empty()))
    };
    if whole(old) || whole(new) {
        return vec![FieldError::forbidden(&Path::default(), "pods with pod-level resources cannot be resized")];
    }
    let mut errors = Vec::new();
    let before = match text(old, &["status", "qosClass"]) {
        "" => qos_class(old),
        class => class,
    };
    if qos_class(new) != before {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid_str(&spec, text(new, &["status", "qosClass"]), detail));
    }
    if !is_supported(old) {
        errors.push(FieldError::forbidden(&spec, "Pod running on node without support for resize"));
    }
    let mut same = true;
    for group in ["initContainers", "containers"] {
        let (now, was) = (list(new, &["spec", group]), list(old, &["spec", group]));
        same &= now.len() == was.len();
        for (i, (now, was)) in now.iter().zip(was).enumerate() {
            if group == "containers" || text(was, &["restartPolicy"]) == "Always" {
                removed(now, was, &spec.child(group).index(i).child("resources"), &mut errors);
                same &= without_sizes(now) == without_sizes(was);
            } else if now != was {
                errors.push(FieldError::forbidden(&spec, "resources for non-sidecar init containers are immutable"));
            }
        }
    }
    let others = |pod: &Value| {
        let mut spec = pod["spec"].as_object().cloned().unwrap_or_default();
        spec.retain(|key, _| !matches!(key.as_str(), "containers" | "initContainers"));
        spec
    };
    if errors.is_empty() && (!same || others(new) != others(old)) {
        errors.push(FieldError::forbidden(&spec, "only cpu and memory resources are mutable"));
    }
    errors
}

/// The node says of its running containers what they have, if it can change that.
fn is_supported(pod: &Value) -> bool {
    let mut running = list(pod, &["status", "containerStatuses"])
        .iter()
        .filter(|status| !at(status, &["state", "running"]).is_null());
    running.next().is_none_or(|status| !status["resources"].is_null())
}

fn removed(now: &Value, was: &Value, path: &Path, errors: &mut Errors) {
    for kind in ["requests", "limits"] {
        let missing = |name: &String| at(now, &["resources", kind, name]).is_null();
        if at(was, &["resources", kind]).as_object().is_some_and(|m| m.keys().any(missing)) {
            let detail = format!("resource {kind} cannot be removed");
            errors.push(FieldError::forbidden(&path.child(kind), detail));
        }
    }
}

/// A container without what a resize may change.
fn without_sizes(container: &Value) -> Value {
    let mut out = container.clone();
    let mut resources = Map::new();
    for kind in ["requests", "limits"] {
        let mut amounts = at(container, &["resources", kind]).as_object().cloned().unwrap_or_default();
        amounts.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
        resources.insert(kind.into(), Value::Object(amounts));
    }
    if let Some(map) = out.as_object_mut() {
        map.insert("resources".into(), json!([resources, at(container, &["resources", "claims"])]));
        map.remove("resizePolicy");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: Value) -> Value {
        json!({"spec": {"containers": [{"name": "a", "image": "i:1", "resources": resources}]}, "status": {}})
    }

    fn refused(new: &Value, old: &Value) -> Vec<String> {
        resize(new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_resize_does_not_change_the_quality_of_service() {
        let old = pod(json!({}));
        assert_eq!(
            refused(&pod(json!({"requests": {"cpu": "20m"}})), &old),
            ["spec: Invalid value: \"\": Pod QOS Class may not change as a result of resizing"]
        );
        let old = pod(json!({"requests": {"cpu": "10m"}}));
        assert!(refused(&pod(json!({"requests": {"cpu": "20m"}})), &old).is_empty());
    }

    #[test]
    fn a_resize_changes_processor_and_memory_only() {
        let old = pod(json!({"requests": {"cpu": "10m"}}));
        let mut new = pod(json!({"requests": {"cpu": "20m"}}));
        new["spec"]["containers"][0]["image"] = "i:2".into();
        assert_eq!(refused(&new, &old), ["spec: Forbidden: only cpu and memory resources are mutable"]);
        let new = pod(json!({"requests": {"memory": "1Gi"}}));
        assert_eq!(
            refused(&new, &old),
            ["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"]
        );
    }

    #[test]
    fn a_node_that_cannot_resize_is_not_asked_to() {
        let mut old = pod(json!({"requests": {"cpu": "10m"}}));
        old["status"]["containerStatuses"] = json!([{"name": "a", "state": {"running": {}}}]);
        assert_eq!(
            refused(&pod(json!({"requests": {"cpu": "20m"}})), &old),
            ["spec: Forbidden: Pod running on node without support for resize"]
        );
    }
}
