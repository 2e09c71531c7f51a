//! DELETE of one object or a collection: preconditions, grace, finalizers, propagation.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Kind;
use coracle_api::status::Status;
use coracle_api::{decode, meta};
use coracle_store::{Compare, Op, Outcome, Txn};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::list::Selection;
use super::operation::{Operation, Verb};
use super::write::ATTEMPTS;
use super::{Answer, Context, cache, commit, in_version, store_key, unsafe_delete};
use crate::admission::{self, Request};
use crate::encode::{self, Encoded};
use crate::negotiate;
use crate::object::Object;
use crate::request;
use crate::server::Inner;
use crate::services::ip_address;

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

impl Options {
    fn of(cx: &Context<'_>) -> Result<Options, Status> {
        let mut options = match cx.body.is_empty() {
            true => json!({}),
            false => decode::decode_options(
                "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
                &cx.body,
                negotiate::body_format(&cx.parts.headers)?,
            )?,
        };
        let query = [
            ("gracePeriodSeconds", cx.query.number("gracePeriodSeconds")?.map(Value::from)),
            ("propagationPolicy", cx.query.get("propagationPolicy").map(Value::from)),
            ("orphanDependents", cx.query.get("orphanDependents").map(|text| (text == "true").into())),
            (unsafe_delete::OPTION, cx.query.get(unsafe_delete::OPTION).map(|text| (text == "true").into())),
        ];
        for (field, value) in query.into_iter().filter_map(|(field, value)| Some((field, value?))) {
            if options[field].is_null() {
                options[field] = value;
            }
        }
        Options::of_value(&options, cx.dry_run)
    }

    /// The options of a `DeleteOptions` whose types are right; `dry_run` is what the query says of it.
    pub fn of_value(options: &Value, dry_run: bool) -> Result<Options, Status> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let orphan = options["orphanDependents"].as_bool();
        let legacy = orphan.map(|orphan| if orphan { "Orphan" } else { "Background" }.to_owned());
        let propagation = text(&options["propagationPolicy"]);
        if propagation.is_some() && legacy.is_some() {
            return Err(invalid_options("Invalid value: DeletionPropagation and OrphanDependents cannot both be set"));
        }
        if let Some(policy) =
            propagation.as_deref().filter(|policy| !matches!(*policy, "Orphan" | "Background" | "Foreground"))
        {
            return Err(invalid_options(&format!(
                "Unsupported value: \"{policy}\": supported values: \"Background\", \"Foreground\", \"Orphan\", \"nil\""
            )));
        }
        let even_unreadable = unsafe_delete::is_asked(options, dry_run)?;
        let dry_runs: Vec<&str> =
            options["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        Ok(Options {
            grace_seconds: options["gracePeriodSeconds"].as_i64(),
            uid: text(&options["preconditions"]["uid"]),
            resource_version: text(&options["preconditions"]["resourceVersion"]),
            propagation: propagation.or(legacy),
            dry_run: request::dry_run(&dry_runs, "DeleteOptions")? || dry_run,
            even_unreadable,
        })
    }
}

fn invalid_options(why: &str) -> Status {
    let mut status =
        Status::new(422, "Invalid", format!("DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: {why}"));
    status.details = Some(Box::new(coracle_api::status::Details {
        group: "meta.k8s.io".into(),
        kind: "DeleteOptions".into(),
        ..Default::default()
    }));
    status
}

/// What became of an object.
pub(crate) enum Deleted {
    /// It is gone; its last state.
    Gone(Bytes),
    /// It goes once its grace period is over or its finalizers are done.
    Pending(Bytes),
}

pub(super) async fn delete(cx: &Context<'_>) -> Answer {
    let options = Options::of(cx)?;
    let kind = &cx.target.kind;
    if options.even_unreadable {
        return unsafe_delete::delete(cx).await;
    }
    let current = cx.current()?;
    let op = Operation::unowned(cx, Verb::Delete);
    match delete_object(cx.inner, &op, &cx.target.key(), &options).await? {
        Deleted::Pending(bytes) => cx.object(StatusCode::OK, bytes, &[]),
        Deleted::Gone(bytes) if kind.strategy.is_answered_when_deleted() => cx.object(StatusCode::OK, bytes, &[]),
        Deleted::Gone(_) => {
            let status = Status::success(&kind.group, &kind.plural, current.name(), current.uid());
            Ok(negotiate::document(StatusCode::OK, cx.output.encoding, status.to_json().into()))
        }
    }
}

pub(super) async fn delete_collection(cx: &Context<'_>) -> Answer {
    let options = Options::of(cx)?;
    if options.even_unreadable {
        let why = "is not allowed with DELETECOLLECTION, try again after removing the option";
        return Err(unsafe_delete::refused("meta.k8s.io", "DeleteOptions", "", vec![why.into()]));
    }
    let selection = Selection::of(cx)?;
    let kind = &cx.target.kind;
    let snapshot = cx.cache()?.snapshot();
    snapshot.check(&selection.prefix, None)?;
    let mut items = Vec::new();
    let op = Operation::unowned(cx, Verb::Delete);
    for object in snapshot.range(&selection.prefix, None).filter(|object| selection.matches(object)) {
        match delete_object(cx.inner, &op, object.key(), &options).await {
            Ok(Deleted::Gone(bytes) | Deleted::Pending(bytes)) => items.push(in_version(kind, bytes)),
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let items: Vec<&str> = items.iter().filter_map(|bytes| std::str::from_utf8(bytes).ok()).collect();
    let meta = json!({"resourceVersion": cx.cache()?.revision().to_string()});
    let text = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{meta},\"items\":[{}]}}\n",
        kind.list_kind(),
        kind.api_version(),
        items.join(",")
    );
    Ok(negotiate::document(StatusCode::OK, cx.output.encoding, text.into()))
}

/// Deletes an object or marks it as deleted.
pub(crate) async fn delete_object(
    inner: &Arc<Inner>,
    op: &Operation,
    key: &str,
    options: &Options,
) -> Result<Deleted, Status> {
    let name = key.rsplit('/').next().unwrap_or_default();
    let cache = cache(inner, &op.kind)?;
    let kind = op.kind.storage();
    for _ in 0..ATTEMPTS {
        let current = cache.get(key)?.ok_or_else(|| Status::not_found(&kind.group, &kind.plural, name))?;
        check_preconditions(kind, &current, options)?;
        let old = current.value();
        admission::validate(&Request { inner, op, old: Some(&old) }, &old).await?;
        let mut new = old.clone();
        mark(kind, &mut new, options);
        let finished = is_finished(kind, &new);
        if options.dry_run || (!finished && new == old) {
            let bytes = current.json();
            return Ok(if finished { Deleted::Gone(bytes) } else { Deleted::Pending(bytes) });
        }
        let store_key = store_key(kind, current.namespace(), current.name());
        let Encoded { bytes, hole } = encode::for_store(&new);
        let op = match finished {
            true => Op::Delete { key: store_key.clone() },
            false => Op::Put { key: store_key.clone(), value: bytes.clone(), ttl: kind.strategy.ttl() },
        };
        let mut txn = Txn { compares: vec![Compare::ModRevision(store_key, current.revision())], ops: vec![op] };
        if finished {
            ip_address::follow(inner, kind, Some(&old), None, &mut txn)?;
        }
        if let Outcome::Committed { revision } = commit(inner, txn).await? {
            return Ok(match finished {
                true => Deleted::Gone(current.json()),
                false => Deleted::Pending(encode::shown(&bytes, hole, revision)),
            });
        }
    }
    Err(Status::modified(&kind.group, &kind.plural, name))
}

/// Whether the object is the one, and as it was, that a deletion is about.
pub(super) fn check_preconditions(kind: &Kind, current: &Object, options: &Options) -> Result<(), Status> {
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
    if let Some(policy) = options.propagation.as_deref() {
        finalizers.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
        match policy {
            "Orphan" => finalizers.push(ORPHAN.into()),
            "Foreground" => finalizers.push(FOREGROUND.into()),
            _ => {}
        }
        meta::set_finalizers(object, &finalizers.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let grace = grace_seconds(kind, object, options);
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
    kind.strategy.mark_deleted(object);
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
