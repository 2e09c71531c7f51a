//! The pods of a DaemonSet: what they tolerate, and the node that each is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, PodTemplateSpec, Toleration,
};
use kube::ResourceExt;

use crate::common::{is_deleting, is_terminal, node_name, uid};
use crate::history::HASH_LABEL;
use crate::placement;
use crate::pod_control::pod_from_template;

/// How the template was numbered before there were revisions; pods that older versions made have only this.
const GENERATION: &str = "deprecated.daemonset.template.generation";
const GENERATION_LABEL: &str = "pod-template-generation";
/// What every pod of a DaemonSet tolerates: it stays on a node that is in trouble, and comes to one that is cordoned.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK_UNAVAILABLE: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// Pods by the node that they are on, or are for.
pub(super) type ByNode = BTreeMap<String, Vec<Arc<Pod>>>;

/// What is to be on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A pod is to run there.
    Run,
    /// A pod that is there may stay, but none is made.
    Keep,
    /// No pod is to be there.
    Leave,
}

/// A DaemonSet's template with its tolerations, as all nodes are asked about it.
pub(super) struct Template(PodTemplateSpec);

impl Template {
    pub fn of(ds: &DaemonSet) -> Template {
        let mut template = template(ds);
        add_tolerations(template.spec.get_or_insert_default());
        Template(template)
    }

    pub fn verdict(&self, node: &Node) -> Verdict {
        let Some(spec) = &self.0.spec else { return Verdict::Leave };
        if !placement::is_wanted(spec, node) || !placement::tolerates(spec, node, &["NoExecute"]) {
            return Verdict::Leave;
        }
        if placement::tolerates(spec, node, &["NoSchedule"]) { Verdict::Run } else { Verdict::Keep }
    }

    /// The pod for a node, which the scheduler puts there.
    pub fn pod(&self, ds: &DaemonSet, node: &str, hash: &str) -> Pod {
        let mut pod = pod_from_template(&self.0, ds);
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert(HASH_LABEL.into(), hash.into());
        if let Some(generation) = generation(ds) {
            labels.insert(GENERATION_LABEL.into(), generation.to_string());
        }
        let affinity = pod.spec.get_or_insert_default().affinity.get_or_insert_default();
        let nodes = affinity.node_affinity.get_or_insert_default();
        nodes.required_during_scheduling_ignored_during_execution = Some(only(node));
        pod
    }
}

pub(super) fn template(ds: &DaemonSet) -> PodTemplateSpec {
    ds.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default()
}

fn generation(ds: &DaemonSet) -> Option<i64> {
    ds.annotations().get(GENERATION)?.parse().ok()
}

fn add_tolerations(spec: &mut PodSpec) {
    let network = Some(NETWORK_UNAVAILABLE).filter(|_| spec.host_network == Some(true));
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        let toleration = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        let same = |old: &Toleration| {
            old.key == toleration.key
                && old.effect == toleration.effect
                && old.operator == toleration.operator
                && old.value.as_ref().is_none_or(|value| value.is_empty())
        };
        match tolerations.iter_mut().find(|old| same(old)) {
            // It has to hold for ever.
            Some(old) => *old = toleration,
            None => tolerations.push(toleration),
        }
    }
}

/// The selector of one node by its name.
fn only(node: &str) -> NodeSelector {
    let requirement = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: Some(vec![node.to_owned()]),
    };
    NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm { match_fields: Some(vec![requirement]), match_expressions: None }],
    }
}

/// The node that a pod is on, or is to be put on.
fn target(pod: &Pod) -> Option<&str> {
    let node = node_name(pod);
    if !node.is_empty() {
        return Some(node);
    }
    let nodes = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &nodes.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
    named.filter_map(|field| field.values.as_ref()?.first()).map(String::as_str).next()
}

/// Pods that have ended and are being deleted do not count: their successors need not wait until somebody lets them go.
pub(super) fn by_node(pods: &[Arc<Pod>]) -> ByNode {
    let mut found = ByNode::new();
    for pod in pods.iter().filter(|pod| !(is_terminal(pod) && is_deleting(&***pod))) {
        if let Some(node) = target(pod) {
            found.entry(node.to_owned()).or_default().push(pod.clone());
        }
    }
    found.values_mut().for_each(|pods| pods.sort_by(|a, b| seniority(a).cmp(&seniority(b))));
    found
}

/// The first is the one that counts for its node: scheduled before waiting, older before younger.
fn seniority(pod: &Pod) -> impl Ord + use<'_> {
    (node_name(pod).is_empty(), pod.metadata.creation_timestamp.clone(), &pod.metadata.name, uid(pod))
}

/// Whether a pod was made of the current template, which has these hashes.
pub(super) fn is_updated(ds: &DaemonSet, pod: &Pod, hashes: &BTreeSet<String>) -> bool {
    let label = |key: &str| pod.labels().get(key).map(String::as_str);
    label(HASH_LABEL).is_some_and(|hash| hashes.contains(hash))
        || generation(ds).is_some_and(|number| label(GENERATION_LABEL) == Some(number.to_string().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn daemon_set(spec: Value) -> DaemonSet {
        serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "n", "uid": "u"},
            "spec": {"selector": {}, "template": {"metadata": {"labels": {"app": "d"}}, "spec": spec}}}))
        .unwrap()
    }

    fn node(spec: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "a", "labels": {"disk": "ssd"}}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_pod_is_for_one_node_and_keeps_the_rest_of_its_affinity() {
        let ds = daemon_set(json!({"containers": [], "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions":
                [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}}}));
        let pod = Template::of(&ds).pod(&ds, "a", "h");
        assert_eq!(target(&pod), Some("a"));
        assert_eq!(pod.labels().get(HASH_LABEL).map(String::as_str), Some("h"));
        let nodes = pod.spec.unwrap().affinity.unwrap().node_affinity.unwrap();
        assert_eq!(nodes.required_during_scheduling_ignored_during_execution, Some(only("a")));
        assert_eq!(nodes.preferred_during_scheduling_ignored_during_execution.unwrap().len(), 1);
    }

    #[test]
    fn a_toleration_that_ends_is_replaced_by_one_that_does_not() {
        let mut spec = PodSpec {
            tolerations: serde_json::from_value(json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists",
                "effect": "NoExecute", "tolerationSeconds": 10}]))
            .unwrap(),
            host_network: Some(true),
            ..PodSpec::default()
        };
        add_tolerations(&mut spec);
        let tolerations = spec.tolerations.unwrap();
        assert_eq!(tolerations.len(), 7);
        assert_eq!(tolerations[0].toleration_seconds, None);
    }

    #[test]
    fn taints_keep_new_pods_off_and_drive_old_ones_away() {
        let verdict =
            |spec: Value, taints: Value| Template::of(&daemon_set(spec)).verdict(&node(json!({"taints": taints})));
        let plain = || json!({"containers": []});
        assert_eq!(verdict(plain(), json!([])), Verdict::Run);
        assert_eq!(verdict(json!({"containers": [], "nodeSelector": {"disk": "hdd"}}), json!([])), Verdict::Leave);
        let cordoned = json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
        assert_eq!(verdict(plain(), cordoned), Verdict::Run);
        assert_eq!(verdict(plain(), json!([{"key": "k", "effect": "NoSchedule"}])), Verdict::Keep);
        assert_eq!(verdict(plain(), json!([{"key": "k", "effect": "NoExecute"}])), Verdict::Leave);
        assert_eq!(verdict(plain(), json!([{"key": "k", "effect": "PreferNoSchedule"}])), Verdict::Run);
    }

    #[test]
    fn the_scheduled_and_the_oldest_pod_counts() {
        let pod = |name: &str, node: Option<&str>, second: u8| -> Arc<Pod> {
            let mut pod = Template::of(&daemon_set(json!({"containers": []}))).pod(&DaemonSet::default(), "a", "h");
            pod.metadata.name = Some(name.into());
            pod.metadata.creation_timestamp =
                serde_json::from_value(json!(format!("2026-01-01T00:00:0{second}Z"))).unwrap();
            pod.spec.get_or_insert_default().node_name = node.map(str::to_owned);
            Arc::new(pod)
        };
        let pods = by_node(&[pod("x", None, 1), pod("y", Some("a"), 3), pod("z", Some("a"), 2)]);
        let names: Vec<String> = pods["a"].iter().map(|pod| pod.name_any()).collect();
        assert_eq!(names, ["z", "y", "x"]);
    }
}
