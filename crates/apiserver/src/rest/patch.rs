//! PATCH: JSON patch, merge patch and strategic merge patch.

use coracle_api::decode;
use coracle_api::meta;
use coracle_api::patch::{json_patch, merge_patch, strategic_merge};
use coracle_api::status::Status;
use http::StatusCode;
use serde_json::Value;

use super::update::{Change, update_object};
use super::{Answer, Context};
use crate::negotiate::media_type;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";

/// A patch as the client sent it.
pub(super) enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    pub fn parse(cx: &Context<'_>) -> Result<Patch, Status> {
        let value = || {
            serde_json::from_slice(&cx.body)
                .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
        };
        match media_type(&cx.parts.headers) {
            JSON_PATCH => Ok(Patch::Json(value()?)),
            MERGE_PATCH => Ok(Patch::Merge(value()?)),
            STRATEGIC_MERGE_PATCH => Ok(Patch::Strategic(value()?)),
            _ => Err(Status::unsupported_media_type(&[JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH])),
        }
    }

    pub fn apply(&self, def: coracle_api::schema::DefId, object: &mut Value) -> Result<(), Status> {
        match self {
            Patch::Json(patch) => json_patch(object, patch),
            Patch::Merge(patch) => {
                merge_patch(object, patch);
                Ok(())
            }
            Patch::Strategic(patch) => strategic_merge(def, object, patch),
        }
    }
}

pub(super) async fn patch(cx: &Context<'_>) -> Answer {
    let kind = cx.target.kind;
    let patch = Patch::parse(cx)?;
    let validation = cx.field_validation()?;
    let change = Change::of_subresource(cx.target.subresource.map(|subresource| subresource.name));
    let mut warnings = Vec::new();
    let bytes = update_object(cx.inner, kind, &cx.target.key(), change, cx.dry_run, &mut |current| {
        let mut new = current.clone();
        // The resource version of a patch is a precondition; the object's own is not.
        meta::set_resource_version(&mut new, "");
        patch.apply(kind.def, &mut new)?;
        let found = decode::decode_value(kind.def, &mut new, validation)?;
        if meta::name(&new) != cx.name() {
            return Err(Status::bad_request("the name of the object does not match the name on the URL"));
        }
        warnings = found;
        Ok(new)
    })
    .await?;
    cx.object(StatusCode::OK, bytes, &warnings)
}
