//! LimitRange.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{items_mut, spec_mut};
use super::{Column, NAME, Strategy};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, list, string_map, text};
use crate::quantity::Quantity;
use crate::strategy::pod::validate::resources;

/// A LimitRange.
pub struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        for limit in items_mut(spec, "limits") {
            if limit.get("type").is_none_or(|t| t != "Container") {
                continue;
            }
            // A maximum is the default limit, and a limit or minimum the default request.
            for (target, source) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
                let Some(values) = limit.get(source).and_then(Value::as_object).cloned() else { continue };
                let place = meta::as_object(limit.entry(target).or_insert_with(|| json!({})));
                for (key, value) in values {
                    place.entry(key).or_insert(value);
                }
            }
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut types: Vec<&str> = Vec::new();
        for (i, limit) in list(obj, &["spec", "limits"]).iter().enumerate() {
            let path = Path::new("spec").child("limits").index(i);
            let kind = text(limit, &["type"]);
            let messages = field::qualified_name(kind);
            let known = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
            if messages.is_empty() && !kind.contains('/') && !known {
                let detail = "must be a standard limit type or fully qualified";
                errors.push(FieldError::invalid_str(&path.child("type"), kind, detail));
            }
            push_all(&mut errors, &path.child("type"), kind, messages);
            if types.contains(&kind) {
                errors.push(FieldError::duplicate(&path.child("type"), &limit["type"]));
            }
            types.push(kind);
            self::limit(limit, kind, &path, &mut errors);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Created At", "date", "", 0)] }
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), at(obj, &["metadata", "creationTimestamp"]).clone()]
    }
}

const PARTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

fn limit(limit: &Value, kind: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let of_pod = kind == "Pod";
    for part in PARTS {
        if of_pod && part.starts_with("default") {
            if !limit[part].is_null() {
                let detail = "may not be specified when `type` is 'Pod'";
                errors.push(FieldError::forbidden(&path.child(part), detail));
            }
            continue;
        }
        for (name, _) in string_map(&limit[part]) {
            let path = path.child(part).key(name);
            if matches!(kind, "Pod" | "Container") {
                resources::container_name(name, &path, errors);
            } else {
                resources::any_name(name, &path, errors);
            }
        }
    }
    let storage = |part: &str| !at(limit, &[part, "storage"]).is_null();
    if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), detail));
    }
    let mut names: Vec<&str> =
        PARTS.into_iter().flat_map(|part| string_map(&limit[part])).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        amounts(limit, name, of_pod, path, errors);
    }
}

/// What one resource may be: the least, the most, and what is taken when nothing is said, in that order.
fn amounts(limit: &Value, name: &str, of_pod: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let amount = |part: &str| -> Option<Quantity> {
        let ignored = of_pod && part.starts_with("default");
        text(limit, &[part, name]).parse().ok().filter(|_| !ignored)
    };
    let (min, max, default, request) = (amount("min"), amount("max"), amount("default"), amount("defaultRequest"));
    let mut order =
        |less: Option<Quantity>, more: Option<Quantity>, part: &str, shown: Option<Quantity>, words: [&str; 2]| {
            if let (Some(less), Some(more), Some(shown)) = (less, more, shown)
                && less > more
            {
                let detail = format!("{} value {less} is greater than {} value {more}", words[0], words[1]);
                errors.push(FieldError::invalid_str(&path.child(part).key(name), &shown.to_string(), detail));
            }
        };
    order(min, max, "min", min, ["min", "max"]);
    order(min, request, "defaultRequest", request, ["min", "default request"]);
    order(request, max, "defaultRequest", request, ["default request", "max"]);
    order(request, default, "defaultRequest", request, ["default request", "default limit"]);
    order(min, default, "default", min, ["min", "default"]);
    order(default, max, "default", max, ["default", "max"]);
    ratio(amount("maxLimitRequestRatio"), min, max, &path.child("maxLimitRequestRatio").key(name), errors);
    if let (Some(default), Some(request)) = (default, request)
        && default != request
        && !resources::may_overcommit(name)
    {
        let detail = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        let path = path.child("defaultRequest").key(name);
        errors.push(FieldError::invalid_str(&path, &request.to_string(), detail));
    }
}

fn ratio(
    ratio: Option<Quantity>,
    min: Option<Quantity>,
    max: Option<Quantity>,
    path: &Path,
    errors: &mut Vec<FieldError>,
) {
    let Some(ratio) = ratio else { return };
    let shown = ratio.to_string();
    if ratio.milli_value() < 1000 {
        errors.push(FieldError::invalid_str(path, &shown, format!("ratio {shown} is less than 1")));
    }
    if let (Some(min), Some(max)) = (min, max)
        && min.milli_value() > 0
    {
        let limit = max.milli_value() as f64 / min.milli_value() as f64;
        if ratio.milli_value() as f64 / 1000.0 > limit {
            let detail = format!("ratio {shown} is greater than max/min = {limit:.6}");
            errors.push(FieldError::invalid_str(path, &shown, detail));
        }
    }
}
