//! `authorizer`: expressions of policies ask who may do what.
//!
//! Whoever evaluates brings an [`Authorizer`] along, as the value of the variable `authorizer`
//! ([`Authorization::of`]), and of `authorizer.requestResource` as [`Authorization::of_resource`].

use std::fmt;
use std::sync::Arc;

use coracle_values::names;

use crate::budget::{LIST_CREATE, TRAVERSAL};
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::types::Type;
use crate::value::CelValue;
use crate::value::Extension;

type Value<'a> = Result<CelValue<'a>, EvalError>;

/// The type of the variable `authorizer`.
pub const AUTHORIZER: Type = Type::Opaque("kubernetes.authorization.Authorizer");
/// The type of the variable `authorizer.requestResource`.
pub const RESOURCE_CHECK: Type = Type::Opaque("kubernetes.authorization.ResourceCheck");

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

    fn question(&self) -> Option<&Arc<Question>> {
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

const ONE: Cost = Cost::Fixed(1);
/// Two checks are all that one expression can afford.
const CHECK: Cost = Cost::Fixed(350_000);
const A: &str = "kubernetes.authorization.Authorizer";
const PATH: &str = "kubernetes.authorization.PathCheck";
const GROUP: &str = "kubernetes.authorization.GroupCheck";
const RESOURCE: &str = "kubernetes.authorization.ResourceCheck";
const DECISION: &str = "kubernetes.authorization.Decision";

pub(super) const FUNCTIONS: &[Function] = &[
    Function::member(A, "path(string) -> kubernetes.authorization.PathCheck", ONE, path),
    Function::member(A, "group(string) -> kubernetes.authorization.GroupCheck", ONE, group),
    Function::member(A, "serviceAccount(string, string) -> kubernetes.authorization.Authorizer", ONE, service_account),
    Function::member(GROUP, "resource(string) -> kubernetes.authorization.ResourceCheck", ONE, resource),
    Function::member(RESOURCE, "subresource(string) -> kubernetes.authorization.ResourceCheck", ONE, |_, args| {
        narrow(args, |question, text| question.subresource = text)
    }),
    Function::member(RESOURCE, "namespace(string) -> kubernetes.authorization.ResourceCheck", ONE, |_, args| {
        narrow(args, |question, text| question.namespace = text)
    }),
    Function::member(RESOURCE, "name(string) -> kubernetes.authorization.ResourceCheck", ONE, |_, args| {
        narrow(args, |question, text| question.name = text)
    }),
    Function::member(
        RESOURCE,
        "fieldSelector(string) -> kubernetes.authorization.ResourceCheck",
        SELECTOR,
        |_, args| narrow(args, |question, text| question.field_selector = text),
    ),
    Function::member(
        RESOURCE,
        "labelSelector(string) -> kubernetes.authorization.ResourceCheck",
        SELECTOR,
        |_, args| narrow(args, |question, text| question.label_selector = text),
    ),
    Function::member(PATH, "check(string) -> kubernetes.authorization.Decision", CHECK, check),
    Function::member(RESOURCE, "check(string) -> kubernetes.authorization.Decision", CHECK, check),
    Function::member(DECISION, "allowed() -> bool", ONE, |_, args| decision(args).map(|d| CelValue::Bool(d.allowed))),
    Function::member(DECISION, "reason() -> string", ONE, |_, args| {
        decision(args).map(|d| CelValue::string(&*d.reason))
    }),
    Function::member(DECISION, "errored() -> bool", ONE, |_, args| {
        decision(args).map(|d| CelValue::Bool(d.error.is_some()))
    }),
    Function::member(DECISION, "error() -> string", ONE, |_, args| {
        decision(args).map(|d| CelValue::string(d.error.as_deref().unwrap_or_default()))
    }),
];

/// Reading the selector, and a list and a structure for each of the requirements that it can have.
const SELECTOR: Cost = Cost::Sizes(|sizes| {
    let size = sizes.get(1).copied().unwrap_or(0) as f64;
    LIST_CREATE.saturating_add(((size * TRAVERSAL).ceil() + (size * 0.5).ceil() * 50.0) as u64)
});

fn made<'a>(authorization: Authorization<'a>) -> Value<'a> {
    Ok(CelValue::Extension(Extension::Authorization(authorization)))
}

/// The value that a function is called on, and the text that it is given.
fn parts<'v, 'a>(args: &'v [CelValue<'a>]) -> Result<(&'v Authorization<'a>, String), EvalError> {
    match args {
        [CelValue::Extension(Extension::Authorization(authorization)), CelValue::String(text), ..] => {
            Ok((authorization, text.to_string()))
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

fn path<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (Authorization::Authorizer(authorizer, question), path) = parts(args)? else {
        return Err(EvalError::no_such_overload());
    };
    if path.is_empty() {
        return Err(EvalError::new("path must not be empty"));
    }
    made(Authorization::Path(*authorizer, Arc::new(Question { path: Some(path), ..(**question).clone() })))
}

fn group<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (Authorization::Authorizer(authorizer, question), group) = parts(args)? else {
        return Err(EvalError::no_such_overload());
    };
    made(Authorization::Group(*authorizer, Arc::new(Question { group, ..(**question).clone() })))
}

fn service_account<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (Authorization::Authorizer(authorizer, question), namespace) = parts(args)? else {
        return Err(EvalError::no_such_overload());
    };
    let name = args.get(2).and_then(CelValue::as_str).unwrap_or_default();
    if !names::dns1123_subdomain(name).is_empty() {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !names::dns1123_label(&namespace).is_empty() {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let question = Question { service_account: Some((namespace, name.to_owned())), ..(**question).clone() };
    made(Authorization::Authorizer(*authorizer, Arc::new(question)))
}

fn resource<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (Authorization::Group(authorizer, question), resource) = parts(args)? else {
        return Err(EvalError::no_such_overload());
    };
    if resource.is_empty() {
        return Err(EvalError::new("resource must not be empty"));
    }
    made(Authorization::Resource(*authorizer, Arc::new(Question { resource, ..(**question).clone() })))
}

fn narrow<'a>(args: &[CelValue<'a>], set: fn(&mut Question, String)) -> Value<'a> {
    let (Authorization::Resource(authorizer, question), text) = parts(args)? else {
        return Err(EvalError::no_such_overload());
    };
    let mut question = (**question).clone();
    set(&mut question, text);
    made(Authorization::Resource(*authorizer, Arc::new(question)))
}

fn check<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (authorization, verb) = parts(args)?;
    let (Authorization::Path(authorizer, question) | Authorization::Resource(authorizer, question)) = authorization
    else {
        return Err(EvalError::no_such_overload());
    };
    let question = Question { verb, ..(**question).clone() };
    made(Authorization::Decision(Arc::new(authorizer.authorize(&question))))
}

fn decision<'v>(args: &'v [CelValue<'_>]) -> Result<&'v Decision, EvalError> {
    match args.first() {
        Some(CelValue::Extension(Extension::Authorization(Authorization::Decision(decision)))) => Ok(decision),
        _ => Err(EvalError::no_such_overload()),
    }
}
