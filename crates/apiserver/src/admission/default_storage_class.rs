//! A claim that names no storage class has the default one.

use std::cmp::Reverse;
use std::sync::Arc;

use coracle_api::status::Status;
use coracle_api::{kinds, meta};
use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once, makes};
use crate::object::Object;
use crate::operation::Operation;
use crate::storage::Storage;

/// By what a class says that it is the default one, now and before.
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

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
    // The annotation was before there was a field.
    let named = !meta::annotation(claim, "volume.beta.kubernetes.io/storage-class").is_empty();
    if named || !claim["spec"]["storageClassName"].is_null() {
        return Ok(());
    }
    let Some(kind) = kinds::by_resource("storage.k8s.io", "v1", "storageclasses") else { return Ok(()) };
    let snapshot = storage.cache(kind)?.snapshot();
    let is_default = |class: &Value| DEFAULT.iter().any(|name| meta::annotation(class, name) == "true");
    let classes = snapshot.range("", None).map(Object::value).filter(is_default);
    // Of several the newest, and of those the first by name.
    let chosen = classes.max_by_key(|class| (meta::creation_timestamp(class), Reverse(meta::name(class).to_owned())));
    if let Some(class) = chosen {
        claim["spec"]["storageClassName"] = meta::name(&class).into();
    }
    Ok(())
}
