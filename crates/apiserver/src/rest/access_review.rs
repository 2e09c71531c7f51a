//! SubjectAccessReview and its siblings: the authorizers asked for someone else's sake.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>

use coracle_api::Kind;
use coracle_api::meta;
use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::status::Status;
use serde_json::{Value, json};

use super::Context;
use crate::auth::User;
use crate::authz::rbac::Rule;
use crate::authz::{Attributes, Authorizer, Decision, decide};

/// The texts in a list.
pub(super) fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

/// What whoever asks may do.
pub(super) async fn own(cx: &Context<'_>, review: &Value) -> Result<Value, Status> {
    validate(&cx.target.kind, review)?;
    Ok(answer(cx, &cx.user, &review["spec"]).await)
}

/// What someone may do, in the namespace of the request when it is about one.
pub(super) async fn of_subject(cx: &Context<'_>, review: &mut Value) -> Result<Value, Status> {
    if let Some(namespace) = &cx.target.namespace {
        match meta::namespace(review) {
            "" => meta::set_namespace(review, namespace),
            own if own == namespace => {}
            _ => {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
        }
    }
    validate(&cx.target.kind, review)?;
    Ok(answer(cx, &subject(&review["spec"]), &review["spec"]).await)
}

fn validate(kind: &Kind, review: &Value) -> Result<(), Status> {
    match kind.strategy.validate(review) {
        errors if errors.is_empty() => Ok(()),
        // Upstream names no kind here.
        errors => Err(Status::invalid(&kind.group, "", "", errors)),
    }
}

fn subject(spec: &Value) -> User {
    let extra = spec["extra"].as_object().into_iter().flatten();
    User {
        name: meta::text(spec, &["user"]).into(),
        uid: meta::text(spec, &["uid"]).into(),
        groups: strings(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), strings(values))).collect(),
    }
}

async fn answer(cx: &Context<'_>, user: &User, spec: &Value) -> Value {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let of = |field| meta::text(resource, &[field]);
    let what = match resource.is_null() {
        true => Attributes::path(meta::text(other, &["verb"]), meta::text(other, &["path"])),
        false => Attributes {
            subresource: of("subresource"),
            ..Attributes::resource(of("verb"), of("group"), of("resource"), of("namespace"), of("name"))
        },
    };
    let decision = decide(&*cx.state.authorizer, user, &what).await;
    let mut status = json!({"allowed": decision.is_allowed()});
    if matches!(decision, Decision::Deny(_)) {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().to_string().into();
    }
    let errors = unread_selectors(resource);
    if !errors.is_empty() {
        status["evaluationError"] = errors.join("; ").into();
    }
    status
}

/// Selectors that are not understood: what is asked about is then more than was meant, which is told.
fn unread_selectors(resource: &Value) -> Vec<String> {
    let ignored = |selector: &str, some: bool| {
        let how = if some { "partially ignored" } else { "ignored" };
        format!("spec.resourceAttributes.{selector} {how} due to parse error")
    };
    let mut out = Vec::new();
    let (fields, labels) = (&resource["fieldSelector"], &resource["labelSelector"]);
    let is_field = |one: &Value| {
        matches!(meta::text(one, &["operator"]), "In" | "NotIn") && meta::list(one, &["values"]).len() == 1
    };
    let is_label = |one: &Value| matches!(meta::text(one, &["operator"]), "In" | "NotIn" | "Exists" | "DoesNotExist");
    out.extend(
        unread(fields, |raw| FieldSelector::parse(raw).is_ok(), is_field).map(|some| ignored("fieldSelector", some)),
    );
    out.extend(
        unread(labels, |raw| LabelSelector::parse(raw).is_ok(), is_label).map(|some| ignored("labelSelector", some)),
    );
    out
}

/// Whether some of a selector is understood; `None` when all is.
fn unread(selector: &Value, parses: impl Fn(&str) -> bool, known: impl Fn(&Value) -> bool) -> Option<bool> {
    let requirements = meta::list(selector, &["requirements"]);
    if !requirements.is_empty() {
        let count = requirements.iter().filter(|one| known(one)).count();
        return (count < requirements.len()).then_some(count > 0);
    }
    let raw = meta::text(selector, &["rawSelector"]);
    (!raw.is_empty() && !parses(raw)).then_some(false)
}

/// All that whoever asks may do in a namespace.
pub(super) fn rules(cx: &Context<'_>, spec: &Value) -> Result<Value, Status> {
    let namespace = meta::text(spec, &["namespace"]);
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let found = cx.state.authorizer.rules(&cx.user, namespace);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in found.rules {
        let verbs = rule.verbs;
        if !rule.resources.is_empty() {
            resources.push(Rule { verbs: verbs.clone(), non_resource_urls: Vec::new(), ..rule });
        }
        if !rule.non_resource_urls.is_empty() {
            paths.push(Rule { verbs, non_resource_urls: rule.non_resource_urls, ..Rule::default() });
        }
    }
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": found.incomplete});
    match found.errors.as_slice() {
        [] => {}
        [one] => status["evaluationError"] = one.as_str().into(),
        many => status["evaluationError"] = format!("[{}]", many.join(", ")).into(),
    }
    Ok(status)
}
