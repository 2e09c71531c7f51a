//! Who may do what: what expressions ask, and what they are answered.

use std::fmt;
use std::sync::Arc;

use super::{CelValue, Extension};

/// Answers what the user of the request, or a service account, may do.
pub trait Authorizer: Sync {
    /// Decides one question. It must not block: answers that come from elsewhere are to be had before.
    fn authorize(&self, question: &Question) -> Decision;
}

/// Who wants to do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of a service account; without it, the user of the request.
    pub service_account: Option<(String, String)>,
    /// `get`, `list`, ...
    pub verb: String,
    /// The path, if it is no resource.
    pub path: Option<String>,
    /// The API group of the resource.
    pub group: String,
    /// The plural.
    pub resource: String,
    /// Empty if none.
    pub subresource: String,
    /// Empty for all, or if there are none.
    pub namespace: String,
    /// Empty for all.
    pub name: String,
    /// As written; empty if none.
    pub field_selector: String,
    /// As written; empty if none.
    pub label_selector: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether they may.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while it was decided.
    pub error: Option<String>,
}

/// A value of this library.
#[derive(Clone)]
pub enum Authorization<'a> {
    /// `authorizer`, or one with a service account.
    Authorizer(&'a dyn Authorizer, Arc<Question>),
    /// `authorizer.path('/healthz')`
    Path(&'a dyn Authorizer, Arc<Question>),
    /// `authorizer.group('apps')`
    Group(&'a dyn Authorizer, Arc<Question>),
    /// `authorizer.group('apps').resource('deployments')` and narrower.
    Resource(&'a dyn Authorizer, Arc<Question>),
    /// The answer.
    Decision(Arc<Decision>),
}

impl<'a> Authorization<'a> {
    /// The value of the variable `authorizer`.
    pub fn of(authorizer: &'a dyn Authorizer) -> CelValue<'a> {
        CelValue::Extension(Extension::Authorization(Self::Authorizer(authorizer, Arc::default())))
    }

    /// The value of the variable `authorizer.requestResource`.
    pub fn of_resource(authorizer: &'a dyn Authorizer, question: Question) -> CelValue<'a> {
        CelValue::Extension(Extension::Authorization(Self::Resource(authorizer, Arc::new(question))))
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Authorizer(..) => "kubernetes.authorization.Authorizer",
            Self::Path(..) => "kubernetes.authorization.PathCheck",
            Self::Group(..) => "kubernetes.authorization.GroupCheck",
            Self::Resource(..) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    pub(crate) fn question(&self) -> Option<&Arc<Question>> {
        match self {
            Self::Authorizer(_, q) | Self::Path(_, q) | Self::Group(_, q) | Self::Resource(_, q) => Some(q),
            Self::Decision(_) => None,
        }
    }
}

impl PartialEq for Authorization<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Decision(a), Self::Decision(b)) => a == b,
            _ => self.type_name() == other.type_name() && self.question() == other.question(),
        }
    }
}

impl fmt::Debug for Authorization<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.type_name(), self.question())
    }
}
