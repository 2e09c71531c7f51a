//! Who may do what, as expressions ask it.

use coracle_policy::admission::authorizer::{Authorizer as Asks, Decision as Told, Question};
use futures::FutureExt;

use crate::auth::User;
use crate::authz::{Attributes, Authorizer, Decision, decide};

/// Answers the questions of expressions about the user of a request, or about service accounts.
pub(super) struct Asked<'a> {
    pub authorizer: &'a dyn Authorizer,
    pub user: &'a User,
}

impl Asks for Asked<'_> {
    fn authorize(&self, question: &Question) -> Told {
        let account = question.service_account.as_ref().map(|(namespace, name)| User::service_account(namespace, name));
        let user = account.as_ref().unwrap_or(self.user);
        let what = match &question.path {
            Some(path) => Attributes::path(&question.verb, path),
            None => Attributes {
                subresource: &question.subresource,
                ..Attributes::resource(
                    &question.verb,
                    &question.group,
                    &question.resource,
                    &question.namespace,
                    &question.name,
                )
            },
        };
        // An expression cannot wait for who is asked elsewhere.
        match decide(self.authorizer, user, &what).now_or_never() {
            Some(decision) => Told {
                allowed: matches!(decision, Decision::Allow(_)),
                reason: decision.reason().to_string(),
                error: None,
            },
            None => Told { error: Some("the authorizer does not answer at once".into()), ..Told::default() },
        }
    }
}
