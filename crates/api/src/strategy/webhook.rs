//! Admission webhooks.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

use jiff::Timestamp;
use serde_json::{Value, json};

use super::admission_match::{conditions, rule, selector};
use super::common::{self, age, default_text, default_to, items_mut, object_mut};
use super::{AGE, Column, NAME, Strategy, int_column};
use crate::admission_expressions::{Names, environment};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, int, list, text};

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
            review_versions(hook, &path.child("admissionReviewVersions"), &mut errors);
            for (n, given) in list(hook, &["rules"]).iter().enumerate() {
                rule(given, &path.child("rules").index(n), &mut errors);
            }
            for key in ["namespaceSelector", "objectSelector"] {
                selector(&hook[key], &path.child(key), &mut errors);
            }
            let names = Names { params: false, authorizer: true };
            conditions(hook, &environment(names), &path.child("matchConditions"), &mut errors);
            client(&hook["clientConfig"], &path.child("clientConfig"), &mut errors);
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

/// Versions of reviews that are sent.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

fn review_versions(hook: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let versions = list(hook, &["admissionReviewVersions"]);
    if versions.is_empty() {
        let detail = format!("must specify one of {}", REVIEWS.join(", "));
        errors.push(FieldError::required(path, detail));
    } else if !versions.iter().any(|version| REVIEWS.iter().any(|known| version == known)) {
        let detail = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(FieldError::invalid(path, &hook["admissionReviewVersions"], detail));
    }
}

/// Checks where a webhook is: at a URL, or behind a service.
pub(super) fn client(config: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    match (config["url"].as_str(), config["service"].is_null()) {
        (None, true) | (Some(_), false) => {
            errors.push(FieldError::required(path, "exactly one of url or service is required"));
        }
        (Some(url), true) => self::url(url, &path.child("url"), errors),
        (None, false) => service(&config["service"], &path.child("service"), errors),
    }
}

fn url(url: &str, path: &Path, errors: &mut Vec<FieldError>) {
    const FORM: &str = "; desired format: https://host[/path]";
    let mut refuse = |detail: String| errors.push(FieldError::invalid_str(path, url, detail));
    let Some(rest) = url.strip_prefix("https://") else {
        return refuse(format!("'https' is the only allowed URL scheme{FORM}"));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        refuse(format!("host must be specified{FORM}"));
    }
    if host.contains('@') {
        refuse("user information is not permitted in the URL".into());
    }
    if rest.contains('#') {
        refuse("fragments are not permitted in the URL".into());
    }
    if rest.contains('?') {
        refuse("query parameters are not permitted in the URL".into());
    }
}

fn service(service: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (key, detail) in [("name", "service name is required"), ("namespace", "service namespace is required")] {
        if text(service, &[key]).is_empty() {
            errors.push(FieldError::required(&path.child(key), detail));
        }
    }
    let port = int(service, &["port"]).unwrap_or(443);
    if !field::port_number(port).is_empty() {
        let detail = format!("port is not valid: {}", field::port_number(port).join(", "));
        errors.push(FieldError::invalid(&path.child("port"), &service["port"], detail));
    }
    let given = text(service, &["path"]);
    if !given.is_empty() && !given.starts_with('/') {
        let detail = "must start with a '/'";
        errors.push(FieldError::invalid_str(&path.child("path"), given, detail));
    }
}
