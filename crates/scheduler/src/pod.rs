//! A pod as the scheduler sees it, with its rules compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelector, Pod, PodAffinityTerm, PreferredSchedulingTerm, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Selector, SelectorExt};

use crate::resources::{Amounts, Names, pod_requests};

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
    fn new(term: &PodAffinityTerm, namespace: &str) -> Term {
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        Term {
            selector: term.label_selector.clone().and_then(|selector| selector.try_into().ok()),
            namespaces,
            namespace_selector: term.namespace_selector.clone().and_then(|selector| selector.try_into().ok()),
            topology_key: term.topology_key.clone(),
        }
    }

    /// Whether the term speaks of a pod; `namespaces` has the labels of each namespace.
    pub fn matches(&self, pod: &PodInfo, namespaces: &BTreeMap<String, Labels>) -> bool {
        let empty = Labels::new();
        let in_namespace = self.namespaces.contains(&pod.namespace)
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|selector| selector.matches(namespaces.get(&pod.namespace).unwrap_or(&empty)));
        in_namespace && self.selector.as_ref().is_some_and(|selector| selector.matches(pod.labels()))
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

/// A port that a pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    pub fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == "0.0.0.0" || other.ip == "0.0.0.0")
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
    pub scored: [i64; 2],
    pub ports: Vec<HostPort>,
    pub node_selector: Labels,
    pub required_nodes: Option<NodeSelector>,
    pub preferred_nodes: Vec<PreferredSchedulingTerm>,
    pub tolerations: Vec<Toleration>,
    pub affinity: Vec<Term>,
    pub anti_affinity: Vec<Term>,
    pub preferred: Vec<(i64, Term)>,
    pub hard_spread: Vec<Spread>,
    pub soft_spread: Vec<Spread>,
    /// Images of all containers, with a tag.
    pub images: Vec<String>,
    /// Pods with the same text are alike to filters and scores that look at one node only.
    pub template: String,
}

static NO_LABELS: Labels = Labels::new();

impl PodInfo {
    pub fn new(names: &mut Names, pod: Arc<Pod>) -> PodInfo {
        let spec = pod.spec.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let labels = pod.metadata.labels.as_ref();
        let (requests, scored) = pod_requests(names, &spec);
        let pod_affinity =
            spec.affinity.as_ref().and_then(|affinity| affinity.pod_affinity.clone()).unwrap_or_default();
        let pod_anti =
            spec.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.clone()).unwrap_or_default();
        let node_affinity =
            spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone()).unwrap_or_default();
        let terms = |list: Option<Vec<PodAffinityTerm>>| -> Vec<Term> {
            list.into_iter().flatten().map(|term| Term::new(&term, &namespace)).collect()
        };
        let weighted = |list: Option<Vec<k8s_openapi::api::core::v1::WeightedPodAffinityTerm>>, sign: i64| {
            let namespace = namespace.clone();
            list.into_iter()
                .flatten()
                .map(move |term| (sign * i64::from(term.weight), Term::new(&term.pod_affinity_term, &namespace)))
        };
        let preferred = weighted(pod_affinity.preferred_during_scheduling_ignored_during_execution, 1)
            .chain(weighted(pod_anti.preferred_during_scheduling_ignored_during_execution, -1))
            .collect();
        let spread = |hard: bool| -> Vec<Spread> {
            spec.topology_spread_constraints
                .iter()
                .flatten()
                .filter(|constraint| (constraint.when_unsatisfiable == "DoNotSchedule") == hard)
                .map(|constraint| Spread {
                    max_skew: i64::from(constraint.max_skew),
                    topology_key: constraint.topology_key.clone(),
                    selector: spread_selector(
                        constraint.label_selector.clone(),
                        constraint.match_label_keys.as_deref().unwrap_or_default(),
                        labels,
                    ),
                    min_domains: constraint.min_domains.map(i64::from),
                    honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
                    honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
                })
                .collect()
        };
        let sidecars =
            |container: &&k8s_openapi::api::core::v1::Container| container.restart_policy.as_deref() == Some("Always");
        let ports: Vec<HostPort> = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten().filter(sidecars))
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| {
                Some(HostPort {
                    port: port.host_port.filter(|port| *port > 0)?,
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                    ip: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into()),
                })
            })
            .collect();
        let images: Vec<String> = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .filter_map(|container| container.image.as_deref())
            .map(normalized_image)
            .collect();
        let owner = pod
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true))
            .filter(|owner| matches!(owner.kind.as_str(), "ReplicaSet" | "ReplicationController" | "StatefulSet"))
            .map(|owner| owner.uid.clone());
        let template = serde_json::to_string(&(
            (&namespace, labels, &owner, &requests.0, scored),
            (&spec.affinity, &spec.node_selector, &spec.tolerations, &spec.topology_spread_constraints),
            (&spec.node_name, &images, ports.iter().map(|p| (&p.ip, &p.protocol, p.port)).collect::<Vec<_>>()),
        ))
        .unwrap_or_default();
        PodInfo {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            owner,
            priority: spec.priority.unwrap_or(0),
            requests,
            scored,
            ports,
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            required_nodes: node_affinity.required_during_scheduling_ignored_during_execution,
            preferred_nodes: node_affinity.preferred_during_scheduling_ignored_during_execution.unwrap_or_default(),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            affinity: terms(pod_affinity.required_during_scheduling_ignored_during_execution),
            anti_affinity: terms(pod_anti.required_during_scheduling_ignored_during_execution),
            preferred,
            hard_spread: spread(true),
            soft_spread: spread(false),
            images,
            template,
            namespace,
            pod,
        }
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

    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Whether pods elsewhere decide where this one may go, or the other way round.
    pub fn has_pod_affinity(&self) -> bool {
        !self.affinity.is_empty() || !self.anti_affinity.is_empty() || !self.preferred.is_empty()
    }
}

/// The selector of a spread constraint, narrowed to pods with the incoming pod's values of some keys.
fn spread_selector(selector: Option<LabelSelector>, keys: &[String], labels: Option<&Labels>) -> Selects {
    let Some(mut selector) = selector else { return Selects::Nothing };
    for key in keys {
        if let Some(value) = labels.and_then(|labels| labels.get(key)) {
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: "In".into(),
                values: Some(vec![value.clone()]),
            });
        }
    }
    selector.try_into().map_or(Selects::Nothing, Selects::Labels)
}

/// An image name as nodes report it: with a tag.
pub(crate) fn normalized_image(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}
