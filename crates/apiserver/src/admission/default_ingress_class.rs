//! An ingress that names no class has the default one.

use std::cmp::Reverse;
use std::sync::Arc;

use coracle_api::status::Status;
use coracle_api::{kinds, meta};
use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once, makes};
use crate::object::Object;
use crate::operation::Operation;
use crate::storage::Storage;

pub(super) struct DefaultIngressClass(pub Arc<Storage>);

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, op: &Operation) -> bool {
        makes(op, "networking.k8s.io", "Ingress") && op.subresource.is_empty()
    }

    fn admit<'a>(&'a self, _request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        at_once(self.complete(object))
    }
}

impl DefaultIngressClass {
    fn complete(&self, ingress: &mut Value) -> Result<(), Status> {
        // The annotation was before there was a field.
        let named = !meta::annotation(ingress, "kubernetes.io/ingress.class").is_empty();
        if named || !ingress["spec"]["ingressClassName"].is_null() {
            return Ok(());
        }
        let Some(kind) = kinds::by_resource("networking.k8s.io", "v1", "ingressclasses") else { return Ok(()) };
        let snapshot = self.0.cache(kind)?.snapshot();
        let is_default =
            |class: &Value| meta::annotation(class, "ingressclass.kubernetes.io/is-default-class") == "true";
        let classes = snapshot.range("", None).map(Object::value).filter(is_default);
        // Of several the newest, and of those the first by name.
        let chosen =
            classes.max_by_key(|class| (meta::creation_timestamp(class), Reverse(meta::name(class).to_owned())));
        if let Some(class) = chosen {
            ingress["spec"]["ingressClassName"] = meta::name(&class).into();
        }
        Ok(())
    }
}
