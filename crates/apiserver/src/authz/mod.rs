//! Who may do what: the question, the decision, and the authorizers that are asked in turn.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authorization/>

mod always;
mod attributes;
pub(crate) mod bootstrap;
mod chain;
mod config;
pub(crate) mod escalation;
mod masters;
pub(crate) mod node;
pub mod rbac;
mod system;
mod webhook;

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::auth::User;

pub use attributes::Attributes;
pub use chain::Chain;
pub use config::{Options, WebhookOptions};
pub use masters::Masters;
pub use node::Node;
pub use rbac::Rbac;
pub(crate) use system::is_system;

use rbac::Rule;

/// What an authorizer makes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They may, whatever others say.
    Allow(Reason),
    /// They may not, whatever others say.
    Deny(Reason),
    /// The next authorizer is asked; without one they may not.
    NoOpinion(Reason),
}

impl Decision {
    /// An allowance that says nothing of its reason.
    pub const ALLOW: Decision = Decision::Allow(Reason(None));
    /// No opinion, and no reason for that.
    pub const NO_OPINION: Decision = Decision::NoOpinion(Reason(None));

    /// Whether they may.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        let (Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason)) = self;
        reason
    }
}

/// Why an authorizer decided so, for people; it may be empty. Copies share the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason(Option<Arc<str>>);

impl Reason {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl From<Arc<str>> for Reason {
    fn from(text: Arc<str>) -> Reason {
        Reason(Some(text).filter(|text| !text.is_empty()))
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Reason {
        Arc::<str>::from(text).into()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or_default())
    }
}

/// A decision, or the wait for one that is made elsewhere.
pub enum Answer<'a> {
    /// Known at once.
    Now(Decision),
    /// Someone else is asked.
    Later(BoxFuture<'a, Decision>),
}

/// What a user may do in a namespace, as far as it can be listed.
#[derive(Debug, Default)]
pub struct Rules {
    /// The rules; what they allow is allowed.
    pub rules: Vec<Rule>,
    /// There may be more than the rules say.
    pub incomplete: bool,
    /// What was in the way of listing all.
    pub errors: Vec<String>,
}

/// Decides whether a user may do something.
pub trait Authorizer: Send + Sync + 'static {
    /// What it makes of a question.
    fn authorize<'a>(&'a self, user: &'a User, what: &'a Attributes<'a>) -> Answer<'a>;

    /// What the user may do in a namespace, or in the cluster when that is empty.
    fn rules(&self, user: &User, namespace: &str) -> Rules;
}

/// Asks an authorizer and waits for its decision.
pub async fn decide(authorizer: &dyn Authorizer, user: &User, what: &Attributes<'_>) -> Decision {
    match authorizer.authorize(user, what) {
        Answer::Now(decision) => decision,
        Answer::Later(decision) => decision.await,
    }
}

impl<A: Authorizer> Authorizer for Arc<A> {
    fn authorize<'a>(&'a self, user: &'a User, what: &'a Attributes<'a>) -> Answer<'a> {
        A::authorize(self, user, what)
    }

    fn rules(&self, user: &User, namespace: &str) -> Rules {
        A::rules(self, user, namespace)
    }
}
