//! Volumes that a node makes of its directories, for the claims whose pods the scheduler has put there: a node makes no volume
//! that leads pods of other nodes anywhere, and takes no claim that is not for it.

use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::{Value, json};

use super::Write;
use crate::object::Object;
use crate::operation::Verb;
use crate::storage::{Storage, core, key};

const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const PROVISIONER: &str = "coracle.io/local-directory";
/// On a claim, by the scheduler.
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

pub(super) fn check(storage: &Storage, write: &Write<'_>) -> Result<(), Status> {
    let node = write.node;
    if !is_of_node(write.object, node) || write.old.is_some_and(|old| !is_of_node(old, node)) {
        return write
            .forbidden(format!("node \"{node}\" can only write volumes of the class of local directories of its own"));
    }
    match (write.op.verb, write.old) {
        (Verb::Create, _) => for_its_claim(storage, write),
        (Verb::Update, Some(old)) if fixed(old) != fixed(write.object) => {
            write.forbidden(format!("node \"{node}\" can only change how large its volumes are"))
        }
        _ => Ok(()),
    }
}

/// Whether a volume is a directory of the node, and only pods there come to it.
fn is_of_node(volume: &Value, node: &str) -> bool {
    let on_node = json!({"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}});
    volume["metadata"]["annotations"][PROVISIONED_BY] == PROVISIONER
        && volume["spec"]["local"].is_object()
        && volume["spec"]["nodeAffinity"] == on_node
}

/// What of a volume stays as it was made.
fn fixed(volume: &Value) -> Value {
    let mut spec = volume["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("capacity");
    }
    spec
}

/// The volume of a claim has that one's name, and the claim the node's.
fn for_its_claim(storage: &Storage, write: &Write<'_>) -> Result<(), Status> {
    let reference = &write.object["spec"]["claimRef"];
    let text = |field: &str| meta::text(reference, &[field]);
    let found = storage.cache(core("persistentvolumeclaims"))?.get(&key(Some(text("namespace")), text("name")))?;
    let claim = found.as_ref().map(Object::value).unwrap_or_default();
    let uid = meta::text(&claim, &["metadata", "uid"]);
    let is_its = !uid.is_empty() && uid == text("uid") && write.name() == format!("pvc-{uid}");
    let is_here = claim["metadata"]["annotations"][SELECTED_NODE] == write.node;
    if is_its && is_here {
        return Ok(());
    }
    write.forbidden(format!("node \"{}\" can only make volumes of claims for which it was selected", write.node))
}
