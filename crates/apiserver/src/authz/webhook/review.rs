//! A question as a SubjectAccessReview asks it, and the answer.

use coracle_api::selector::{FieldSelector, LabelSelector, Operator};
use serde_json::{Map, Value, json};

use crate::auth::User;
use crate::authz::{Attributes, Decision};
use crate::webhook_config::conformed;

/// The spec of a review, in version `v1`.
pub(super) fn spec(user: &User, what: &Attributes<'_>) -> Value {
    let mut spec = Map::new();
    if what.is_resource {
        spec.insert("resourceAttributes".into(), resource(what));
    } else {
        spec.insert("nonResourceAttributes".into(), texts(&[("path", what.path), ("verb", what.verb)]).into());
    }
    spec.insert("user".into(), user.name.as_str().into());
    if !user.groups.is_empty() {
        spec.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".into(), user.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect());
    }
    if !user.uid.is_empty() {
        spec.insert("uid".into(), user.uid.as_str().into());
    }
    spec.into()
}

fn resource(what: &Attributes<'_>) -> Value {
    let mut resource = texts(&[
        ("namespace", what.namespace),
        ("verb", what.verb),
        ("group", what.group),
        ("version", what.version),
        ("resource", what.resource),
        ("subresource", what.subresource),
        ("name", what.name),
    ]);
    if let Some(selector) = what.fields.and_then(fields) {
        resource.insert("fieldSelector".into(), selector);
    }
    if let Some(selector) = what.labels.and_then(labels) {
        resource.insert("labelSelector".into(), selector);
    }
    resource.into()
}

fn texts(pairs: &[(&str, &str)]) -> Map<String, Value> {
    pairs.iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| ((*key).to_owned(), (*text).into())).collect()
}

fn fields(selector: &FieldSelector) -> Option<Value> {
    let requirement = |(key, equal, value): &(String, bool, String)| json!({"key": key, "operator": if *equal { "In" } else { "NotIn" }, "values": [value]});
    let requirements: Vec<Value> = selector.terms.iter().map(requirement).collect();
    (!requirements.is_empty()).then(|| json!({"requirements": requirements}))
}

/// Only what the API has words for; what is left out makes the question one about more.
fn labels(selector: &LabelSelector) -> Option<Value> {
    let requirements: Vec<Value> = selector
        .requirements
        .iter()
        .filter_map(|requirement| {
            let operator = match requirement.operator {
                Operator::In => "In",
                Operator::NotIn => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
                _ => return None,
            };
            let mut out = json!({"key": requirement.key, "operator": operator});
            if !requirement.values.is_empty() {
                out["values"] = json!(requirement.values);
            }
            Some(out)
        })
        .collect();
    (!requirements.is_empty()).then(|| json!({"requirements": requirements}))
}

/// A review of a spec. The older version calls groups by another name.
pub(super) fn review(version: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    if version == "v1beta1"
        && let Some(spec) = spec.as_object_mut()
        && let Some(groups) = spec.remove("groups")
    {
        spec.insert("group".into(), groups);
    }
    json!({"kind": "SubjectAccessReview", "apiVersion": format!("authorization.k8s.io/{version}"),
        "metadata": {"creationTimestamp": null}, "spec": spec, "status": {"allowed": false}})
}

/// What an answer says.
///
/// # Errors
/// It says two things at once, or nothing, or is no answer to such a question.
pub(super) fn decision(answer: &Value) -> Result<Decision, String> {
    let status = &conformed("io.k8s.api.authorization.v1.SubjectAccessReviewStatus", &answer["status"])?;
    let reason = || status["reason"].as_str().unwrap_or_default().to_owned().into();
    if !status.is_object() {
        return Err("the answer has no status".into());
    }
    match (status["allowed"] == true, status["denied"] == true) {
        (true, true) => Err("webhook subject access review returned both allow and deny response".into()),
        (true, false) => Ok(Decision::Allow(reason())),
        (false, true) => Ok(Decision::Deny(reason())),
        (false, false) => Ok(Decision::NoOpinion(reason())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_asked_with_all_that_is_known() {
        let mut joe = User::new("joe", &["a"]);
        (joe.uid, joe.extra) = ("7".into(), vec![("k".into(), vec!["v".into()])]);
        let fields = FieldSelector::parse("a=b,c!=d").unwrap();
        let labels = LabelSelector::parse("a in (b),c,!d").unwrap();
        let what = Attributes {
            version: "v1",
            subresource: "log",
            fields: Some(&fields),
            labels: Some(&labels),
            ..Attributes::resource("list", "g", "pods", "dev", "")
        };
        let spec = spec(&joe, &what);
        assert_eq!(
            spec["resourceAttributes"],
            json!({"namespace": "dev", "verb": "list", "group": "g", "version": "v1", "resource": "pods", "subresource": "log",
            "fieldSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "NotIn", "values": ["d"]}]},
            "labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "Exists"},
                {"key": "d", "operator": "DoesNotExist"}]}})
        );
        assert_eq!((&spec["user"], &spec["uid"], &spec["extra"]), (&json!("joe"), &json!("7"), &json!({"k": ["v"]})));
        assert_eq!(review("v1beta1", &spec)["spec"]["group"], json!(["a", "system:authenticated"]));
        let path = super::spec(&joe, &Attributes::path("get", "/healthz"));
        assert_eq!(path["nonResourceAttributes"], json!({"path": "/healthz", "verb": "get"}));
    }

    #[test]
    fn an_answer_that_says_two_things_says_nothing() {
        let of = |status: Value| decision(&json!({"status": status}));
        assert_eq!(of(json!({"allowed": true, "reason": "r"})), Ok(Decision::Allow("r".to_owned().into())));
        assert!(matches!(of(json!({"denied": true})), Ok(Decision::Deny(_))));
        assert!(matches!(of(json!({"allowed": null})), Ok(Decision::NoOpinion(_))));
        assert!(of(json!({"allowed": true, "denied": true})).is_err() && of(Value::Null).is_err());
    }

    #[test]
    fn an_answer_with_fields_of_other_types_is_none() {
        let of = |status: Value| decision(&json!({"status": status}));
        for status in [json!({"allowed": "true"}), json!({"denied": "true"}), json!({"denied": 1}), json!([])] {
            assert!(of(status.clone()).is_err(), "{status}");
        }
        assert!(of(json!({"allowed": true, "denied": "yes"})).is_err());
    }
}
