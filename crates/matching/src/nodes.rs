//! Node selectors: by labels, and by the name of the node.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity>

use std::cmp::Ordering;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// What of a node selectors look at.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.labels`.
    pub labels: &'a BTreeMap<String, String>,
}

/// Whether one of the selector's terms matches.
pub fn selects(selector: &NodeSelector, node: Place<'_>) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

/// Whether a node has the labels that a pod's selector and its required affinity ask for.
pub fn is_wanted(spec: &PodSpec, node: Place<'_>) -> bool {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|nodes| nodes.required_during_scheduling_ignored_during_execution.as_ref());
    spec.node_selector.iter().flatten().all(|(key, value)| node.labels.get(key) == Some(value))
        && required.is_none_or(|selector| selects(selector, node))
}

/// Whether all requirements of a term hold. One without any matches nothing.
pub fn term_matches(term: &NodeSelectorTerm, node: Place<'_>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let label = |key: &str| node.labels.get(key).map(String::as_str);
    let field = |key: &str| (key == "metadata.name").then_some(node.name);
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| requirement_matches(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| requirement_matches(requirement, field(&requirement.key)))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compares = |wanted: Ordering| {
        let number = |text: &str| text.parse::<i64>().ok();
        let limit = values.first().and_then(|limit| number(limit));
        matches!((value.and_then(number), limit), (Some(value), Some(limit)) if value.cmp(&limit) == wanted)
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compares(Ordering::Greater),
        "Lt" => compares(Ordering::Less),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_node_is_wanted_by_its_labels_and_its_name() {
        let labels = BTreeMap::from([("disk".to_owned(), "ssd".to_owned()), ("cores".to_owned(), "8".to_owned())]);
        let node = Place { name: "a", labels: &labels };
        let wanted = |spec: Value| is_wanted(&serde_json::from_value(spec).unwrap(), node);
        let term = |term: Value| {
            json!({"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [term]}}}})
        };
        let by_name =
            |name: &str| term(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}));
        assert!(wanted(json!({"containers": []})));
        assert!(wanted(json!({"containers": [], "nodeSelector": {"disk": "ssd"}})));
        assert!(!wanted(json!({"containers": [], "nodeSelector": {"disk": "hdd"}})));
        assert!(!wanted(term(json!({}))));
        assert!(wanted(by_name("a")));
        assert!(!wanted(by_name("b")));
        assert!(wanted(term(json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}))));
        assert!(!wanted(term(json!({"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["8"]}]}))));
        assert!(!wanted(term(json!({"matchExpressions": [{"key": "disk", "operator": "DoesNotExist"}]}))));
    }
}
