//! The end of a node that is not to come back.

use coracle_client::{is_conflict, is_not_found};
use coracle_matching::taints::OUT_OF_SERVICE;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::json;

/// Deletes the object of a node of which nothing runs any more, and says before that it is so: its pods are deleted at once, and not
/// only when it has been gone for a while, so that services lead to others. Nothing is done if there is another node of this name by
/// now, or none.
///
/// # Errors
/// Those of the API.
pub async fn retire(client: &Client, node: &Node) -> kube::Result<()> {
    let (api, name) = (Api::<Node>::all(client.clone()), node.name_any());
    let taint = json!({"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"});
    let said = json!({"metadata": {"uid": node.metadata.uid}, "spec": {"taints": [taint]}});
    unless_gone(api.patch(&name, &PatchParams::default(), &Patch::Strategic(said)).await)?;
    let preconditions = Preconditions { uid: node.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    unless_gone(api.delete(&name, &params).await)
}

fn unless_gone<T>(done: kube::Result<T>) -> kube::Result<()> {
    match done {
        Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error),
        _ => Ok(()),
    }
}
