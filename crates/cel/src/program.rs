//! An expression that was compiled, and its evaluation.

use std::collections::{HashMap, HashSet};

use regex::Regex;

use crate::budget::Budget;
use crate::check::Checker;
use crate::environment::{Activation, Environment};
use crate::error::{CompileErrors, EvalError};
use crate::eval::Evaluator;
use crate::node::Node;
use crate::parse;
use crate::types::Type;
use crate::value::CelValue;

/// A compiled expression. It can be evaluated by many threads at once.
#[derive(Debug)]
pub struct Program {
    node: Node,
    result: Type,
    patterns: HashMap<String, Regex>,
    used: HashSet<String>,
}

impl Program {
    /// Parses and checks an expression.
    ///
    /// # Errors
    /// Everything that is wrong with it, printed as upstream does. Its text is bounded (100,000 code points, 250 levels).
    pub fn compile(expression: &str, environment: &Environment) -> Result<Self, CompileErrors> {
        parse::check_size(expression)?;
        // The parser is recursive: it gets a stack for the deepest expression that the size allows.
        std::thread::scope(|scope| {
            let work = std::thread::Builder::new().stack_size(parse::STACK).name("cel".into());
            let Ok(compiling) = work.spawn_scoped(scope, || Self::compile_here(expression, environment)) else {
                return Err(CompileErrors::one(expression, "no thread could be started to compile the expression"));
            };
            compiling.join().unwrap_or_else(|_| Err(CompileErrors::one(expression, "the expression cannot be parsed")))
        })
    }

    fn compile_here(expression: &str, environment: &Environment) -> Result<Self, CompileErrors> {
        let (tree, info) = parse::parse(expression)?;
        let mut checker = Checker::new(environment, expression, &info);
        let (node, result) = checker.check_all(&tree);
        let Checker { errors, patterns, used, .. } = checker;
        if errors.is_empty() {
            Ok(Self { node, result, patterns, used })
        } else {
            Err(CompileErrors::new(expression, errors))
        }
    }

    /// The checked expression.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The type of its value, as far as it is known before evaluation.
    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// Whether it uses a variable: a rule that uses `oldSelf` is a transition rule.
    pub fn uses(&self, variable: &str) -> bool {
        self.used.contains(variable)
    }

    /// The value of the expression.
    ///
    /// # Errors
    /// [`EvalError::Failed`] if it has none, [`EvalError::CostLimit`] if it costs more than one evaluation may, and
    /// [`EvalError::Budget`] if it costs more than was left.
    pub fn evaluate<'a>(&self, activation: &Activation<'a>, budget: &mut Budget) -> Result<CelValue<'a>, EvalError> {
        budget.begin();
        let patterns = &self.patterns;
        let mut evaluator = Evaluator { activation, budget, patterns, made: None, stack: Vec::new() };
        let value = evaluator.eval(&self.node);
        match (value, budget.finish()) {
            (Err(EvalError::CostLimit), _) => Err(EvalError::CostLimit),
            (value, within) => within.and(value),
        }
    }
}
