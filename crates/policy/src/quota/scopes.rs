//! Which objects a quota is about.

use coracle_api::meta::{self, list, text};
use coracle_api::strategy::pod::resources::qos_class;
use serde_json::Value;

use super::Resource;

/// Whether an object is one of those that a quota limits. Without scopes, all are.
pub fn covers(quota: &Value, resource: Resource<'_>, object: &Value) -> bool {
    let spec = &quota["spec"];
    let plain = list(spec, &["scopes"]).iter().filter_map(Value::as_str).map(Requirement::exists);
    let selected = list(spec, &["scopeSelector", "matchExpressions"]).iter().map(Requirement::of);
    plain.chain(selected).all(|requirement| requirement.matches(resource, object))
}

struct Requirement<'a> {
    scope: &'a str,
    operator: &'a str,
    values: Vec<&'a str>,
}

impl<'a> Requirement<'a> {
    fn exists(scope: &'a str) -> Self {
        Self { scope, operator: "Exists", values: Vec::new() }
    }

    fn of(expression: &'a Value) -> Self {
        let values = list(expression, &["values"]).iter().filter_map(Value::as_str).collect();
        Self { scope: text(expression, &["scopeName"]), operator: text(expression, &["operator"]), values }
    }

    fn matches(&self, resource: Resource<'_>, object: &Value) -> bool {
        if resource.is_core("pods") {
            return self.matches_pod(object);
        }
        let of_claims = resource.is_core("persistentvolumeclaims") && self.scope == "VolumeAttributesClass";
        of_claims && self.matches_classes(&attributes_classes(object))
    }

    fn matches_pod(&self, pod: &Value) -> bool {
        match self.scope {
            "Terminating" => has_deadline(pod),
            "NotTerminating" => !has_deadline(pod),
            "BestEffort" => qos_class(pod) == "BestEffort",
            "NotBestEffort" => qos_class(pod) != "BestEffort",
            "PriorityClass" => {
                let class = text(pod, &["spec", "priorityClassName"]);
                self.matches_classes(if class.is_empty() { &[] } else { std::slice::from_ref(&class) })
            }
            "CrossNamespacePodAffinity" => looks_into_other_namespaces(pod),
            _ => false,
        }
    }

    /// Whether the classes of an object are those that are meant.
    fn matches_classes(&self, classes: &[&str]) -> bool {
        let listed = || classes.iter().any(|class| self.values.contains(class));
        match self.operator {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => !classes.is_empty(),
            "DoesNotExist" => classes.is_empty(),
            _ => false,
        }
    }
}

fn has_deadline(pod: &Value) -> bool {
    meta::int(pod, &["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0)
}

/// The classes that a claim has, gets, or wants.
fn attributes_classes(claim: &Value) -> Vec<&str> {
    let paths: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    paths.into_iter().map(|path| text(claim, path)).filter(|class| !class.is_empty()).collect()
}

fn looks_into_other_namespaces(pod: &Value) -> bool {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let required = list(pod, &["spec", "affinity", kind, REQUIRED]).iter();
        let preferred = list(pod, &["spec", "affinity", kind, PREFERRED]).iter().map(|term| &term["podAffinityTerm"]);
        required
            .chain(preferred)
            .any(|term| !list(term, &["namespaces"]).is_empty() || !term["namespaceSelector"].is_null())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PODS: Resource<'static> = Resource { group: "", plural: "pods" };

    fn in_scope(scope: &str, pod: &Value) -> bool {
        covers(&json!({"spec": {"scopes": [scope]}}), PODS, pod)
    }

    #[test]
    fn scopes_of_pods() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}]}});
        assert!(in_scope("BestEffort", &pod) && !in_scope("NotBestEffort", &pod));
        assert!(in_scope("NotTerminating", &pod) && !in_scope("Terminating", &pod));
        pod["spec"]["activeDeadlineSeconds"] = 0.into();
        assert!(in_scope("Terminating", &pod));
        assert!(!in_scope("PriorityClass", &pod) && !in_scope("CrossNamespacePodAffinity", &pod));
        pod["spec"]["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"namespaceSelector": {}}}]}});
        assert!(in_scope("CrossNamespacePodAffinity", &pod));
        assert!(!covers(
            &json!({"spec": {"scopes": ["Terminating"]}}),
            Resource { group: "", plural: "services" },
            &pod
        ));
    }

    #[test]
    fn classes_are_selected() {
        let covers = |operator: &str, values: &[&str], class: &str| {
            let expression = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
            let quota = json!({"spec": {"scopeSelector": {"matchExpressions": [expression]}}});
            super::covers(&quota, PODS, &json!({"spec": {"priorityClassName": class}}))
        };
        assert!(covers("In", &["high"], "high") && !covers("In", &["high"], "low"));
        assert!(covers("NotIn", &["high"], "low") && covers("NotIn", &["high"], ""));
        assert!(covers("Exists", &[], "low") && !covers("Exists", &[], ""));
        assert!(covers("DoesNotExist", &[], "") && !covers("DoesNotExist", &[], "low"));
    }
}
