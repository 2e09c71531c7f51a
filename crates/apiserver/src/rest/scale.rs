//! The subresource `scale`: replicas of a workload as an autoscaling/v1 Scale.

use coracle_api::decode::{self, FieldValidation};
use coracle_api::field::{FieldError, Path};
use coracle_api::meta;
use coracle_api::schema;
use coracle_api::selector::LabelSelector;
use coracle_api::status::Status;
use coracle_api::strategy::{AGE, Column, NAME, ScalePaths, int_column};
use coracle_api::table::{self, ListMeta};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use smol_str::SmolStr;

use super::patch::Patch;
use super::update::{Change, update_object};
use super::{Answer, Context, list};
use crate::negotiate::{self, Shape};

pub(super) async fn answer(cx: &Context<'_>, verb: &str) -> Answer {
    let def = schema::id::AUTOSCALING_V1_SCALE;
    let paths = cx.target.kind.strategy.scale_paths();
    let object = match verb {
        "get" => super::in_version_value(&cx.target.kind, cx.current()?.value()),
        "update" | "patch" => {
            let patch = if verb == "patch" { Some(Patch::parse(cx)?) } else { None };
            let format = if patch.is_none() { Some(negotiate::body_format(&cx.parts.headers)?) } else { None };
            let bytes =
                update_object(cx.inner, &cx.target.kind, &cx.target.key(), Change::Main, cx.dry_run, &mut |current| {
                    let shown = from_object(paths, current)?;
                    let new = match (&patch, format) {
                        (Some(patch), _) => {
                            let mut new = shown.clone();
                            meta::set_resource_version(&mut new, "");
                            patch.apply(Some(def), &mut new)?;
                            new
                        }
                        (None, Some(format)) => {
                            let mut new = decode::parse(&cx.body, format).map_err(Status::bad_request)?.0;
                            decode::decode_value(def, &mut new, FieldValidation::Ignore)?;
                            new
                        }
                        (None, None) => shown.clone(),
                    };
                    into_object(paths, current, &new)
                })
                .await?;
            super::in_version_value(&cx.target.kind, serde_json::from_slice(&bytes).map_err(Status::internal)?)
        }
        other => return Err(Status::method_not_allowed(&cx.target.kind.group, &cx.target.kind.plural, other)),
    };
    let scale = from_object(paths, &object)?;
    let shown = match cx.output.shape {
        Shape::Object => scale.to_string().into(),
        Shape::Partial => list::partial(scale.to_string().as_bytes(), cx.output.meta_version)?,
        Shape::Table => {
            let look = list::look(&cx.query, cx.output)?;
            let row = (row(&scale, look.now), scale);
            table::render_rows(&COLUMNS, std::iter::once(row), look, &ListMeta::default()).into()
        }
    };
    Ok(negotiate::document(StatusCode::OK, cx.output.encoding, shown))
}

static COLUMNS: [Column; 4] = [NAME, int_column("Desired"), int_column("Available"), AGE];

fn row(scale: &Value, now: Timestamp) -> Vec<Value> {
    let created = scale["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
    vec![
        meta::name(scale).into(),
        scale["spec"]["replicas"].clone(),
        scale["status"]["replicas"].clone(),
        table::duration::since(created, now).into(),
    ]
}

/// Where the workloads of the table have the numbers.
const REPLICAS: [&str; 2] = ["spec", "replicas"];
const CURRENT: [&str; 2] = ["status", "replicas"];

fn number(object: &Value, fields: &[impl AsRef<str>]) -> Option<i64> {
    fields.iter().try_fold(object, |value, field| value.get(field.as_ref()))?.as_i64()
}

fn from_object(paths: Option<&ScalePaths>, object: &Value) -> Result<Value, Status> {
    let (wanted, current) = match paths {
        Some(paths) => {
            let wanted = number(object, &paths.spec_replicas).ok_or_else(|| {
                let path: String = paths.spec_replicas.iter().map(|field| format!(".{field}")).collect();
                Status::internal(format!("the spec replicas field {path:?} does not exist"))
            })?;
            (Some(wanted), number(object, &paths.status_replicas))
        }
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
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": wanted.unwrap_or(0)},
        "status": {"replicas": current.unwrap_or(0), "selector": selector},
    }))
}

fn into_object(paths: Option<&ScalePaths>, current: &Value, scale: &Value) -> Result<Value, Status> {
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
