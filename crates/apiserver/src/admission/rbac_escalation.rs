//! Nobody grants by a role or binding what they do not have ([`crate::authz::escalation`]).

use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::Value;

use super::{Plugin, Request, Verdict};
use crate::authz::Authorizer;
use crate::authz::escalation::Escalation;
use crate::authz::rbac::GROUP;
use crate::rest::{Operation, Verb};

pub(super) struct RbacEscalation;

impl Plugin for RbacEscalation {
    fn handles(&self, op: &Operation) -> bool {
        op.verb != Verb::Delete && op.kind.group == GROUP
    }

    fn admit<'a>(&'a self, request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        Box::pin(check(request, object))
    }
}

async fn check(request: &Request<'_>, object: &Value) -> Result<(), Status> {
    let (inner, op) = (request.inner, request.op);
    let place = (meta::namespace(object), &*op.name);
    let authorizers = (&inner.authorizer as &dyn Authorizer, &*inner.rbac);
    let what = (&*op.kind.group, &*op.kind.plural);
    Escalation::of(authorizers, &op.user, what, place, object).await.check(object, request.old)
}
