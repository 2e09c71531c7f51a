//! Reviews: kinds that are answered and not stored.

use coracle_api::decode;
use coracle_api::status::Status;
use http::StatusCode;
use serde_json::{Value, json};

use super::access_review::{self, strings};
use crate::context::{Answer, Context};
use crate::negotiate;

pub(super) async fn create(cx: &Context<'_>) -> Answer {
    let kind = &cx.target.kind;
    let format = negotiate::body_format(&cx.parts.headers)?;
    let (mut review, warnings) = decode::decode(kind, &cx.body, format, cx.field_validation()?)?;
    review["status"] = match &*kind.kind {
        "TokenReview" => token(cx, &review["spec"]).await?,
        "SelfSubjectReview" => json!({"userInfo": cx.user.info()}),
        "SelfSubjectRulesReview" => access_review::rules(cx, &review["spec"])?,
        "SelfSubjectAccessReview" => access_review::own(cx, &review).await?,
        "SubjectAccessReview" | "LocalSubjectAccessReview" => access_review::of_subject(cx, &mut review).await?,
        other => return Err(Status::method_not_allowed(&kind.group, &kind.plural, other)),
    };
    let mut response = negotiate::document(StatusCode::CREATED, cx.output.encoding, review.to_string().into());
    negotiate::warn(&mut response, &warnings);
    Ok(response)
}

async fn token(cx: &Context<'_>, spec: &Value) -> Result<Value, Status> {
    let (text, audiences) = (spec["token"].as_str().unwrap_or_default(), strings(&spec["audiences"]));
    if text.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    Ok(match cx.state.authenticator.token(text, &audiences).await {
        Ok(identity) => {
            json!({"authenticated": true, "user": identity.user.info(), "audiences": identity.audiences})
        }
        Err(error) => json!({"user": {}, "error": error}),
    })
}
