//! TaintToleration: nodes repel pods that do not tolerate their taints.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>

pub(crate) use coracle_matching::taints::tolerates;
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
