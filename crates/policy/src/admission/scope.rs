//! What expressions see of a request: its objects, who makes it, parameters and variables.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use coracle_api::admission_expressions::{self, Variable};
use coracle_cel::library::authorizer::{Authorization, Authorizer, Question};
use coracle_cel::{Activation, Budget, CelValue, EvalError, Lazy, Program, Type};
use serde_json::Value;

use super::request::Admitted;

/// What expressions see of one request.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The request.
    pub admitted: &'a Admitted<'a>,
    /// [`super::review_request`] of it.
    pub request: &'a Value,
    /// The parameters; `null` where there are none.
    pub params: &'a Value,
    /// The namespace of the object; `null` where it is in none.
    pub namespace: &'a Value,
    /// Who knows who may do what.
    pub authorizer: &'a dyn Authorizer,
}

impl<'a> Scope<'a> {
    /// The values of what expressions may name, with the variables of a policy.
    ///
    /// # Errors
    /// What the API server says of the request does not fit its type.
    pub fn activation(&self, variables: &'a [Variable], authorizes: bool) -> Result<Activation<'a>, EvalError> {
        let any = |value: Option<&'a Value>| CelValue::from_json(value.unwrap_or(&Value::Null), &Type::Dyn);
        let mut activation = Activation::new()
            .with("object", any(self.admitted.object)?)
            .with("oldObject", any(self.admitted.old_object)?)
            .with("request", CelValue::from_json(self.request, &admission_expressions::request())?)
            .with("namespaceObject", CelValue::from_json(self.namespace, &admission_expressions::namespace())?)
            .with("params", any(Some(self.params))?);
        if authorizes {
            activation = activation
                .with("authorizer", Authorization::of(self.authorizer))
                .with("authorizer.requestResource", Authorization::of_resource(self.authorizer, self.question()));
        }
        let variables = Variables { base: activation.clone(), declared: variables, made: RefCell::default() };
        Ok(activation.with_lazy(Rc::new(variables)))
    }

    fn question(&self) -> Question {
        let Admitted { requested, subresource, namespace, name, .. } = *self.admitted;
        Question {
            group: requested.group.to_owned(),
            resource: requested.plural.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Question::default()
        }
    }
}

/// The variables of a policy, each made when it is first asked for.
#[derive(Debug)]
struct Variables<'a> {
    base: Activation<'a>,
    declared: &'a [Variable],
    made: RefCell<HashMap<&'a str, Result<CelValue<'a>, EvalError>>>,
}

impl<'a> Lazy<'a> for Variables<'a> {
    fn value(&self, name: &str, budget: &mut Budget) -> Option<Result<CelValue<'a>, EvalError>> {
        let place = self.declared.iter().position(|variable| variable.name == name)?;
        let variable = self.declared.get(place)?;
        if let Some(made) = self.made.borrow().get(variable.name.as_str()) {
            return Some(made.clone());
        }
        let value = match &variable.program {
            Ok(program) => self.make(place, program, budget),
            Err(why) => {
                Err(EvalError::Failed(format!("composited variable {:?} fails to compile: {why}", short(name))))
            }
        };
        self.made.borrow_mut().insert(&variable.name, value.clone());
        Some(value)
    }
}

impl<'a> Variables<'a> {
    /// One variable, which sees those before it.
    fn make(&self, place: usize, program: &Arc<Program>, budget: &mut Budget) -> Result<CelValue<'a>, EvalError> {
        let before = self.declared.get(..place).unwrap_or_default();
        let before =
            Variables { base: self.base.clone(), declared: before, made: RefCell::new(self.made.borrow().clone()) };
        let before = Rc::new(before);
        let activation = self.base.clone().with_lazy(before.clone());
        let mut nested = budget.nested();
        let value = program.evaluate(&activation, &mut nested);
        budget.absorb(&nested);
        // What was made on the way need not be made again.
        self.made.borrow_mut().extend(before.made.borrow().clone());
        value.map_err(|error| match error {
            EvalError::Failed(why) => {
                let name = self.declared.get(place).map(|variable| short(&variable.name)).unwrap_or_default();
                EvalError::Failed(format!("composited variable {name:?} fails to evaluate: {why}"))
            }
            limit => limit,
        })
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("variables.").unwrap_or(name)
}
