//! VolumeRestrictions: a claim for one pod has one, and disks that only one pod can write to are on a node once.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes>

use std::collections::{BTreeMap, BTreeSet};

use coracle_matching::claims::of_pod;
use k8s_openapi::api::core::v1::{Pod, Volume};

use super::Volumes;
use crate::framework::{Actions, Plugin, PreFilter, Prepared, Refusal, Scope, Verdict};
use crate::pod::PodInfo;
use crate::table::Table;

pub(crate) const NAME: &str = "VolumeRestrictions";

/// The plugin. It has no arguments.
pub(crate) struct VolumeRestrictions;

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn scope(&self) -> Scope {
        Scope::Pod
    }

    fn pre_filter(&self, pod: &PodInfo, table: &Table) -> Result<PreFilter, Refusal> {
        let mut once = table.volumes.once_per_pod(&pod.pod);
        if !once.is_empty() {
            let others = table.existing().flat_map(|(_, node)| &node.pods);
            others.for_each(|other| once.add(&other.pod));
        }
        let has_disks = has_disks(&pod.pod);
        let filter =
            (has_disks || !once.is_empty()).then(|| Box::new(Restricted { once, has_disks }) as Box<dyn Prepared>);
        Ok(PreFilter { nodes: None, filter })
    }

    fn events(&self) -> Actions {
        Actions::POD_DELETE | Actions::NODE_ADD | Actions::CLAIM | Actions::OWN_UPDATE
    }
}

/// What of a pod others may be in the way of.
struct Restricted {
    once: OncePerPod,
    has_disks: bool,
}

impl Prepared for Restricted {
    fn filter(&self, pod: &PodInfo, node: usize, table: &Table) -> Verdict {
        let mut others = table.node(node).pods.iter();
        if self.has_disks && others.any(|other| share_a_disk(&pod.pod, &other.pod)) {
            return Err(Refusal::resolvable(NAME, "node(s) had no available disk"));
        }
        if !self.once.are_free() {
            let reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
            return Err(Refusal::resolvable(NAME, reason));
        }
        Ok(())
    }

    fn add_pod(&mut self, _pod: &PodInfo, other: &PodInfo, _node: usize, _table: &Table) {
        self.once.add(&other.pod);
    }

    fn remove_pod(&mut self, _pod: &PodInfo, other: &PodInfo, _node: usize, _table: &Table) {
        self.once.remove(&other.pod);
    }
}

/// Claims of a pod that no other pod may use, with the pods that do.
#[derive(Clone, Debug, Default)]
pub(crate) struct OncePerPod(BTreeMap<String, BTreeSet<String>>);

impl Volumes {
    /// The claims of a pod that are for one pod. Who uses them is told by [`OncePerPod::add`].
    pub fn once_per_pod(&self, pod: &Pod) -> OncePerPod {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let is_for_one = |name: &str| {
            let claim = self.claims.get(namespace, name);
            let modes = claim.as_ref().and_then(|claim| claim.spec.as_ref()?.access_modes.as_deref());
            modes.unwrap_or_default().iter().any(|mode| mode == "ReadWriteOncePod")
        };
        let names = of_pod(pod).map(|used| used.name).filter(|name| is_for_one(name));
        OncePerPod(names.map(|name| (format!("{namespace}/{name}"), BTreeSet::new())).collect())
    }
}

impl OncePerPod {
    /// Whether the pod has no such claim.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts what another pod uses.
    pub fn add(&mut self, other: &Pod) {
        self.change(other, |users, uid| {
            users.insert(uid);
        });
    }

    /// Counts what another pod uses no more.
    pub fn remove(&mut self, other: &Pod) {
        self.change(other, |users, uid| {
            users.remove(&uid);
        });
    }

    fn change(&mut self, other: &Pod, change: impl Fn(&mut BTreeSet<String>, String)) {
        if self.is_empty() {
            return;
        }
        let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
        for used in of_pod(other) {
            if let Some(users) = self.0.get_mut(&format!("{namespace}/{}", used.name)) {
                change(users, other.metadata.uid.clone().unwrap_or_default());
            }
        }
    }

    /// Whether nobody else uses the claims.
    pub fn are_free(&self) -> bool {
        self.0.values().all(BTreeSet::is_empty)
    }
}

/// Whether a pod has a disk that another pod cannot share.
pub(crate) fn has_disks(pod: &Pod) -> bool {
    volumes(pod).any(|volume| {
        volume.gce_persistent_disk.is_some()
            || volume.aws_elastic_block_store.is_some()
            || volume.rbd.is_some()
            || volume.iscsi.is_some()
    })
}

/// Whether two pods have a disk in common that only one may have on a node.
pub(crate) fn share_a_disk(one: &Pod, other: &Pod) -> bool {
    volumes(one).any(|volume| volumes(other).any(|other| is_same_disk(volume, other)))
}

fn is_same_disk(one: &Volume, other: &Volume) -> bool {
    let writes = |one: Option<bool>, other: Option<bool>| one != Some(true) || other != Some(true);
    if let (Some(a), Some(b)) = (&one.gce_persistent_disk, &other.gce_persistent_disk) {
        return a.pd_name == b.pd_name && writes(a.read_only, b.read_only);
    }
    if let (Some(a), Some(b)) = (&one.aws_elastic_block_store, &other.aws_elastic_block_store) {
        return a.volume_id == b.volume_id;
    }
    if let (Some(a), Some(b)) = (&one.iscsi, &other.iscsi) {
        return a.iqn == b.iqn && writes(a.read_only, b.read_only);
    }
    if let (Some(a), Some(b)) = (&one.rbd, &other.rbd) {
        let same = a.monitors.iter().any(|monitor| b.monitors.contains(monitor));
        return same && a.pool == b.pool && a.image == b.image && writes(a.read_only, b.read_only);
    }
    false
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, volume: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"containers": [], "volumes": [volume]}}))
        .unwrap()
    }

    #[test]
    fn a_claim_for_one_pod_is_free_when_nobody_else_has_it() {
        let mut once = OncePerPod([("n/c".to_owned(), BTreeSet::new())].into());
        let other = pod("other", json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}));
        assert!(once.are_free());
        once.add(&other);
        once.add(&pod("elsewhere", json!({"name": "v", "persistentVolumeClaim": {"claimName": "d"}})));
        assert!(!once.are_free());
        once.remove(&other);
        assert!(once.are_free());
    }

    #[test]
    fn a_disk_is_on_a_node_once_unless_all_only_read() {
        let disk = |read_only: bool| json!({"name": "v", "gcePersistentDisk": {"pdName": "d", "readOnly": read_only}});
        let share = |one: Value, other: Value| share_a_disk(&pod("a", one), &pod("b", other));
        assert!(share(disk(false), disk(true)));
        assert!(!share(disk(true), disk(true)));
        assert!(!share(disk(false), json!({"name": "v", "emptyDir": {}})));
        assert!(has_disks(&pod("a", disk(true))));
    }
}
