//! Reviews: kinds that are answered and not stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use coracle_api::decode;
use coracle_api::status::Status;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Answer, Context};
use crate::auth::User;
use crate::auth::authorize::Attributes;
use crate::auth::service_account::ISSUER;
use crate::negotiate;

pub(super) fn create(cx: &Context<'_>) -> Answer {
    let kind = &cx.target.kind;
    let format = negotiate::body_format(&cx.parts.headers)?;
    let (mut review, warnings) = decode::decode(kind, &cx.body, format, cx.field_validation()?)?;
    review["status"] = match &*kind.kind {
        "TokenReview" => token(cx, &review["spec"]),
        "SelfSubjectReview" => json!({"userInfo": user_info(&cx.user)}),
        "SelfSubjectAccessReview" => access(cx, &cx.user, &review["spec"])?,
        "SubjectAccessReview" => access(cx, &subject(&review["spec"]), &review["spec"])?,
        "LocalSubjectAccessReview" => {
            let namespace = review["spec"]["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
            if Some(namespace) != cx.target.namespace.as_deref() {
                return Err(Status::bad_request(
                    "spec.resourceAttributes.namespace must match the namespace of the request",
                ));
            }
            access(cx, &subject(&review["spec"]), &review["spec"])?
        }
        "SelfSubjectRulesReview" => rules(cx),
        other => return Err(Status::method_not_allowed(&kind.group, &kind.plural, other)),
    };
    let mut response = negotiate::document(StatusCode::CREATED, cx.output.encoding, review.to_string().into());
    negotiate::warn(&mut response, &warnings);
    Ok(response)
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    for (key, values) in &user.extra {
        info["extra"][key] = json!(values);
    }
    info
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

fn token(cx: &Context<'_>, spec: &Value) -> Value {
    let (text, mut audiences) = (spec["token"].as_str().unwrap_or_default(), strings(&spec["audiences"]));
    match cx.inner.authenticator.token(text, &audiences) {
        Some(user) => {
            // Those of the asked audiences that the token is for; without any, those of this server that it is for.
            let own = audiences_of(text);
            if audiences.is_empty() {
                audiences.push(ISSUER.into());
            }
            audiences.retain(|audience| own.contains(audience));
            json!({"authenticated": true, "user": user_info(&user), "audiences": audiences})
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

fn subject(spec: &Value) -> User {
    User {
        name: spec["user"].as_str().unwrap_or_default().into(),
        uid: spec["uid"].as_str().unwrap_or_default().into(),
        groups: strings(&spec["groups"]),
        extra: Vec::new(),
    }
}

fn access(cx: &Context<'_>, user: &User, spec: &Value) -> Result<Value, Status> {
    let text = |value: &'_ Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_null() == other.is_null() {
        return Err(Status::bad_request(
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    }
    let of = if resource.is_null() { other } else { resource };
    let (verb, group, plural) = (text(of, "verb"), text(of, "group"), text(of, "resource"));
    let (subresource, namespace, name, path) =
        (text(of, "subresource"), text(of, "namespace"), text(of, "name"), text(of, "path"));
    let what = Attributes {
        verb: &verb,
        group: &group,
        resource: &plural,
        subresource: &subresource,
        namespace: &namespace,
        name: &name,
        path: &path,
    };
    Ok(json!({"allowed": cx.inner.authorizer.allows(user, &what)}))
}

fn rules(cx: &Context<'_>) -> Value {
    let everything = Attributes { verb: "*", resource: "*", group: "*", ..Attributes::default() };
    if cx.inner.authorizer.allows(&cx.user, &everything) {
        return json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}], "incomplete": false,
        });
    }
    json!({
        "resourceRules": [
            {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
            {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
        ],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"]}],
        "incomplete": false,
    })
}
