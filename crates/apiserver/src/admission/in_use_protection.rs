//! What is stored for others is kept while it is used: its finalizer is there from the first moment, and controllers take it
//! away again.
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#storageobjectinuseprotection>

use coracle_api::Kind;
use serde_json::{Value, json};

use super::{Plugin, Request, Verdict, at_once};
use crate::operation::{Operation, Verb};

pub(super) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, op: &Operation) -> bool {
        op.verb == Verb::Create && op.subresource.is_empty() && finalizer(&op.kind).is_some()
    }

    fn admit<'a>(&'a self, request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        if let Some(finalizer) = finalizer(&request.op.kind) {
            protect(object, finalizer);
        }
        at_once(Ok(()))
    }
}

fn finalizer(kind: &Kind) -> Option<&'static str> {
    match kind {
        kind if kind.is("", "PersistentVolumeClaim") => Some("kubernetes.io/pvc-protection"),
        kind if kind.is("", "PersistentVolume") => Some("kubernetes.io/pv-protection"),
        kind if kind.is("storage.k8s.io", "VolumeAttributesClass") => Some("kubernetes.io/vac-protection"),
        _ => None,
    }
}

fn protect(object: &mut Value, finalizer: &str) {
    let finalizers = &mut object["metadata"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(there) if there.iter().any(|other| other == finalizer) => {}
        Some(there) => there.push(finalizer.into()),
        None => *finalizers = json!([finalizer]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finalizer_is_there_once() {
        let mut object = json!({"metadata": {"name": "a"}});
        protect(&mut object, "f");
        protect(&mut object, "f");
        assert_eq!(object["metadata"]["finalizers"], json!(["f"]));
        protect(&mut object, "g");
        assert_eq!(object["metadata"]["finalizers"], json!(["f", "g"]));
    }
}
