//! NodeResourcesFit: a node takes no more than it has, and scores by what it has left.

use coracle_matching::amounts::Amounts;
use smol_str::{SmolStr, format_smolstr};

use super::strategy::Strategy;
use crate::framework::{Actions, ClusterEvent, Plugin, Reasons, Refusal, Subject, Verdict};
use crate::pod::PodInfo;
use crate::table::{NodeInfo, Table};

pub(crate) const NAME: &str = "NodeResourcesFit";

/// The plugin, with its arguments.
#[derive(Default)]
pub(crate) struct Fit {
    pub strategy: Strategy,
    /// Extended resources that are not looked at: by name, and by the group before the slash.
    pub ignored_resources: Vec<String>,
    pub ignored_groups: Vec<String>,
}

impl Fit {
    fn is_ignored(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or_default();
        is_extended(name)
            && (self.ignored_resources.iter().any(|ignored| ignored == name)
                || self.ignored_groups.iter().any(|ignored| ignored == group))
    }

    /// The resources of which there is too little, if so much is used: what is asked for, and what the node has.
    fn missing<'a>(
        &'a self,
        pod: &'a PodInfo,
        node: &'a NodeInfo,
        used: &'a Amounts,
    ) -> impl Iterator<Item = (&'a str, i64, i64)> {
        let (asked, has) = (&pod.requests, &node.allocatable);
        let plain = [
            ("cpu", asked.cpu, has.cpu, used.cpu),
            ("memory", asked.memory, has.memory, used.memory),
            ("ephemeral-storage", asked.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage),
        ];
        let scalar = asked.scalar.iter().map(|(name, asked)| (name.as_str(), *asked));
        let scalar = scalar.map(|(name, asked)| (name, asked, has.scalar(name), used.scalar(name)));
        let scalar = scalar.filter(|(name, ..)| !self.is_ignored(name));
        let all = plain.into_iter().chain(scalar);
        all.filter(|(_, asked, has, used)| *asked > 0 && *asked > has.saturating_sub(*used))
            .map(|(name, asked, has, _)| (name, asked, has))
    }
}

/// Whether a resource is one that Kubernetes knows nothing of.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.split('/').next().unwrap_or_default().ends_with("kubernetes.io")
}

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sees_pods(&self) -> bool {
        true
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _table: &Table) -> Verdict {
        let (mut reasons, mut resolvable) = (Reasons::new(), true);
        if (node.pods.len() as i64) >= node.pod_limit {
            reasons.push(SmolStr::new_static("Too many pods"));
        }
        for (name, asked, has) in self.missing(pod, node, &node.requested) {
            reasons.push(format_smolstr!("Insufficient {name}"));
            resolvable &= asked <= has;
        }
        if reasons.is_empty() { Ok(()) } else { Err(Refusal { plugin: NAME, reasons, resolvable }) }
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _table: &Table) -> i64 {
        self.strategy.score(pod, node)
    }

    fn events(&self) -> Actions {
        Actions::POD_DELETE
            | Actions::POD_SCALE_DOWN
            | Actions::NODE_ADD
            | Actions::NODE_ALLOCATABLE
            | Actions::OWN_UPDATE
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent<'_>, _table: &Table) -> bool {
        match event.subject {
            // An empty node of this kind would do.
            Subject::Node(node) => node.pod_limit > 0 && self.missing(pod, node, &Amounts::default()).next().is_none(),
            Subject::Pod(_) | Subject::Other => true,
        }
    }
}
