//! What an expression may name, and the values that it finds there.

use crate::types::Type;
use crate::value::CelValue;

/// The declared variables of an expression. All functions of Kubernetes' libraries are always there.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(String, Type)>,
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

    /// With one more variable.
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

    /// The value of a variable.
    pub fn find(&self, name: &str) -> Option<&CelValue<'a>> {
        self.values.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}
