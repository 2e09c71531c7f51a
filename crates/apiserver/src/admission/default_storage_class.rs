//! A claim that names no storage class has the default one.

use std::sync::Arc;

use coracle_api::status::Status;
use coracle_api::{kinds, meta};
use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once, makes};
use crate::object::Object;
use crate::operation::Operation;
use crate::storage::Storage;

pub(super) struct DefaultStorageClass(pub Arc<Storage>);

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, op: &Operation) -> bool {
        makes(op, "", "PersistentVolumeClaim")
    }

    fn admit<'a>(&'a self, _request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        at_once(default_storage_class(&self.0, object))
    }
}

fn default_storage_class(storage: &Storage, claim: &mut Value) -> Result<(), Status> {
    if !claim["spec"]["storageClassName"].is_null() {
        return Ok(());
    }
    let Some(kind) = kinds::by_resource("storage.k8s.io", "v1", "storageclasses") else { return Ok(()) };
    let snapshot = storage.cache(kind)?.snapshot();
    let is_default = |class: &Value| meta::annotation(class, "storageclass.kubernetes.io/is-default-class") == "true";
    let newest = snapshot.range("", None).map(Object::value).filter(is_default).max_by_key(meta::creation_timestamp);
    if let Some(class) = newest {
        claim["spec"]["storageClassName"] = meta::name(&class).into();
    }
    Ok(())
}
