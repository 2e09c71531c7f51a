//! What happens in a cluster, told apart as finely as plugins care.

use std::ops::BitOr;

use crate::pod::PodInfo;
use crate::table::NodeInfo;

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
    /// A claim came, went, or changed; so for the next ones.
    pub const CLAIM: Actions = Actions(1 << 11);
    pub const VOLUME: Actions = Actions(1 << 12);
    pub const STORAGE_CLASS: Actions = Actions(1 << 13);
    pub const CSI_NODE: Actions = Actions(1 << 14);
    /// A driver, or how much room it has somewhere.
    pub const CSI_CAPACITY: Actions = Actions(1 << 15);
    /// A volume was detached.
    pub const ATTACHMENT_DELETE: Actions = Actions(1 << 16);
    pub const ALL: Actions = Actions(u32::MAX);
    pub const NONE: Actions = Actions(0);

    pub fn is_empty(self) -> bool {
        self == Actions::NONE
    }

    /// What upstream calls the first of them, for the metrics.
    pub fn name(self) -> &'static str {
        const NAMES: [(Actions, &str); 17] = [
            (Actions::NODE_ADD, "NodeAdd"),
            (Actions::NODE_DELETE, "NodeDelete"),
            (Actions::NODE_ALLOCATABLE, "NodeAllocatableChange"),
            (Actions::NODE_LABEL, "NodeLabelChange"),
            (Actions::NODE_TAINT, "NodeTaintChange"),
            (Actions::POD_ADD, "AssignedPodAdd"),
            (Actions::POD_DELETE, "AssignedPodDelete"),
            (Actions::POD_LABEL, "AssignedPodUpdate"),
            (Actions::POD_SCALE_DOWN, "AssignedPodUpdate"),
            (Actions::NAMESPACE_LABEL, "NamespaceUpdate"),
            (Actions::OWN_UPDATE, "PodUpdate"),
            (Actions::CLAIM, "PvcChange"),
            (Actions::VOLUME, "PvChange"),
            (Actions::STORAGE_CLASS, "StorageClassChange"),
            (Actions::CSI_NODE, "CSINodeChange"),
            (Actions::CSI_CAPACITY, "CSIStorageCapacityChange"),
            (Actions::ATTACHMENT_DELETE, "VolumeAttachmentDelete"),
        ];
        NAMES.into_iter().find(|(action, _)| self.meets(*action)).map_or("Unknown", |(_, name)| name)
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
