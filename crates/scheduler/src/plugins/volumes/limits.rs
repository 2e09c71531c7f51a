//! NodeVolumeLimits: a node has no more volumes of a driver than that can attach there, as its CSINode says.
//! <https://kubernetes.io/docs/concepts/storage/storage-limits/>

use std::collections::{BTreeMap, BTreeSet};

use coracle_client::Indexer;
use coracle_matching::claims::{class_of_claim, of_pod};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::{CSINode, VolumeAttachment};

use super::Volumes;
use super::claims::named_volume;
use crate::framework::{Actions, Plugin, PreFilter, Prepared, Refusal, Scope, Verdict};
use crate::pod::PodInfo;
use crate::table::Table;

pub(crate) const NAME: &str = "NodeVolumeLimits";
/// Index of attachments by node.
const BY_NODE: &str = "node";

/// The plugin. It has no arguments.
pub(crate) struct NodeVolumeLimits;

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        NAME
    }

    fn scope(&self) -> Scope {
        Scope::Pod
    }

    fn pre_filter(&self, pod: &PodInfo, table: &Table) -> Result<PreFilter, Refusal> {
        let mut new = Attached::new();
        // Where no node has a driver, no volume is attached.
        if !table.volumes.nodes.is_empty() {
            table.volumes.attached_by(&pod.pod, &mut new);
        }
        let filter = (!new.is_empty()).then(|| Box::new(New(new)) as Box<dyn Prepared>);
        Ok(PreFilter { nodes: None, filter })
    }

    fn events(&self) -> Actions {
        Actions::CSI_NODE | Actions::POD_DELETE | Actions::CLAIM | Actions::VOLUME | Actions::ATTACHMENT_DELETE
    }
}

/// What a pod brings along.
struct New(Attached);

impl Prepared for New {
    fn filter(&self, _pod: &PodInfo, node: usize, table: &Table) -> Verdict {
        let node = table.node(node);
        let Some(limits) = table.volumes.nodes.get("", &node.name) else { return Ok(()) };
        let mut has = Attached::new();
        node.pods.iter().for_each(|other| table.volumes.attached_by(&other.pod, &mut has));
        table.volumes.still_attached(&node.name, &mut has);
        match has_room(&limits, &has, &self.0) {
            true => Ok(()),
            false => Err(Refusal::resolvable(NAME, "node(s) exceed max volume count")),
        }
    }
}

/// Volumes by their driver: each once, however many pods have it.
pub(crate) type Attached = BTreeMap<String, BTreeSet<String>>;

impl Volumes {
    /// Adds the volumes that are attached to a node, whether or not a pod there uses them: they take a place until they are
    /// detached.
    pub fn still_attached(&self, node: &str, attached: &mut Attached) {
        // The index is always there.
        for attachment in self.attachments.by_index(BY_NODE, node).unwrap_or_default() {
            let volume = attachment.spec.source.persistent_volume_name.as_deref();
            let volume = volume.and_then(|name| self.volumes.get("", name));
            if let Some(csi) = volume.as_ref().and_then(|volume| volume.spec.as_ref()?.csi.as_ref()) {
                attached.entry(csi.driver.clone()).or_default().insert(csi.volume_handle.clone());
            }
        }
    }

    /// Adds the volumes of a pod that a driver attaches. Those that are not made yet count as well.
    pub fn attached_by(&self, pod: &Pod, attached: &mut Attached) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for used in of_pod(pod) {
            let Some(claim) = self.claims.get(namespace, &used.name) else { continue };
            let of_volume = named_volume(&claim).and_then(|name| self.volumes.get("", name)).map(|volume| {
                let source = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
                source.map(|csi| (csi.driver.clone(), csi.volume_handle.clone()))
            });
            let found = of_volume.unwrap_or_else(|| {
                let class = self.classes.get("", class_of_claim(&claim))?;
                Some((class.provisioner.clone(), format!("{namespace}/{}", used.name)))
            });
            if let Some((driver, handle)) = found {
                attached.entry(driver).or_default().insert(handle);
            }
        }
    }
}

/// Attachments by their node.
pub(super) fn by_node() -> (&'static str, Indexer<VolumeAttachment>) {
    (BY_NODE, Box::new(|attachment: &VolumeAttachment| vec![attachment.spec.node_name.clone()]))
}

/// Whether a node can attach new volumes besides those that it has.
pub(crate) fn has_room(node: &CSINode, has: &Attached, new: &Attached) -> bool {
    let limit = |driver: &str| {
        let found = node.spec.drivers.iter().find(|other| other.name == driver)?;
        usize::try_from(found.allocatable.as_ref()?.count?).ok()
    };
    let empty = BTreeSet::new();
    new.iter().all(|(driver, volumes)| {
        let has = has.get(driver).unwrap_or(&empty);
        let more = volumes.difference(has).count();
        more == 0 || limit(driver).is_none_or(|limit| has.len().saturating_add(more) <= limit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_volume_counts_once_and_drivers_without_a_limit_have_none() {
        let drivers = json!([{"name": "d", "nodeID": "n", "allocatable": {"count": 2}}, {"name": "e", "nodeID": "n"}]);
        let node: CSINode = serde_json::from_value(json!({"metadata": {}, "spec": {"drivers": drivers}})).unwrap();
        let volumes = |driver: &str, handles: &[&str]| -> Attached {
            [(driver.to_owned(), handles.iter().map(|handle| (*handle).to_owned()).collect())].into()
        };
        assert!(has_room(&node, &volumes("d", &["a"]), &volumes("d", &["b"])));
        assert!(!has_room(&node, &volumes("d", &["a", "b"]), &volumes("d", &["c"])));
        assert!(has_room(&node, &volumes("d", &["a", "b"]), &volumes("d", &["b"])));
        assert!(has_room(&node, &Attached::new(), &volumes("e", &["a", "b", "c"])));
    }
}
