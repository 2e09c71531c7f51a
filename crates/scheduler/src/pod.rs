//! A pod as the scheduler sees it, with its rules compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_matching::amounts::Amounts;
use coracle_matching::pods::{HostPort, host_ports, is_terminal};
use k8s_openapi::api::core::v1::{
    NodeSelector, Pod, PodAffinityTerm, PodSpec, PreferredSchedulingTerm, Toleration, TopologySpreadConstraint,
    WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Selector, SelectorExt};

use crate::resources::{Requests, pod_requests};

/// Labels of a pod, a node or a namespace.
pub(crate) type Labels = BTreeMap<String, String>;

/// Other pods that an affinity term speaks of.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    selector: Option<Selector>,
    namespaces: Vec<String>,
    namespace_selector: Option<Selector>,
    pub topology_key: String,
}

impl Term {
    fn new(term: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Term {
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        let same = own_values(term.match_label_keys.as_deref(), labels, "In");
        let other = own_values(term.mismatch_label_keys.as_deref(), labels, "NotIn");
        Term {
            selector: narrowed(term.label_selector.as_ref(), same.into_iter().chain(other)),
            namespaces,
            namespace_selector: term.namespace_selector.clone().and_then(|selector| selector.try_into().ok()),
            topology_key: term.topology_key.clone(),
        }
    }

    fn all(terms: Option<&Vec<PodAffinityTerm>>, namespace: &str, labels: &Labels) -> Vec<Term> {
        terms.into_iter().flatten().map(|term| Term::new(term, namespace, labels)).collect()
    }

    /// Whether the term speaks of a pod; `namespaces` has the labels of each namespace.
    pub fn matches(&self, pod: &PodInfo, namespaces: &BTreeMap<String, Labels>) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches(pod.labels()))
            && (self.namespaces.contains(&pod.namespace)
                || self
                    .namespace_selector
                    .as_ref()
                    .is_some_and(|selector| selector.matches(namespaces.get(&pod.namespace).unwrap_or(&NO_LABELS))))
    }
}

/// A topology spread constraint.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub max_skew: i64,
    pub topology_key: String,
    pub selector: Selects,
    pub min_domains: Option<i64>,
    pub honor_affinity: bool,
    pub honor_taints: bool,
}

impl Spread {
    /// A constraint of a pod with these labels.
    fn new(constraint: &TopologySpreadConstraint, labels: &Labels) -> Spread {
        let same = own_values(constraint.match_label_keys.as_deref(), labels, "In");
        let selector = narrowed(constraint.label_selector.as_ref(), same);
        Spread::with_selector(constraint, selector.map_or(Selects::Nothing, Selects::Labels))
    }

    /// A constraint that counts the selected pods, whatever it says itself.
    pub fn with_selector(constraint: &TopologySpreadConstraint, selector: Selects) -> Spread {
        Spread {
            max_skew: i64::from(constraint.max_skew),
            topology_key: constraint.topology_key.clone(),
            selector,
            min_domains: constraint.min_domains.map(i64::from),
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}

/// The pods that a spread constraint counts.
#[derive(Clone, Debug)]
pub(crate) enum Selects {
    /// Those with matching labels.
    Labels(Selector),
    /// Those of one controller.
    Owner(String),
    /// None.
    Nothing,
}

impl Selects {
    pub fn matches(&self, pod: &PodInfo) -> bool {
        match self {
            Selects::Labels(selector) => selector.matches(pod.labels()),
            Selects::Owner(uid) => pod.owner.as_deref() == Some(uid),
            Selects::Nothing => false,
        }
    }
}

/// A pod, compiled once for many comparisons.
#[derive(Debug)]
pub(crate) struct PodInfo {
    pub pod: Arc<Pod>,
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// UID of the managing controller, when it is one that keeps replicas.
    pub owner: Option<String>,
    pub priority: i32,
    pub requests: Amounts,
    /// CPU and memory with defaults for containers that request none.
    pub scored: (i64, i64),
    pub ports: Vec<HostPort>,
    pub node_selector: Labels,
    pub required_nodes: Option<NodeSelector>,
    pub preferred_nodes: Vec<PreferredSchedulingTerm>,
    pub tolerations: Vec<Toleration>,
    pub affinity: Vec<Term>,
    pub anti_affinity: Vec<Term>,
    /// Preferred terms; those of anti-affinity weigh less than nothing.
    pub preferred: Vec<(i64, Term)>,
    pub hard_spread: Vec<Spread>,
    pub soft_spread: Vec<Spread>,
    /// Images of all containers, with a tag.
    pub images: Vec<String>,
    /// Pods with the same text are alike to all plugins that share results between pods. Empty for pods that have a node.
    pub template: String,
}

static NO_LABELS: Labels = Labels::new();

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> PodInfo {
        let no_spec = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&no_spec);
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&NO_LABELS);
        let Requests { plain: requests, scored } = pod_requests(&pod);
        let affinity = spec.affinity.as_ref();
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let nodes = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let weighted = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| -> Vec<(i64, Term)> {
            let term = |term: &WeightedPodAffinityTerm| {
                (sign * i64::from(term.weight), Term::new(&term.pod_affinity_term, &namespace, labels))
            };
            terms.into_iter().flatten().map(term).collect()
        };
        let mut preferred =
            weighted(near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref()), 1);
        preferred.extend(weighted(
            far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
        ));
        let spread = |hard: bool| -> Vec<Spread> {
            let constraints = spec.topology_spread_constraints.iter().flatten();
            let chosen = constraints.filter(|constraint| (constraint.when_unsatisfiable == "DoNotSchedule") == hard);
            chosen.map(|constraint| Spread::new(constraint, labels)).collect()
        };
        let mut info = PodInfo {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            owner: owner(&pod),
            priority: spec.priority.unwrap_or(0),
            requests,
            scored,
            ports: host_ports(spec),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            required_nodes: nodes.and_then(|nodes| nodes.required_during_scheduling_ignored_during_execution.clone()),
            preferred_nodes: nodes
                .and_then(|nodes| nodes.preferred_during_scheduling_ignored_during_execution.clone())
                .unwrap_or_default(),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            affinity: Term::all(
                near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref()),
                &namespace,
                labels,
            ),
            anti_affinity: Term::all(
                far.and_then(|far| far.required_during_scheduling_ignored_during_execution.as_ref()),
                &namespace,
                labels,
            ),
            preferred,
            hard_spread: spread(true),
            soft_spread: spread(false),
            images: images(spec),
            template: String::new(),
            namespace,
            pod: pod.clone(),
        };
        if info.node_name().is_none() {
            info.template = info.template(spec);
        }
        info
    }

    fn template(&self, spec: &PodSpec) -> String {
        serde_json::to_string(&(
            (&self.namespace, self.labels(), &self.owner, &self.requests, self.scored),
            (&spec.affinity, &spec.node_selector, &spec.tolerations, &spec.topology_spread_constraints),
            (&self.images, &self.ports),
        ))
        .unwrap_or_default()
    }

    pub fn labels(&self) -> &Labels {
        self.pod.metadata.labels.as_ref().unwrap_or(&NO_LABELS)
    }

    /// The node that the pod was bound to.
    pub fn node_name(&self) -> Option<&str> {
        self.pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
    }

    /// The node that preemption made room for it on.
    pub fn nominated(&self) -> Option<&str> {
        self.pod.status.as_ref()?.nominated_node_name.as_deref().filter(|name| !name.is_empty())
    }

    /// The scheduler that is to find its node.
    pub fn scheduler_name(&self) -> &str {
        let name = self.pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        name.filter(|name| !name.is_empty()).unwrap_or("default-scheduler")
    }

    /// The gates that keep it from being scheduled.
    pub fn gates(&self) -> impl Iterator<Item = &str> {
        let gates = self.pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref());
        gates.unwrap_or_default().iter().map(|gate| gate.name.as_str())
    }

    /// When it began to run, for as far as its node has said so.
    pub fn started(&self) -> Option<jiff::Timestamp> {
        self.pod.status.as_ref()?.start_time.as_ref().map(|time| time.0)
    }

    /// Whether it needs nothing of its node any more.
    pub fn is_finished(&self) -> bool {
        is_terminal(&self.pod)
    }

    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Whether pods elsewhere decide where this one may go, or the other way round.
    pub fn has_pod_affinity(&self) -> bool {
        !self.affinity.is_empty() || !self.anti_affinity.is_empty() || !self.preferred.is_empty()
    }
}

fn owner(pod: &Pod) -> Option<String> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners
        .find(|owner| owner.controller == Some(true))
        .filter(|owner| matches!(owner.kind.as_str(), "ReplicaSet" | "ReplicationController" | "StatefulSet"))
        .map(|owner| owner.uid.clone())
}

/// Requirements that other pods have the pod's own values of some labels, or have not.
fn own_values(keys: Option<&[String]>, labels: &Labels, operator: &str) -> Vec<LabelSelectorRequirement> {
    let required = keys.into_iter().flatten().filter_map(|key| {
        Some(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.into(),
            values: Some(vec![labels.get(key)?.clone()]),
        })
    });
    required.collect()
}

/// A selector with more requirements. None selects nothing.
fn narrowed(
    selector: Option<&LabelSelector>,
    more: impl IntoIterator<Item = LabelSelectorRequirement>,
) -> Option<Selector> {
    let mut selector = selector?.clone();
    let mut more = more.into_iter().peekable();
    if more.peek().is_some() {
        selector.match_expressions.get_or_insert_default().extend(more);
    }
    selector.try_into().ok()
}

fn images(spec: &PodSpec) -> Vec<String> {
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.filter_map(|container| container.image.as_deref()).map(normalized_image).collect()
}

/// An image name as nodes report it: with a tag.
pub(crate) fn normalized_image(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(labels: serde_json::Value, spec: serde_json::Value) -> PodInfo {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": labels}, "spec": spec});
        PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
    }

    #[test]
    fn label_keys_narrow_the_selector_of_an_affinity_term() {
        let term = json!({"topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["hash", "absent"],
            "mismatchLabelKeys": ["tenant"]});
        let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        let pod_of = |labels| pod(labels, json!({"containers": [], "affinity": affinity}));
        let own = pod_of(json!({"hash": "1", "tenant": "a"}));
        let matches = |labels| own.affinity[0].matches(&pod(labels, json!({"containers": []})), &BTreeMap::new());
        assert!(matches(json!({"hash": "1", "tenant": "b"})));
        assert!(!matches(json!({"hash": "2", "tenant": "b"})));
        assert!(!matches(json!({"hash": "1", "tenant": "a"})));
    }

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        assert_eq!(normalized_image("localhost:5000/web"), "localhost:5000/web:latest");
        assert_eq!(normalized_image("web:1"), "web:1");
    }
}
