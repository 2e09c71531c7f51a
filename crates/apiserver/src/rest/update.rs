//! PUT, and whatever else may make the object that it would change.

use bytes::Bytes;
use coracle_api::field::{FieldError, Path};
use coracle_api::status::Status;
use coracle_api::{decode, meta};
use http::StatusCode;
use serde_json::Value;

use crate::context::{Answer, Context};
use crate::objects::ATTEMPTS;
use crate::operation::{Operation, Part, Verb, fields};
use crate::{negotiate, warnings};

pub(super) async fn put(cx: &Context<'_>) -> Answer {
    let kind = &cx.target.kind;
    let op = cx.operation(Verb::Update)?;
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
    // Whoever is written without managed fields keeps those that it has.
    let op = Operation { fields_apart: fields(&object).is_none(), ..op };
    let conditional = !meta::resource_version(&object).is_empty() || kind.strategy.allow_unconditional_update();
    let of_form = told.len();
    let mut make = |current: Option<&Value>| {
        let mut new = object.clone();
        told.truncate(of_form);
        if op.part == Part::Main {
            told.extend(warnings::on_change(kind, &object, current.unwrap_or(&Value::Null)));
        }
        match current {
            Some(_) if !conditional => return Err(unconditional(cx)),
            Some(_) => {}
            None => meta::set_resource_version(&mut new, ""),
        }
        Ok(new)
    };
    let creates = kind.strategy.allow_create_on_update();
    let (code, bytes) = update_or_create(cx, &op, creates, &mut make).await?;
    cx.object(code, bytes, &told)
}

fn unconditional(cx: &Context<'_>) -> Status {
    let path = Path::new("metadata").child("resourceVersion");
    let error = FieldError::invalid_unshown(&path, "0x0: must be specified for an update");
    Status::invalid(&cx.target.kind.group, &cx.target.kind.kind, cx.name(), vec![error])
}

/// Changes an object, or makes it where that is allowed and there is none. Whoever else makes or deletes it meanwhile is
/// not in the way. Answers with what was stored, and whether it was made or changed.
pub(super) async fn update_or_create(
    cx: &Context<'_>,
    op: &Operation,
    creates: bool,
    make: &mut (dyn FnMut(Option<&Value>) -> Result<Value, Status> + Send),
) -> Result<(StatusCode, Bytes), Status> {
    let (kind, key) = (&cx.target.kind, cx.target.key());
    let creates = creates && op.part == Part::Main;
    for _ in 0..ATTEMPTS {
        if !creates || cx.cache()?.get(&key)?.is_some() {
            match cx.objects().update(op, &key, &mut |current| make(Some(current))).await {
                Err(status) if creates && status.code == 404 && cx.cache()?.get(&key)?.is_none() => continue,
                done => return Ok((StatusCode::OK, done?)),
            }
        }
        cx.check("create").await?;
        let mut new = make(None)?;
        if let Some(namespace) = &cx.target.namespace {
            meta::set_namespace(&mut new, namespace);
        }
        let op = Operation { verb: Verb::Create, ..op.clone() };
        match cx.objects().create(&op, new).await {
            Err(status) if status.reason == "AlreadyExists" => continue,
            made => return Ok((StatusCode::CREATED, made?)),
        }
    }
    Err(Status::modified(&kind.group, &kind.plural, cx.name()))
}
