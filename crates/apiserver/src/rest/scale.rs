//! The subresource `scale`: replicas of a workload as an autoscaling/v1 Scale.

use coracle_api::apply::scale::{from_scale, to_scale};
use coracle_api::apply::versions::Versions;
use coracle_api::apply::{Builtin, Reset, Writer, apply, update};
use coracle_api::decode::{self, FieldValidation};
use coracle_api::meta;
use coracle_api::scale::{self, API_VERSION, DEF, REPLICAS};
use coracle_api::status::Status;
use coracle_api::strategy::{AGE, Column, NAME, ScalePaths, int_column};
use coracle_api::table::{self, ListMeta};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::list;
use super::patch::Patch;
use crate::context::{Answer, Context};
use crate::negotiate::{self, Shape};
use crate::operation::{Operation, Ownership, Part, Verb, fields, put_fields};

pub(super) async fn answer(cx: &Context<'_>, verb: &str) -> Answer {
    let paths = cx.target.kind.strategy.scale_paths();
    let object = match verb {
        "get" => cx.conversions().object(&cx.target.kind, cx.current()?).await?,
        "update" | "patch" => {
            let written = Written::parse(cx, verb)?;
            let op = match &written {
                Written::Whole(_) => cx.operation(Verb::Update)?,
                Written::Patch(patch) => cx.patch_operation(matches!(patch, Patch::Apply(_)))?,
            };
            // The new object comes with the managed fields that it has by its scale.
            let op = Operation { ownership: Ownership::Given, ..op }.part(Part::Main);
            let scales = Scales { paths, manager: cx.manager(cx.query.get("fieldManager").unwrap_or_default()) };
            let force = cx.forced() == Some(true);
            let key = cx.target.key();
            let bytes =
                cx.objects().update(&op, &key, &mut |current| scales.change(&op, current, &written, force)).await?;
            serde_json::from_slice(&bytes).map_err(Status::internal)?
        }
        other => return Err(Status::method_not_allowed(&cx.target.kind.group, &cx.target.kind.plural, other)),
    };
    let scale = scale::shown(paths, &object)?;
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

/// What a client wants a scale to be.
enum Written {
    Whole(Value),
    Patch(Patch),
}

impl Written {
    fn parse(cx: &Context<'_>, verb: &str) -> Result<Written, Status> {
        if verb == "patch" {
            return Patch::parse(cx).map(Written::Patch);
        }
        let format = negotiate::body_format(&cx.parts.headers)?;
        decode::parse(&cx.body, format).map(|(scale, _)| Written::Whole(scale)).map_err(Status::bad_request)
    }
}

/// Scales of objects, as one manager writes them.
struct Scales<'a> {
    /// Where a custom resource has the numbers.
    paths: Option<&'a ScalePaths>,
    manager: String,
}

impl Versions for Scales<'_> {
    type Node<'a>
        = Builtin
    where
        Self: 'a;

    fn node(&self, api_version: &str) -> Option<Builtin> {
        (api_version == API_VERSION).then(|| Builtin::new(DEF))
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        (from == to).then(|| object.clone())
    }
}

impl Scales<'_> {
    /// An object with another scale. Who owns its replicas owns those of the scale, and the other way round.
    fn change(&self, op: &Operation, current: &Value, written: &Written, force: bool) -> Result<Value, Status> {
        let own = op.kind.api_version();
        let path = match self.paths {
            Some(paths) => paths.spec_replicas.iter().map(ToString::to_string).collect(),
            None => REPLICAS.map(str::to_owned).to_vec(),
        };
        let replicas = |version: &str| (version == own).then(|| path.clone());
        let managed = fields(current).cloned().unwrap_or_default();
        let mut scale = scale::of(self.paths, current);
        put_fields(&mut scale, parsed(to_scale(&managed, replicas)));
        let writer = Writer { api_version: API_VERSION, reset: Reset::NONE, ..op.writer(&self.manager) };
        let mut new = match written {
            Written::Whole(new) => new.clone(),
            Written::Patch(Patch::Apply(configuration)) => {
                configuration.check_type(API_VERSION, "Scale")?;
                apply(self, Some(&scale), &configuration.object, &writer, force)?
            }
            Written::Patch(patch) => {
                let mut new = scale.clone();
                patch.apply(Some(DEF), &mut new)?;
                new
            }
        };
        decode::decode_value(DEF, &mut new, FieldValidation::Ignore)?;
        if !matches!(written, Written::Patch(Patch::Apply(_))) {
            update(self, Some(&scale), &mut new, &writer);
        }
        let mut object = scale::put(self.paths, current, &new)?;
        let of_scale = fields(&new).cloned().unwrap_or_default();
        put_fields(&mut object, parsed(from_scale(&managed, &of_scale, own, replicas)));
        Ok(object)
    }
}

/// Managed fields of their text; malformed ones are nobody's.
fn parsed(text: Result<String, String>) -> Option<Value> {
    serde_json::from_str(&text.ok()?).ok()
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
