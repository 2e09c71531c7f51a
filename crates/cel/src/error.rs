//! What can be wrong with an expression, when it is compiled and when it is evaluated.

use std::fmt;

/// One fault of an expression and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// The line, from 1.
    pub line: usize,
    /// The column in code points, from 1.
    pub column: usize,
    /// What is wrong, in upstream's words.
    pub message: String,
}

/// Everything that is wrong with an expression. Printed as cel-go does: each fault with its line
/// of the expression and a mark below the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileErrors {
    /// In the order of their places.
    pub errors: Vec<CompileError>,
    pub(crate) source: String,
}

/// A line longer than this is not shown.
const LONGEST_SNIPPET: usize = 16_384;

impl CompileErrors {
    pub(crate) fn new(source: &str, mut errors: Vec<CompileError>) -> Self {
        errors.sort_by_key(|error| (error.line, error.column));
        Self { errors, source: source.to_owned() }
    }

    pub(crate) fn one(source: &str, message: impl Into<String>) -> Self {
        Self::new(source, vec![CompileError { line: 1, column: 1, message: message.into() }])
    }
}

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "ERROR: <input>:{}:{}: {}", error.line, error.column, error.message)?;
            let Some(line) = self.source.lines().nth(error.line.saturating_sub(1)) else { continue };
            if line.len() <= LONGEST_SNIPPET {
                write!(f, "\n | {}\n | ", line.replace('\t', " "))?;
                mark(f, line, error.column.saturating_sub(1))?;
            }
        }
        Ok(())
    }
}

/// Dots up to the place and a mark there, in full width below what is not ASCII.
fn mark(f: &mut fmt::Formatter<'_>, line: &str, before: usize) -> fmt::Result {
    let mut chars = line.chars();
    for char in chars.by_ref().take(before) {
        f.write_str(if char.is_ascii() { "." } else { "\u{ff0e}" })?;
    }
    f.write_str(if chars.next().is_none_or(|char| char.is_ascii()) { "^" } else { "\u{ff3e}" })
}

impl std::error::Error for CompileErrors {}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The expression itself went wrong on this input, such as a division by zero or a missing key. Inside
    /// `&&`, `||`, `all` and `exists` the other side may still decide.
    #[error("{0}")]
    Failed(String),
    /// The expression used up its cost limit.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    /// All expressions of this object together used up its budget.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    Budget,
}

impl EvalError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// A function was called with values that none of its overloads takes.
    pub(crate) fn no_such_overload() -> Self {
        Self::new("no such overload")
    }

    /// Whether no other operand may hide it: nothing goes on after a limit.
    pub(crate) fn is_fatal(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}
