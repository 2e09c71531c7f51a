//! Admission webhooks and policies.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::common::{self, age, default_text, default_to, items_mut, object_mut, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, int_column};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, int, list, text};

/// A mutating or validating webhook configuration.
pub struct WebhookConfiguration;

impl Strategy for WebhookConfiguration {
    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let mutating = meta::kind(obj) == "MutatingWebhookConfiguration";
        let Some(map) = obj.as_object_mut() else { return };
        for hook in items_mut(map, "webhooks") {
            default_text(hook, "failurePolicy", "Fail");
            default_text(hook, "matchPolicy", "Equivalent");
            default_to(hook, "namespaceSelector", json!({}));
            default_to(hook, "objectSelector", json!({}));
            default_to(hook, "timeoutSeconds", 10);
            if mutating {
                default_text(hook, "reinvocationPolicy", "Never");
            }
            if let Some(service) = object_mut(hook, "clientConfig").and_then(|c| object_mut(c, "service")) {
                default_to(service, "port", 443);
            }
            for rule in items_mut(hook, "rules") {
                default_text(rule, "scope", "*");
            }
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (i, hook) in list(obj, &["webhooks"]).iter().enumerate() {
            let path = Path::new("webhooks").index(i);
            let name = text(hook, &["name"]);
            push_all(&mut errors, &path.child("name"), name, field::dns1123_subdomain(name));
            if name.split('.').count() < 3 {
                let detail = "should be a domain with at least three segments separated by dots";
                errors.push(FieldError::invalid_str(&path.child("name"), name, detail));
            }
            common::one_of(
                &mut errors,
                &path.child("sideEffects"),
                &hook["sideEffects"],
                &["None", "NoneOnDryRun"],
                true,
            );
            let policies = ["Fail", "Ignore"];
            common::one_of(&mut errors, &path.child("failurePolicy"), &hook["failurePolicy"], &policies, false);
            if !(1..=30).contains(&int(hook, &["timeoutSeconds"]).unwrap_or(10)) {
                let detail = "the timeout value must be between 1 and 30 seconds";
                errors.push(FieldError::invalid(&path.child("timeoutSeconds"), &hook["timeoutSeconds"], detail));
            }
            if list(hook, &["admissionReviewVersions"]).is_empty() {
                let detail = "must specify one of v1, v1beta1";
                errors.push(FieldError::required(&path.child("admissionReviewVersions"), detail));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, int_column("Webhooks"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), list(obj, &["webhooks"]).len().into(), age(obj, now)]
    }
}

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

fn default_match(spec: &mut Map<String, Value>, key: &str) {
    let Some(resources) = object_mut(spec, key) else { return };
    default_text(resources, "matchPolicy", "Equivalent");
    default_to(resources, "namespaceSelector", json!({}));
    default_to(resources, "objectSelector", json!({}));
    for rule in items_mut(resources, "resourceRules") {
        default_text(rule, "scope", "*");
    }
}

fn param_kind(obj: &Value) -> String {
    match at(obj, &["spec", "paramKind"]) {
        Value::Null => "<unset>".into(),
        kind => format!("{}/{}", text(kind, &["apiVersion"]), text(kind, &["kind"])),
    }
}
