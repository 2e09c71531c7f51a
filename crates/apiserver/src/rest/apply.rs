//! PATCH with a configuration that is applied.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>

use coracle_api::apply::apply;
use coracle_api::custom;
use coracle_api::decode::{self, FieldValidation, Format};
use coracle_api::meta;
use coracle_api::patch::no_object;
use coracle_api::status::Status;
use serde_json::Value;

use super::patch::check_identity;
use super::update::update_or_create;
use crate::context::{Answer, Context};
use crate::operation::Part;
use crate::warnings;

/// A configuration as a client sent it, nulls included.
pub(super) struct Configuration {
    pub object: Value,
    /// What the client is warned of.
    told: Vec<String>,
}

impl Configuration {
    pub fn parse(cx: &Context<'_>) -> Result<Configuration, Status> {
        let wrong = |error: String| Status::bad_request(format!("error decoding YAML: {error}"));
        // JSON is YAML, and what clients send.
        let (object, source) =
            decode::parse(&cx.body, Format::Json).or_else(|_| decode::parse(&cx.body, Format::Yaml)).map_err(wrong)?;
        if let Some(why) = no_object(&object) {
            return Err(wrong(format!("error unmarshaling JSON: while decoding JSON: {why}")));
        }
        let told: Vec<String> =
            source.doubled().into_iter().map(|text| format!("error converting YAML to JSON: {text}")).collect();
        match cx.field_validation()? {
            FieldValidation::Ignore => Ok(Configuration { object, told: Vec::new() }),
            FieldValidation::Strict if !told.is_empty() => {
                Err(Status::bad_request(format!("error strict decoding YAML: {}", told.join(", "))))
            }
            _ => Ok(Configuration { object, told }),
        }
    }

    /// Checks that it is of the kind that the path names.
    pub fn check_type(&self, api_version: &str, kind: &str) -> Result<(), Status> {
        let (own, own_kind) = (meta::api_version(&self.object), meta::kind(&self.object));
        if own == api_version && own_kind == kind {
            return Ok(());
        }
        let slash = if own.contains('/') { "" } else { "/" };
        Err(Status::bad_request(format!("invalid object type: {slash}{own}, Kind={own_kind}")))
    }
}

pub(super) async fn patch(cx: &Context<'_>, configuration: &Configuration) -> Answer {
    let kind = &cx.target.kind;
    let op = cx.patch_operation(true)?;
    configuration.check_type(kind.api_version(), &kind.kind)?;
    let manager = cx.manager(cx.query.get("fieldManager").unwrap_or_default());
    let force = cx.forced() == Some(true);
    let mut told = configuration.told.clone();
    let (code, bytes) = update_or_create(cx, &op, true, &mut |current| {
        let (applied, writer) = (&configuration.object, op.writer(&manager));
        let mut new = match kind.schema.structural() {
            Some(_) => {
                let kinds = cx.storage().kinds.snapshot();
                apply(&custom::Versions::new(&kinds, kind, &op.awaited), current, applied, &writer, force)?
            }
            None => apply(&**kind, current, applied, &writer, force)?,
        };
        decode::decode_patched(kind, &mut new, FieldValidation::Ignore).map_err(|misfit| {
            let message = format!("failed to convert new typed object to object: {}", misfit.json);
            Status::new(500, "", message)
        })?;
        check_identity(cx, current, &new)?;
        told.truncate(configuration.told.len());
        match current {
            None => told.extend(warnings::on_create(kind, &new)),
            Some(current) if op.part == Part::Main && new != *current => {
                told.extend(warnings::on_change(kind, &new, current))
            }
            Some(_) => {}
        }
        if current.is_none() {
            meta::set_resource_version(&mut new, "");
        }
        Ok(new)
    })
    .await?;
    cx.object(code, bytes, &told)
}
