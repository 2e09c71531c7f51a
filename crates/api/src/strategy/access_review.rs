//! Questions whether someone may do something: SubjectAccessReview and its siblings.

use serde_json::Value;

use super::Strategy;
use crate::field::{self, FieldError, Path};
use crate::meta::{self, list, text};

/// Which of the questions.
pub enum AccessReview {
    /// About someone.
    Subject,
    /// About someone in one namespace.
    Local,
    /// About whoever asks.
    Own,
}

impl Strategy for AccessReview {
    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let (spec, path) = (&obj["spec"], Path::new("spec"));
        let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
        let mut errors = Vec::new();
        match (resource.is_null(), other.is_null()) {
            (true, true) => {
                let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
                errors.push(FieldError::invalid(&path.child("resourceAttributes"), other, why));
            }
            (false, false) => {
                let why = "cannot be specified in combination with resourceAttributes";
                errors.push(FieldError::invalid(&path.child("nonResourceAttributes"), other, why));
            }
            _ => {}
        }
        if !matches!(self, AccessReview::Own) && text(spec, &["user"]).is_empty() && list(spec, &["groups"]).is_empty()
        {
            let why = "at least one of user or group must be specified";
            errors.push(FieldError::invalid(&path.child("user"), &"".into(), why));
        }
        let attributes = path.child("resourceAttributes");
        selector(&mut errors, &attributes.child("fieldSelector"), &resource["fieldSelector"], field_requirement);
        selector(&mut errors, &attributes.child("labelSelector"), &resource["labelSelector"], label_requirement);
        errors.extend(self.place(obj));
        errors
    }
}

impl AccessReview {
    /// What is wrong with the metadata, and with the namespace that is asked about.
    fn place(&self, obj: &Value) -> Vec<FieldError> {
        let is_local = matches!(self, AccessReview::Local);
        let mut errors = Vec::new();
        let given = obj["metadata"].as_object().into_iter().flatten().any(|(field, value)| {
            let ignored = field == "managedFields" || is_local && field == "namespace";
            !ignored && !is_empty(value)
        });
        if given {
            let why = if is_local { "must be empty except for namespace" } else { "must be empty" };
            errors.push(FieldError::invalid(&Path::new("metadata"), &obj["metadata"], why));
        }
        if !is_local {
            return errors;
        }
        let (resource, other) = (&obj["spec"]["resourceAttributes"], &obj["spec"]["nonResourceAttributes"]);
        let namespace = text(resource, &["namespace"]);
        if !resource.is_null() && namespace != meta::namespace(obj) {
            let path = Path::new("spec").child("resourceAttributes").child("namespace");
            errors.push(FieldError::invalid(&path, &namespace.into(), "must match metadata.namespace"));
        }
        if !other.is_null() {
            let path = Path::new("spec").child("nonResourceAttributes");
            errors.push(FieldError::invalid(&path, other, "disallowed on this kind of request"));
        }
        errors
    }
}

/// Whether a client set nothing by it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn selector(
    errors: &mut Vec<FieldError>,
    path: &Path,
    selector: &Value,
    requirement: fn(&mut Vec<FieldError>, &Path, &Value),
) {
    if selector.is_null() {
        return;
    }
    let (raw, requirements) = (text(selector, &["rawSelector"]), list(selector, &["requirements"]));
    if !raw.is_empty() && !requirements.is_empty() {
        let why = "may not specified at the same time as requirements";
        errors.push(FieldError::invalid(&path.child("rawSelector"), &raw.into(), why));
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(FieldError::required(&path.child("requirements"), why));
    }
    for (i, one) in requirements.iter().enumerate() {
        requirement(errors, &path.child("requirements").index(i), one);
    }
}

fn field_requirement(errors: &mut Vec<FieldError>, path: &Path, requirement: &Value) {
    if text(requirement, &["key"]).is_empty() {
        errors.push(FieldError::required(&path.child("key"), "must be specified"));
    }
    values(errors, path, requirement);
}

fn label_requirement(errors: &mut Vec<FieldError>, path: &Path, requirement: &Value) {
    values(errors, path, requirement);
    let key = text(requirement, &["key"]);
    field::push_all(errors, &path.child("key"), key, field::qualified_name(key));
    for (i, value) in list(requirement, &["values"]).iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        field::push_all(errors, &path.child("values").index(i), value, field::label_value(value));
    }
}

/// Whether there are values where the operator compares with some. Operators of the future are let through: who asks may
/// know more than this server.
fn values(errors: &mut Vec<FieldError>, path: &Path, requirement: &Value) {
    let given = !list(requirement, &["values"]).is_empty();
    let path = path.child("values");
    match text(requirement, &["operator"]) {
        "In" | "NotIn" if !given => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&path, why));
        }
        "Exists" | "DoesNotExist" if given => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&path, why));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(review: &AccessReview, obj: Value) -> Vec<String> {
        review.validate(&obj).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_question_is_about_one_thing_and_someone() {
        let about = json!({"verb": "get", "resource": "pods"});
        assert!(wrong(&AccessReview::Own, json!({"spec": {"resourceAttributes": about}})).is_empty());
        assert_eq!(
            wrong(&AccessReview::Subject, json!({"metadata": {"name": null}, "spec": {}})),
            [
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
            ]
        );
        let both = json!({"resourceAttributes": about, "nonResourceAttributes": {"path": "/"}, "groups": ["a"]});
        assert_eq!(wrong(&AccessReview::Subject, json!({"spec": both, "metadata": {"name": "x"}})).len(), 2);
    }

    #[test]
    fn a_local_question_is_about_its_namespace() {
        let of = |namespace: &str| {
            json!({"metadata": {"namespace": "a"}, "spec": {"user": "u",
            "resourceAttributes": {"namespace": namespace}}})
        };
        assert!(wrong(&AccessReview::Local, of("a")).is_empty());
        assert_eq!(
            wrong(&AccessReview::Local, of("b")),
            ["spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace"]
        );
    }

    #[test]
    fn selectors_have_requirements_with_values() {
        let of = |selector: Value| json!({"spec": {"resourceAttributes": {"fieldSelector": selector}}});
        assert!(wrong(&AccessReview::Own, of(json!({"rawSelector": "a=b"}))).is_empty());
        assert!(wrong(&AccessReview::Own, of(json!({"requirements": [{"key": "a", "operator": "Near"}]}))).is_empty());
        assert_eq!(
            wrong(&AccessReview::Own, of(json!({}))),
            [
                "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required"
            ]
        );
        assert_eq!(
            wrong(&AccessReview::Own, of(json!({"requirements": [{"key": "", "operator": "In"}]}))),
            [
                "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified",
                "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ]
        );
    }
}
