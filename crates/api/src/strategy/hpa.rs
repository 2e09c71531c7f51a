//! HorizontalPodAutoscaler, in both versions.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::common::{age, default_to, number, object_mut, one_of, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, int_column};
use crate::field::{self, FieldError, Path};
use crate::meta::{self, at, int, list, text};
use crate::quantity::Quantity;

/// A HorizontalPodAutoscaler.
pub struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
    fn empty_status(&self) -> Value {
        json!({"currentMetrics": null, "desiredReplicas": 0})
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let v2 = meta::api_version(obj) != "autoscaling/v1";
        let Some(spec) = spec_mut(obj) else { return };
        default_to(spec, "minReplicas", 1);
        if v2 && spec.get("metrics").is_none() {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            spec.insert("metrics".into(), json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
        }
        if let Some(behavior) = object_mut(spec, "behavior") {
            default_behavior(behavior);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let (min, max) = (int(obj, &["spec", "minReplicas"]), int(obj, &["spec", "maxReplicas"]).unwrap_or(0));
        if min.is_some_and(|m| m < 1) {
            errors.push(FieldError::invalid(
                &path.child("minReplicas"),
                at(obj, &["spec", "minReplicas"]),
                "must be greater than or equal to 1",
            ));
        }
        if max < 1 {
            errors.push(FieldError::invalid(&path.child("maxReplicas"), &max.into(), "must be greater than 0"));
        }
        if min.is_some_and(|m| max < m) {
            errors.push(FieldError::invalid(
                &path.child("maxReplicas"),
                &max.into(),
                "must be greater than or equal to `minReplicas`",
            ));
        }
        reference(at(obj, &TARGET), &path.child("scaleTargetRef"), &mut errors);
        for (i, metric) in list(obj, &["spec", "metrics"]).iter().enumerate() {
            self::metric(metric, &path.child("metrics").index(i), &mut errors);
        }
        for direction in ["scaleUp", "scaleDown"] {
            let rules = at(obj, &["spec", "behavior", direction]);
            if !rules.is_null() {
                self::rules(rules, &path.child("behavior").child(direction), &mut errors);
            }
        }
        errors
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        target_version(obj, &mut errors);
        described_versions(obj, &mut errors);
        errors
    }

    /// What names no API group stays as it is, since earlier versions let it in.
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (now, before) = (at(new, &TARGET), at(old, &TARGET));
        if ["apiVersion", "kind"].iter().any(|key| text(now, &[key]) != text(before, &[key])) {
            target_version(new, &mut errors);
        }
        let mut already_wrong = Vec::new();
        described_versions(old, &mut already_wrong);
        if already_wrong.is_empty() {
            described_versions(new, &mut errors);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Reference"),
                column("Targets"),
                column("MinPods"),
                column("MaxPods"),
                int_column("Replicas"),
                AGE,
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            format!(
                "{}/{}",
                text(obj, &["spec", "scaleTargetRef", "kind"]),
                text(obj, &["spec", "scaleTargetRef", "name"])
            )
            .into(),
            targets(obj).into(),
            int(obj, &["spec", "minReplicas"]).map_or("<unset>".into(), |n| n.to_string().into()),
            number(obj, &["spec", "maxReplicas"]),
            number(obj, &["status", "currentReplicas"]),
            age(obj, now),
        ]
    }
}

fn percent(value: Option<i64>) -> String {
    value.map_or_else(|| "<unknown>".to_owned(), |v| format!("{v}%"))
}

/// `cpu: 12%/80%`, and how many more.
fn targets(obj: &Value) -> String {
    if let Some(target) = int(obj, &["spec", "targetCPUUtilizationPercentage"]) {
        return format!("cpu: {}/{target}%", percent(int(obj, &["status", "currentCPUUtilizationPercentage"])));
    }
    let current = list(obj, &["status", "currentMetrics"]);
    let all: Vec<String> = list(obj, &["spec", "metrics"])
        .iter()
        .enumerate()
        .map(|(i, metric)| {
            let key = match text(metric, &["type"]) {
                "Resource" => "resource",
                "ContainerResource" => "containerResource",
                "Pods" => "pods",
                "Object" => "object",
                _ => "external",
            };
            let now = current.get(i).map_or(&Value::Null, |c| at(c, &[key, "current"]));
            let target = at(metric, &[key, "target"]);
            let name = text(metric, &[key, "name"]);
            let prefix = if name.is_empty() { String::new() } else { format!("{name}: ") };
            if let Some(utilization) = int(target, &["averageUtilization"]) {
                return format!("{prefix}{}/{utilization}%", percent(int(now, &["averageUtilization"])));
            }
            let field = if target["averageValue"].is_null() { "value" } else { "averageValue" };
            let shown = or(text(now, &[field]), "<unknown>");
            let average = if field == "averageValue" && matches!(key, "object" | "external") { " (avg)" } else { "" };
            format!("{prefix}{}/{}{average}", shown.as_str().unwrap_or_default(), text(target, &[field]))
        })
        .collect();
    match all.len() {
        0 => "<none>".into(),
        n if n > 2 => format!("{} + {} more...", all[..2].join(", "), n - 2),
        _ => all.join(", "),
    }
}

/// What upstream does where a behavior leaves something out: up by four pods or by as many as there are, down to the
/// least at once.
fn default_behavior(behavior: &mut Map<String, Value>) {
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    for direction in ["scaleUp", "scaleDown"] {
        default_to(behavior, direction, json!({}));
    }
    if let Some(up) = object_mut(behavior, "scaleUp") {
        default_to(up, "stabilizationWindowSeconds", 0);
        default_to(up, "selectPolicy", "Max");
        default_to(up, "policies", json!([pods, percent]));
    }
    if let Some(down) = object_mut(behavior, "scaleDown") {
        default_to(down, "selectPolicy", "Max");
        default_to(down, "policies", json!([percent]));
    }
}

/// Where an autoscaler says what it scales.
const TARGET: [&str; 2] = ["spec", "scaleTargetRef"];

/// Checks kind and name of a reference to an object; both become parts of a path.
fn reference(reference: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for key in ["kind", "name"] {
        let (path, given) = (path.child(key), text(reference, &[key]));
        if given.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else {
            field::push_all(errors, &path, given, field::path_segment_name(given));
        }
    }
}

/// Checks the group version of what is scaled, which has a group unless it is a replication controller.
fn target_version(obj: &Value, errors: &mut Vec<FieldError>) {
    let target = at(obj, &TARGET);
    let may_be_core = text(target, &["kind"]) == "ReplicationController";
    version(target, may_be_core, &Path::new("spec").child("scaleTargetRef"), errors);
}

/// Checks the group versions of the objects that metrics describe.
fn described_versions(obj: &Value, errors: &mut Vec<FieldError>) {
    for (i, metric) in list(obj, &["spec", "metrics"]).iter().enumerate() {
        let described = at(metric, &["object", "describedObject"]);
        if text(metric, &["type"]) == "Object" && !described.is_null() {
            let path = Path::new("spec").child("metrics").index(i).child("object").child("describedObject");
            version(described, true, &path, errors);
        }
    }
}

fn version(reference: &Value, may_be_core: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let given = text(reference, &["apiVersion"]);
    let detail = match given.split('/').collect::<Vec<_>>().as_slice() {
        [_] | ["", _] if !may_be_core => "apiVersion must specify API group".to_owned(),
        [_] | [_, _] => return,
        _ => format!("unexpected GroupVersion string: {given}"),
    };
    errors.push(FieldError::invalid_str(&path.child("apiVersion"), given, detail));
}

/// Types of metrics, and the field that each has.
const METRICS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

fn metric(metric: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = text(metric, &["type"]);
    if kind.is_empty() {
        return errors.push(FieldError::required(&path.child("type"), "must specify a metric source type"));
    }
    let Some((_, field)) = METRICS.iter().find(|(name, _)| *name == kind) else {
        return errors.push(FieldError::not_supported(&path.child("type"), kind, &METRICS.map(|(name, _)| name)));
    };
    if metric[*field].is_null() {
        let detail = "must populate information for the given metric source";
        errors.push(FieldError::required(&path.child(field), detail));
    }
    for (_, other) in METRICS.iter().filter(|(_, other)| other != field && !metric[*other].is_null()) {
        errors.push(FieldError::forbidden(&path.child(other), "must populate the given metric source only"));
    }
    let (source, path) = (&metric[*field], path.child(field));
    if source.is_null() {
        return;
    }
    let of_resource = matches!(kind, "Resource" | "ContainerResource");
    if of_resource && text(source, &["name"]).is_empty() {
        errors.push(FieldError::required(&path.child("name"), "must specify a resource name"));
    }
    if kind == "ContainerResource" && text(source, &["container"]).is_empty() {
        errors.push(FieldError::required(&path.child("container"), "must specify a container"));
    }
    if kind == "Object" {
        reference(&source["describedObject"], &path.child("describedObject"), errors);
    }
    if !of_resource && text(source, &["metric", "name"]).is_empty() {
        errors.push(FieldError::required(&path.child("metric").child("name"), "must specify a metric name"));
    }
    target(&source["target"], kind, &path.child("target"), errors);
}

fn target(target: &Value, kind: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let form = text(target, &["type"]);
    if form.is_empty() {
        errors.push(FieldError::required(&path.child("type"), "must specify a metric target type"));
    } else if !matches!(form, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid_str(&path.child("type"), form, detail));
    }
    for key in ["value", "averageValue"] {
        let amount = text(target, &[key]).parse::<Quantity>();
        if amount.is_ok_and(|amount| amount.is_negative() || amount.is_zero()) {
            errors.push(FieldError::invalid(&path.child(key), &target[key], "must be positive"));
        }
    }
    let utilization = int(target, &["averageUtilization"]);
    if utilization.is_some_and(|utilization| utilization < 1) {
        let detail = "must be greater than 0";
        errors.push(FieldError::invalid(&path.child("averageUtilization"), &target["averageUtilization"], detail));
    }
    let (value, average) = (!target["value"].is_null(), !target["averageValue"].is_null());
    let missing = match kind {
        "Resource" | "ContainerResource" => {
            if utilization.is_some() && average {
                let detail = "may not set both a target raw value and a target utilization";
                errors.push(FieldError::forbidden(&path.child("averageValue"), detail));
            }
            let detail = "must set either a target raw value or a target utilization";
            (utilization.is_none() && !average).then_some(("averageUtilization", detail))
        }
        "Pods" => (!average).then_some(("averageValue", "must specify a positive target averageValue")),
        _ => {
            if value && average {
                let detail = "may not set both a target value for metric and a per-pod target";
                errors.push(FieldError::forbidden(&path.child("value"), detail));
            }
            let detail = "must set either a target value for metric or a per-pod target";
            (!value && !average).then_some(("averageValue", detail))
        }
    };
    if let Some((key, detail)) = missing {
        errors.push(FieldError::required(&path.child(key), detail));
    }
}

/// The longest that rules may look back or have a period of, in seconds.
const MAX_WINDOW: i64 = 3600;
const MAX_PERIOD: i64 = 1800;

fn rules(rules: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let window = path.child("stabilizationWindowSeconds");
    match int(rules, &["stabilizationWindowSeconds"]) {
        Some(seconds) if seconds < 0 => {
            errors.push(FieldError::invalid(&window, &seconds.into(), "must be greater than or equal to zero"));
        }
        Some(seconds) if seconds > MAX_WINDOW => {
            let detail = format!("must be less than or equal to {MAX_WINDOW}");
            errors.push(FieldError::invalid(&window, &seconds.into(), detail));
        }
        _ => {}
    }
    one_of(errors, &path.child("selectPolicy"), &rules["selectPolicy"], &["Disabled", "Max", "Min"], false);
    let policies = list(rules, &["policies"]);
    if policies.is_empty() {
        errors.push(FieldError::required(&path.child("policies"), "must specify at least one Policy"));
    }
    for (i, policy) in policies.iter().enumerate() {
        let path = path.child("policies").index(i);
        one_of(errors, &path.child("type"), &policy["type"], &["Percent", "Pods"], true);
        for key in ["value", "periodSeconds"] {
            let number = int(policy, &[key]).unwrap_or(0);
            if number <= 0 {
                errors.push(FieldError::invalid(&path.child(key), &number.into(), "must be greater than zero"));
            } else if key == "periodSeconds" && number > MAX_PERIOD {
                let detail = format!("must be less than or equal to {MAX_PERIOD}");
                errors.push(FieldError::invalid(&path.child(key), &number.into(), detail));
            }
        }
    }
}
