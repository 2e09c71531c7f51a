//! The subresource `scale`: replicas of a workload as an autoscaling/v1 Scale.

use coracle_api::decode::{self, FieldValidation};
use coracle_api::field::{FieldError, Path};
use coracle_api::meta;
use coracle_api::schema;
use coracle_api::selector::LabelSelector;
use coracle_api::status::Status;
use coracle_api::strategy::{AGE, Column, NAME, int_column};
use coracle_api::table::{self, ListMeta};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::patch::Patch;
use super::update::{Change, update_object};
use super::{Answer, Context, list};
use crate::negotiate::{self, Shape};

pub(super) async fn answer(cx: &Context<'_>, verb: &str) -> Answer {
    let def = schema::by_gvk("autoscaling", "v1", "Scale").unwrap_or(cx.target.kind.def);
    let object = match verb {
        "get" => cx.current()?.value(),
        "update" | "patch" => {
            let patch = if verb == "patch" { Some(Patch::parse(cx)?) } else { None };
            let format = if patch.is_none() { Some(negotiate::body_format(&cx.parts.headers)?) } else { None };
            let bytes =
                update_object(cx.inner, &cx.target.kind, &cx.target.key(), Change::Main, cx.dry_run, &mut |current| {
                    let shown = from_object(current);
                    let new = match (&patch, format) {
                        (Some(patch), _) => {
                            let mut new = shown.clone();
                            meta::set_resource_version(&mut new, "");
                            patch.apply(def, &mut new)?;
                            new
                        }
                        (None, Some(format)) => {
                            let mut new = decode::parse(&cx.body, format).map_err(Status::bad_request)?.0;
                            decode::decode_value(def, &mut new, FieldValidation::Ignore)?;
                            new
                        }
                        (None, None) => shown.clone(),
                    };
                    into_object(current, &new)
                })
                .await?;
            serde_json::from_slice(&bytes).map_err(Status::internal)?
        }
        other => return Err(Status::method_not_allowed(&cx.target.kind.group, &cx.target.kind.plural, other)),
    };
    let scale = from_object(&object);
    let shown = match cx.output.shape {
        Shape::Object => scale.to_string().into(),
        Shape::Partial => list::partial(scale.to_string().as_bytes(), cx.output.meta_version)?,
        Shape::Table => {
            let look = list::look(&cx.query, cx.output)?;
            let row = (row(&scale, look.now), scale);
            table::render_rows(COLUMNS, std::iter::once(row), look, &ListMeta::default()).into()
        }
    };
    Ok(negotiate::document(StatusCode::OK, cx.output.encoding, shown))
}

static COLUMNS: &[Column] = &[NAME, int_column("Desired"), int_column("Available"), AGE];

fn row(scale: &Value, now: Timestamp) -> Vec<Value> {
    let created = scale["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
    vec![
        meta::name(scale).into(),
        scale["spec"]["replicas"].clone(),
        scale["status"]["replicas"].clone(),
        table::duration::since(created, now).into(),
    ]
}

fn from_object(object: &Value) -> Value {
    let selector = match &object["spec"]["selector"] {
        plain @ Value::Object(map) if map.values().all(Value::is_string) => LabelSelector::from_map(plain).to_string(),
        selector => LabelSelector::from_object(selector).map(|selector| selector.to_string()).unwrap_or_default(),
    };
    let metadata = &object["metadata"];
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0), "selector": selector},
    })
}

fn into_object(current: &Value, scale: &Value) -> Result<Value, Status> {
    let name = meta::name(current);
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if !(0..=i64::from(i32::MAX)).contains(&replicas) {
        let path = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&path, &replicas.into(), "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", name, vec![error]));
    }
    let mut new = current.clone();
    meta::set_resource_version(&mut new, meta::resource_version(scale));
    new["spec"]["replicas"] = replicas.into();
    Ok(new)
}
