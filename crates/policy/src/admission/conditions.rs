//! Match conditions: expressions that must all hold for a policy or a webhook to be asked.

use coracle_api::admission_expressions::{Names, Variable, compile, environment, variables};
use coracle_api::meta::{list, text};
use coracle_cel::budget::MATCH_CONDITIONS_BUDGET;
use coracle_cel::{Budget, CelValue, EvalError, Program, Type};
use serde_json::Value;

use super::scope::Scope;

/// The compiled conditions of a policy or a webhook.
#[derive(Debug, Default)]
pub struct Conditions {
    conditions: Vec<(String, Result<Program, String>)>,
    variables: Vec<Variable>,
}

/// Whether a policy or a webhook is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All hold.
    Matches,
    /// One does not hold.
    Differs,
    /// It cannot be told; the failure policy decides.
    Fails(String),
}

impl Conditions {
    /// Those of a webhook.
    pub fn of_webhook(webhook: &Value) -> Self {
        Self::compiled(list(webhook, &["matchConditions"]), Names { params: false, authorizer: true }, Vec::new())
    }

    /// Those of a policy, which may not name its variables.
    pub fn of_policy(policy: &Value) -> Self {
        Self::compiled(list(policy, &["spec", "matchConditions"]), Names::of_policy(policy, true), Vec::new())
    }

    fn compiled(conditions: &[Value], names: Names, variables: Vec<Variable>) -> Self {
        let environment = environment(names);
        let compiled = |condition: &Value| {
            let expression = text(condition, &["expression"]);
            (expression.to_owned(), compile(expression, &environment, &[Type::Bool]))
        };
        Self { conditions: conditions.iter().map(compiled).collect(), variables }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether they hold. One that does not decides, even if others fail.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Verdict {
        if self.conditions.is_empty() {
            return Verdict::Matches;
        }
        let activation = match scope.activation(&self.variables, true) {
            Ok(activation) => activation,
            Err(error) => return Verdict::Fails(error.to_string()),
        };
        let mut budget = Budget::new(MATCH_CONDITIONS_BUDGET);
        let mut failures = Vec::new();
        for (expression, program) in &self.conditions {
            match program.as_ref().map(|program| program.evaluate(&activation, &mut budget)) {
                Ok(Ok(CelValue::Bool(true))) => {}
                Ok(Ok(_)) => return Verdict::Differs,
                Ok(Err(error @ EvalError::Budget)) => return Verdict::Fails(error.to_string()),
                Ok(Err(error)) => failures.push(format!("expression '{expression}' resulted in error: {error}")),
                Err(why) => failures.push(why.clone()),
            }
        }
        match failures.as_slice() {
            [] => Verdict::Matches,
            [one] => Verdict::Fails(one.clone()),
            many => Verdict::Fails(format!("[{}]", many.join(", "))),
        }
    }
}

/// The variables of a policy, for what comes after its conditions.
pub(super) fn declared(policy: &Value, names: Names) -> (Vec<Variable>, coracle_cel::Environment) {
    variables(policy, environment(names))
}
