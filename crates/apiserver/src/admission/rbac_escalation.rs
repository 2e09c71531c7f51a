//! Nobody grants by a role or binding what they do not have ([`crate::authz::escalation`]).

use std::sync::Arc;

use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::Value;

use super::{Plugin, Request, Verdict};
use crate::authz::escalation::Escalation;
use crate::authz::rbac::GROUP;
use crate::authz::{Authorizer, Chain, Rbac};
use crate::operation::{Operation, Verb};

/// Knows all authorizers, and the one of roles.
pub(super) struct RbacEscalation {
    pub authorizer: Arc<Chain>,
    pub rbac: Arc<Rbac>,
}

impl Plugin for RbacEscalation {
    fn handles(&self, op: &Operation) -> bool {
        op.verb != Verb::Delete && op.kind.group == GROUP
    }

    fn admit<'a>(&'a self, request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        Box::pin(self.check(request, object))
    }
}

impl RbacEscalation {
    async fn check(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let op = request.op;
        let place = (meta::namespace(object), &*op.name);
        let authorizers = (&*self.authorizer as &dyn Authorizer, &*self.rbac);
        let what = (&*op.kind.group, &*op.kind.plural);
        Escalation::of(authorizers, &op.user, what, place, object).await.check(object, request.old)
    }
}
