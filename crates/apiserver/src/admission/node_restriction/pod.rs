//! A kubelet's pods: mirrors of those that it runs by itself, the status of those bound to it, their deletion and eviction.

use coracle_api::meta;
use coracle_api::status::Status;
use coracle_policy::pod_resources;
use serde_json::Value;

use super::{Request, Write, operation, unexpected};
use crate::authz::node::{Referent, names};
use crate::operation::Verb;
use crate::storage::{Storage, core, key};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// The node that a pod is bound to.
pub(super) fn node_of(pod: &Value) -> &str {
    meta::text(pod, &["spec", "nodeName"])
}

/// A mirror that is made, or a pod that is deleted.
pub(super) fn main(storage: &Storage, write: &Write<'_>) -> Result<(), Status> {
    let node = write.node;
    match write.op.verb {
        Verb::Create => mirror(storage, write),
        Verb::Delete if node_of(write.object) == node => Ok(()),
        Verb::Delete => {
            write.forbidden(format!("node \"{node}\" can only delete pods with spec.nodeName set to itself"))
        }
        verb => write.forbidden(format!(
            "unexpected operation \"{}\", node \"{node}\" can only create and delete mirror pods",
            operation(verb)
        )),
    }
}

fn mirror(storage: &Storage, write: &Write<'_>) -> Result<(), Status> {
    let (node, pod) = (write.node, write.object);
    if pod["metadata"]["annotations"].get(MIRROR).is_none() {
        return write.forbidden(format!(
            "pod does not have \"{MIRROR}\" annotation, node \"{node}\" can only create mirror pods"
        ));
    }
    if node_of(pod) != node {
        return write.forbidden(format!("node \"{node}\" can only create pods with spec.nodeName set to itself"));
    }
    owner(storage, write)?;
    match reference(pod) {
        Ok(None) => Ok(()),
        Ok(Some(resource)) => write.forbidden(format!("node \"{node}\" can not create pods that reference {resource}")),
        Err(why) => write.forbidden(why),
    }
}

/// A mirror goes with its node.
fn owner(storage: &Storage, write: &Write<'_>) -> Result<(), Status> {
    let node = write.node;
    let only = |what: &str| write.forbidden(format!("node \"{node}\" can only create pods with {what} set to itself"));
    let owner = match meta::list(write.object, &["metadata", "ownerReferences"]) {
        [] => return only("an owner reference"),
        [owner] => owner,
        _ => return only("a single owner reference"),
    };
    let text = |field: &str| meta::text(owner, &[field]);
    if (text("apiVersion"), text("kind"), text("name")) != ("v1", "Node", node) {
        return only("an owner reference");
    }
    if owner["controller"] != true {
        return only("a controller owner reference");
    }
    if owner["blockOwnerDeletion"] == true {
        return write.forbidden(format!("node \"{node}\" must not set blockOwnerDeletion on an owner reference"));
    }
    let Some(found) = storage.cache(core("nodes"))?.get(node)? else {
        return Err(Status::not_found("", "nodes", node));
    };
    if text("uid") != found.uid() {
        let (given, own) = (text("uid"), found.uid());
        return write.forbidden(format!("node {node} UID mismatch: expected {given} got {own}"));
    }
    Ok(())
}

/// What of the API a pod refers to, when it does: by that its node would come to read it.
fn reference(pod: &Value) -> Result<Option<&'static str>, String> {
    let spec = &pod["spec"];
    if !meta::text(spec, &["serviceAccountName"]).is_empty() {
        return Ok(Some("serviceaccounts"));
    }
    for (kind, resource) in [(Referent::Secret, "secrets"), (Referent::ConfigMap, "configmaps")] {
        if names(pod, kind) {
            return Ok(Some(resource));
        }
    }
    if !meta::list(spec, &["resourceClaims"]).is_empty() {
        return Ok(Some("resourceclaims"));
    }
    for volume in meta::list(spec, &["volumes"]) {
        if let Some(resource) = reference_of_volume(volume)? {
            return Ok(Some(resource));
        }
    }
    Ok(None)
}

/// Volumes that refer to nothing of the API.
const PLAIN: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

fn reference_of_volume(volume: &Value) -> Result<Option<&'static str>, String> {
    let has = |source: &&str| volume.get(*source).is_some_and(|source| !source.is_null());
    if PLAIN.iter().any(has) {
        return Ok(None);
    }
    let found = [
        ("configMap", "configmaps (via configmap volumes)"),
        ("secret", "secrets (via secret volumes)"),
        ("csi", "csidrivers (via CSI volumes)"),
        ("glusterfs", "endpoints (via glusterFS volumes)"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
        ("azureFile", "secrets (via azureFile volumes)"),
    ];
    if let Some((_, resource)) = found.into_iter().find(|(source, _)| has(source)) {
        return Ok(Some(resource));
    }
    let name = meta::text(volume, &["name"]);
    if !has(&"projected") {
        return Err(format!("unknown volume type for volume  \"{name}\""));
    }
    let sources = meta::list(volume, &["projected", "sources"]);
    sources.iter().find_map(|source| reference_of_source(source, name).transpose()).transpose()
}

fn reference_of_source(source: &Value, volume: &str) -> Result<Option<&'static str>, String> {
    let has = |name: &str| source.get(name).is_some_and(|source| !source.is_null());
    let found = [
        ("configMap", "configmaps (via projected volumes)"),
        ("secret", "secrets (via projected volumes)"),
        ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
        ("clusterTrustBundle", "clustertrustbundles"),
        ("podCertificate", "podcertificates"),
    ];
    match found.into_iter().find(|(name, _)| has(name)) {
        Some((_, resource)) => Ok(Some(resource)),
        None if has("downwardAPI") => Ok(None),
        None => Err(format!("unknown source for projected volume \"{volume}\"")),
    }
}

pub(super) fn status(write: &Write<'_>) -> Result<(), Status> {
    let (node, new) = (write.node, write.object);
    let Some(old) = write.old.filter(|_| write.op.verb == Verb::Update) else { return unexpected(write) };
    if node_of(old) != node {
        return write.forbidden(format!(
            "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let labels = |pod: &Value| {
        meta::string_map(&pod["metadata"]["labels"]).map(|(k, v)| [k, v].map(str::to_owned)).collect::<Vec<_>>()
    };
    if labels(old) != labels(new) {
        return write.forbidden(format!("node \"{node}\" cannot update labels through pod status"));
    }
    let claims = |pod: &Value| {
        let of = |status: &Value| (status["name"].clone(), status["resourceClaimName"].clone());
        meta::list(pod, &["status", "resourceClaimStatuses"]).iter().map(of).collect::<Vec<_>>()
    };
    if claims(old) != claims(new) {
        return write.forbidden(format!("node \"{node}\" cannot update resource claim statues"));
    }
    if old["status"]["extendedResourceClaimStatus"] != new["status"]["extendedResourceClaimStatus"] {
        return write.forbidden(format!("node \"{node}\" cannot update extended resource claim status"));
    }
    Ok(())
}

/// What a kubelet says that containers have is charged to their namespace. So it is no more than what they asked for: a kubelet that
/// says more, as one that read an older spec may too, has its word lowered, and is told so.
pub(super) fn bound(request: &Request<'_>, pod: &mut Value) {
    let Some(old) = request.old else { return };
    for container in pod_resources::bound_status(pod, old) {
        request.op.notes.warn(format!(
            "status of container \"{container}\": its resources are more than it asked for, and were lowered to that"
        ));
    }
}

pub(super) fn eviction(storage: &Storage, write: &Write<'_>) -> Result<(), Status> {
    let (name, namespace) = (write.name(), meta::namespace(write.object));
    let Some(pod) = storage.cache(core("pods"))?.get(&key(Some(namespace), name))? else {
        return Err(Status::not_found("", "pods", name));
    };
    if node_of(&pod.value()) != write.node {
        return write.forbidden(format!("node {} can only evict pods with spec.nodeName set to itself", write.node));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mirror_may_have_volumes_that_refer_to_nothing() {
        let of = |volume: Value| reference(&json!({"spec": {"volumes": [volume]}}));
        assert_eq!(of(json!({"name": "v", "hostPath": {"path": "/a"}})), Ok(None));
        assert_eq!(of(json!({"name": "v", "projected": {"sources": [{"downwardAPI": {}}]}})), Ok(None));
        for (volume, resource) in [
            (json!({"csi": {"driver": "d"}}), "csidrivers (via CSI volumes)"),
            (json!({"persistentVolumeClaim": {"claimName": "c"}}), "persistentvolumeclaims"),
            (json!({"secret": {"secretName": "s"}}), "secrets"),
            (
                json!({"projected": {"sources": [{"downwardAPI": {}}, {"serviceAccountToken": {}}]}}),
                "serviceaccounts (via projected volumes)",
            ),
        ] {
            assert_eq!(of(volume), Ok(Some(resource)));
        }
        assert_eq!(of(json!({"name": "v", "new": {}})), Err("unknown volume type for volume  \"v\"".into()));
        assert_eq!(
            of(json!({"name": "v", "projected": {"sources": [{"new": {}}]}})),
            Err("unknown source for projected volume \"v\"".into())
        );
    }
}
