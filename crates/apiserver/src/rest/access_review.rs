//! SubjectAccessReview and its siblings: the authorizers asked for someone else's sake.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>

use coracle_api::Kind;
use coracle_api::meta;
use coracle_api::selector::{FieldSelector, LabelSelector, Operator, Requirement};
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
    let (fields, unread_fields) = selector(
        resource,
        "fieldSelector",
        |raw| FieldSelector::parse(raw).ok(),
        field,
        |terms| FieldSelector { terms },
    );
    let (labels, unread_labels) = selector(
        resource,
        "labelSelector",
        |raw| LabelSelector::parse(raw).ok(),
        label,
        LabelSelector::of_requirements,
    );
    let what = match resource.is_null() {
        true => Attributes::path(meta::text(other, &["verb"]), meta::text(other, &["path"])),
        false => Attributes {
            version: of("version"),
            subresource: of("subresource"),
            fields: fields.as_ref(),
            labels: labels.as_ref(),
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
    let errors: Vec<String> = unread_fields.into_iter().chain(unread_labels).collect();
    if !errors.is_empty() {
        status["evaluationError"] = errors.join("; ").into();
    }
    status
}

/// Reads a selector: what of it is understood, and what is told when that is not all. What is asked about is then more than
/// was meant.
fn selector<S, R>(
    resource: &Value,
    name: &str,
    parse: impl Fn(&str) -> Option<S>,
    requirement: impl Fn(&Value) -> Option<R>,
    join: impl Fn(Vec<R>) -> S,
) -> (Option<S>, Option<String>) {
    let ignored = |how: &str| Some(format!("spec.resourceAttributes.{name} {how} due to parse error"));
    let (raw, requirements) =
        (meta::text(resource, &[name, "rawSelector"]), meta::list(resource, &[name, "requirements"]));
    if !requirements.is_empty() {
        let known: Vec<R> = requirements.iter().filter_map(requirement).collect();
        return match known.len() {
            0 => (None, ignored("ignored")),
            some if some < requirements.len() => (Some(join(known)), ignored("partially ignored")),
            _ => (Some(join(known)), None),
        };
    }
    match (raw, parse(raw)) {
        ("", _) => (None, None),
        (_, None) => (None, ignored("ignored")),
        (_, parsed) => (parsed, None),
    }
}

/// A field, whether it must be equal, and the value.
fn field(requirement: &Value) -> Option<(String, bool, String)> {
    let [value] = &*strings(&requirement["values"]) else { return None };
    let equal = match meta::text(requirement, &["operator"]) {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    Some((meta::text(requirement, &["key"]).to_owned(), equal, value.clone()))
}

fn label(requirement: &Value) -> Option<Requirement> {
    let operator = match meta::text(requirement, &["operator"]) {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    };
    let key = meta::text(requirement, &["key"]).to_owned();
    Some(Requirement { key, operator, values: strings(&requirement["values"]) })
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
