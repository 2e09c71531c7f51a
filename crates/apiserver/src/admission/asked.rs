//! Who may do what, as expressions ask it.
//!
//! An expression cannot wait. Where another server is asked who may do what, an expression is evaluated, what it asked for is
//! found out, and then it is evaluated anew, until all that it asks is known.

use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_policy::admission::authorizer::{Authorizer as Asks, Decision as Told, Question};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

use crate::auth::User;
use crate::authz::{Attributes, Authorizer, Decision, decide};

/// How often something is evaluated anew. An expression can ask about thirty questions for what it may cost, one that depends
/// on the answer of the one before at worst.
const ROUNDS: usize = 32;
/// Questions asked at once.
const AT_ONCE: usize = 8;

/// Answers the questions of expressions about the user of a request, or about service accounts.
pub(super) struct Asked<'a> {
    authorizer: &'a dyn Authorizer,
    user: &'a User,
    known: Vec<(Question, Told)>,
    /// What was asked, is not known, and is not answered at once.
    open: Mutex<Vec<Question>>,
}

impl<'a> Asked<'a> {
    /// Nothing is known yet.
    pub fn new(authorizer: &'a dyn Authorizer, user: &'a User) -> Self {
        Self { authorizer, user, known: Vec::new(), open: Mutex::default() }
    }

    /// Evaluates something, again until every question that it asks is answered.
    pub async fn evaluate<T>(&mut self, mut evaluation: impl FnMut(&Self) -> T) -> T {
        for _ in 0..ROUNDS {
            let value = evaluation(self);
            let open = std::mem::take(&mut *self.open.lock());
            if open.is_empty() {
                return value;
            }
            drop(value);
            let ask = |question: Question| async {
                let told = told(self.ask(&question).await);
                (question, told)
            };
            let found: Vec<_> = futures::stream::iter(open).map(ask).buffer_unordered(AT_ONCE).collect().await;
            self.known.extend(found);
        }
        evaluation(self)
    }

    async fn ask(&self, question: &Question) -> Decision {
        let account = question.service_account.as_ref().map(|(namespace, name)| User::service_account(namespace, name));
        let user = account.as_ref().unwrap_or(self.user);
        // One that cannot be read is left out, as upstream does: the question is about more then.
        let fields = selected(&question.field_selector, |text| FieldSelector::parse(text).ok());
        let labels = selected(&question.label_selector, |text| LabelSelector::parse(text).ok());
        let what = match &question.path {
            Some(path) => Attributes::path(&question.verb, path),
            None => Attributes {
                version: "*",
                subresource: &question.subresource,
                fields: fields.as_ref(),
                labels: labels.as_ref(),
                ..Attributes::resource(
                    &question.verb,
                    &question.group,
                    &question.resource,
                    &question.namespace,
                    &question.name,
                )
            },
        };
        decide(self.authorizer, user, &what).await
    }
}

impl Asks for Asked<'_> {
    fn authorize(&self, question: &Question) -> Told {
        if let Some((_, told)) = self.known.iter().find(|(known, _)| known == question) {
            return told.clone();
        }
        if let Some(decision) = self.ask(question).now_or_never() {
            return told(decision);
        }
        let mut open = self.open.lock();
        if !open.contains(question) {
            open.push(question.clone());
        }
        Told { error: Some("the authorizer does not answer at once".into()), ..Told::default() }
    }
}

fn selected<S>(text: &str, parse: impl FnOnce(&str) -> Option<S>) -> Option<S> {
    Some(text).filter(|text| !text.is_empty()).and_then(parse)
}

fn told(decision: Decision) -> Told {
    let allowed = matches!(decision, Decision::Allow(_));
    Told { allowed, reason: decision.reason().to_string(), error: None }
}
