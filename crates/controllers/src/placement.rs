//! Which nodes a pod may be on, for controllers that know the node before the scheduler does: by the pod's node
//! selector, its required node affinity and its tolerations.

use std::cmp::Ordering;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};
use kube::ResourceExt;

/// Whether a node has the labels and the name that a pod asks for.
pub(crate) fn is_wanted(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.labels();
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|nodes| nodes.required_during_scheduling_ignored_during_execution.as_ref());
    spec.node_name.as_ref().is_none_or(|name| name.is_empty() || *name == node.name_any())
        && spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && required.is_none_or(|selector| selector.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

/// A term without any requirement matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let label = |key: &str| node.labels().get(key).map(String::as_str);
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| requirement_matches(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| requirement_matches(requirement, field(&requirement.key)))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compares = |wanted: Ordering| {
        let number = |text: &str| text.parse::<i64>().ok();
        let limit = values.first().and_then(|limit| number(limit));
        matches!((value.and_then(number), limit), (Some(value), Some(limit)) if value.cmp(&limit) == wanted)
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compares(Ordering::Greater),
        "Lt" => compares(Ordering::Less),
        _ => false,
    }
}

/// Whether a pod tolerates all taints of a node that have one of these effects.
pub(crate) fn tolerates(spec: &PodSpec, node: &Node, effects: &[&str]) -> bool {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let mut hard = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
    hard.all(|taint| tolerations.iter().any(|toleration| covers(toleration, taint)))
}

/// Whether a toleration is for a taint.
pub(crate) fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => {
                !key.is_empty() && text(&toleration.value) == taint.value.as_deref().unwrap_or_default()
            }
            Some(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_node_is_wanted_by_its_labels_and_its_name() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "a", "labels": {"disk": "ssd", "cores": "8"}}}))
                .unwrap();
        let wanted = |spec: Value| is_wanted(&serde_json::from_value(spec).unwrap(), &node);
        let term = |term: Value| {
            json!({"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [term]}}}})
        };
        assert!(wanted(json!({"containers": []})));
        assert!(wanted(json!({"containers": [], "nodeSelector": {"disk": "ssd"}})));
        assert!(!wanted(json!({"containers": [], "nodeSelector": {"disk": "hdd"}})));
        assert!(!wanted(json!({"containers": [], "nodeName": "b"})));
        assert!(!wanted(term(json!({}))));
        assert!(wanted(term(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}))));
        assert!(!wanted(term(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}))));
        assert!(wanted(term(json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}))));
        assert!(!wanted(term(json!({"matchExpressions": [{"key": "disk", "operator": "DoesNotExist"}]}))));
    }

    #[test]
    fn only_taints_of_the_effects_asked_for_count() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "a"},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}))
        .unwrap();
        let tolerates = |tolerations: Value, effects: &[&str]| {
            let spec = json!({"containers": [], "tolerations": tolerations});
            super::tolerates(&serde_json::from_value(spec).unwrap(), &node, effects)
        };
        assert!(tolerates(json!([]), &["NoExecute"]));
        assert!(!tolerates(json!([]), &["NoExecute", "NoSchedule"]));
        assert!(tolerates(json!([{"key": "k", "operator": "Exists"}]), &["NoSchedule"]));
    }
}
