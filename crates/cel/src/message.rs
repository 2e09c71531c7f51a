//! `messageExpression`: the message of a rule, made by an expression.

use crate::EvalError;
use crate::budget::Budget;
use crate::environment::Activation;
use crate::program::Program;
use crate::value::CelValue;

/// The most bytes that a message may have.
pub const LONGEST: usize = 5 * 1024;

/// The message that an expression makes, or nothing if it makes none that can be shown: then the rule's `message`
/// or its text is shown instead, as upstream does.
///
/// # Errors
/// Only if it costs more than one expression may, or the object's budget is used up.
pub fn message(
    program: &Program,
    activation: &Activation<'_>,
    budget: &mut Budget,
) -> Result<Option<String>, EvalError> {
    match program.evaluate(activation, budget) {
        Ok(CelValue::String(text)) => Ok(acceptable(&text)),
        Ok(_) | Err(EvalError::Failed(_)) => Ok(None),
        Err(limit) => Err(limit),
    }
}

fn acceptable(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= LONGEST && !text.contains(['\n', '\r']);
    fits.then(|| text.to_owned())
}
