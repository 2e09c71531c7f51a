//! One request to an object or a collection, as its parts know it.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::decode::FieldValidation;
use coracle_api::status::Status;
use http::Response;
use http::request::Parts;
use parking_lot::Mutex;

use crate::auth::User;
use crate::authz::decide;
use crate::body::Body;
use crate::cache::Cache;
use crate::conversion::Conversions;
use crate::negotiate::Output;
use crate::notes::Notes;
use crate::object::Object;
use crate::objects::Objects;
use crate::request::{Query, Selected, Target};
use crate::state::State;
use crate::storage::Storage;
use crate::upload::Upload;

/// One request to an object or a collection.
pub(crate) struct Context<'a> {
    pub state: &'a Arc<State>,
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
    /// What is to be told besides the answer.
    pub notes: Arc<Notes>,
}

pub(crate) type Answer = Result<Response<Body>, Status>;

impl Context<'_> {
    pub fn objects(&self) -> &Objects {
        &self.state.objects
    }

    pub fn storage(&self) -> &Storage {
        &self.state.objects.storage
    }

    pub fn conversions(&self) -> &Arc<Conversions> {
        &self.state.objects.conversions
    }

    pub fn cache(&self) -> Result<Arc<Cache>, Status> {
        self.storage().cache(&self.target.kind)
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
        match decide(&*self.state.authorizer, &self.user, &what).await {
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
}
