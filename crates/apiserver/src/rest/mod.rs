//! REST storage: what each verb does to an object, the same for every kind.

mod access_review;
mod apply;
mod binding;
mod create;
mod delete;
mod eviction;
mod list;
mod operation;
mod patch;
mod read;
mod review;
mod scale;
mod token;
mod unsafe_delete;
mod update;
mod watch;
mod write;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use coracle_api::Kind;
use coracle_api::convert;
use coracle_api::decode::FieldValidation;
use coracle_api::protobuf;
use coracle_api::status::Status;
use coracle_api::table::ListMeta;
use coracle_store as store;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;

use crate::auth::User;
use crate::auth::service_account::Exists;
use crate::authz::decide;
use crate::body::Body;
use crate::cache::{Cache, Caches, ROOT};
use crate::negotiate;
use crate::negotiate::{Output, Shape};
use crate::object::Object;
use crate::request::{Query, Selected, Target, key};
use crate::server::Inner;
use crate::upload::Upload;

pub(crate) use delete::{Options as DeleteOptions, delete_object};
pub(crate) use operation::{Operation, Part, Verb};
pub(crate) use write::{create_object, update_object};

/// One request to an object or a collection.
pub(crate) struct Context<'a> {
    pub inner: &'a Arc<Inner>,
    pub user: Arc<User>,
    pub parts: Parts,
    /// What was sent; empty where it is passed on as it comes.
    pub body: Bytes,
    /// What was sent to what `proxy` leads to (in a lock, as nobody but its taker may look at it).
    pub upload: Mutex<Upload>,
    pub target: Target,
    pub query: Query,
    pub output: Output,
    pub dry_run: bool,
}

type Answer = Result<Response<Body>, Status>;

/// Answers a request whose sender may make it.
pub(crate) async fn answer(cx: Context<'_>, verb: &'static str) -> Response<Body> {
    let deprecation = cx.target.kind.strategy.deprecation().map(str::to_owned);
    let encoding = cx.output.encoding;
    // A refusal goes with it as well.
    let answer = match read(&cx, verb) {
        Some(answer) => answer,
        // Kept apart, as what waits is large, and a read would carry the room for it about.
        None => Box::pin(route(cx, verb)).await,
    };
    let mut response = answer.unwrap_or_else(|status| negotiate::status_as(&status, encoding));
    negotiate::warn(&mut response, deprecation.as_slice());
    response
}

/// Answers what is answered from the cache.
fn read(cx: &Context<'_>, verb: &str) -> Option<Answer> {
    let kind = &cx.target.kind;
    let is_object = cx.target.subresource.is_none() && !kind.review && kind.has_verb(verb) && is_routed(cx);
    match verb {
        "get" if is_object => Some(read::get(cx)),
        "list" if is_object => Some(list::list(cx)),
        _ => None,
    }
}

async fn route(mut cx: Context<'_>, verb: &'static str) -> Answer {
    let kind = &cx.target.kind;
    let refused = || Status::method_not_allowed(&kind.group, &kind.plural, verb);
    if !is_routed(&cx) {
        return Err(Status::method_not_routed());
    }
    if let Some(subresource) = cx.target.subresource() {
        if cx.target.name.is_none() || !subresource.verbs.contains(&verb) && !is_connect(subresource.name) {
            return Err(refused());
        }
        return match subresource.name {
            "binding" => binding::create(&cx).await,
            "eviction" => eviction::create(&cx).await,
            "token" => token::create(&cx).await,
            "scale" => scale::answer(&cx, verb).await,
            "log" | "exec" | "attach" | "portforward" => crate::kubelet::answer(&mut cx).await,
            "proxy" => crate::proxy::answer(&mut cx).await,
            _ => match verb {
                "get" => read::get(&cx),
                "update" => update::put(&cx).await,
                "patch" => patch::patch(&cx).await,
                _ => Err(refused()),
            },
        };
    }
    if kind.review {
        return match (verb, &*kind.kind) {
            ("create", "Binding") => binding::create(&cx).await,
            ("create", _) => review::create(&cx).await,
            _ => Err(refused()),
        };
    }
    if !kind.has_verb(verb) {
        return Err(refused());
    }
    match verb {
        "watch" => match crate::websocket::take(&mut cx) {
            Some(wish) => wish.grant(watch::watch(&cx)?, crate::websocket::Framing::Lines),
            None => watch::watch(&cx),
        },
        "create" => create::create(&cx).await,
        "update" => update::put(&cx).await,
        "patch" => patch::patch(&cx).await,
        "delete" => delete::delete(&cx).await,
        "deletecollection" => delete::delete_collection(&cx).await,
        _ => Err(refused()),
    }
}

/// Whether the path has the HTTP method at all.
fn is_routed(cx: &Context<'_>) -> bool {
    let (named, subresource) = (cx.target.name.is_some(), cx.target.subresource);
    match cx.parts.method {
        Method::GET | Method::HEAD | Method::DELETE => true,
        Method::POST => !named || subresource.is_some(),
        Method::PUT | Method::PATCH => named,
        _ => subresource == Some("proxy"),
    }
}

fn is_connect(subresource: &str) -> bool {
    matches!(subresource, "exec" | "attach" | "portforward" | "proxy")
}

impl Context<'_> {
    pub fn cache(&self) -> Result<Arc<Cache>, Status> {
        cache(self.inner, &self.target.kind)
    }

    pub fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    /// The object that the path names.
    pub fn current(&self) -> Result<Object, Status> {
        self.cache()?.get(&self.target.key())?.ok_or_else(|| self.not_found())
    }

    /// Checks that the user may do something else with the object, which the request turns out to be.
    pub async fn check(&self, verb: &str) -> Result<(), Status> {
        let selected = Selected::default();
        let what = self.target.attributes(verb, &selected);
        match decide(&self.inner.authorizer, &self.user, &what).await {
            decision if decision.is_allowed() => Ok(()),
            decision => Err(what.forbidden(&self.user, decision.reason())),
        }
    }

    pub fn not_found(&self) -> Status {
        Status::not_found(&self.target.kind.group, &self.target.kind.plural, self.name())
    }

    /// How to treat fields that the kind does not have.
    pub fn field_validation(&self) -> Result<FieldValidation, Status> {
        match self.query.get("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => Err(Status::bad_request(format!(
                "invalid fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }

    /// An object as the client asked for it.
    pub fn object(&self, code: StatusCode, bytes: Bytes, warnings: &[String]) -> Answer {
        let shown = present(&self.target.kind, self.output, &self.query, bytes)?;
        let mut response = negotiate::document(code, self.output.encoding, shown);
        negotiate::warn(&mut response, warnings);
        Ok(response)
    }
}

/// An object's stored bytes in the version and shape that a client asked for.
pub(crate) fn present(kind: &Arc<Kind>, output: Output, query: &Query, bytes: Bytes) -> Result<Bytes, Status> {
    let bytes = in_version(kind, bytes);
    Ok(match output.shape {
        Shape::Object => bytes,
        Shape::Partial => list::partial(&bytes, output.meta_version)?,
        Shape::Table => list::table(kind, query, output, std::iter::once(bytes.as_ref()), &ListMeta::default())?,
    })
}

/// An object's stored bytes in another version of its kind; nothing is done where there is but one.
pub(crate) fn in_version(kind: &Arc<Kind>, bytes: Bytes) -> Bytes {
    if kind.is_storage_version() {
        return bytes;
    }
    let value = in_version_value(kind, serde_json::from_slice(&bytes).unwrap_or_default());
    serde_json::to_vec(&value).map(Bytes::from).unwrap_or(bytes)
}

/// The same with a tree.
pub(crate) fn in_version_value(kind: &Arc<Kind>, mut value: Value) -> Value {
    if !kind.is_storage_version() {
        convert::convert(kind.storage(), kind, &mut value);
    }
    value
}

/// An object as a protobuf message in a version of its kind.
fn message(kind: &Arc<Kind>, object: &Object) -> Bytes {
    // Custom resources have none, and are not asked for it.
    let Some(def) = kind.def() else { return Bytes::new() };
    if kind.is_storage_version() {
        return object.message(def);
    }
    let value = in_version_value(kind, object.value());
    protobuf::encode(def, &value).into()
}

/// Where the objects of a kind are read; an error once it is served no more.
pub(crate) fn cache(inner: &Inner, kind: &Kind) -> Result<Arc<Cache>, Status> {
    inner.caches.of(kind).ok_or_else(Status::path_not_found)
}

/// A core kind by its plural; these are always there.
pub(crate) fn core(plural: &str) -> &'static Arc<Kind> {
    coracle_api::kinds::by_resource("", "v1", plural).expect("a core kind is in the table")
}

/// When an object that is written now is forgotten.
pub(crate) fn expires(kind: &Kind) -> Option<SystemTime> {
    kind.strategy.ttl().and_then(|ttl| SystemTime::now().checked_add(ttl))
}

/// Checks an object in the version that a request names, which is not the stored one; whether its kind is checked so.
pub(crate) fn check_requested(kind: &Kind, new: &Value, old: Option<&Value>) -> Result<bool, Status> {
    match kind.strategy.validate_requested(new, old) {
        None => Ok(false),
        Some(errors) if errors.is_empty() => Ok(true),
        Some(errors) => Err(Status::invalid(&kind.group, &kind.kind, coracle_api::meta::name(new), errors)),
    }
}

/// The key of an object in the store.
pub(crate) fn store_key(kind: &Kind, namespace: Option<&str>, name: &str) -> Arc<str> {
    format!("{ROOT}{}/{}", kind.storage_prefix, key(namespace, name)).into()
}

pub(crate) fn store_error(error: &store::Error) -> Status {
    match error {
        store::Error::DiskFull { .. } => Status::new(507, "InsufficientStorage", error.to_string()),
        store::Error::TooLarge { .. } => Status::too_large(error.to_string()),
        store::Error::Compacted { .. } => Status::expired(error.to_string()),
        _ => Status::internal(error),
    }
}

/// Tells the token verifier which objects exist.
pub(crate) fn exists_check(caches: Arc<Caches>) -> Exists {
    Box::new(move |kind, namespace, name, uid| {
        let (plural, namespace) = match kind {
            "serviceaccount" => ("serviceaccounts", Some(namespace)),
            "pod" => ("pods", Some(namespace)),
            "secret" => ("secrets", Some(namespace)),
            _ => ("nodes", None),
        };
        let object = caches.of(core(plural)).and_then(|cache| cache.get(&key(namespace, name)).ok().flatten());
        object.is_some_and(|object| *object.uid() == *uid)
    })
}
