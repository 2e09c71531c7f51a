//! The tokens that a kubelet asks for: bound to its pods, and for audiences that they have.

use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::Value;

use super::pod::node_of;
use super::{NodeRestriction, Write};
use crate::authz::{Attributes, decide};
use crate::object::Object;
use crate::storage::{Storage, core, key};

/// The verb of nodes that may have tokens for other audiences; the resource is the audience.
const VERB: &str = "request-serviceaccounts-token-audience";

impl NodeRestriction {
    pub(super) async fn token(&self, write: &Write<'_>) -> Result<(), Status> {
        let spec = &write.object["spec"];
        let text = |field: &str| meta::text(spec, &["boundObjectRef", field]);
        let (name, uid, namespace) = (text("name"), text("uid"), meta::namespace(write.object));
        if (text("apiVersion"), text("kind")) != ("v1", "Pod") || name.is_empty() {
            return write.forbidden("node requested token not bound to a pod");
        }
        if uid.is_empty() {
            return write.forbidden("node requested token with a pod binding without a uid");
        }
        let Some(pod) = self.storage.cache(core("pods"))?.get(&key(Some(namespace), name))? else {
            return Err(Status::not_found("", "pods", name));
        };
        if uid != pod.uid() {
            return write.forbidden(format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ));
        }
        let pod = pod.value();
        if node_of(&pod) != write.node {
            return write.forbidden("node requested token bound to a pod scheduled on a different node");
        }
        let audience = match meta::list(spec, &["audiences"]) {
            [] => "",
            [audience] => audience.as_str().unwrap_or_default(),
            _ => return write.forbidden("node may only request 0 or 1 audiences"),
        };
        if has_audience(&self.storage, &pod, audience) {
            return Ok(());
        }
        let user = &write.op.user;
        let what = Attributes::resource(VERB, "", audience, namespace, write.name());
        if decide(&*self.authorizer, user, &what).await.is_allowed() {
            return Ok(());
        }
        write.forbidden(format!(
            "audience \"{audience}\" not found in pod spec volume, {} is not authorized to request tokens for this audience",
            user.name
        ))
    }
}

/// Whether a volume of a pod, or the driver of one, has tokens for an audience.
fn has_audience(storage: &Storage, pod: &Value, audience: &str) -> bool {
    meta::list(pod, &["spec", "volumes"]).iter().any(|volume| {
        let sources = meta::list(volume, &["projected", "sources"]);
        let is_for = |token: &Value| token.is_object() && meta::text(token, &["audience"]) == audience;
        sources.iter().any(|source| is_for(&source["serviceAccountToken"]))
            || driver(storage, pod, volume)
                .is_some_and(|driver| meta::list(&driver, &["spec", "tokenRequests"]).iter().any(is_for))
    })
}

/// The CSIDriver of a volume.
fn driver(storage: &Storage, pod: &Value, volume: &Value) -> Option<Value> {
    let find = |group: &str, plural: &str, key: &str| {
        let kind = coracle_api::kinds::by_resource(group, "v1", plural)?;
        storage.cache(kind).ok()?.get(key).ok().flatten().as_ref().map(Object::value)
    };
    let claim = match meta::text(volume, &["persistentVolumeClaim", "claimName"]) {
        "" if volume["ephemeral"].is_object() => format!("{}-{}", meta::name(pod), meta::text(volume, &["name"])),
        name => name.to_owned(),
    };
    let name = match claim.is_empty() {
        true => meta::text(volume, &["csi", "driver"]).to_owned(),
        false => {
            let claim = find("", "persistentvolumeclaims", &key(Some(meta::namespace(pod)), &claim))?;
            let volume = find("", "persistentvolumes", meta::text(&claim, &["spec", "volumeName"]))?;
            meta::text(&volume, &["spec", "csi", "driver"]).to_owned()
        }
    };
    find("storage.k8s.io", "csidrivers", &name)
}
