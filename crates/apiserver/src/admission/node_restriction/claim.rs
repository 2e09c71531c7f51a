//! Claims of the node: those that its pods use, and those for which the scheduler selected it.

use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::Value;

use super::volume::SELECTED_NODE;
use super::{Write, unexpected};
use crate::authz::node::{Referent, of_pod};
use crate::operation::Verb;
use crate::storage::{Storage, core};

/// A kubelet tells how large a volume is, and nothing else of a claim.
pub(super) fn status(storage: &Storage, write: &Write<'_>) -> Result<(), Status> {
    let Some(old) = write.old.filter(|_| write.op.verb == Verb::Update) else { return unexpected(write) };
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for field in ["resourceVersion", "managedFields"] {
            meta::metadata_mut(&mut claim).remove(field);
        }
        let status = meta::object_at(&mut claim, "status");
        for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            status.remove(field);
        }
        claim
    };
    if rest(old) != rest(write.object) {
        return write.forbidden(format!(
            "node \"{}\" is not allowed to update fields other than status.quantity and status.conditions",
            write.node
        ));
    }
    // The role of who provisions is of all claims, where the node authorizer knows those of the node's pods.
    if old["metadata"]["annotations"][SELECTED_NODE] == write.node || is_used(storage, write, old)? {
        return Ok(());
    }
    write.forbidden(format!(
        "node \"{}\" can only update the status of claims for which it was selected, or which its pods use",
        write.node
    ))
}

/// Whether a pod of the node uses the claim. They are looked through one by one, which a node that provisioned it needs not.
fn is_used(storage: &Storage, write: &Write<'_>, claim: &Value) -> Result<bool, Status> {
    let pods = storage.cache(core("pods"))?.snapshot();
    let prefix = format!("{}/", meta::namespace(claim));
    let mut of_node = pods.range(&prefix, None).filter_map(|pod| of_pod(pod.stored()));
    Ok(of_node.any(|(node, references)| {
        *node == *write.node
            && references.iter().any(|(kind, name)| *kind == Referent::Claim && **name == *write.name())
    }))
}
