//! POST of a new object.

use coracle_api::decode;
use coracle_api::meta;
use coracle_api::status::Status;
use http::StatusCode;

use crate::context::{Answer, Context};
use crate::operation::Verb;
use crate::{negotiate, warnings};

pub(super) async fn create(cx: &Context<'_>) -> Answer {
    let kind = &cx.target.kind;
    let op = cx.operation(Verb::Create)?;
    let format = negotiate::body_format(&cx.parts.headers)?;
    let (mut object, mut told) = decode::decode(kind, &cx.body, format, cx.field_validation()?)?;
    if let Some(namespace) = &cx.target.namespace {
        match meta::namespace(&object) {
            "" => meta::set_namespace(&mut object, namespace),
            own if own == namespace => {}
            own => {
                return Err(Status::bad_request(format!(
                    "the namespace of the provided object does not match the namespace sent on the request: \"{own}\" is not \"{namespace}\""
                )));
            }
        }
    } else if kind.namespaced {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    told.extend(warnings::on_create(kind, &object));
    let bytes = cx.objects().create(&op, object).await?;
    cx.object(StatusCode::CREATED, bytes, &told)
}
