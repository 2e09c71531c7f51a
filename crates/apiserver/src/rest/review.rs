//! Reviews: kinds that are answered and not stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use coracle_api::decode;
use coracle_api::status::Status;
use http::StatusCode;
use serde_json::{Value, json};

use super::access_review::{self, strings};
use crate::auth::service_account::ISSUER;
use crate::context::{Answer, Context};
use crate::negotiate;

pub(super) async fn create(cx: &Context<'_>) -> Answer {
    let kind = &cx.target.kind;
    let format = negotiate::body_format(&cx.parts.headers)?;
    let (mut review, warnings) = decode::decode(kind, &cx.body, format, cx.field_validation()?)?;
    review["status"] = match &*kind.kind {
        "TokenReview" => token(cx, &review["spec"]),
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

fn token(cx: &Context<'_>, spec: &Value) -> Value {
    let (text, mut audiences) = (spec["token"].as_str().unwrap_or_default(), strings(&spec["audiences"]));
    match cx.state.authenticator.token(text, &audiences) {
        Some(user) => {
            // Those of the asked audiences that the token is for; without any, those of this server that it is for.
            let own = audiences_of(text);
            if audiences.is_empty() {
                audiences.push(ISSUER.into());
            }
            audiences.retain(|audience| own.contains(audience));
            json!({"authenticated": true, "user": user.info(), "audiences": audiences})
        }
        None => json!({"authenticated": false, "user": {}, "error": "invalid bearer token"}),
    }
}

/// Who a token that was verified is for: what it says, or this server for one that says nothing.
fn audiences_of(token: &str) -> Vec<String> {
    let payload = token.split('.').nth(1).and_then(|part| BASE64.decode(part).ok());
    let claims: Option<Value> = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    claims.map_or_else(|| vec![ISSUER.to_owned()], |claims| strings(&claims["aud"]))
}
