//! Which nodes a pod may be on, for controllers that know the node before the scheduler does: by the pod's node
//! selector, its required node affinity and its tolerations.

use coracle_matching::{nodes, taints};
use k8s_openapi::api::core::v1::{Node, PodSpec};
use kube::ResourceExt;

/// Whether a node has the labels and the name that a pod asks for.
pub(crate) fn is_wanted(spec: &PodSpec, node: &Node) -> bool {
    let name = node.name_any();
    spec.node_name.as_ref().is_none_or(|wanted| wanted.is_empty() || *wanted == name)
        && nodes::is_wanted(spec, nodes::Place { name: &name, labels: node.labels() })
}

/// Whether a pod tolerates all taints of a node that have one of these effects.
pub(crate) fn tolerates(spec: &PodSpec, node: &Node, effects: &[&str]) -> bool {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let mut hard = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
    hard.all(|taint| taints::tolerates(tolerations, taint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_that_is_bound_wants_no_other_node() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "a", "labels": {"disk": "ssd"}}})).unwrap();
        let wanted = |spec: Value| is_wanted(&serde_json::from_value(spec).unwrap(), &node);
        assert!(wanted(json!({"containers": [], "nodeName": ""})));
        assert!(wanted(json!({"containers": [], "nodeName": "a", "nodeSelector": {"disk": "ssd"}})));
        assert!(!wanted(json!({"containers": [], "nodeName": "b"})));
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
