//! HorizontalPodAutoscaler, in both versions.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{age, default_to, number, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, int_column};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, int, list, text};

/// A HorizontalPodAutoscaler.
pub struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
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
        for key in ["kind", "name"] {
            if text(obj, &["spec", "scaleTargetRef", key]).is_empty() {
                errors.push(FieldError::required(&path.child("scaleTargetRef").child(key), ""));
            }
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
