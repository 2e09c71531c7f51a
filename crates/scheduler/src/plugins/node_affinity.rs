//! NodeAffinity: which nodes a pod must or would like to be on, by their labels.

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};

use crate::pod::PodInfo;
use crate::table::NodeInfo;

/// Whether a node has what the pod's selector and required affinity ask for.
pub(crate) fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && pod
            .required_nodes
            .as_ref()
            .is_none_or(|selector| selector.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

/// The names of the only nodes that can match, when every term names some, as those of a DaemonSet's pods do: no others
/// need to be looked at.
pub(crate) fn named(selector: &NodeSelector) -> Option<Vec<&str>> {
    let names = selector.node_selector_terms.iter().map(|term| {
        let fields = term.match_fields.iter().flatten();
        let mut named = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
        named.next().and_then(|field| field.values.as_deref())
    });
    let names: Vec<&[String]> = names.collect::<Option<_>>()?;
    let mut names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// The weights of the preferred terms that match.
pub(crate) fn preference(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let weight = |term: &k8s_openapi::api::core::v1::PreferredSchedulingTerm| {
        if term_matches(&term.preference, node) { i64::from(term.weight) } else { 0 }
    };
    pod.preferred_nodes.iter().map(weight).sum()
}

/// A term without any requirement matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let of_field = |key: &str| (key == "metadata.name").then_some(node.name.as_str());
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|r| requirement_matches(r, node.labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| requirement_matches(r, of_field(&r.key)))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compared = |wanted: std::cmp::Ordering| {
        let value = value.and_then(|value| value.parse::<i64>().ok());
        let limit = values.first().and_then(|limit| limit.parse::<i64>().ok());
        matches!((value, limit), (Some(value), Some(limit)) if value.cmp(&limit) == wanted)
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(std::cmp::Ordering::Greater),
        "Lt" => compared(std::cmp::Ordering::Less),
        _ => false,
    }
}
