//! NodeAffinity: which nodes a pod must or would like to be on, by their labels.

use coracle_matching::nodes::{Place, selects, term_matches};
use k8s_openapi::api::core::v1::{NodeSelector, PreferredSchedulingTerm};

use crate::pod::PodInfo;
use crate::table::NodeInfo;

/// Whether a node has what the pod's selector and required affinity ask for.
pub(crate) fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && pod.required_nodes.as_ref().is_none_or(|selector| selects(selector, place(node)))
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
    let weight = |term: &PreferredSchedulingTerm| {
        if term_matches(&term.preference, place(node)) { i64::from(term.weight) } else { 0 }
    };
    pod.preferred_nodes.iter().map(weight).sum()
}

fn place(node: &NodeInfo) -> Place<'_> {
    Place { name: &node.name, labels: &node.labels }
}
