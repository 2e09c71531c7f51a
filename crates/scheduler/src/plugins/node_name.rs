//! NodeName: a pod that names its node goes nowhere else.

use crate::framework::{Actions, Plugin, Refusal, Verdict};
use crate::pod::PodInfo;
use crate::table::{NodeInfo, Table};

pub(crate) const NAME: &str = "NodeName";

/// The plugin. It has no arguments.
pub(crate) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _table: &Table) -> Verdict {
        if pod.node_name().is_some_and(|name| name != node.name) {
            return Err(Refusal::unresolvable(NAME, "node(s) didn't match the requested node name"));
        }
        Ok(())
    }

    fn events(&self) -> Actions {
        Actions::NODE_ADD
    }
}
