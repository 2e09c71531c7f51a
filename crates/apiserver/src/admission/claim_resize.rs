//! A claim grows only if it is bound, and if its class lets claims grow.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims>

use std::sync::Arc;

use coracle_api::quantity::Quantity;
use coracle_api::status::Status;
use coracle_api::{kinds, meta};
use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once};
use crate::operation::{Operation, Verb};
use crate::storage::Storage;

pub(super) struct PersistentVolumeClaimResize(pub Arc<Storage>);

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, op: &Operation) -> bool {
        op.verb == Verb::Update && op.kind.is("", "PersistentVolumeClaim") && op.subresource.is_empty()
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        at_once(self.check(request.old, object))
    }
}

impl PersistentVolumeClaimResize {
    fn check(&self, old: Option<&Value>, claim: &Value) -> Result<(), Status> {
        let Some(old) = old.filter(|old| size(claim) > size(old)) else { return Ok(()) };
        let refused = |why: &str| Err(Status::forbidden("", "persistentvolumeclaims", meta::name(claim), why));
        if old["status"]["phase"] != "Bound" {
            return refused("Only bound persistent volume claims can be expanded");
        }
        if !self.may_grow(claim)? {
            return refused(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            );
        }
        Ok(())
    }

    fn may_grow(&self, claim: &Value) -> Result<bool, Status> {
        let name = match meta::annotation(claim, "volume.beta.kubernetes.io/storage-class") {
            "" => meta::text(claim, &["spec", "storageClassName"]),
            name => name,
        };
        let Some(kind) = kinds::by_resource("storage.k8s.io", "v1", "storageclasses") else { return Ok(false) };
        let class = self.0.cache(kind)?.get(name)?;
        Ok(class.is_some_and(|class| class.value()["allowVolumeExpansion"] == true))
    }
}

fn size(claim: &Value) -> Option<Quantity> {
    meta::text(claim, &["spec", "resources", "requests", "storage"]).parse().ok()
}
