//! One write: who makes it, to which part of which kind, and whose the fields are that it changes.

use std::sync::Arc;

use coracle_api::apply::{Live, Reset, Writer, update_text};
use coracle_api::awaited::Awaited;
use coracle_api::{Kind, custom};
use jiff::Timestamp;
use serde_json::Value;

use crate::auth::{MASTERS, User};
use crate::kinds::Kinds;
use crate::notes::Notes;
use crate::version::in_version_value;

/// The manager of what the server writes by itself, and its user agent where it is a client.
pub(crate) const SERVER: &str = "kube-apiserver";

/// What is done to an object, as admission knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Update,
    Delete,
    /// What is sent opens a connection to what runs.
    Connect,
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
    pub fn of_subresource(name: &'static str) -> Part {
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
    /// Who makes the new object neither looks at who owns which fields nor says so.
    pub fields_apart: bool,
    /// Nothing is stored.
    pub dry_run: bool,
    /// The server itself writes: nobody's policies keep it from what every cluster has.
    pub is_own: bool,
    /// What is to be told besides the answer.
    pub notes: Arc<Notes>,
    /// Conversions that the ownership of fields needs.
    pub awaited: Arc<Awaited>,
    pub now: Timestamp,
}

impl Operation {
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
            fields_apart: false,
            dry_run: false,
            is_own: true,
            notes: Arc::default(),
            awaited: Arc::default(),
            now: Timestamp::now(),
        }
    }

    /// What the server says of an object by itself.
    pub fn status_by_server(kind: &Arc<Kind>) -> Operation {
        Operation { subresource: "status", part: Part::Status, ..Operation::by_server(kind, Verb::Update) }
    }

    /// The version in which the write is done: that of the request for a custom resource, whose versions are alike in
    /// nothing but what converts them, and the stored one for others.
    pub fn worked(&self) -> &Arc<Kind> {
        if self.kind.def().is_some() { self.kind.storage() } else { &self.kind }
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

    /// Says who owns the fields of a new object. Both are in the version in which the write is done, the new one has its
    /// defaults. Answers with its managed fields as JSON (empty when it has none), which it has no more itself; `None` when it
    /// has them. What it comes to counts only if no conversion is missing. `apart` are the managed fields that the old one does
    /// not have itself.
    pub fn own(&self, kinds: &Kinds, old: Option<&Value>, apart: Option<&str>, new: &mut Value) -> Option<String> {
        let manager = match &self.ownership {
            Ownership::Given => return None,
            Ownership::Kept if apart.is_some() => return apart.map(str::to_owned),
            Ownership::Kept => {
                put_fields(new, old.and_then(fields).cloned());
                return None;
            }
            Ownership::By(manager) => manager,
        };
        let writer = self.writer(manager);
        let apart = apart.and_then(tree);
        let own = |old: Option<&Value>, new: &mut Value| {
            let live = Live { object: old, fields: apart.as_ref() };
            match self.kind.schema.structural() {
                Some(_) => {
                    let kinds = kinds.snapshot();
                    update_text(&custom::Versions::new(&kinds, &self.kind, &self.awaited), live, new, &writer)
                }
                None => update_text(&*self.kind, live, new, &writer),
            }
        };
        if self.worked() == &self.kind {
            return Some(own(old, new));
        }
        // Fields are owned in the version in which they are written.
        let old = old.map(|old| in_version_value(&self.kind, old.clone()));
        let mut written = in_version_value(&self.kind, new.clone());
        take_fields(new);
        Some(own(old.as_ref(), &mut written))
    }
}

/// Managed fields that are there.
pub(crate) fn tree(managed: &str) -> Option<Value> {
    serde_json::from_str(managed).ok()
}

/// The managed fields of an object.
pub(crate) fn fields(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// Puts managed fields into an object, or takes away those that it has.
pub(crate) fn put_fields(object: &mut Value, fields: Option<Value>) {
    let metadata = coracle_api::meta::metadata_mut(object);
    match fields {
        Some(fields) => metadata.insert("managedFields".into(), fields),
        None => metadata.remove("managedFields"),
    };
}

/// Takes the managed fields out of an object.
pub(crate) fn take_fields(object: &mut Value) -> Option<Value> {
    coracle_api::meta::metadata_mut(object).remove("managedFields")
}
