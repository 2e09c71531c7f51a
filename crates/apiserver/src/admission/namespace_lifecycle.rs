//! Nothing is made in a namespace that is not there or is going away, and some namespaces cannot be deleted.

use std::sync::Arc;

use coracle_api::Kind;
use coracle_api::meta;
use coracle_api::status::{Cause, Status};
use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once};
use crate::operation::{Operation, Verb};
use crate::storage::{Storage, core};

/// What everything needs.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle(pub Arc<Storage>);

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, op: &Operation) -> bool {
        match op.verb {
            Verb::Create => op.kind.namespaced,
            Verb::Update | Verb::Connect => false,
            Verb::Delete => op.kind.is("", "Namespace"),
        }
    }

    fn admit<'a>(&'a self, request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        at_once(is_open(&self.0, request.op.kind.storage(), object))
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        at_once(match request.op.verb {
            Verb::Delete => is_mortal(meta::name(object)),
            _ => Ok(()),
        })
    }
}

fn is_mortal(name: &str) -> Result<(), Status> {
    if IMMORTAL.contains(&name) {
        return Err(Status::forbidden("", "namespaces", name, "this namespace may not be deleted"));
    }
    Ok(())
}

fn is_open(storage: &Storage, kind: &Kind, object: &Value) -> Result<(), Status> {
    let name = meta::namespace(object);
    if name.is_empty() {
        return Ok(());
    }
    let Some(namespace) = storage.cache(core("namespaces"))?.get(name)? else {
        return Err(Status::not_found("", "namespaces", name));
    };
    // Parsing every namespace on every create would be waste: one that ends has this in its bytes.
    let ending = memchr::memmem::find(namespace.stored(), b"deletionTimestamp").is_some();
    if ending && meta::is_deleting(&namespace.value()) {
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let mut status = Status::forbidden(&kind.group, &kind.plural, meta::name(object), &why);
        let cause = Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {name} is being terminated"),
            field: "metadata.namespace".into(),
        };
        status.details.get_or_insert_default().causes.push(cause);
        return Err(status);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespaces_that_everything_needs_cannot_be_deleted() {
        let status = is_mortal("kube-system").unwrap_err();
        assert_eq!(status.code, 403);
        assert_eq!(status.message, "namespaces \"kube-system\" is forbidden: this namespace may not be deleted");
        assert!(is_mortal("dev").is_ok());
    }
}
