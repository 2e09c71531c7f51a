//! The deletion of an object: preconditions, grace, finalizers, propagation.

use bytes::Bytes;
use coracle_api::status::Status;
use coracle_api::{Kind, meta};
use coracle_store::{Compare, Op, Outcome, Txn};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{ATTEMPTS, Objects, shown_anew};
use crate::admission::Request;
use crate::encode::{self, Encoded};
use crate::object::Object;
use crate::operation::Operation;
use crate::services::ip_address;
use crate::storage::store_key;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a deletion asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub grace_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// `Orphan`, `Background` or `Foreground`.
    pub propagation: Option<String>,
    pub dry_run: bool,
    /// What cannot be read is to go as well.
    pub even_unreadable: bool,
}

/// What became of an object.
pub(crate) enum Deleted {
    /// It is gone; its last state.
    Gone(Bytes),
    /// It goes once its grace period is over or its finalizers are done.
    Pending(Bytes),
}

impl Objects {
    /// Deletes an object or marks it as deleted. What became of it is told in the version of the request.
    pub async fn delete(&self, op: &Operation, key: &str, options: &Options) -> Result<Deleted, Status> {
        let name = key.rsplit('/').next().unwrap_or_default();
        let cache = self.storage.cache(&op.kind)?;
        let kind = op.kind.storage();
        if options.propagation.is_none() {
            kind.strategy.warning_on_deletion().into_iter().for_each(|text| op.notes.warn(text));
        }
        for _ in 0..ATTEMPTS {
            let current = cache.get(key)?.ok_or_else(|| Status::not_found(&kind.group, &kind.plural, name))?;
            check_preconditions(kind, &current, options)?;
            // What becomes of the objects of a definition that goes needs nobody's answer.
            let old = match op.is_own {
                true => current.value(),
                false => self.conversions.object(op.worked(), current.clone()).await?,
            };
            let request = Request::new(op, Some(&old));
            self.admission.admit(&request, &mut old.clone()).await?;
            self.admission.validate(&request, &old).await?;
            let mut new = old.clone();
            mark(op.worked(), &mut new, options);
            let finished = is_finished(kind, &new);
            if options.dry_run || (!finished && new == old) {
                let bytes = shown_anew(op, &old)?;
                return Ok(if finished { Deleted::Gone(bytes) } else { Deleted::Pending(bytes) });
            }
            let store_key = store_key(kind, current.namespace(), current.name());
            let mut kept = None;
            let write = if finished {
                Op::Delete { key: store_key.clone() }
            } else {
                let stored = match op.is_own {
                    true => new.clone(),
                    false => self.conversions.value(op.worked(), kind, new.clone()).await?,
                };
                let encoded = kept.insert(encode::for_store(&stored, None));
                Op::Put { key: store_key.clone(), value: encoded.bytes.clone(), ttl: kind.strategy.ttl() }
            };
            let mut txn = Txn { compares: vec![Compare::ModRevision(store_key, current.revision())], ops: vec![write] };
            let charged = self.quotas.charge(op, Some(&old), Some(&new).filter(|_| !finished)).await?;
            charged.claim(&mut txn);
            if finished {
                ip_address::follow(&self.storage, kind, Some(&old), None, &mut txn)?;
            }
            if let Outcome::Committed { revision } = self.storage.commit(txn).await? {
                return match kept {
                    None => shown_anew(op, &old).map(Deleted::Gone),
                    Some(Encoded { bytes, hole }) => {
                        let shown = encode::shown(&bytes, hole, revision);
                        self.conversions.bytes(&op.kind, shown).await.map(Deleted::Pending)
                    }
                };
            }
        }
        Err(Status::modified(&kind.group, &kind.plural, name))
    }
}

/// Whether the object is the one, and as it was, that a deletion is about.
pub(crate) fn check_preconditions(kind: &Kind, current: &Object, options: &Options) -> Result<(), Status> {
    let revision = current.revision().to_string();
    let failed = |what: &str, wanted: &str, is: &str| {
        let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {is}");
        Err(Status::conflict(&kind.group, &kind.plural, current.name(), &why))
    };
    match (&options.uid, &options.resource_version) {
        (Some(uid), _) if **uid != *current.uid() => failed("UID", uid, current.uid()),
        (_, Some(version)) if *version != revision => failed("ResourceVersion", version, &revision),
        _ => Ok(()),
    }
}

/// Sets what a deletion leaves on an object: finalizers of the propagation policy, deletion time and grace.
fn mark(kind: &Kind, object: &mut Value, options: &Options) {
    let mut finalizers: Vec<String> = meta::finalizers(object).into_iter().map(Into::into).collect();
    let says =
        meta::is_deleting(object) || finalizers.iter().any(|finalizer| finalizer == ORPHAN || finalizer == FOREGROUND);
    let usual = (!says && kind.strategy.orphans_dependents()).then_some("Orphan");
    if let Some(policy) = options.propagation.as_deref().or(usual) {
        finalizers.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
        match policy {
            "Orphan" => finalizers.push(ORPHAN.into()),
            "Foreground" => finalizers.push(FOREGROUND.into()),
            _ => {}
        }
        meta::set_finalizers(object, &finalizers.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let grace = grace_seconds(kind, object, options);
    let is_first = !meta::is_deleting(object);
    match (meta::is_deleting(object), meta::deletion_grace_period_seconds(object)) {
        (false, _) => {
            let at = ends(grace);
            meta::set_deletion(object, at, grace);
            bump_generation(object);
        }
        // A second deletion can only shorten the grace period.
        (true, Some(current)) if options.grace_seconds.is_some() && grace < current => {
            let at = ends(grace);
            meta::set_deletion(object, at, grace);
        }
        _ => {}
    }
    kind.strategy.mark_deleted(object, is_first);
}

/// When a grace period ends that begins now; no time is later than the last that can be written.
fn ends(grace: i64) -> Timestamp {
    Timestamp::now().saturating_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX)
}

fn bump_generation(object: &mut Value) {
    let generation = meta::generation(object);
    if generation > 0 {
        meta::set_generation(object, generation.saturating_add(1));
    }
}

fn grace_seconds(kind: &Kind, object: &Value, options: &Options) -> i64 {
    let Some(default) = kind.strategy.default_grace_seconds(object) else { return 0 };
    let settled = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let unassigned = object["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    match options.grace_seconds {
        _ if settled || unassigned => 0,
        Some(seconds) if seconds < 0 => 1,
        Some(seconds) => seconds,
        None => default,
    }
}

/// Whether a deleted object has nothing left to wait for.
pub(super) fn is_finished(kind: &Kind, object: &Value) -> bool {
    meta::is_deleting(object)
        && !kind.strategy.outlives_deletion(object)
        && meta::finalizers(object).is_empty()
        && meta::deletion_grace_period_seconds(object).unwrap_or(0) == 0
}
