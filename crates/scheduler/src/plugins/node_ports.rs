//! NodePorts: a host port is one pod's only.

use crate::framework::{Actions, ClusterEvent, Plugin, Refusal, Subject, Verdict};
use crate::pod::PodInfo;
use crate::table::{NodeInfo, Table};

pub(crate) const NAME: &str = "NodePorts";

/// The plugin. It has no arguments.
pub(crate) struct NodePorts;

fn conflict(pod: &PodInfo, other: &PodInfo) -> bool {
    pod.ports.iter().any(|port| other.ports.iter().any(|taken| taken.conflicts(port)))
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sees_pods(&self) -> bool {
        true
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _table: &Table) -> Verdict {
        if !pod.ports.is_empty() && node.pods.iter().any(|other| conflict(pod, other)) {
            return Err(Refusal::resolvable(NAME, "node(s) didn't have free ports for the requested pod ports"));
        }
        Ok(())
    }

    fn events(&self) -> Actions {
        Actions::POD_DELETE | Actions::NODE_ADD
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent<'_>, _table: &Table) -> bool {
        match event.subject {
            Subject::Pod(other) => conflict(pod, other),
            Subject::Node(_) | Subject::Other => true,
        }
    }
}
