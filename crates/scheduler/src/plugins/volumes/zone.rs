//! VolumeZone: a node is in the zone and the region of the volumes, as far as both say where they are.
//! <https://kubernetes.io/docs/setup/best-practices/multiple-zones/>

use std::collections::BTreeMap;

use coracle_matching::claims::of_pod;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::Volumes;
use super::claims::named_volume;
use crate::framework::{Actions, Plugin, PreFilter, Prepared, Refusal, Scope, Verdict};
use crate::pod::PodInfo;
use crate::table::Table;

pub(crate) const NAME: &str = "VolumeZone";

/// The plugin. It has no arguments.
pub(crate) struct VolumeZone;

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        NAME
    }

    fn scope(&self) -> Scope {
        Scope::Pod
    }

    fn pre_filter(&self, pod: &PodInfo, table: &Table) -> Result<PreFilter, Refusal> {
        let zones = table.volumes.zones(&pod.pod);
        let filter = (!zones.is_empty()).then(|| Box::new(zones) as Box<dyn Prepared>);
        Ok(PreFilter { nodes: None, filter })
    }

    fn events(&self) -> Actions {
        let of_nodes = Actions::NODE_ADD | Actions::NODE_LABEL;
        of_nodes | Actions::CLAIM | Actions::VOLUME | Actions::STORAGE_CLASS | Actions::OWN_UPDATE
    }
}

impl Prepared for Zones {
    fn filter(&self, _pod: &PodInfo, node: usize, table: &Table) -> Verdict {
        match self.allow(&table.node(node).labels) {
            true => Ok(()),
            false => Err(Refusal::unresolvable(NAME, "node(s) had no available volume zone")),
        }
    }
}

/// Labels that say where something is, as they are called now and were called before.
const LABELS: [(&str, &str); 2] = [
    ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
];

/// Where the volumes of a pod are: labels with the values that they may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Zones(Vec<(usize, Vec<String>)>);

impl Zones {
    /// Whether the volumes say nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a node of these labels is where all volumes are.
    pub fn allow(&self, node: &BTreeMap<String, String>) -> bool {
        let value = |(now, before): (&str, &str)| node.get(now).or_else(|| node.get(before));
        // In a cluster of one zone nobody has to say so.
        let says_nothing = LABELS.into_iter().all(|label| value(label).is_none());
        says_nothing
            || self.0.iter().all(|(label, values)| value(LABELS[*label]).is_some_and(|value| values.contains(value)))
    }
}

impl Volumes {
    /// Where the volumes of a pod's claims are, of those that have one.
    pub fn zones(&self, pod: &Pod) -> Zones {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let claims = of_pod(pod).filter_map(|used| self.claims.get(namespace, &used.name));
        let volumes = claims.filter_map(|claim| self.volumes.get("", named_volume(&claim)?));
        let of_volume = |labels: &BTreeMap<String, String>| {
            let found = LABELS.iter().enumerate().filter_map(|(number, (now, before))| {
                let value = labels.get(*now).or_else(|| labels.get(*before))?;
                // A volume that is in several zones lists them.
                Some((number, value.split("__").map(str::to_owned).collect()))
            });
            found.collect::<Vec<(usize, Vec<String>)>>()
        };
        Zones(volumes.flat_map(|volume| of_volume(volume.labels())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_where_the_volumes_are() {
        let zones = Zones(vec![(0, vec!["a".into(), "b".into()]), (1, vec!["r".into()])]);
        let node = |labels: &[(&str, &str)]| labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (zone, region) = (LABELS[0].0, LABELS[1].0);
        assert!(zones.allow(&node(&[(zone, "b"), (region, "r")])));
        assert!(!zones.allow(&node(&[(zone, "c"), (region, "r")])));
        assert!(!zones.allow(&node(&[(zone, "a")])));
        assert!(zones.allow(&node(&[(LABELS[0].1, "a"), (LABELS[1].1, "r")])));
        assert!(zones.allow(&node(&[("other", "x")])));
    }
}
