//! DELETE of one object or a collection.

use coracle_api::decode;
use coracle_api::status::Status;
use http::StatusCode;
use serde_json::{Value, json};

use super::list::{self, Selection};
use super::unsafe_delete;
use crate::context::{Answer, Context};
use crate::negotiate;
use crate::objects::{DeleteOptions, Deleted};
use crate::operation::Verb;
use crate::request;

pub(super) async fn delete(cx: &Context<'_>) -> Answer {
    let options = options(cx)?;
    let kind = &cx.target.kind;
    if options.even_unreadable {
        return unsafe_delete::delete(cx).await;
    }
    let current = cx.current()?;
    let op = cx.unowned(Verb::Delete);
    match cx.objects().delete(&op, &cx.target.key(), &options).await? {
        Deleted::Pending(bytes) => cx.object(StatusCode::OK, bytes, &[]),
        Deleted::Gone(bytes) if kind.strategy.is_answered_when_deleted() => cx.object(StatusCode::OK, bytes, &[]),
        Deleted::Gone(_) => {
            let status = Status::success(&kind.group, &kind.plural, current.name(), current.uid());
            Ok(negotiate::document(StatusCode::OK, cx.output.encoding, status.to_json().into()))
        }
    }
}

pub(super) async fn delete_collection(cx: &Context<'_>) -> Answer {
    let options = options(cx)?;
    if options.even_unreadable {
        let why = "is not allowed with DELETECOLLECTION, try again after removing the option";
        return Err(unsafe_delete::refused("meta.k8s.io", "DeleteOptions", "", vec![why.into()]));
    }
    list::check_options(&cx.query)?;
    let selection = Selection::of(cx)?;
    let kind = &cx.target.kind;
    let snapshot = cx.cache()?.snapshot();
    snapshot.check(&selection.prefix, None)?;
    let mut text = String::new();
    let op = cx.unowned(Verb::Delete);
    for object in selection.select(cx, snapshot.range(&selection.prefix, None)).await? {
        // A dry run waits for nothing, and there may be very many objects.
        tokio::task::consume_budget().await;
        match cx.objects().delete(&op, object.key(), &options).await {
            Ok(Deleted::Gone(bytes) | Deleted::Pending(bytes)) => {
                let Ok(object) = std::str::from_utf8(&bytes) else { continue };
                if !text.is_empty() {
                    text.push(',');
                }
                text.push_str(object);
            }
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    // There may be very much of it: it is not copied.
    let meta = json!({"resourceVersion": cx.cache()?.revision().to_string()});
    let (list, version) = (kind.list_kind(), kind.api_version());
    text.insert_str(0, &format!("{{\"kind\":\"{list}\",\"apiVersion\":\"{version}\",\"metadata\":{meta},\"items\":["));
    text.push_str("]}\n");
    Ok(negotiate::document(StatusCode::OK, cx.output.encoding, text.into()))
}

/// What the body and the query ask for.
fn options(cx: &Context<'_>) -> Result<DeleteOptions, Status> {
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
    options_of(&options, cx.dry_run)
}

/// The options of a `DeleteOptions` whose types are right; `dry_run` is what the query says of it.
pub(super) fn options_of(options: &Value, dry_run: bool) -> Result<DeleteOptions, Status> {
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
    let dry_runs: Vec<&str> = options["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Ok(DeleteOptions {
        grace_seconds: options["gracePeriodSeconds"].as_i64(),
        uid: text(&options["preconditions"]["uid"]),
        resource_version: text(&options["preconditions"]["resourceVersion"]),
        propagation: propagation.or(legacy),
        dry_run: request::dry_run(&dry_runs, "DeleteOptions")? || dry_run,
        even_unreadable,
    })
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
