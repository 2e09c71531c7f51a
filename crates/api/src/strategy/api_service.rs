//! APIService.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_to, object_mut, spec_mut};
use super::{AGE, Column, NAME, Strategy, column};
use crate::field::{self, FieldError, Path};
use crate::meta::{self, at, int, text};

/// An APIService.
pub struct ApiService;

impl Strategy for ApiService {
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        super::prepare_status_update(new, old);
        super::keep_metadata(new, old, &super::CLIENT_METADATA);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, obj: &mut Value) {
        super::prepare_create(self, obj);
        // What no service serves, this server does.
        if at(obj, &["spec", "service"]).is_null() {
            let available = json!({
                "type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available",
                "lastTransitionTime": meta::format_time(Timestamp::now()),
            });
            meta::object_at(obj, "status").insert("conditions".into(), json!([available]));
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let expected = format!("{}.{}", text(obj, &["spec", "version"]), text(obj, &["spec", "group"]));
        if meta::name(obj) != expected {
            let path = Path::new("metadata").child("name");
            let detail = format!("must be `spec.version+\".\"+spec.group`: \"{expected}\"");
            errors.push(FieldError::invalid_str(&path, meta::name(obj), detail));
        }
        for key in ["groupPriorityMinimum", "versionPriority"] {
            let max = if key == "versionPriority" { 1000 } else { 20_000 };
            if !(1..=max).contains(&int(obj, &["spec", key]).unwrap_or(0)) {
                let detail = format!("must be positive and less than or equal to {max}");
                errors.push(FieldError::invalid(&path.child(key), at(obj, &["spec", key]), detail));
            }
        }
        service(at(obj, &["spec"]), &path, &mut errors);
        errors
    }

    fn default(&self, obj: &mut Value) {
        if let Some(service) = spec_mut(obj).and_then(|spec| object_mut(spec, "service")) {
            default_to(service, "port", 443);
        }
    }

    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        field::path_segment_name(name)
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Service"), column("Available"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            match at(obj, &["spec", "service"]) {
                Value::Null => "Local".into(),
                s => format!("{}/{}", text(s, &["namespace"]), text(s, &["name"])).into(),
            },
            available(obj).into(),
            age(obj, now),
        ]
    }
}

/// Where another server is, and whom to believe there.
fn service(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (bundle, insecure) = (text(spec, &["caBundle"]), &spec["insecureSkipTLSVerify"]);
    let (of_bundle, of_insecure) = (path.child("caBundle"), path.child("insecureSkipTLSVerify"));
    let service = &spec["service"];
    if service.is_null() {
        if !bundle.is_empty() {
            let size = format!("{} bytes", bundle.len() / 4 * 3);
            errors.push(FieldError::invalid_str(&of_bundle, &size, "local APIServices may not have a caBundle"));
        }
        if *insecure == true {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(&of_insecure, insecure, detail));
        }
        return;
    }
    let path = path.child("service");
    for field in ["namespace", "name"] {
        if text(service, &[field]).is_empty() {
            errors.push(FieldError::required(&path.child(field), ""));
        }
    }
    if !(1..=65535).contains(&int(service, &["port"]).unwrap_or(443)) {
        let detail = "port must be in the range 1-65535, inclusive";
        errors.push(FieldError::invalid(&path.child("port"), &service["port"], detail));
    }
    if *insecure == true && !bundle.is_empty() {
        errors.push(FieldError::invalid(&of_insecure, insecure, "may not be true if caBundle is present"));
    }
}

fn available(obj: &Value) -> String {
    let condition = common::condition(obj, "Available");
    match (text(condition, &["status"]), text(condition, &["reason"])) {
        ("", _) => "Unknown".into(),
        ("True", _) | (_, "") => text(condition, &["status"]).into(),
        (status, reason) => format!("{status} ({reason})"),
    }
}
