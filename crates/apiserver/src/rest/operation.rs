//! The [`Operation`] that a request asks for.

use std::sync::Arc;

use coracle_api::apply::manager;
use coracle_api::field::FieldError;
use coracle_api::status::Status;
use http::header::USER_AGENT;
use jiff::Timestamp;

use crate::context::Context;
use crate::operation::{Operation, Ownership, Part, SERVER, Verb};

impl Context<'_> {
    /// What a request asks for that changes an object or makes one.
    ///
    /// # Errors
    /// 422 when the parameter `fieldManager` names none.
    pub fn operation(&self, verb: Verb) -> Result<Operation, Status> {
        let named = self.query.get("fieldManager").unwrap_or_default();
        let options = if verb == Verb::Create { "CreateOptions" } else { "UpdateOptions" };
        check(options, manager::validate(named))?;
        Ok(self.managed_by(verb, named))
    }

    /// What a patch asks for.
    ///
    /// # Errors
    /// 422 when the parameters `fieldManager` and `force` do not fit it.
    pub fn patch_operation(&self, applies: bool) -> Result<Operation, Status> {
        let named = self.query.get("fieldManager").unwrap_or_default();
        check("PatchOptions", manager::validate_patch(applies, named, self.forced()))?;
        let op = self.managed_by(Verb::Update, named);
        Ok(if applies { Operation { ownership: Ownership::Given, ..op } } else { op })
    }

    /// What a request asks for that gives nobody the fields it changes: bindings and deletions.
    pub fn unowned(&self, verb: Verb) -> Operation {
        Operation { ownership: Ownership::Kept, ..self.managed_by(verb, SERVER) }
    }

    fn managed_by(&self, verb: Verb, named: &str) -> Operation {
        let subresource = self.target.subresource.unwrap_or_default();
        Operation {
            user: self.user.clone(),
            verb,
            kind: self.target.kind.clone(),
            name: self.name().to_owned(),
            subresource,
            part: Part::of_subresource(subresource),
            ownership: Ownership::By(self.manager(named)),
            fields_apart: false,
            dry_run: self.dry_run,
            is_own: false,
            notes: self.notes.clone(),
            awaited: Arc::default(),
            now: Timestamp::now(),
        }
    }

    /// The name under which who makes a request owns fields.
    pub fn manager(&self, named: &str) -> String {
        let agent = self.parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        manager::name(named, agent.unwrap_or_default())
    }

    /// The parameter `force`: any value but a plain no says yes.
    pub fn forced(&self) -> Option<bool> {
        let value = self.query.get("force")?;
        Some(value != "0" && !value.eq_ignore_ascii_case("false"))
    }
}

fn check(options: &str, errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", options, "", errors)) }
}
