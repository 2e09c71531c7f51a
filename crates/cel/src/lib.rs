//! The Common Expression Language with Kubernetes' libraries, limits and messages: what validation rules of custom
//! resources, admission policies and match conditions are written in.
//!
//! [`Program::compile`] checks an expression against the declared variables of an [`Environment`];
//! [`Program::evaluate`] runs it over borrowed JSON within a [`Budget`]. The language is specified by
//! <https://github.com/google/cel-spec/blob/master/doc/langdef.md>, what Kubernetes adds by
//! <https://kubernetes.io/docs/reference/using-api/cel/>. The crate `cel` parses; the checker and the evaluator are
//! here, since Kubernetes needs types at compile time and cost while it evaluates.
//!
//! Guarantees: no expression and no object makes this crate panic; time, memory and depth of every call are bounded.
#![forbid(unsafe_code)]

pub mod budget;
mod check;
pub mod construct;
pub mod environment;
pub mod error;
pub mod escape;
pub mod estimate;
mod eval;
mod function;
pub mod library;
mod macros;
pub mod message;
mod nesting;
mod node;
mod parse;
mod program;
mod time;
pub mod types;
mod unify;
pub mod value;

pub use budget::Budget;
pub use environment::{Activation, Environment, Lazy};
pub use error::{CompileError, CompileErrors, EvalError};
pub use library::regex::compile as compile_pattern;
pub use program::Program;
pub use types::{ListKind, ListType, Type, TypeSource};
pub use value::CelValue;
