//! POST of a new object.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Kind;
use coracle_api::decode;
use coracle_api::status::Status;
use coracle_api::{convert, meta, meta_validate};
use coracle_store::{Compare, Op, Outcome, Txn};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::{Answer, Context, store_error, store_key};
use crate::encode::Encoded;
use crate::server::Inner;
use crate::services::{Allocation, ip_address};
use crate::{admission, encode, negotiate, warnings};

/// Letters of generated names: none that make words or look alike.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
/// Attempts at a generated name that is not taken.
const ATTEMPTS: usize = 8;
/// Attempts at addresses and ports that nobody else is given at the same time.
const ALLOCATIONS: usize = 16;

pub(super) async fn create(cx: &Context<'_>) -> Answer {
    let kind = &cx.target.kind;
    let format = negotiate::body_format(&cx.parts.headers)?;
    let (mut object, mut told) = decode::decode(kind, &cx.body, format, cx.field_validation()?)?;
    if let Some(namespace) = &cx.target.namespace {
        match meta::namespace(&object) {
            "" => meta::set_namespace(&mut object, namespace),
            own if own == namespace => {}
            own => {
                return Err(Status::bad_request(format!(
                    "the namespace of the provided object does not match the namespace sent on the request: \"{own}\" is not \"{namespace}\""
                )));
            }
        }
    } else if kind.namespaced {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    told.extend(warnings::on_create(kind, &object));
    admission::requester(kind, &cx.user, &mut object);
    cx.escalation(&object).await.check(&object, None)?;
    let bytes = create_object(cx.inner, kind, object, cx.dry_run).await?;
    cx.object(StatusCode::CREATED, bytes, &told)
}

/// Makes an object of a version of its kind; answers with what was stored.
pub(crate) async fn create_object(
    inner: &Inner,
    kind: &Arc<Kind>,
    mut object: Value,
    dry_run: bool,
) -> Result<Bytes, Status> {
    // What is no number is no version that anything was ever stored with, and does not matter.
    if meta::resource_version(&object).parse::<u64>().is_ok_and(|version| version != 0) {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let stored = kind.storage();
    let mut checked = false;
    if !kind.is_storage_version() {
        checked = super::check_requested(kind, &object, None)?;
        convert::convert(kind, stored, &mut object);
    }
    let generated = meta::name(&object).is_empty() && !meta::generate_name(&object).is_empty();
    for attempt in 1.. {
        let mut candidate = object.clone();
        if generated {
            let name = generate_name(meta::generate_name(&object));
            meta::set_name(&mut candidate, &name);
        }
        match try_create(inner, stored, candidate, checked, dry_run).await {
            Err(status) if generated && status.code == 409 => {
                if attempt == ATTEMPTS {
                    let name = status.details.map(|details| details.name).unwrap_or_default();
                    return Err(Status::generate_name_conflict(&kind.group, &kind.plural, &name));
                }
            }
            done => return done,
        }
    }
    Err(Status::internal("no name was generated"))
}

async fn try_create(
    inner: &Inner,
    kind: &Kind,
    mut object: Value,
    checked: bool,
    dry_run: bool,
) -> Result<Bytes, Status> {
    prepare(inner, kind, &mut object)?;
    for _ in 0..ALLOCATIONS {
        let allocation = inner.services.allocate(inner, kind, &mut object, None).await?;
        validate(kind, &object, checked)?;
        if dry_run {
            let key = crate::request::key(namespace(&object), meta::name(&object));
            return match super::cache(inner, kind)?.get(&key)? {
                Some(_) => Err(taken(kind, &object)),
                None => serde_json::to_vec(&object).map(Bytes::from).map_err(Status::internal),
            };
        }
        if let Some(bytes) = commit(inner, kind, &object, allocation.as_ref()).await? {
            return Ok(bytes);
        }
        if let Some(allocation) = allocation {
            allocation.undo(&mut object);
        }
    }
    let why = "its addresses and ports were given to others again and again; please try again";
    Err(Status::conflict(&kind.group, &kind.plural, meta::name(&object), why))
}

/// What a new object is given besides what was sent.
fn prepare(inner: &Inner, kind: &Kind, object: &mut Value) -> Result<(), Status> {
    let metadata = meta::metadata_mut(object);
    for ours in [
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "generation",
    ] {
        metadata.remove(ours);
    }
    if !kind.namespaced {
        metadata.remove("namespace");
    }
    meta::set_uid(object, &uuid::Uuid::new_v4().to_string());
    meta::set_creation_timestamp(object, Timestamp::now());
    kind.strategy.default(object);
    kind.strategy.prepare_create(object);
    admission::create(inner, kind, object)
}

/// Checks a new object; of one that was checked in the version of the request only its metadata.
fn validate(kind: &Kind, object: &Value, checked: bool) -> Result<(), Status> {
    let mut errors = meta_validate::validate(kind, object);
    if !checked {
        errors.extend(kind.strategy.validate(object));
        errors.extend(kind.strategy.validate_create(object));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid(&kind.group, &kind.kind, meta::name(object), errors)),
    }
}

/// Stores a new object; `None` when what was allocated for it is no longer free.
async fn commit(
    inner: &Inner,
    kind: &Kind,
    object: &Value,
    allocation: Option<&Allocation>,
) -> Result<Option<Bytes>, Status> {
    let key = store_key(kind, namespace(object), meta::name(object));
    let compares = vec![Compare::ModRevision(key.clone(), 0)];
    let Encoded { bytes, hole } = encode::for_store(object);
    let ops = vec![Op::Put { key, value: bytes, expires: super::expires(kind) }];
    let mut txn = Txn { compares, ops };
    if let Some(allocation) = allocation {
        allocation.claim(&mut txn);
    }
    ip_address::follow(inner, kind, None, Some(object), &mut txn)?;
    match inner.store.txn(txn).await.map_err(|error| store_error(&error))? {
        Outcome::Committed { written, .. } => match written.into_iter().next().flatten() {
            Some(kv) => Ok(Some(encode::shown(kv.value(), hole, kv.mod_revision()))),
            None => Err(Status::internal("nothing was written")),
        },
        Outcome::Conflict { current } if current.first().is_some_and(Option::is_none) => Ok(None),
        Outcome::Conflict { .. } => Err(taken(kind, object)),
    }
}

pub(super) fn namespace(object: &Value) -> Option<&str> {
    Some(meta::namespace(object)).filter(|namespace| !namespace.is_empty())
}

fn taken(kind: &Kind, object: &Value) -> Status {
    Status::already_exists(&kind.group, &kind.plural, meta::name(object))
}

fn generate_name(prefix: &str) -> String {
    const MAX: usize = 63 - SUFFIX;
    let mut prefix = prefix;
    while prefix.len() > MAX {
        let end = prefix.char_indices().next_back().map_or(0, |(at, _)| at);
        prefix = &prefix[..end];
    }
    let random = uuid::Uuid::new_v4();
    let suffix = random.as_bytes()[..SUFFIX].iter().map(|byte| ALPHABET[usize::from(*byte) % ALPHABET.len()] as char);
    prefix.chars().chain(suffix).collect()
}
