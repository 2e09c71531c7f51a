//! DELETE of what cannot be read, for those who say that they know what they do: nothing of it is looked at, so no
//! finalizer and no grace period is kept.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#delete-option-ignore-storage-read-error>

use coracle_api::Kind;
use coracle_api::field::{FieldError, Path};
use coracle_api::status::Status;
use coracle_store::{Compare, Op, Outcome, Txn};
use http::StatusCode;
use serde_json::Value;

use crate::authz::{Attributes, decide};
use crate::context::{Answer, Context};
use crate::negotiate;
use crate::object::Object;
use crate::services::ip_address;
use crate::storage::store_key;

/// The option that asks for it.
pub const OPTION: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";
const VERB: &str = "unsafe-delete-ignore-read-errors";

/// Checks the option against the others; whether it is set.
pub(super) fn is_asked(options: &Value, dry_run: bool) -> Result<bool, Status> {
    if options[OPTION] != true {
        return Ok(false);
    }
    let given = |field: &&str| !options[*field].is_null() || *field == "dryRun" && dry_run;
    let others = ["dryRun", "propagationPolicy", "orphanDependents", "gracePeriodSeconds", "preconditions"];
    let errors: Vec<_> = others
        .iter()
        .filter(|field| given(field))
        .map(|field| format!("cannot be set together with .{field}"))
        .collect();
    if errors.is_empty() { Ok(true) } else { Err(refused("meta.k8s.io", "DeleteOptions", "", errors)) }
}

/// The option does not fit, for these reasons.
pub(super) fn refused(group: &str, kind: &str, name: &str, why: Vec<String>) -> Status {
    let errors = why.into_iter().map(|why| FieldError::invalid(&Path::new(OPTION), &true.into(), why));
    Status::invalid(group, kind, name, errors.collect())
}

/// Deletes it.
pub(super) async fn delete(cx: &Context<'_>) -> Answer {
    let kind = &cx.target.kind;
    authorize(cx, kind).await?;
    let key = cx.target.key();
    let cache = cx.storage().cache(kind)?;
    let Some(found) = cache.unreadable(&key) else {
        let why = "is exclusively used to delete corrupt object(s), try again by removing this option";
        return Err(refused(&kind.group, &kind.kind, cx.name(), vec![why.into()]));
    };
    let stored = store_key(kind, cx.target.namespace.as_deref(), cx.name());
    let compares = vec![Compare::ModRevision(stored.clone(), found.revision)];
    let mut txn = Txn { compares, ops: vec![Op::Delete { key: stored }] };
    let before = found.before.as_ref().map(Object::value);
    ip_address::follow(cx.storage(), kind, before.as_ref(), None, &mut txn)?;
    match cx.storage().commit(txn).await? {
        Outcome::Committed { .. } => {
            let status = Status::success(&kind.group, &kind.plural, cx.name(), "");
            Ok(negotiate::document(StatusCode::OK, cx.output.encoding, status.to_json().into()))
        }
        Outcome::Conflict { .. } => Err(Status::modified(&kind.group, &kind.plural, cx.name())),
    }
}

async fn authorize(cx: &Context<'_>, kind: &Kind) -> Result<(), Status> {
    let namespace = cx.target.namespace.as_deref().unwrap_or_default();
    let what = Attributes::resource(VERB, &kind.group, &kind.plural, namespace, cx.name());
    let decision = decide(&*cx.state.authorizer, &cx.user, &what).await;
    if decision.is_allowed() {
        return Ok(());
    }
    let why = format!("not permitted to do \"{VERB}\", reason: {}", decision.reason());
    Err(Status::forbidden(&kind.group, &kind.plural, cx.name(), &why))
}
