//! PUT, and the one path by which every change of an existing object goes.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Kind;
use coracle_api::status::Status;
use coracle_api::{convert, decode, meta, meta_validate};
use coracle_store::{Compare, Op, Outcome, Txn};
use http::StatusCode;
use serde_json::Value;

use super::{Answer, Context, cache, delete, in_version_value, store_error, store_key};
use crate::encode::Encoded;
use crate::object::Object;
use crate::server::Inner;
use crate::services::ip_address;
use crate::{encode, negotiate, warnings};

/// Attempts at a change that does not name a resource version.
const ATTEMPTS: usize = 16;

/// Which part of an object a change may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Everything but the status.
    Main,
    /// Only the status.
    Status,
    /// What a subresource of that name writes.
    Subresource(&'static str),
    /// Everything: the server's own changes.
    Whole,
}

impl Change {
    pub fn of_subresource(name: Option<&'static str>) -> Change {
        match name {
            None => Change::Main,
            Some("status") => Change::Status,
            Some(name) => Change::Subresource(name),
        }
    }
}

pub(super) async fn put(cx: &Context<'_>) -> Answer {
    let kind = &cx.target.kind;
    let format = negotiate::body_format(&cx.parts.headers)?;
    let (object, mut told) = decode::decode(kind, &cx.body, format, cx.field_validation()?)?;
    let (name, namespace) = (meta::name(&object), meta::namespace(&object));
    if name != cx.name() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            cx.name()
        )));
    }
    if !namespace.is_empty() && cx.target.namespace.as_deref().is_some_and(|own| own != namespace) {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let change = Change::of_subresource(cx.target.subresource);
    if change == Change::Main {
        told.extend(warnings::on_change(kind, &object));
    }
    if change == Change::Main && kind.strategy.allow_create_on_update() {
        return put_or_create(cx, object, &told).await;
    }
    replace(cx, &object, change, &told).await
}

/// Puts an object in the place of the one that is there.
async fn replace(cx: &Context<'_>, object: &Value, change: Change, told: &[String]) -> Answer {
    let kind = &cx.target.kind;
    if meta::resource_version(object).is_empty() && !kind.strategy.allow_unconditional_update() {
        let error = coracle_api::field::FieldError::invalid_unshown(
            &coracle_api::field::Path::new("metadata").child("resourceVersion"),
            "0x0: must be specified for an update",
        );
        return Err(Status::invalid(&kind.group, &kind.kind, cx.name(), vec![error]));
    }
    let escalation = cx.escalation(object).await;
    let bytes = update_object(cx.inner, kind, &cx.target.key(), change, cx.dry_run, &mut |current| {
        escalation.check(object, Some(current))?;
        Ok(object.clone())
    })
    .await?;
    cx.object(StatusCode::OK, bytes, told)
}

/// Puts an object where there may be none. Whoever else makes or deletes it meanwhile is not in the way.
async fn put_or_create(cx: &Context<'_>, object: Value, told: &[String]) -> Answer {
    let kind = &cx.target.kind;
    for _ in 0..ATTEMPTS {
        if cx.cache()?.get(&cx.target.key())?.is_some() {
            match replace(cx, &object, Change::Main, told).await {
                Err(status) if status.code == 404 => continue,
                done => return done,
            }
        }
        let mut new = object.clone();
        if let Some(namespace) = &cx.target.namespace {
            meta::set_namespace(&mut new, namespace);
        }
        meta::set_resource_version(&mut new, "");
        cx.check("create").await?;
        cx.escalation(&new).await.check(&new, None)?;
        match super::create_object(cx.inner, kind, new, cx.dry_run).await {
            Err(status) if status.reason == "AlreadyExists" => continue,
            made => return cx.object(StatusCode::CREATED, made?, told),
        }
    }
    Err(Status::modified(&kind.group, &kind.plural, cx.name()))
}

/// Changes an existing object: `make` gives the new object (in the version of `kind`) from the current one.
/// A resource version in it must be the current one; without one, the change is made anew when another
/// writer was faster.
pub(crate) async fn update_object(
    inner: &Inner,
    kind: &Arc<Kind>,
    key: &str,
    change: Change,
    dry_run: bool,
    make: &mut (dyn FnMut(&Value) -> Result<Value, Status> + Send),
) -> Result<Bytes, Status> {
    let cache = cache(inner, kind)?;
    let stored = kind.storage();
    let name = key.rsplit('/').next().unwrap_or_default();
    for _ in 0..ATTEMPTS {
        let current = cache.get(key)?.ok_or_else(|| Status::not_found(&kind.group, &kind.plural, name))?;
        let old = current.value();
        let (mut new, checked) = match kind.is_storage_version() {
            true => (make(&old)?, false),
            false => {
                let shown = in_version_value(kind, old.clone());
                let new = make(&shown)?;
                let checked = check_requested(kind, change, &new, &shown)?;
                (new, checked)
            }
        };
        if !kind.is_storage_version() {
            convert::convert(kind, stored, &mut new);
        }
        meta::set_type(&mut new, stored.api_version(), &stored.kind);
        let version = meta::resource_version(&new).to_owned();
        if !version.is_empty() && version != "0" && version != current.revision().to_string() {
            return Err(Status::modified(&kind.group, &kind.plural, name));
        }
        if !meta::uid(&new).is_empty() && *meta::uid(&new) != *current.uid() {
            let why = format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                meta::uid(&new),
                current.uid()
            );
            return Err(Status::conflict(&kind.group, &kind.plural, name, &why));
        }
        match attempt(inner, stored, &current, &old, new, Step { change, checked, dry_run }).await? {
            Some(bytes) => return Ok(bytes),
            None => continue,
        }
    }
    Err(Status::modified(&kind.group, &kind.plural, name))
}

/// Checks a change in the version that a request names, which is not the stored one; whether its kind is checked so.
fn check_requested(kind: &Kind, change: Change, new: &Value, old: &Value) -> Result<bool, Status> {
    // Only what the change may touch is checked.
    let mut touched = new.clone();
    match change {
        _ if kind.def().is_some() => return Ok(false),
        Change::Main => kind.strategy.prepare_update(&mut touched, old),
        Change::Status => kind.strategy.prepare_status_update(&mut touched, old),
        _ => {}
    }
    super::check_requested(kind, &touched, Some(old))
}

/// What is done in an attempt at a change.
#[derive(Clone, Copy)]
struct Step {
    change: Change,
    /// It has been checked in the version of the request: only metadata are checked again.
    checked: bool,
    dry_run: bool,
}

/// One attempt; `None` when another writer was faster.
async fn attempt(
    inner: &Inner,
    kind: &Kind,
    current: &Object,
    old: &Value,
    mut new: Value,
    Step { change, checked, dry_run }: Step,
) -> Result<Option<Bytes>, Status> {
    keep_system_fields(&mut new, old);
    kind.strategy.default(&mut new);
    match change {
        Change::Main => kind.strategy.prepare_update(&mut new, old),
        Change::Status => kind.strategy.prepare_status_update(&mut new, old),
        Change::Subresource(name) => kind.strategy.prepare_subresource(name, &mut new, old),
        Change::Whole => {}
    }
    let allocation = match change {
        Change::Main => inner.services.allocate(inner, kind, &mut new, Some(old)).await?,
        _ => None,
    };
    let mut errors = meta_validate::validate_update(kind, &new, old);
    match change {
        _ if checked => {}
        Change::Main => {
            errors.extend(kind.strategy.validate(&new));
            errors.extend(kind.strategy.validate_update(&new, old));
        }
        Change::Status => errors.extend(kind.strategy.validate_status_update(&new, old)),
        Change::Subresource(name) => errors.extend(kind.strategy.validate_subresource(name, &new, old)),
        Change::Whole => errors.extend(kind.strategy.validate(&new)),
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&kind.group, &kind.kind, current.name(), errors));
    }
    if new == *old {
        return Ok(Some(current.json()));
    }
    if dry_run {
        return serde_json::to_vec(&new).map(|bytes| Some(bytes.into())).map_err(Status::internal);
    }
    let key = store_key(kind, current.namespace(), current.name());
    let compares = vec![Compare::ModRevision(key.clone(), current.revision())];
    let finished = delete::is_finished(kind, &new);
    let Encoded { bytes, hole } = encode::for_store(&new);
    let op = match finished {
        true => Op::Delete { key },
        false => Op::Put { key, value: bytes, expires: super::expires(kind) },
    };
    let mut txn = Txn { compares, ops: vec![op] };
    if let Some(allocation) = allocation.as_ref().filter(|_| !finished) {
        allocation.claim(&mut txn);
    }
    ip_address::follow(inner, kind, Some(old), Some(&new).filter(|_| !finished), &mut txn)?;
    match inner.store.txn(txn).await.map_err(|error| store_error(&error))? {
        Outcome::Committed { .. } if finished => {
            serde_json::to_vec(&new).map(|bytes| Some(bytes.into())).map_err(Status::internal)
        }
        Outcome::Committed { written, .. } => {
            let written = written.into_iter().next().flatten();
            Ok(written.map(|kv| encode::shown(kv.value(), hole, kv.mod_revision())))
        }
        Outcome::Conflict { .. } => Ok(None),
    }
}

/// What no client can change.
fn keep_system_fields(new: &mut Value, old: &Value) {
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "namespace",
        "selfLink",
        "generateName",
    ];
    let metadata = meta::metadata_mut(new);
    for field in kept {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    metadata.remove("managedFields");
}
