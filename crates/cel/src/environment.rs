//! What an expression may name, and the values that it finds there.

use std::fmt;
use std::rc::Rc;

use crate::budget::Budget;
use crate::error::EvalError;
use crate::types::Type;
use crate::value::CelValue;

/// The declared variables of an expression. All functions of Kubernetes' libraries are always there.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(String, Type)>,
    constructs: bool,
}

impl Environment {
    /// Without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The environment of the rules of a schema: `self`, and for a transition rule `oldSelf`, which is optional if
    /// the rule has `optionalOldSelf`.
    pub fn for_rule(of: &Type, optional_old_self: bool) -> Self {
        let old = if optional_old_self { Type::optional(of.clone()) } else { of.clone() };
        Self::new().variable("self", of.clone()).variable("oldSelf", old)
    }

    /// Where expressions make objects ([`crate::construct`]).
    #[must_use]
    pub fn constructing(mut self) -> Self {
        self.constructs = true;
        self
    }

    /// Whether expressions may make objects.
    pub(crate) fn constructs(&self) -> bool {
        self.constructs
    }

    /// With one more variable. Its name may have dots, as `variables.size` has: then it is found where the expression
    /// selects a field of what stands before.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, of: Type) -> Self {
        self.variables.push((name.into(), of));
        self
    }

    /// The type of a variable.
    pub fn find(&self, name: &str) -> Option<&Type> {
        self.variables.iter().rev().find(|(known, _)| known == name).map(|(_, of)| of)
    }
}

/// The values of the variables in one evaluation.
#[derive(Clone, Debug, Default)]
pub struct Activation<'a> {
    values: Vec<(&'a str, CelValue<'a>)>,
    lazy: Option<Rc<dyn Lazy<'a> + 'a>>,
}

/// Variables whose values are made when an expression first asks for them.
pub trait Lazy<'a>: fmt::Debug {
    /// The value of a variable, or why it has none; `None` if there is no such variable. What it costs is taken from the
    /// budget ([`Budget::nested`]).
    fn value(&self, name: &str, budget: &mut Budget) -> Option<Result<CelValue<'a>, EvalError>>;
}

impl<'a> Activation<'a> {
    /// Without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the value of one more variable.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: CelValue<'a>) -> Self {
        self.values.push((name, value));
        self
    }

    /// With variables that are made when they are asked for, in place of those it had.
    #[must_use]
    pub fn with_lazy(mut self, lazy: Rc<dyn Lazy<'a> + 'a>) -> Self {
        self.lazy = Some(lazy);
        self
    }

    /// The value of a variable that is there already.
    pub fn find(&self, name: &str) -> Option<&CelValue<'a>> {
        self.values.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The value of a variable, made if need be.
    pub(crate) fn value(&self, name: &str, budget: &mut Budget) -> Result<CelValue<'a>, EvalError> {
        let made = || self.lazy.as_ref()?.value(name, budget);
        let value = self.find(name).cloned().map(Ok).or_else(made);
        value.unwrap_or_else(|| Err(EvalError::new(format!("no such attribute(s): {name}"))))
    }
}
