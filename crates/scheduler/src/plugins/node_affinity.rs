//! NodeAffinity: which nodes a pod must or would like to be on, by their labels.

use std::collections::BTreeSet;

use coracle_matching::nodes::{selects, term_matches};
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorTerm, PreferredSchedulingTerm};

use crate::framework::{Actions, ClusterEvent, Normalize, Plugin, PreFilter, Refusal, Subject, Verdict};
use crate::pod::PodInfo;
use crate::table::{NodeInfo, Table};

pub(crate) const NAME: &str = "NodeAffinity";

/// The plugin, with its arguments.
#[derive(Default)]
pub(crate) struct NodeAffinity {
    /// What nodes need besides, to take any pod of the profile.
    pub added_required: Option<NodeSelector>,
    /// What they had better have besides.
    pub added_preferred: Vec<PreferredSchedulingTerm>,
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, table: &Table) -> Result<PreFilter, Refusal> {
        let Some(names) = pod.required_nodes.as_ref().and_then(named) else { return Ok(PreFilter::default()) };
        if names.is_empty() {
            return Err(Refusal::unresolvable(NAME, "pod affinity terms conflict"));
        }
        let number = |name: &str| table.number(name).filter(|number| table.node(*number).exists);
        Ok(PreFilter { nodes: Some(names.into_iter().filter_map(number).collect()), filter: None })
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _table: &Table) -> Verdict {
        if self.added_required.as_ref().is_some_and(|selector| !selects(selector, node.place())) {
            return Err(Refusal::unresolvable(NAME, "node(s) didn't match scheduler-enforced node affinity"));
        }
        if !matches(pod, node) {
            return Err(Refusal::unresolvable(NAME, "node(s) didn't match Pod's node affinity/selector"));
        }
        Ok(())
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _table: &Table) -> i64 {
        preference(&pod.preferred_nodes, node).saturating_add(preference(&self.added_preferred, node))
    }

    fn normalize(&self) -> Normalize {
        Normalize::Best
    }

    fn events(&self) -> Actions {
        Actions::NODE_ADD | Actions::NODE_LABEL | Actions::OWN_UPDATE
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent<'_>, table: &Table) -> bool {
        match event.subject {
            Subject::Node(node) => self.filter(pod, node, table).is_ok(),
            Subject::Pod(_) | Subject::Other => true,
        }
    }
}

/// Whether a node has what the pod's selector and required affinity ask for.
pub(crate) fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && pod.required_nodes.as_ref().is_none_or(|selector| selects(selector, node.place()))
}

/// The names of the only nodes that can match, when every term names some, as those of a DaemonSet's pods do: no others
/// need to be looked at.
fn named(selector: &NodeSelector) -> Option<BTreeSet<&str>> {
    fn of_term(term: &NodeSelectorTerm) -> Option<BTreeSet<&str>> {
        let fields = term.match_fields.iter().flatten();
        let named = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
        let names = named.map(|field| field.values.iter().flatten().map(String::as_str).collect::<BTreeSet<&str>>());
        names.reduce(|some, others| some.intersection(&others).copied().collect())
    }
    let names: Vec<BTreeSet<&str>> = selector.node_selector_terms.iter().map(of_term).collect::<Option<_>>()?;
    Some(names.into_iter().flatten().collect())
}

/// The weights of the preferred terms that match.
fn preference(terms: &[PreferredSchedulingTerm], node: &NodeInfo) -> i64 {
    let matching = terms.iter().filter(|term| term_matches(&term.preference, node.place()));
    matching.map(|term| i64::from(term.weight)).sum()
}
