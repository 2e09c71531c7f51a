//! What helps to write a JSON patch. <https://www.rfc-editor.org/rfc/rfc6901#section-3>

use crate::budget::TRAVERSAL;
use crate::error::EvalError;
use crate::function::{Cost, Function};
use crate::value::CelValue;

/// Known only where expressions make patches.
pub(crate) const PREFIX: &str = "jsonpatch.";

pub(super) const FUNCTIONS: &[Function] =
    &[Function::global("jsonpatch.escapeKey(string) -> string", Cost::First(TRAVERSAL), |context, args| {
        let key = args.first().and_then(CelValue::as_str).ok_or_else(EvalError::no_such_overload)?;
        context.budget.allocate(key.len().saturating_mul(2))?;
        Ok(CelValue::string(key.replace('~', "~0").replace('/', "~1")))
    })];
