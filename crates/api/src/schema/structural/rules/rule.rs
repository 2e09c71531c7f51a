//! One rule of a schema, an item of `x-kubernetes-validations`.

use coracle_cel::{Environment, Program, Type};
use serde_json::Value;

use super::declared::Declared;
use super::field_path;
use crate::field::ErrorKind;
use crate::meta::text;
use crate::schema::Structural;

/// A rule that was compiled.
#[derive(Debug)]
pub struct Rule {
    /// What must hold.
    pub program: Program,
    /// Makes the message.
    pub message_expression: Option<Program>,
    /// The message, if the rule has one.
    message: String,
    rule: String,
    /// The text of the expression of its message.
    pub message_source: String,
    /// Where the error is shown, below the place of the rule.
    pub field_path: Option<String>,
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// Whether it runs without an old value too, which is optional then.
    pub optional_old: bool,
}

/// Why a rule is none.
#[derive(Debug)]
pub enum Fault {
    /// Its expression.
    Rule(String),
    /// The expression that makes its message.
    Message(String),
}

impl Rule {
    /// Compiles a rule of a place.
    ///
    /// # Errors
    /// In upstream's words; the expression may be right and that of its message wrong.
    pub fn new(given: &Value, schema: &Structural, of: &Declared) -> Result<Rule, Fault> {
        let optional_old = given["optionalOldSelf"] == true;
        let environment = Environment::for_rule(&of.ty, optional_old);
        let rule = text(given, &["rule"]);
        let program = Program::compile(rule, &environment)
            .map_err(|errors| Fault::Rule(format!("compilation failed: {errors}")))?;
        if *program.result_type() != Type::Bool {
            return Err(Fault::Rule("cel expression must evaluate to a bool".into()));
        }
        let message_expression = match text(given, &["messageExpression"]) {
            "" => None,
            expression => Some(message_expression(expression, &environment)?),
        };
        Ok(Rule {
            program,
            message_expression,
            message: text(given, &["message"]).trim().to_owned(),
            message_source: text(given, &["messageExpression"]).to_owned(),
            rule: rule.trim().to_owned(),
            field_path: field_path::find(text(given, &["fieldPath"]), schema).filter(|path| !path.is_empty()),
            kind: kind(text(given, &["reason"])),
            optional_old,
        })
    }

    /// What messages call the rule.
    pub fn name(&self) -> &str {
        if self.message.is_empty() { &self.rule } else { &self.message }
    }

    /// What is said when it does not hold.
    pub fn message(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.rule) } else { self.message.clone() }
    }

    /// Whether it compares with what was there before.
    pub fn is_transition(&self) -> bool {
        self.program.uses("oldSelf")
    }
}

fn message_expression(expression: &str, environment: &Environment) -> Result<Program, Fault> {
    let program = Program::compile(expression, environment)
        .map_err(|errors| Fault::Message(format!("messageExpression compilation failed: {errors}")))?;
    if *program.result_type() != Type::String {
        return Err(Fault::Message("messageExpression must evaluate to a string".into()));
    }
    Ok(program)
}

/// The reasons that a rule may have.
pub const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

fn kind(reason: &str) -> ErrorKind {
    match reason {
        "FieldValueForbidden" => ErrorKind::Forbidden,
        "FieldValueRequired" => ErrorKind::Required,
        "FieldValueDuplicate" => ErrorKind::Duplicate,
        _ => ErrorKind::Invalid,
    }
}
