//! NodeUnschedulable: nodes with `spec.unschedulable` take only pods that tolerate that.

use k8s_openapi::api::core::v1::Taint;

use super::taint_toleration::tolerates;
use crate::framework::{Actions, ClusterEvent, Plugin, Refusal, Subject, Verdict};
use crate::pod::PodInfo;
use crate::table::{NodeInfo, Table};

pub(crate) const NAME: &str = "NodeUnschedulable";

/// The plugin. It has no arguments.
pub(crate) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _table: &Table) -> Verdict {
        if !node.unschedulable {
            return Ok(());
        }
        let key = "node.kubernetes.io/unschedulable".into();
        let taint = Taint { key, effect: "NoSchedule".into(), ..Taint::default() };
        if tolerates(&pod.tolerations, &taint) {
            return Ok(());
        }
        Err(Refusal::unresolvable(NAME, "node(s) were unschedulable"))
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
