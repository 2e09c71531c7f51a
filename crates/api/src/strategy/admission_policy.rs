//! ValidatingAdmissionPolicy and its binding.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>

use std::collections::HashSet;

use coracle_cel::{Environment, Type};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::admission_match::{self, conditions, match_resources};
use super::common::{age, default_text, default_to, items_mut, object_mut, one_of, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, int_column};
use crate::admission_expressions::{Names, compile, environment, variables};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, list, text};

type Errors = Vec<FieldError>;

/// A ValidatingAdmissionPolicy.
pub struct ValidatingAdmissionPolicy;

impl Strategy for ValidatingAdmissionPolicy {
    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_text(spec, "failurePolicy", "Fail");
        default_match(spec, "matchConstraints");
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        policy(obj, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, int_column("Validations"), column("ParamKind"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            list(obj, &["spec", "validations"]).len().into(),
            param_kind(obj).into(),
            age(obj, now),
        ]
    }
}

/// A ValidatingAdmissionPolicyBinding.
pub struct ValidatingAdmissionPolicyBinding;

impl Strategy for ValidatingAdmissionPolicyBinding {
    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        if let Some(spec) = spec_mut(obj) {
            default_match(spec, "matchResources");
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        binding(&obj["spec"], &path, &mut errors);
        validation_actions(&obj["spec"], &path.child("validationActions"), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("PolicyName"), column("ParamRef"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            text(obj, &["spec", "policyName"]).into(),
            or(text(obj, &["spec", "paramRef", "name"]), "<unset>"),
            age(obj, now),
        ]
    }
}

pub(super) fn default_match(spec: &mut Map<String, Value>, key: &str) {
    let Some(resources) = object_mut(spec, key) else { return };
    default_text(resources, "matchPolicy", "Equivalent");
    default_to(resources, "namespaceSelector", json!({}));
    default_to(resources, "objectSelector", json!({}));
    for rules in ["resourceRules", "excludeResourceRules"] {
        for rule in items_mut(resources, rules) {
            default_text(rule, "scope", "*");
        }
    }
}

pub(super) fn param_kind(obj: &Value) -> String {
    match at(obj, &["spec", "paramKind"]) {
        Value::Null => "<unset>".into(),
        kind => format!("{}/{}", text(kind, &["apiVersion"]), text(kind, &["kind"])),
    }
}

/// At most so many validations, or annotations, has a policy.
const MAX_VALIDATIONS: usize = 64;
const MAX_ANNOTATIONS: usize = 20;

fn policy(obj: &Value, errors: &mut Errors) {
    let (spec, path) = (&obj["spec"], Path::new("spec"));
    common(obj, environment(Names::of_policy(obj, true)), errors);
    let (_, checked) = variables(obj, environment(Names::of_policy(obj, true)));
    let (_, told) = variables(obj, environment(Names::of_policy(obj, false)));
    let (validations, annotations) = (list(spec, &["validations"]), list(spec, &["auditAnnotations"]));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required(&path.child("validations"), detail));
        errors.push(FieldError::required(&path.child("auditAnnotations"), detail));
    }
    for (i, validation) in validations.iter().enumerate().take(MAX_VALIDATIONS) {
        self::validation(validation, (&checked, &told), &path.child("validations").index(i), errors);
    }
    audit_annotations(obj, annotations, &told, &path.child("auditAnnotations"), errors);
}

/// Checks what every policy has; variables are compiled in the environment.
pub(super) fn common(obj: &Value, of_variables: Environment, errors: &mut Errors) {
    let (spec, path) = (&obj["spec"], Path::new("spec"));
    one_of(errors, &path.child("failurePolicy"), &spec["failurePolicy"], &["Fail", "Ignore"], true);
    if !spec["paramKind"].is_null() {
        kind_of_params(&spec["paramKind"], &path.child("paramKind"), errors);
    }
    let constraints = &spec["matchConstraints"];
    if constraints.is_null() {
        errors.push(FieldError::required(&path.child("matchConstraints"), ""));
    } else {
        match_resources(constraints, &path.child("matchConstraints"), errors);
        if list(constraints, &["resourceRules"]).is_empty() {
            errors.push(FieldError::required(&path.child("matchConstraints").child("resourceRules"), ""));
        }
    }
    names(obj, of_variables, &path.child("variables"), errors);
    conditions(spec, &environment(Names::of_policy(obj, true)), &path.child("matchConditions"), errors);
}

fn kind_of_params(kind: &Value, path: &Path, errors: &mut Errors) {
    let version = text(kind, &["apiVersion"]);
    if version.is_empty() {
        errors.push(FieldError::required(&path.child("apiVersion"), ""));
    } else if version.split('/').count() > 2 {
        let detail = format!("unexpected GroupVersion string: {version}");
        errors.push(FieldError::invalid_str(&path.child("apiVersion"), version, detail));
    }
    if text(kind, &["kind"]).is_empty() {
        errors.push(FieldError::required(&path.child("kind"), ""));
    }
}

/// Variables have names that are identifiers, each once, and expressions that compile.
fn names(obj: &Value, of_variables: Environment, path: &Path, errors: &mut Errors) {
    let (compiled, _) = variables(obj, of_variables);
    let mut seen = HashSet::new();
    for (i, (variable, compiled)) in list(obj, &["spec", "variables"]).iter().zip(compiled).enumerate() {
        let (path, name, expression) = (path.index(i), text(variable, &["name"]), text(variable, &["expression"]));
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), "name is not specified"));
        } else if !is_identifier(name) {
            let detail = "name is not a valid CEL identifier";
            errors.push(FieldError::invalid_str(&path.child("name"), name, detail));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), &variable["name"]));
        }
        if expression.trim().is_empty() {
            errors.push(FieldError::required(&path.child("expression"), "expression is not specified"));
        } else if let Err(why) = compiled.program {
            errors.push(FieldError::invalid_str(&path.child("expression"), expression, why));
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic());
    first
        && chars.all(|c| c == '_' || c.is_ascii_alphanumeric())
        && coracle_cel::escape::escape(name).as_deref() == Some(name)
}

const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];

fn validation(validation: &Value, (checked, told): (&Environment, &Environment), path: &Path, errors: &mut Errors) {
    let expression = text(validation, &["expression"]);
    if expression.trim().is_empty() {
        errors.push(FieldError::required(&path.child("expression"), "expression is not specified"));
    } else if let Err(why) = compile(expression, checked, &[Type::Bool]) {
        errors.push(FieldError::invalid_str(&path.child("expression"), expression, why));
    }
    let message = text(validation, &["message"]);
    if validation["message"].is_string() {
        if message.trim().is_empty() {
            let detail = "message must be non-empty if specified";
            errors.push(FieldError::invalid_str(&path.child("message"), message, detail));
        } else if message.contains('\n') {
            let detail = "message must not contain line breaks";
            errors.push(FieldError::invalid_str(&path.child("message"), message, detail));
        }
    } else if expression.contains('\n') {
        let detail = "message must be specified if expression contains line breaks";
        errors.push(FieldError::required(&path.child("message"), detail));
    }
    let made = text(validation, &["messageExpression"]);
    if validation["messageExpression"].is_string() {
        if made.trim().is_empty() {
            let detail = "must be non-empty if specified";
            errors.push(FieldError::invalid_str(&path.child("messageExpression"), made, detail));
        } else if let Err(why) = compile(made, told, &[Type::String]) {
            errors.push(FieldError::invalid_str(&path.child("messageExpression"), made, why));
        }
    }
    one_of(errors, &path.child("reason"), &validation["reason"], &REASONS, false);
}

fn audit_annotations(obj: &Value, annotations: &[Value], told: &Environment, path: &Path, errors: &mut Errors) {
    if annotations.len() > MAX_ANNOTATIONS {
        let detail = format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations");
        errors.push(FieldError::invalid_unshown(path, detail));
        return;
    }
    let mut seen = HashSet::new();
    for (i, annotation) in annotations.iter().enumerate() {
        let (path, key, value) = (path.index(i), text(annotation, &["key"]), text(annotation, &["valueExpression"]));
        let whole = format!("{}/{key}", meta::name(obj));
        if key.is_empty() || field::qualified_name(&whole).is_empty() {
            if !seen.insert(key) {
                errors.push(FieldError::duplicate(&path.child("key"), &annotation["key"]));
            }
        } else {
            push_all(errors, &path.child("key"), key, field::qualified_name(&whole));
        }
        if value.trim().is_empty() {
            errors.push(FieldError::required(&path.child("valueExpression"), "valueExpression is not specified"));
        } else if let Err(why) = compile(value, told, &[Type::String, Type::Null]) {
            errors.push(FieldError::invalid_str(&path.child("valueExpression"), value, why));
        }
    }
}

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

/// Checks what every binding has.
pub(super) fn binding(spec: &Value, path: &Path, errors: &mut Errors) {
    let name = text(spec, &["policyName"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("policyName"), ""));
    } else {
        push_all(errors, &path.child("policyName"), name, field::dns1123_subdomain(name));
    }
    if !spec["paramRef"].is_null() {
        param_ref(&spec["paramRef"], &path.child("paramRef"), errors);
    }
    if !spec["matchResources"].is_null() {
        match_resources(&spec["matchResources"], &path.child("matchResources"), errors);
    }
}

fn validation_actions(spec: &Value, path: &Path, errors: &mut Errors) {
    let actions: Vec<&str> = list(spec, &["validationActions"]).iter().filter_map(Value::as_str).collect();
    if actions.is_empty() {
        errors.push(FieldError::required(path, "at least one validation action is required"));
    }
    for (i, action) in actions.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.push(FieldError::not_supported(&path.index(i), action, &ACTIONS));
        } else if actions.iter().take(i).any(|before| before == action) {
            errors.push(FieldError::duplicate(&path.index(i), &(*action).into()));
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(path, &spec["validationActions"], detail));
    }
}

fn param_ref(reference: &Value, path: &Path, errors: &mut Errors) {
    let name = text(reference, &["name"]);
    push_all(
        errors,
        &path.child("name"),
        name,
        if name.is_empty() { Vec::new() } else { field::path_segment_name(name) },
    );
    match (name.is_empty(), reference["selector"].is_null()) {
        (true, true) => {
            errors.push(FieldError::required(path, "one of name or selector must be specified"));
        }
        (false, false) => {
            let detail = "name and selector are mutually exclusive";
            errors.push(FieldError::forbidden(&path.child("name"), detail));
        }
        _ => admission_match::selector(&reference["selector"], &path.child("selector"), errors),
    }
    let actions = ["Deny", "Allow"];
    let path = path.child("parameterNotFoundAction");
    if text(reference, &["parameterNotFoundAction"]).is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else {
        one_of(errors, &path, &reference["parameterNotFoundAction"], &actions, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(validations: Value) -> Value {
        let mut policy = json!({"metadata": {"name": "p"}, "spec": {"validations": validations, "matchConstraints": {"resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]}}});
        ValidatingAdmissionPolicy.default(&mut policy);
        policy
    }

    fn errors(policy: &Value) -> Vec<String> {
        ValidatingAdmissionPolicy.validate(policy).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn expressions_must_compile_and_have_the_right_type() {
        assert_eq!(errors(&policy(json!([{"expression": "object.spec.replicas <= 5"}]))), [""; 0]);
        assert_eq!(
            errors(&policy(json!([{"expression": "object.x + ", "messageExpression": "1"}])))[1],
            "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string but got int"
        );
        assert!(errors(&policy(json!([{"expression": "object.x +"}])))[0].starts_with(
            "spec.validations[0].expression: Invalid value: \"object.x +\": compilation failed: ERROR: <input>:1:11: Syntax error"
        ));
        assert_eq!(
            errors(&policy(json!([]))),
            [
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ]
        );
    }

    #[test]
    fn variables_have_names_of_their_own() {
        let mut policy = policy(json!([{"expression": "variables.a"}]));
        policy["spec"]["variables"] = json!([{"name": "a", "expression": "true"}, {"name": "a", "expression": "1"}, {"name": "in", "expression": "x"}]);
        let errors = errors(&policy);
        assert_eq!(errors[0], "spec.variables[1].name: Duplicate value: \"a\"");
        assert_eq!(errors[1], "spec.variables[2].name: Invalid value: \"in\": name is not a valid CEL identifier");
        assert!(errors[2].contains("undeclared reference to 'x'"), "{errors:?}");
    }

    #[test]
    fn bindings_say_what_happens() {
        let errors = |spec: Value| -> Vec<String> {
            ValidatingAdmissionPolicyBinding.validate(&json!({"spec": spec})).iter().map(ToString::to_string).collect()
        };
        assert_eq!(errors(json!({"policyName": "p", "validationActions": ["Deny"]})), [""; 0]);
        assert_eq!(
            errors(json!({"validationActions": ["Deny", "Warn"], "paramRef": {}})),
            [
                "spec.policyName: Required value",
                "spec.paramRef: Required value: one of name or selector must be specified",
                "spec.paramRef.parameterNotFoundAction: Required value",
                "spec.validationActions: Invalid value: [\"Deny\",\"Warn\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
            ]
        );
    }
}
