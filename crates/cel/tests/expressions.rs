//! The language and its libraries as tables: an expression and what it is.

#[path = "expressions/language.rs"]
mod language;
#[path = "expressions/libraries.rs"]
mod libraries;
#[path = "expressions/table.rs"]
mod table;
