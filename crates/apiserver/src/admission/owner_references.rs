//! Who gives an object another owner could delete it by that, and who makes a reference block holds the owner's deletion up:
//! only those may who could do so anyway.
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#ownerreferencespermissionenforcement>

use std::sync::Arc;

use coracle_api::meta::{self, list, text};
use coracle_api::status::Status;
use serde_json::Value;

use super::{Plugin, Request, Verdict};
use crate::authz::{Attributes, Chain, decide};
use crate::operation::{Operation, Verb};
use crate::storage::Storage;

/// Asks the authorizers.
pub(super) struct OwnerReferencesPermissionEnforcement {
    pub storage: Arc<Storage>,
    pub authorizer: Arc<Chain>,
}

impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn handles(&self, op: &Operation) -> bool {
        // The status of a pod leaves its owners as they are.
        let is_status = op.kind.is("", "Pod") && op.subresource == "status";
        matches!(op.verb, Verb::Create | Verb::Update) && !is_status && !op.is_own
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        Box::pin(self.check(request, object))
    }
}

impl OwnerReferencesPermissionEnforcement {
    async fn check(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let op = request.op;
        let before = request.old.map(owners).unwrap_or_default();
        if owners(object) == before {
            return Ok(());
        }
        let (group, plural, namespace) = (&*op.kind.group, &*op.kind.plural, meta::namespace(object));
        let name = if op.name.is_empty() { meta::name(object) } else { &op.name };
        let forbidden = |why: String| Err(Status::forbidden(group, plural, name, &why));
        // Who makes an object may make it as they like.
        if request.old.is_some() {
            let deleting = Attributes {
                version: &op.kind.version,
                subresource: op.subresource,
                ..Attributes::resource("delete", group, plural, namespace, name)
            };
            let decision = decide(&*self.authorizer, &op.user, &deleting).await;
            if !decision.is_allowed() {
                let reason = decision.reason();
                return forbidden(format!("cannot set an ownerRef on a resource you can't delete: {reason}, <nil>"));
            }
        }
        for owner in owners(object).iter().filter(|owner| is_newly_blocking(owner, before)) {
            let (version, kind) = (text(owner, &["apiVersion"]), text(owner, &["kind"]));
            let Some(of) = self.kind(version, kind) else {
                return forbidden(format!(
                    "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} Kind \
                     {kind}: no matches for kind \"{kind}\" in version \"{version}\""
                ));
            };
            let namespace = if of.namespaced { namespace } else { "" };
            let finalizing = Attributes {
                version: &of.version,
                subresource: "finalizers",
                ..Attributes::resource("update", &of.group, &of.plural, namespace, text(owner, &["name"]))
            };
            let decision = decide(&*self.authorizer, &op.user, &finalizing).await;
            if !decision.is_allowed() {
                return forbidden(format!(
                    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}, <nil>",
                    decision.reason()
                ));
            }
        }
        Ok(())
    }

    fn kind(&self, api_version: &str, kind: &str) -> Option<Arc<coracle_api::Kind>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.storage.kinds.snapshot().by_kind(group, version, kind).cloned()
    }
}

fn owners(object: &Value) -> &[Value] {
    list(object, &["metadata", "ownerReferences"])
}

/// Whether an owner is held up by a reference from now on.
fn is_newly_blocking(owner: &Value, before: &[Value]) -> bool {
    let blocks = |owner: &Value| owner["blockOwnerDeletion"] == true;
    let is_same = |other: &&Value| other["uid"] == owner["uid"];
    blocks(owner) && !before.iter().find(is_same).is_some_and(blocks)
}
