//! MutatingAdmissionPolicy and its binding.
//! <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>

use jiff::Timestamp;
use serde_json::Value;

use super::admission_policy::{binding, common, default_match, param_kind};
use super::common::{age, default_text, one_of, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, int_column};
use crate::admission_expressions::{compile, mutation_types, mutations};
use crate::field::{FieldError, Path};
use crate::meta::{self, list, text};

/// A MutatingAdmissionPolicy.
pub struct MutatingAdmissionPolicy;

impl Strategy for MutatingAdmissionPolicy {
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
        const { &[NAME, int_column("Mutations"), column("ParamKind"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            list(obj, &["spec", "mutations"]).len().into(),
            param_kind(obj).into(),
            age(obj, now),
        ]
    }
}

/// A MutatingAdmissionPolicyBinding.
pub struct MutatingAdmissionPolicyBinding;

impl Strategy for MutatingAdmissionPolicyBinding {
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
        binding(&obj["spec"], &Path::new("spec"), &mut errors);
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

/// At most so many mutations has a policy.
const MAX_MUTATIONS: usize = 64;

fn policy(obj: &Value, errors: &mut Vec<FieldError>) {
    let (spec, path) = (&obj["spec"], Path::new("spec"));
    let (of_variables, (_, checked)) = mutations(obj);
    common(obj, of_variables, errors);
    let policies = ["IfNeeded", "Never"];
    match text(spec, &["reinvocationPolicy"]) {
        "" => errors.push(FieldError::required(&path.child("reinvocationPolicy"), "")),
        _ => one_of(errors, &path.child("reinvocationPolicy"), &spec["reinvocationPolicy"], &policies, true),
    }
    let (mutations, path) = (list(spec, &["mutations"]), path.child("mutations"));
    if mutations.is_empty() {
        errors.push(FieldError::required(&path, "mutations must contain at least one item"));
    }
    if mutations.len() > MAX_MUTATIONS {
        errors.push(FieldError::too_many(&path, mutations.len(), MAX_MUTATIONS));
        return;
    }
    for (i, mutation) in mutations.iter().enumerate() {
        let (path, of) = (path.index(i), text(mutation, &["patchType"]));
        let (own, other) = match of {
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
            "JSONPatch" => ("jsonPatch", "applyConfiguration"),
            "" => {
                errors.push(FieldError::required(&path.child("patchType"), ""));
                continue;
            }
            of => {
                let known = ["ApplyConfiguration", "JSONPatch"];
                errors.push(FieldError::not_supported(&path.child("patchType"), of, &known));
                continue;
            }
        };
        if !mutation[other].is_null() {
            let detail = format!("must not be specified when patchType is {of}");
            errors.push(FieldError::forbidden(&path.child(other), detail));
        }
        if mutation[own].is_null() {
            let detail = format!("must be specified when patchType is {of}");
            errors.push(FieldError::required(&path.child(own), detail));
            continue;
        }
        let (expression, path) = (text(mutation, &[own, "expression"]), path.child(own).child("expression"));
        if expression.trim().is_empty() {
            errors.push(FieldError::required(&path, "expression is not specified"));
        } else if let Err(why) = compile(expression, &checked, &mutation_types(of)) {
            errors.push(FieldError::invalid_str(&path, expression, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
        let mut policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [rule]}, "reinvocationPolicy": "Never",
        "variables": [{"name": "part", "expression": "Object.spec{replicas: 3}"}],
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{spec: variables.part}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/spec'}]"}},
        ]}});
        MutatingAdmissionPolicy.default(&mut policy);
        change(&mut policy["spec"]);
        MutatingAdmissionPolicy.validate(&policy).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mutations_make_objects_or_patches() {
        assert_eq!(errors(|_| ()), [""; 0]);
        assert_eq!(
            errors(|spec| spec["reinvocationPolicy"] = Value::Null),
            ["spec.reinvocationPolicy: Required value"]
        );
        assert_eq!(
            errors(|spec| spec["mutations"] = json!([])),
            ["spec.mutations: Required value: mutations must contain at least one item"]
        );
        assert_eq!(
            errors(|spec| spec["mutations"][0]["applyConfiguration"]["expression"] = "Object.spec{}".into()),
            [
                "spec.mutations[0].applyConfiguration.expression: Invalid value: \"Object.spec{}\": must evaluate to Object but got Object.spec"
            ]
        );
        assert_eq!(
            errors(|spec| spec["mutations"][1]["jsonPatch"]["expression"] = "[1]".into()),
            [
                "spec.mutations[1].jsonPatch.expression: Invalid value: \"[1]\": must evaluate to list(JSONPatch) but got list(int)"
            ]
        );
        assert_eq!(
            errors(|spec| spec["mutations"][0] =
                json!({"patchType": "JSONPatch", "applyConfiguration": {"expression": "Object{}"}})),
            [
                "spec.mutations[0].applyConfiguration: Forbidden: must not be specified when patchType is JSONPatch",
                "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            ]
        );
    }
}
