//! One write: who makes it, to which part of which kind, and whose the fields are that it changes.

use std::sync::Arc;

use coracle_api::apply::manager;
use coracle_api::apply::{Reset, Writer, update};
use coracle_api::field::FieldError;
use coracle_api::status::Status;
use coracle_api::{Kind, custom};
use http::header::USER_AGENT;
use jiff::Timestamp;
use serde_json::Value;

use super::{Context, in_version_value};
use crate::auth::{MASTERS, User};
use crate::server::Inner;

/// The manager of what the server writes by itself, and its user agent where it is a client.
const SERVER: &str = "kube-apiserver";

/// What is done to an object, as admission knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Update,
    Delete,
}

/// Which part of an object a write may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but the status.
    Main,
    /// Only the status.
    Status,
    /// What a subresource of that name writes.
    Subresource(&'static str),
    /// Everything: the server's own changes.
    Whole,
}

impl Part {
    fn of_subresource(name: &'static str) -> Part {
        match name {
            "" => Part::Main,
            "status" => Part::Status,
            name => Part::Subresource(name),
        }
    }
}

/// Who owns the fields that a write changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// This manager, from now on.
    By(String),
    /// Whoever the new object says: it comes with its managed fields, as one that is applied does.
    Given,
    /// Whoever owns them now.
    Kept,
}

/// One write, from the request to the store.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub user: Arc<User>,
    pub verb: Verb,
    /// In the version of the request.
    pub kind: Arc<Kind>,
    /// The name in the path; empty when a collection is asked to make an object.
    pub name: String,
    /// What the path names of the object; empty for the object itself.
    pub subresource: &'static str,
    pub part: Part,
    pub ownership: Ownership,
    /// Nothing is stored.
    pub dry_run: bool,
    pub now: Timestamp,
}

impl Operation {
    /// What a request asks for that changes an object or makes one.
    ///
    /// # Errors
    /// 422 when the parameter `fieldManager` names none.
    pub fn of(cx: &Context<'_>, verb: Verb) -> Result<Operation, Status> {
        let named = cx.query.get("fieldManager").unwrap_or_default();
        let options = if verb == Verb::Create { "CreateOptions" } else { "UpdateOptions" };
        check(options, manager::validate(named))?;
        Ok(Operation::managed_by(cx, verb, named))
    }

    /// What a patch asks for.
    ///
    /// # Errors
    /// 422 when the parameters `fieldManager` and `force` do not fit it.
    pub fn of_patch(cx: &Context<'_>, applies: bool) -> Result<Operation, Status> {
        let named = cx.query.get("fieldManager").unwrap_or_default();
        check("PatchOptions", manager::validate_patch(applies, named, forced(cx)))?;
        let op = Operation::managed_by(cx, Verb::Update, named);
        Ok(if applies { Operation { ownership: Ownership::Given, ..op } } else { op })
    }

    /// What a request asks for that gives nobody the fields it changes: bindings and deletions.
    pub fn unowned(cx: &Context<'_>, verb: Verb) -> Operation {
        Operation { ownership: Ownership::Kept, ..Operation::managed_by(cx, verb, SERVER) }
    }

    fn managed_by(cx: &Context<'_>, verb: Verb, named: &str) -> Operation {
        let subresource = cx.target.subresource.unwrap_or_default();
        Operation {
            user: cx.user.clone(),
            verb,
            kind: cx.target.kind.clone(),
            name: cx.name().to_owned(),
            subresource,
            part: Part::of_subresource(subresource),
            ownership: Ownership::By(manager_of(cx, named)),
            dry_run: cx.dry_run,
            now: Timestamp::now(),
        }
    }

    /// What the server does by itself.
    pub fn by_server(kind: &Arc<Kind>, verb: Verb) -> Operation {
        Operation {
            user: Arc::new(User::new("system:apiserver", &[MASTERS])),
            verb,
            kind: kind.clone(),
            name: String::new(),
            subresource: "",
            part: Part::Main,
            ownership: Ownership::By(SERVER.into()),
            dry_run: false,
            now: Timestamp::now(),
        }
    }

    /// What the server says of an object by itself.
    pub fn status_by_server(kind: &Arc<Kind>) -> Operation {
        Operation { subresource: "status", part: Part::Status, ..Operation::by_server(kind, Verb::Update) }
    }

    /// The same of another part.
    pub fn part(self, part: Part) -> Operation {
        Operation { part, ..self }
    }

    /// The writer whom server-side apply asks about.
    pub fn writer<'a>(&'a self, manager: &'a str) -> Writer<'a> {
        let reset = Reset::of(&self.kind, self.subresource);
        let api_version = self.kind.api_version();
        Writer { manager, api_version, subresource: self.subresource, reset, now: self.now }
    }

    /// Says in a new object who owns its fields. Both are in the stored version, the new one has its defaults.
    pub fn own(&self, inner: &Inner, old: Option<&Value>, new: &mut Value) {
        let manager = match &self.ownership {
            Ownership::Given => return,
            Ownership::Kept => return put_fields(new, old.and_then(fields).cloned()),
            Ownership::By(manager) => manager,
        };
        let writer = self.writer(manager);
        let own = |old: Option<&Value>, new: &mut Value| match self.kind.schema.structural() {
            Some(_) => update(&custom::Versions::new(&inner.kinds.snapshot(), &self.kind), old, new, &writer),
            None => update(&*self.kind, old, new, &writer),
        };
        if self.kind.is_storage_version() {
            return own(old, new);
        }
        // Fields are owned in the version in which they are written.
        let old = old.map(|old| in_version_value(&self.kind, old.clone()));
        let mut written = in_version_value(&self.kind, new.clone());
        own(old.as_ref(), &mut written);
        put_fields(new, fields(&written).cloned());
    }
}

/// The name under which who makes a request owns fields.
pub(super) fn manager_of(cx: &Context<'_>, named: &str) -> String {
    let agent = cx.parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    manager::name(named, agent.unwrap_or_default())
}

/// The parameter `force`: any value but a plain no says yes.
pub(super) fn forced(cx: &Context<'_>) -> Option<bool> {
    let value = cx.query.get("force")?;
    Some(value != "0" && !value.eq_ignore_ascii_case("false"))
}

fn check(options: &str, errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", options, "", errors)) }
}

/// The managed fields of an object.
pub(super) fn fields(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// Puts managed fields into an object, or takes away those that it has.
pub(super) fn put_fields(object: &mut Value, fields: Option<Value>) {
    let metadata = coracle_api::meta::metadata_mut(object);
    match fields {
        Some(fields) => metadata.insert("managedFields".into(), fields),
        None => metadata.remove("managedFields"),
    };
}

/// Takes the managed fields out of an object.
pub(super) fn take_fields(object: &mut Value) -> Option<Value> {
    coracle_api::meta::metadata_mut(object).remove("managedFields")
}
