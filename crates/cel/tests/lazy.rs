//! Variables that are made when an expression asks for them.

use std::cell::Cell;
use std::rc::Rc;

use coracle_cel::{Activation, Budget, CelValue, Environment, EvalError, Lazy, Program, Type};

/// `variables.good` is 1, all others fail. Counts how often it is asked.
#[derive(Debug, Default)]
struct Variables(Cell<usize>);

impl<'a> Lazy<'a> for Variables {
    fn value(&self, name: &str, _: &mut Budget) -> Option<Result<CelValue<'a>, EvalError>> {
        self.0.set(self.0.get() + 1);
        Some(if name == "variables.good" { Ok(1.into()) } else { Err(EvalError::Failed(format!("no {name}"))) })
    }
}

fn evaluate(expression: &str) -> (Result<Option<bool>, EvalError>, usize) {
    let environment = Environment::new()
        .variable("variables", Type::Dyn)
        .variable("variables.good", Type::Int)
        .variable("variables.bad", Type::Int);
    let program = Program::compile(expression, &environment).unwrap_or_else(|errors| panic!("{errors}"));
    let variables = Rc::new(Variables::default());
    let activation = Activation::new().with_lazy(variables.clone());
    let value = program.evaluate(&activation, &mut Budget::default()).map(|value| value.as_bool());
    (value, variables.0.get())
}

#[test]
fn what_is_not_asked_for_is_not_made() {
    assert_eq!(evaluate("variables.good == 1"), (Ok(Some(true)), 1));
    assert_eq!(evaluate("false && variables.bad == 1"), (Ok(Some(false)), 0));
    assert_eq!(evaluate("has(variables.bad)"), (Ok(Some(true)), 0));
    let failed = EvalError::Failed("no variables.bad".into());
    assert_eq!(evaluate("variables.bad == variables.good"), (Err(failed), 1));
    assert_eq!(evaluate("[1].all(variables, variables == 1)"), (Ok(Some(true)), 0));
}

#[test]
fn what_has_the_wrong_type_is_a_compile_error() {
    let environment = Environment::new().variable("variables", Type::Dyn).variable("variables.good", Type::Int);
    let errors = Program::compile("variables.good == 'a'", &environment).expect_err("types differ");
    assert!(errors.to_string().contains("found no matching overload for '_==_' applied to '(int, string)'"));
}
