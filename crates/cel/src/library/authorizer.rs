//! `authorizer`: expressions of policies ask who may do what.
//!
//! Whoever evaluates brings an [`Authorizer`] along, as the value of the variable `authorizer`
//! ([`Authorization::of`]), and of `authorizer.requestResource` as [`Authorization::of_resource`].

use std::sync::Arc;

use coracle_values::names;

use crate::budget::{LIST_CREATE, TRAVERSAL};
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::types::Type;
use crate::value::CelValue;
use crate::value::Extension;

pub use crate::value::authorization::{Authorization, Authorizer, Decision, Question};

type Value<'a> = Result<CelValue<'a>, EvalError>;

/// The type of the variable `authorizer`.
pub const AUTHORIZER: Type = Type::Opaque("kubernetes.authorization.Authorizer");
/// The type of the variable `authorizer.requestResource`.
pub const RESOURCE_CHECK: Type = Type::Opaque("kubernetes.authorization.ResourceCheck");

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
