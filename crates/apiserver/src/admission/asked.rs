//! Who may do what, as expressions ask it.
//!
//! An expression cannot wait. Where another server is asked who may do what, an expression is evaluated, what it asked for is
//! found out, and then it is evaluated anew, until all that it asks is known.

use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_policy::admission::authorizer::{Authorizer as Asks, Decision as Told, Question};
use futures::StreamExt;
use parking_lot::Mutex;

use crate::auth::User;
use crate::authz::{Answer, Attributes, Authorizer, Decision, decide};

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
        let asking = Asking::new(question);
        decide(self.authorizer, asking.user(self.user), &asking.attributes()).await
    }

    /// The decision if nobody has to be waited for.
    fn known_at_once(&self, question: &Question) -> Option<Decision> {
        let asking = Asking::new(question);
        match self.authorizer.authorize(asking.user(self.user), &asking.attributes()) {
            Answer::Now(decision) => Some(decision),
            Answer::Later(_) => None,
        }
    }
}

impl Asks for Asked<'_> {
    fn authorize(&self, question: &Question) -> Told {
        if let Some((_, told)) = self.known.iter().find(|(known, _)| known == question) {
            return told.clone();
        }
        if let Some(decision) = self.known_at_once(question) {
            return told(decision);
        }
        let mut open = self.open.lock();
        if !open.contains(question) {
            open.push(question.clone());
        }
        Told { error: Some("the authorizer does not answer at once".into()), ..Told::default() }
    }
}

/// A question as authorizers are asked it.
struct Asking<'a> {
    question: &'a Question,
    account: Option<User>,
    fields: Option<FieldSelector>,
    labels: Option<LabelSelector>,
}

impl<'a> Asking<'a> {
    fn new(question: &'a Question) -> Self {
        let account = question.service_account.as_ref();
        Self {
            question,
            account: account.map(|(namespace, name)| User::service_account(namespace, name)),
            // One that cannot be read is left out, as upstream does: the question is about more then.
            fields: selected(&question.field_selector, |text| FieldSelector::parse(text).ok()),
            labels: selected(&question.label_selector, |text| LabelSelector::parse(text).ok()),
        }
    }

    fn user<'b>(&'b self, asking: &'b User) -> &'b User {
        self.account.as_ref().unwrap_or(asking)
    }

    fn attributes(&self) -> Attributes<'_> {
        let question = self.question;
        if let Some(path) = &question.path {
            return Attributes::path(&question.verb, path);
        }
        let Question { verb, group, resource, namespace, name, .. } = question;
        Attributes {
            version: "*",
            subresource: &question.subresource,
            fields: self.fields.as_ref(),
            labels: self.labels.as_ref(),
            ..Attributes::resource(verb, group, resource, namespace, name)
        }
    }
}

fn selected<S>(text: &str, parse: impl FnOnce(&str) -> Option<S>) -> Option<S> {
    Some(text).filter(|text| !text.is_empty()).and_then(parse)
}

fn told(decision: Decision) -> Told {
    let allowed = matches!(decision, Decision::Allow(_));
    Told { allowed, reason: decision.reason().to_string(), error: None }
}
