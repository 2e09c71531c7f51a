//! The scale of a workload or custom resource: its replicas as an autoscaling/v1 Scale.

use serde_json::{Value, json};
use smol_str::SmolStr;

pub use crate::apply::scale::API_VERSION;
use crate::field::{FieldError, Path};
use crate::meta;
use crate::schema::{self, DefId};
use crate::selector::LabelSelector;
use crate::status::Status;
use crate::strategy::ScalePaths;

/// The definition of a Scale.
pub const DEF: DefId = schema::id::AUTOSCALING_V1_SCALE;

/// Where the workloads of the table have the numbers.
pub const REPLICAS: [&str; 2] = ["spec", "replicas"];
const CURRENT: [&str; 2] = ["status", "replicas"];

fn number(object: &Value, fields: &[impl AsRef<str>]) -> Option<i64> {
    fields.iter().try_fold(object, |value, field| value.get(field.as_ref()))?.as_i64()
}

/// The scale of an object that must have one.
///
/// # Errors
/// A custom resource has no replicas where its definition says.
pub fn shown(paths: Option<&ScalePaths>, object: &Value) -> Result<Value, Status> {
    match paths {
        Some(paths) if number(object, &paths.spec_replicas).is_none() => {
            let path: String = paths.spec_replicas.iter().map(|field| format!(".{field}")).collect();
            Err(Status::internal(format!("the spec replicas field {path:?} does not exist")))
        }
        _ => Ok(of(paths, object)),
    }
}

/// The scale of an object; where it says nothing of it, it wants none.
pub fn of(paths: Option<&ScalePaths>, object: &Value) -> Value {
    let (wanted, current) = match paths {
        Some(paths) => (number(object, &paths.spec_replicas), number(object, &paths.status_replicas)),
        None => (number(object, &REPLICAS), number(object, &CURRENT)),
    };
    let of_path = |fields: &[SmolStr]| {
        let found = fields.iter().try_fold(object, |value, field| value.get(field.as_str()));
        found.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let selector = match &object["spec"]["selector"] {
        _ if paths.is_some() => paths.map(|paths| of_path(&paths.label_selector)).unwrap_or_default(),
        plain @ Value::Object(map) if map.values().all(Value::is_string) => LabelSelector::from_map(plain).to_string(),
        selector => LabelSelector::from_object(selector).map(|selector| selector.to_string()).unwrap_or_default(),
    };
    let metadata = &object["metadata"];
    let mut status = json!({"replicas": current.unwrap_or(0)});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale", "apiVersion": API_VERSION,
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": wanted.unwrap_or(0)},
        "status": status,
    })
}

/// An object with another scale.
///
/// # Errors
/// 422 when no object can have so many replicas.
pub fn put(paths: Option<&ScalePaths>, current: &Value, scale: &Value) -> Result<Value, Status> {
    let name = meta::name(current);
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if !(0..=i64::from(i32::MAX)).contains(&replicas) {
        let path = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&path, &replicas.into(), "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", name, vec![error]));
    }
    let mut new = current.clone();
    meta::set_resource_version(&mut new, meta::resource_version(scale));
    match paths {
        Some(paths) => {
            let mut at = &mut new;
            for field in &paths.spec_replicas {
                at = meta::as_object(at).entry(field.as_str()).or_insert(Value::Null);
            }
            *at = replicas.into();
        }
        None => new["spec"]["replicas"] = replicas.into(),
    }
    Ok(new)
}
