//! TaintToleration: nodes repel pods that do not tolerate their taints.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::framework::{Actions, ClusterEvent, Normalize, Plugin, Refusal, Subject, Verdict};
use crate::pod::PodInfo;
use crate::table::{NodeInfo, Table};

pub(crate) const NAME: &str = "TaintToleration";

/// The plugin. It has no arguments.
pub(crate) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _table: &Table) -> Verdict {
        match untolerated(&pod.tolerations, &node.taints) {
            None => Ok(()),
            // Which ones it has is not told to whoever may read pods.
            Some(_) => Err(Refusal::unresolvable(NAME, "node(s) had untolerated taint(s)")),
        }
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _table: &Table) -> i64 {
        unpreferred(&pod.tolerations, &node.taints)
    }

    fn normalize(&self) -> Normalize {
        Normalize::Reverse
    }

    fn events(&self) -> Actions {
        Actions::NODE_ADD | Actions::NODE_TAINT | Actions::OWN_UPDATE
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent<'_>, table: &Table) -> bool {
        match event.subject {
            Subject::Node(node) => self.filter(pod, node, table).is_ok(),
            Subject::Pod(_) | Subject::Other => true,
        }
    }
}

/// Whether one of the tolerations covers a taint.
pub(crate) fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| covers(toleration, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => {
            !key.is_empty() && text(&toleration.value) == taint.value.as_deref().unwrap_or_default()
        }
        Some(_) => false,
    }
}

/// The first taint that keeps a pod off.
pub(crate) fn untolerated<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .find(|taint| !tolerates(tolerations, taint))
}

/// How many taints would rather keep the pod off.
fn unpreferred(tolerations: &[Toleration], taints: &[Taint]) -> i64 {
    let unpreferred = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerates(tolerations, taint);
    taints.iter().filter(unpreferred).count() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_cover_taints_by_key_value_and_effect() {
        let taint: Taint = serde_json::from_value(json!({"key": "a", "value": "b", "effect": "NoSchedule"})).unwrap();
        let covers = |toleration| tolerates(&[serde_json::from_value(toleration).unwrap()], &taint);
        assert!(covers(json!({"operator": "Exists"})));
        assert!(covers(json!({"key": "a", "operator": "Exists"})));
        assert!(covers(json!({"key": "a", "value": "b", "effect": "NoSchedule"})));
        assert!(!covers(json!({"key": "a", "value": "c"})));
        assert!(!covers(json!({"key": "a", "value": "b", "effect": "NoExecute"})));
        assert!(!covers(json!({"key": "b", "operator": "Exists"})));
    }
}
