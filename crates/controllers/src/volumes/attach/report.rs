//! What the status of a node says is attached to it.

use std::time::Duration;

use coracle_client::is_not_found;
use k8s_openapi::api::core::v1::{AttachedVolume, Node};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{AttachDetach, is_attached, is_managed, names};
use crate::common::{BY_NODE, is_deleting};

impl AttachDetach {
    /// Brings the list of attached volumes in a node's status up to date.
    pub(super) async fn report(&self, name: &str) -> kube::Result<Option<Duration>> {
        let Some(node) = self.nodes.store().get("", name).filter(|node| is_managed(node)) else { return Ok(None) };
        let attached = self.attached_to(name, &node);
        if attached == told(&node) {
            return Ok(None);
        }
        let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version},
            "status": {"volumesAttached": attached}});
        let api: Api<Node> = Api::all(self.client.clone());
        match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(error) if !is_not_found(&error) => Err(error),
            _ => Ok(None),
        }
    }

    /// What is attached and not about to be detached; what others attached stays.
    fn attached_to(&self, name: &str, node: &Node) -> Vec<AttachedVolume> {
        let mut all = told(node);
        all.retain(|volume| !volume.name.starts_with(names::OF_CSI));
        let attachments = self.attachments.store().by_index(BY_NODE, name).unwrap_or_default();
        for attachment in attachments.iter().filter(|found| is_attached(found) && !is_deleting(&***found)) {
            let Some(volume) = super::volume_of(attachment) else { continue };
            let known = self.known.lock();
            let is_leaving = known.get(&(volume.to_owned(), name.to_owned())).is_some_and(|known| known.leaving);
            drop(known);
            let volume = self.volumes.store().get("", volume);
            if let Some(source) = volume.as_ref().and_then(|volume| names::source(volume)).filter(|_| !is_leaving) {
                all.push(AttachedVolume { name: names::on_node(source), device_path: String::new() });
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

/// What the status says now, in the order of the names.
pub(super) fn told(node: &Node) -> Vec<AttachedVolume> {
    let told = node.status.as_ref().and_then(|status| status.volumes_attached.clone());
    let mut told = told.unwrap_or_default();
    told.sort_by(|one, other| one.name.cmp(&other.name));
    told
}
