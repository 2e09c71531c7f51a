//! Values of the API that are texts with a form: quantities and names. Everything that reads objects builds on them.
#![forbid(unsafe_code)]

pub mod names;
pub mod quantity;
