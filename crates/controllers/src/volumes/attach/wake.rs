//! What happens that volumes and nodes are looked at for.

use std::sync::Arc;

use coracle_client::{Event, ObjectKey};
use coracle_matching::claims::of_pod;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::ResourceExt;

use super::{AttachDetach, Key, is_attached, names, volume_of};
use crate::common::{BY_NODE, is_terminal, namespace_of, node_name};

pub(super) fn subscribe(controller: &Arc<AttachDetach>) {
    let c = Arc::downgrade(controller);
    let with = move |look: &dyn Fn(&AttachDetach)| c.upgrade().iter().for_each(|controller| look(controller));
    let w = with.clone();
    controller.pods.subscribe(move |event| match event {
        Event::Updated { old, new } if node_name(old) == node_name(new) && is_terminal(old) == is_terminal(new) => {}
        Event::Added(pod) | Event::Updated { new: pod, .. } | Event::Deleted(pod) => {
            w(&|controller| controller.pod_changed(pod));
        }
    });
    let w = with.clone();
    controller.claims.subscribe(move |event| {
        let (Event::Added(claim) | Event::Updated { new: claim, .. } | Event::Deleted(claim)) = event;
        w(&|controller| controller.claim_changed(claim));
    });
    let w = with.clone();
    controller.volumes.subscribe(move |event| {
        let (Event::Added(volume) | Event::Updated { new: volume, .. } | Event::Deleted(volume)) = event;
        if names::source(volume).is_some() {
            w(&|controller| controller.queue.add(Key::Volume(volume.name_any())));
        }
    });
    let w = with.clone();
    controller.attachments.subscribe(move |event| {
        let (Event::Added(found) | Event::Updated { new: found, .. } | Event::Deleted(found)) = event;
        let was_attached = matches!(event, Event::Updated { old, .. } if is_attached(old));
        w(&|controller| {
            volume_of(found).iter().for_each(|volume| controller.queue.add(Key::Volume((*volume).to_owned())));
            if is_attached(found) || was_attached {
                controller.queue.add(Key::Node(found.spec.node_name.clone()));
            }
        });
    });
    let w = with.clone();
    controller.nodes.subscribe(move |event| match event {
        Event::Updated { old, new } if !is_relevant(old, new) => {}
        Event::Added(node) | Event::Updated { new: node, .. } | Event::Deleted(node) => {
            w(&|controller| controller.node_changed(node));
        }
    });
    controller.drivers.subscribe(move |event| {
        let (Event::Added(driver) | Event::Updated { new: driver, .. } | Event::Deleted(driver)) = event;
        with(&|controller| {
            for volume in controller.volumes.store().list() {
                if names::source(&volume).is_some_and(|source| source.driver == driver.name_any()) {
                    controller.queue.add(Key::Volume(volume.name_any()));
                }
            }
        });
    });
}

/// Whether a change of a node means something here. Most are heartbeats.
fn is_relevant(old: &Node, new: &Node) -> bool {
    let of = |node: &Node| {
        let status = node.status.as_ref();
        let ready = status.and_then(|status| status.conditions.as_ref()?.iter().find(|one| one.type_ == "Ready"));
        (
            status.and_then(|status| status.volumes_in_use.clone()),
            status.and_then(|status| status.volumes_attached.clone()),
            ready.map(|ready| ready.status.clone()),
            node.spec.as_ref().and_then(|spec| spec.taints.clone()),
            super::is_managed(node),
        )
    };
    of(old) != of(new)
}

impl AttachDetach {
    fn pod_changed(&self, pod: &Pod) {
        for used in of_pod(pod) {
            if let Some(claim) = self.claims.store().get_key(&ObjectKey::new(namespace_of(pod), used.name)) {
                self.claim_changed(&claim);
            }
        }
    }

    fn claim_changed(&self, claim: &PersistentVolumeClaim) {
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        volume.filter(|name| !name.is_empty()).into_iter().for_each(|name| self.queue.add(Key::Volume(name)));
    }

    fn node_changed(&self, node: &Node) {
        let name = node.name_any();
        for attachment in self.attachments.store().by_index(BY_NODE, &name).unwrap_or_default() {
            volume_of(&attachment).iter().for_each(|volume| self.queue.add(Key::Volume((*volume).to_owned())));
        }
        let pods = self.pods.store().by_index(BY_NODE, &name).unwrap_or_default();
        pods.iter().for_each(|pod| self.pod_changed(pod));
        self.queue.add(Key::Node(name));
    }
}
