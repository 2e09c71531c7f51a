//! From text to a tree, by the parser of the crate `cel`, with Kubernetes' macros and bounds.

use std::sync::LazyLock;

use cel::Env;
use cel::common::ast::{IdedExpr, SourceInfo};

use crate::error::{CompileError, CompileErrors};
use crate::{macros, nesting};

/// The most code points that an expression may have, as in cel-go.
const LONGEST: usize = 100_000;
/// The deepest tree of the grammar, as in cel-go.
const DEEPEST: u16 = 250;
/// The deepest that the text may look like. Above [`DEEPEST`], as the bound is generous.
const DEEPEST_BOUND: usize = 1000;
/// Room for a tree of [`DEEPEST_BOUND`] in a build without optimizations; only what is used is taken.
pub(crate) const STACK: usize = 64 << 20;

static ENV: LazyLock<Env> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(true);
    for added in macros::kubernetes() {
        // The only error is a macro that is there already, which then stays.
        let _ = env.add_macro(added);
    }
    env
});

/// Refuses texts that could not be parsed within [`STACK`].
pub(crate) fn check_size(source: &str) -> Result<(), CompileErrors> {
    let size = source.chars().count();
    if size > LONGEST {
        let message = format!("expression code point size exceeds limit: size: {size}, limit {LONGEST}");
        return Err(CompileErrors::one(source, message));
    }
    if nesting::bound(source) > DEEPEST_BOUND {
        return Err(CompileErrors::one(source, format!("expression recursion limit exceeded: {DEEPEST}")));
    }
    Ok(())
}

/// The tree of an expression. Its size has been checked, and the thread has [`STACK`].
pub(crate) fn parse(source: &str) -> Result<(IdedExpr, SourceInfo), CompileErrors> {
    let parser = ENV.parser().max_recursion_depth(DEEPEST);
    parser.parse_with_source_info(source).map_err(|errors| {
        let errors = errors.errors.into_iter().map(|error| CompileError {
            line: usize::try_from(error.pos.0).unwrap_or(1).max(1),
            column: usize::try_from(error.pos.1).unwrap_or(1).max(1),
            message: error.msg,
        });
        CompileErrors::new(source, errors.collect())
    })
}
