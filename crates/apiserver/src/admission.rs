//! Admission: what the server adds to or refuses of a write beyond the validity of the object. Each plugin is asked in turn,
//! first to change the object, and once that is valid, to refuse it.
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/>

mod certificate_requester;
mod default_storage_class;
mod default_tolerations;
mod namespace_lifecycle;
mod priority;
mod rbac_escalation;
mod runtime_class;
mod service_account;

use std::future::ready;
use std::sync::Arc;

use coracle_api::status::Status;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::rest::{Operation, Verb};
use crate::server::Inner;

/// Namespaces that every cluster has.
pub const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// What plugins are asked about. Objects are in the version that is stored.
pub(crate) struct Request<'a> {
    pub inner: &'a Arc<Inner>,
    pub op: &'a Operation,
    /// The object as it is; a new one is not there yet.
    pub old: Option<&'a Value>,
}

/// What a plugin says, now or once it knows.
type Verdict<'a> = BoxFuture<'a, Result<(), Status>>;

/// A part of admission.
trait Plugin: Sync {
    /// Whether it has a say in such a write at all. Asked of every write, so it is quick.
    fn handles(&self, op: &Operation) -> bool;

    /// Changes an object that is not validated yet, or refuses it at once.
    fn admit<'a>(&'a self, _request: &'a Request<'a>, _object: &'a mut Value) -> Verdict<'a> {
        at_once(Ok(()))
    }

    /// Refuses a valid object, or the deletion of one.
    fn validate<'a>(&'a self, _request: &'a Request<'a>, _object: &'a Value) -> Verdict<'a> {
        at_once(Ok(()))
    }
}

/// All plugins, in upstream's order.
static PLUGINS: [&dyn Plugin; 8] = [
    &namespace_lifecycle::NamespaceLifecycle,
    &certificate_requester::CertificateRequester,
    &service_account::ServiceAccount,
    &default_tolerations::DefaultTolerationSeconds,
    &priority::Priority,
    &runtime_class::RuntimeClass,
    &default_storage_class::DefaultStorageClass,
    &rbac_escalation::RbacEscalation,
];

/// Lets the plugins change a new object, or the new state of one.
pub(crate) async fn admit(request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
    for plugin in PLUGINS.iter().filter(|plugin| plugin.handles(request.op)) {
        plugin.admit(request, object).await?;
    }
    Ok(())
}

/// Lets the plugins refuse a valid object. One that is to be deleted is given as it is.
pub(crate) async fn validate(request: &Request<'_>, object: &Value) -> Result<(), Status> {
    for plugin in PLUGINS.iter().filter(|plugin| plugin.handles(request.op)) {
        plugin.validate(request, object).await?;
    }
    Ok(())
}

/// What needs nobody else.
fn at_once<'a>(verdict: Result<(), Status>) -> Verdict<'a> {
    Box::pin(ready(verdict))
}

/// Whether objects of a kind are made.
fn makes(op: &Operation, group: &str, kind: &str) -> bool {
    op.verb == Verb::Create && op.kind.is(group, kind)
}
