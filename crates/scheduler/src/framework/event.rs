//! What happens in a cluster, told apart as finely as plugins care.

use std::ops::BitOr;

use crate::pod::PodInfo;
use crate::table::NodeInfo;

/// What upstream calls what happens to nodes and pods.
const NAMES: [(Actions, &str); 12] = [
    (Actions::NODE_ADD, "NodeAdd"),
    (Actions::NODE_DELETE, "NodeDelete"),
    (Actions::NODE_ALLOCATABLE, "NodeUpdateNodeAllocatable"),
    (Actions::NODE_LABEL, "NodeUpdateNodeLabel"),
    (Actions::NODE_TAINT, "NodeUpdateNodeTaint"),
    (Actions::POD_ADD, "AssignedPodAdd"),
    (Actions::POD_DELETE, "AssignedPodDelete"),
    (Actions::POD_LABEL, "AssignedPodUpdatePodLabel"),
    (Actions::POD_SCALE_DOWN, "AssignedPodUpdatePodScaleDown"),
    // Upstream takes no notice of it.
    (Actions::NAMESPACE_LABEL, "NamespaceUpdate"),
    (Actions::OWN_UPDATE, OWN_UPDATE),
    (Actions::ATTACHMENT_DELETE, "storage.k8s.io/VolumeAttachmentDelete"),
];
/// And what it calls that something else came, changed and went.
const KINDS: [(Actions, [&str; 3]); 6] = [
    (Actions::CLAIM, ["PersistentVolumeClaimAdd", "PersistentVolumeClaimUpdate", "PersistentVolumeClaimDelete"]),
    (Actions::VOLUME, ["PersistentVolumeAdd", "PersistentVolumeUpdate", "PersistentVolumeDelete"]),
    (
        Actions::STORAGE_CLASS,
        ["storage.k8s.io/StorageClassAdd", "storage.k8s.io/StorageClassUpdate", "storage.k8s.io/StorageClassDelete"],
    ),
    (Actions::CSI_NODE, ["storage.k8s.io/CSINodeAdd", "storage.k8s.io/CSINodeUpdate", "storage.k8s.io/CSINodeDelete"]),
    (
        Actions::CSI_DRIVER,
        ["storage.k8s.io/CSIDriverAdd", "storage.k8s.io/CSIDriverUpdate", "storage.k8s.io/CSIDriverDelete"],
    ),
    (
        Actions::CSI_CAPACITY,
        [
            "storage.k8s.io/CSIStorageCapacityAdd",
            "storage.k8s.io/CSIStorageCapacityUpdate",
            "storage.k8s.io/CSIStorageCapacityDelete",
        ],
    ),
];
/// What upstream calls what happens to the waiting pod itself: that it came, that it lost its gates, and that it changed otherwise.
pub(crate) const OWN_ADD: &str = "UnschedulablePodAdd";
pub(crate) const OWN_GATES: &str = "UnschedulablePodUpdatePodSchedulingGatesEliminated";
pub(crate) const OWN_UPDATE: &str = "UnschedulablePodUpdate";

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Actions(u32);

impl Actions {
    pub const NODE_ADD: Actions = Actions(1);
    pub const NODE_DELETE: Actions = Actions(1 << 1);
    pub const NODE_ALLOCATABLE: Actions = Actions(1 << 2);
    pub const NODE_LABEL: Actions = Actions(1 << 3);
    /// Taints, and whether it is unschedulable.
    pub const NODE_TAINT: Actions = Actions(1 << 4);
    /// A pod was put on a node.
    pub const POD_ADD: Actions = Actions(1 << 5);
    /// A pod of a node is gone.
    pub const POD_DELETE: Actions = Actions(1 << 6);
    pub const POD_LABEL: Actions = Actions(1 << 7);
    pub const POD_SCALE_DOWN: Actions = Actions(1 << 8);
    pub const NAMESPACE_LABEL: Actions = Actions(1 << 9);
    /// The waiting pod itself was changed.
    pub const OWN_UPDATE: Actions = Actions(1 << 10);
    /// A claim came, went, or changed, as one of the last three says; so for the next ones.
    pub const CLAIM: Actions = Actions(1 << 11);
    pub const VOLUME: Actions = Actions(1 << 12);
    pub const STORAGE_CLASS: Actions = Actions(1 << 13);
    pub const CSI_NODE: Actions = Actions(1 << 14);
    /// How much room a driver has somewhere.
    pub const CSI_CAPACITY: Actions = Actions(1 << 15);
    /// A volume was detached.
    pub const ATTACHMENT_DELETE: Actions = Actions(1 << 16);
    pub const CSI_DRIVER: Actions = Actions(1 << 17);
    /// Something of the kind that is also said came; no plugin asks for it alone.
    pub const ADDED: Actions = Actions(1 << 18);
    pub const UPDATED: Actions = Actions(1 << 19);
    pub const DELETED: Actions = Actions(1 << 20);
    pub const ALL: Actions = Actions(u32::MAX);
    pub const NONE: Actions = Actions(0);

    pub fn is_empty(self) -> bool {
        self == Actions::NONE
    }

    /// What upstream calls the first of them, for the metrics.
    pub fn name(self) -> &'static str {
        let one = || NAMES.iter().find(|(action, _)| self.meets(*action)).map(|(_, name)| *name);
        let verbs = [Actions::ADDED, Actions::UPDATED, Actions::DELETED];
        let verb = verbs.into_iter().position(|verb| self.meets(verb));
        let of_kind = KINDS.iter().find(|(action, _)| self.meets(*action));
        let whole = of_kind.zip(verb).and_then(|((_, names), verb)| names.get(verb).copied());
        whole.or_else(one).unwrap_or("Unknown")
    }

    pub fn meets(self, other: Actions) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Actions {
    type Output = Actions;

    fn bitor(self, other: Actions) -> Actions {
        Actions(self.0 | other.0)
    }
}

/// What something happened to.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// A node, as it is now.
    Node(&'a NodeInfo),
    /// A pod that is or was on a node.
    Pod(&'a PodInfo),
    /// Anything else.
    Other,
}

/// Something that happened, and may help pods that wait.
#[derive(Clone, Copy)]
pub(crate) struct ClusterEvent<'a> {
    pub actions: Actions,
    pub subject: Subject<'a>,
}

impl<'a> ClusterEvent<'a> {
    pub fn node(actions: Actions, node: &'a NodeInfo) -> Self {
        ClusterEvent { actions, subject: Subject::Node(node) }
    }

    pub fn pod(actions: Actions, pod: &'a PodInfo) -> Self {
        ClusterEvent { actions, subject: Subject::Pod(pod) }
    }

    pub fn other(actions: Actions) -> Self {
        ClusterEvent { actions, subject: Subject::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_upstreams_names() {
        assert_eq!(Actions::NODE_TAINT.name(), "NodeUpdateNodeTaint");
        assert_eq!((Actions::POD_LABEL | Actions::POD_SCALE_DOWN).name(), "AssignedPodUpdatePodLabel");
        assert_eq!((Actions::CLAIM | Actions::ADDED).name(), "PersistentVolumeClaimAdd");
        assert_eq!((Actions::CSI_NODE | Actions::UPDATED).name(), "storage.k8s.io/CSINodeUpdate");
        assert_eq!(Actions::ATTACHMENT_DELETE.name(), "storage.k8s.io/VolumeAttachmentDelete");
        assert_eq!(Actions::OWN_UPDATE.name(), "UnschedulablePodUpdate");
    }
}
