//! What every node says of a pod, for who asks why it is not scheduled.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use coracle_matching::amounts::Resource;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};

use crate::SchedulerConfiguration;
use crate::config::profile;
use crate::filters::Filters;
use crate::plugins::taint_toleration::untolerated;
use crate::pod::PodInfo;
use crate::table::Table;

/// Plugins that would have to see volumes and claims.
const VOLUMES: [&str; 4] = ["VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone"];

/// What there is in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// All nodes.
    pub nodes: Vec<Node>,
    /// All pods.
    pub pods: Vec<Pod>,
    /// All namespaces.
    pub namespaces: Vec<Namespace>,
}

/// What one node says of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVerdict {
    /// The node.
    pub node: String,
    /// Why it does not take the pod, as the pod's events word it; nothing where it does.
    pub reasons: Vec<String>,
    /// Of resources of which there is too little: the name, what the pod asks for, what is free, and what there is at all; CPU in
    /// thousandths, all else in units or bytes.
    pub missing: Vec<(String, i64, i64, i64)>,
    /// The first taint that the pod does not tolerate, as `key=value:effect`.
    pub taint: Option<String>,
}

/// Asks every node by the default plugins but those of volumes. The pod itself, if it is among the pods and on a node, does not count.
///
/// # Errors
/// The default profile cannot be made.
pub fn explain(pod: &Pod, seen: &Seen) -> Result<Vec<NodeVerdict>> {
    let profile = profile(&SchedulerConfiguration::default().without(&VOLUMES), 0)?;
    let mut table = Table::default();
    for namespace in &seen.namespaces {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        table.set_namespace(namespace.metadata.name.as_deref().unwrap_or_default(), Some(labels));
    }
    seen.nodes.iter().for_each(|node| table.set_node(node));
    for other in seen.pods.iter().filter(|other| other.metadata.uid != pod.metadata.uid) {
        let info = PodInfo::new(Arc::new(other.clone()));
        if !info.is_finished()
            && let Some(node) = info.node_name()
        {
            let node = node.to_owned();
            table.add_pod(&node, Arc::new(info));
        }
    }
    let mut unplaced = pod.clone();
    if let Some(spec) = unplaced.spec.as_mut() {
        spec.node_name = None;
    }
    let pod = PodInfo::new(Arc::new(unplaced));
    let prepared = Filters::prepare(&pod, &table, &profile, None);
    let mut verdicts = BTreeMap::new();
    for (number, node) in table.existing() {
        let refusal = match &prepared {
            Err(refusal) => Some(refusal.clone()),
            Ok(filters) if filters.nodes.as_ref().is_some_and(|nodes| !nodes.contains(&number)) => {
                filters.narrowed_by.clone()
            }
            Ok(filters) => filters.allow(&pod, &table, &profile, number).err().map(|(_, refusal)| refusal),
        };
        let reasons: Vec<String> = refusal.into_iter().flat_map(|refusal| refusal.reasons).map(Into::into).collect();
        let missing = reasons.iter().filter_map(|reason| {
            let name = reason.strip_prefix("Insufficient ")?;
            let resource = Resource::new(name);
            let has = node.allocatable.get(&resource);
            Some((name.to_owned(), pod.requests.get(&resource), has.saturating_sub(node.requested.get(&resource)), has))
        });
        let missing = missing.collect();
        let taint = untolerated(&pod.tolerations, &node.taints);
        let taint =
            taint.map(|taint| format!("{}={}:{}", taint.key, taint.value.as_deref().unwrap_or_default(), taint.effect));
        verdicts.insert(node.name.clone(), NodeVerdict { node: node.name.clone(), reasons, missing, taint });
    }
    Ok(verdicts.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_node_says_why_not() {
        let node = |name: &str, taint: bool| {
            let taints = if taint { json!([{"key": "k", "effect": "NoSchedule"}]) } else { json!([]) };
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints},
                "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "5"}}}))
            .unwrap()
        };
        let pod = |uid: &str, cpu: &str, node: Option<&str>| {
            serde_json::from_value(
                json!({"metadata": {"name": uid, "uid": uid, "namespace": "n"}, "spec": {"nodeName": node,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}),
            )
            .unwrap()
        };
        let seen = Seen {
            nodes: vec![node("a", true), node("b", false)],
            pods: vec![pod("1", "1500m", Some("b"))],
            namespaces: Vec::new(),
        };
        let verdicts = explain(&pod("2", "1", None), &seen).unwrap();
        assert_eq!(verdicts[0].reasons, ["node(s) had untolerated taint(s)"]);
        assert_eq!(verdicts[0].taint.as_deref(), Some("k=:NoSchedule"));
        assert_eq!(verdicts[1].reasons, ["Insufficient cpu"]);
        assert_eq!(verdicts[1].missing, [("cpu".to_owned(), 1000, 500, 2000)]);
        assert!(explain(&pod("2", "500m", None), &seen).unwrap()[1].reasons.is_empty());
    }
}
