//! PATCH: JSON patch, merge patch and strategic merge patch; what is applied is in `apply`.

use std::fmt::Write;

use coracle_api::Kind;
use coracle_api::decode::{self, FieldValidation};
use coracle_api::field::{FieldError, Path};
use coracle_api::meta;
use coracle_api::patch::{json_patch, merge_patch, no_object, strategic_merge};
use coracle_api::schema::DefId;
use coracle_api::status::Status;
use http::StatusCode;
use serde_json::Value;

use super::apply::{self, Configuration};
use crate::context::{Answer, Context};
use crate::negotiate::media_type;
use crate::operation::{Operation, Part};
use crate::warnings;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// A patch as the client sent it.
pub(super) enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply(Configuration),
}

impl Patch {
    pub fn parse(cx: &Context<'_>) -> Result<Patch, Status> {
        let kind = &cx.target.kind;
        let value = || {
            serde_json::from_slice(&cx.body)
                .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
        };
        match media_type(&cx.parts.headers) {
            JSON_PATCH => Ok(Patch::Json(value()?)),
            MERGE_PATCH => Ok(Patch::Merge(merge(value()?)?)),
            STRATEGIC_MERGE_PATCH if kind.def().is_some() => Ok(Patch::Strategic(value()?)),
            APPLY_PATCH => Configuration::parse(cx).map(Patch::Apply),
            _ if kind.def().is_none() => Err(Status::unsupported_media_type(&[JSON_PATCH, MERGE_PATCH, APPLY_PATCH])),
            _ => Err(Status::unsupported_media_type(&[JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH])),
        }
    }

    /// Applies it to an object; a strategic merge patch to one of the definition.
    pub fn apply(&self, def: Option<DefId>, object: &mut Value) -> Result<(), Status> {
        match self {
            Patch::Json(patch) => json_patch(object, patch),
            Patch::Merge(patch) => {
                merge_patch(object, patch);
                Ok(())
            }
            Patch::Strategic(patch) => match def {
                Some(def) => strategic_merge(def, object, patch),
                None => Err(Status::unsupported_media_type(&[JSON_PATCH, MERGE_PATCH, APPLY_PATCH])),
            },
            // What is applied is merged with regard to who owns what, not alone.
            Patch::Apply(_) => Err(Status::internal("a configuration is no patch")),
        }
    }

    /// Whether it does not mention managed fields, and so leaves them as they are.
    fn leaves_fields(&self) -> bool {
        match self {
            Patch::Merge(patch) | Patch::Strategic(patch) => match patch.get("metadata") {
                None => true,
                Some(Value::Object(metadata)) => {
                    !metadata.keys().any(|key| key.starts_with('$') || key == "managedFields")
                }
                Some(_) => false,
            },
            Patch::Json(_) | Patch::Apply(_) => false,
        }
    }

    /// Brings a patched object into the form of its kind. What does not fit is told as an invalid patch: with the
    /// whole object, or with the patch where that is a strategic one.
    fn conform(&self, kind: &Kind, new: &mut Value, validation: FieldValidation) -> Result<Vec<String>, Status> {
        // Most patches are strategic ones, which are told without the object.
        let before = (!matches!(self, Patch::Strategic(_))).then(|| new.clone());
        decode::decode_patched(kind, new, validation).map_err(|misfit| {
            let (shown, detail) = match (self, before) {
                (Patch::Strategic(patch), _) => (go_text(patch), misfit.converter),
                (_, before) => (before.unwrap_or_default().to_string(), misfit.json),
            };
            Status::invalid("", "", "", vec![FieldError::invalid_str(&Path::new("patch"), &shown, detail)])
        })
    }
}

/// What is merged must be an object.
fn merge(patch: Value) -> Result<Value, Status> {
    match no_object(&patch) {
        Some(why) => Err(Status::bad_request(format!("error decoding patch: {why}"))),
        None if patch.is_null() => Err(Status::bad_request("Invalid JSON Patch")),
        None => Ok(patch),
    }
}

/// A value as Go prints it: `map[a:1 b:[x y]]`.
fn go_text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_text).collect();
            let _ = write!(out, "[{}]", items.join(" "));
        }
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            let _ = write!(out, "map[{}]", entries.join(" "));
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
    out
}

/// Checks that a patched object is the one that the path names, and no other that was there before.
pub(super) fn check_identity(cx: &Context<'_>, current: Option<&Value>, new: &Value) -> Result<(), Status> {
    let (kind, asked) = (&cx.target.kind, cx.name());
    let (name, namespace, uid) = (meta::name(new), meta::namespace(new), meta::uid(new));
    if current.is_none() && !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(Status::conflict(&kind.group, &kind.plural, asked, &why));
    }
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({asked} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name != asked {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({asked})"
        )));
    }
    match cx.target.namespace.as_deref() {
        Some(asked) if !namespace.is_empty() && namespace != asked => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        _ => {}
    }
    match current {
        // One that was changed since is told first.
        Some(current) if meta::resource_version(new) != meta::resource_version(current) => Ok(()),
        Some(current) if !uid.is_empty() && uid != meta::uid(current) => {
            let path = Path::new("metadata").child("uid");
            let error = FieldError::invalid_str(&path, uid, "field is immutable");
            Err(Status::invalid(&kind.group, &kind.kind, name, vec![error]))
        }
        _ => Ok(()),
    }
}

pub(super) async fn patch(cx: &Context<'_>) -> Answer {
    let kind = &cx.target.kind;
    let patch = match Patch::parse(cx)? {
        Patch::Apply(configuration) => return apply::patch(cx, &configuration).await,
        patch => patch,
    };
    let op = Operation { fields_apart: patch.leaves_fields(), ..cx.patch_operation(false)? };
    let validation = cx.field_validation()?;
    let mut told = Vec::new();
    let bytes = cx
        .objects()
        .update(&op, &cx.target.key(), &mut |current| {
            let mut new = current.clone();
            patch.apply(kind.def(), &mut new)?;
            let found = patch.conform(kind, &mut new, validation)?;
            check_identity(cx, Some(current), &new)?;
            told = found;
            if op.part == Part::Main && new != *current {
                told.extend(warnings::on_change(kind, &new, current));
            }
            Ok(new)
        })
        .await?;
    cx.object(StatusCode::OK, bytes, &told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_api::kinds;
    use serde_json::json;

    #[test]
    fn a_patch_of_the_wrong_type_is_told_with_the_patch() {
        let kind = kinds::by_kind("apps", "v1", "Deployment").expect("a kind of the table");
        let object = json!({"kind": "Deployment", "apiVersion": "apps/v1", "spec": {}});
        let patch = json!({"spec": {"replicas": "x"}});
        let refused = |patch: &Patch| {
            let mut new = object.clone();
            patch.apply(kind.def(), &mut new).expect("it applies");
            patch.conform(kind, &mut new, FieldValidation::Warn).expect_err("it does not fit")
        };
        let status = refused(&Patch::Strategic(patch.clone()));
        assert_eq!(status.code, 422);
        assert_eq!(
            status.message,
            " \"\" is invalid: patch: Invalid value: \"map[spec:map[replicas:x]]\": unrecognized type: int32"
        );
        let status = refused(&Patch::Merge(patch));
        assert!(status.message.contains("json: cannot unmarshal string into Go struct field"), "{}", status.message);
    }
}
