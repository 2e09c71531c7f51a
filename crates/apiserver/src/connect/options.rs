//! What opens a connection is admitted first: its options are what admission is asked about.

use coracle_api::kind::Subresource;
use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::operation::{Operation, Verb};
use crate::request::Query;

/// Lets admission refuse a connection.
pub async fn admit(cx: &Context<'_>, subresource: &Subresource) -> Result<(), Status> {
    let mut options = options(subresource, &cx.query);
    if let Some(namespace) = &cx.target.namespace {
        meta::set_namespace(&mut options, namespace);
    }
    let op = Operation { verb: Verb::Connect, ..cx.unowned(Verb::Create) };
    cx.objects().admit(&op, &mut options).await
}

/// The options that a query says, such as a `PodExecOptions`.
fn options(subresource: &Subresource, query: &Query) -> Value {
    let mut options = Map::new();
    for name in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|name| query.flag(name)) {
        options.insert(name.to_owned(), true.into());
    }
    for name in ["container", "path"] {
        if let Some(text) = query.get(name) {
            options.insert(name.to_owned(), text.into());
        }
    }
    let command: Vec<Value> = query.all("command").iter().map(|word| word.as_str().into()).collect();
    let ports: Vec<Value> =
        query.all("ports").iter().filter_map(|port| port.parse::<u16>().ok()).map(Into::into).collect();
    for (name, list) in [("command", command), ("ports", ports)] {
        if !list.is_empty() {
            options.insert(name.to_owned(), list.into());
        }
    }
    let mut options = Value::Object(options);
    let version = match &*subresource.group {
        "" => subresource.version.to_string(),
        group => format!("{group}/{}", subresource.version),
    };
    meta::set_type(&mut options, &version, &subresource.kind);
    options
}
