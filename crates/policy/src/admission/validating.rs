//! A ValidatingAdmissionPolicy, compiled.

use coracle_api::admission_expressions::{Names, Variable, compile};
use coracle_api::meta::{list, text};
use coracle_cel::{Budget, CelValue, EvalError, Program, Type, message};
use serde_json::Value;

use super::conditions::{Conditions, Verdict, declared};
use super::scope::Scope;

/// The compiled expressions of a policy.
#[derive(Debug)]
pub struct ValidatingPolicy {
    conditions: Conditions,
    variables: Vec<Variable>,
    validations: Vec<Validation>,
    annotations: Vec<(String, String, Result<Program, String>)>,
    /// Whether what cannot be evaluated is let pass.
    ignores_failures: bool,
}

#[derive(Debug)]
struct Validation {
    expression: String,
    program: Result<Program, String>,
    message: String,
    message_expression: Option<Program>,
    reason: String,
}

/// Why a request is not let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which validation it was.
    pub index: usize,
    /// What is told.
    pub message: String,
    /// `Invalid`, `Forbidden`, ...
    pub reason: String,
}

/// An annotation for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Its key, without the name of the policy.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What a policy says of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What does not hold, or could not be evaluated: the actions of the binding say what becomes of it.
    pub denials: Vec<Decision>,
    /// What could not be evaluated of annotations: the request is refused whatever the actions are.
    pub failures: Vec<Decision>,
    /// What the audit log is to have.
    pub annotations: Vec<Annotation>,
}

impl ValidatingPolicy {
    /// Compiles a policy. What does not compile is told when it is evaluated.
    pub fn new(policy: &Value) -> Self {
        let (variables, checked) = declared(policy, Names::of_policy(policy, true));
        let (_, told) = declared(policy, Names::of_policy(policy, false));
        let validation = |validation: &Value| {
            let of = |key: &str| text(validation, &[key]).to_owned();
            let message_expression = Some(of("messageExpression")).filter(|text| !text.is_empty());
            Validation {
                program: compile(&of("expression"), &checked, &[Type::Bool]),
                expression: of("expression"),
                message: of("message"),
                message_expression: message_expression.and_then(|text| compile(&text, &told, &[Type::String]).ok()),
                reason: Some(of("reason")).filter(|text| !text.is_empty()).unwrap_or_else(|| "Invalid".into()),
            }
        };
        let annotation = |annotation: &Value| {
            let expression = text(annotation, &["valueExpression"]);
            let program = compile(expression, &told, &[Type::String, Type::Null]);
            (text(annotation, &["key"]).to_owned(), expression.to_owned(), program)
        };
        Self {
            conditions: Conditions::of_policy(policy),
            variables,
            validations: list(policy, &["spec", "validations"]).iter().map(validation).collect(),
            annotations: list(policy, &["spec", "auditAnnotations"]).iter().map(annotation).collect(),
            ignores_failures: policy["spec"]["failurePolicy"] == "Ignore",
        }
    }

    /// What it says of a request.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        match self.conditions.evaluate(scope) {
            Verdict::Matches => {}
            Verdict::Differs => return outcome,
            Verdict::Fails(why) => {
                outcome.denials.extend(self.failure(0, why));
                return outcome;
            }
        }
        let mut budget = Budget::default();
        if let Err(error) = self.validate(scope, &mut budget, &mut outcome) {
            outcome.denials = self.failure(0, error.to_string()).into_iter().collect();
            return outcome;
        }
        if let Err(error) = self.annotate(scope, &mut outcome) {
            outcome.denials = self.failure(0, error.to_string()).into_iter().collect();
        }
        outcome
    }

    /// What becomes of what could not be evaluated.
    fn failure(&self, index: usize, message: String) -> Option<Decision> {
        (!self.ignores_failures).then(|| Decision { index, message, reason: "Invalid".into() })
    }

    /// # Errors
    /// All expressions together cost more than they may.
    fn validate(&self, scope: &Scope<'_>, budget: &mut Budget, outcome: &mut Outcome) -> Result<(), EvalError> {
        let activation = scope.activation(&self.variables, true)?;
        for (index, validation) in self.validations.iter().enumerate() {
            let value = match &validation.program {
                Ok(program) => program.evaluate(&activation, budget),
                Err(why) => {
                    outcome.denials.extend(self.failure(index, format!("compilation error: {why}")));
                    continue;
                }
            };
            match value {
                Ok(CelValue::Bool(true)) => {}
                Ok(_) => {
                    let told = validation.told(scope, &self.variables, budget);
                    outcome.denials.extend(match told {
                        Ok(message) => Some(Decision { index, message, reason: validation.reason.clone() }),
                        Err(error) => self.failure(index, format!("failed messageExpression: {error}")),
                    });
                }
                Err(EvalError::Budget) => return Err(EvalError::Budget),
                Err(error) => {
                    let expression = &validation.expression;
                    let why = format!("expression '{expression}' resulted in error: {error}");
                    outcome.denials.extend(self.failure(index, why));
                }
            }
        }
        Ok(())
    }

    fn annotate(&self, scope: &Scope<'_>, outcome: &mut Outcome) -> Result<(), EvalError> {
        if self.annotations.is_empty() {
            return Ok(());
        }
        let activation = scope.activation(&self.variables, false)?;
        let mut budget = Budget::default();
        for (index, (key, expression, program)) in self.annotations.iter().enumerate() {
            let value = match program {
                Ok(program) => program.evaluate(&activation, &mut budget),
                Err(why) => Err(EvalError::Failed(format!("compilation error: {why}"))),
            };
            match value {
                Ok(CelValue::String(value)) if !value.trim().is_empty() => {
                    outcome.annotations.push(Annotation { key: key.clone(), value: value.trim().to_owned() });
                }
                Ok(_) => {}
                Err(EvalError::Budget) => return Err(EvalError::Budget),
                Err(error) => {
                    let why = format!("expression '{expression}' resulted in error: {error}");
                    outcome.failures.extend(self.failure(index, why));
                }
            }
        }
        Ok(())
    }
}

impl Validation {
    /// What is told when it does not hold.
    fn told(&self, scope: &Scope<'_>, variables: &[Variable], budget: &mut Budget) -> Result<String, EvalError> {
        let made = match &self.message_expression {
            Some(program) => match message::message(program, &scope.activation(variables, false)?, budget) {
                Err(error @ EvalError::Budget) => return Err(error),
                made => made.ok().flatten(),
            },
            None => None,
        };
        let fixed = Some(self.message.trim().to_owned()).filter(|message| !message.is_empty());
        Ok(made.or(fixed).unwrap_or_else(|| format!("failed expression: {}", self.expression.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Admitted, Resource, review_request};
    use coracle_cel::library::authorizer::{Authorizer, Decision as Authorized, Question};
    use serde_json::json;

    struct Nobody;

    impl Authorizer for Nobody {
        fn authorize(&self, question: &Question) -> Authorized {
            Authorized { allowed: question.verb == "allowed", ..Authorized::default() }
        }
    }

    fn evaluate(spec: Value, object: &Value, params: &Value) -> Outcome {
        let resource = Resource { group: "apps", version: "v1", plural: "deployments", kind: "Deployment" };
        let user = json!({"username": "joe", "groups": ["system:authenticated"]});
        let admitted = Admitted {
            operation: "CREATE",
            resource,
            requested: resource,
            subresource: "",
            body: None,
            name: "d",
            namespace: "n",
            object: Some(object),
            old_object: None,
            options: &json!({}),
            dry_run: false,
            user: &user,
        };
        let (request, namespace) =
            (review_request(&admitted), json!({"metadata": {"name": "n", "labels": {"env": "test"}}}));
        let scope =
            Scope { admitted: &admitted, request: &request, params, namespace: &namespace, authorizer: &Nobody };
        ValidatingPolicy::new(&json!({"metadata": {"name": "p"}, "spec": spec})).evaluate(&scope)
    }

    fn messages(spec: Value, object: &Value) -> Vec<String> {
        evaluate(spec, object, &Value::Null).denials.into_iter().map(|denial| denial.message).collect()
    }

    #[test]
    fn what_does_not_hold_is_told() {
        let object = json!({"spec": {"replicas": 7}});
        let expression = "object.spec.replicas <= 5";
        assert_eq!(
            messages(json!({"validations": [{"expression": expression}]}), &object),
            [format!("failed expression: {expression}")]
        );
        let told = json!({"validations": [
            {"expression": expression, "message": "too many"},
            {"expression": expression, "messageExpression": "'%d are too many'.format([object.spec.replicas])", "reason": "Forbidden"},
            {"expression": "object.spec.replicas > 5"}]});
        let outcome = evaluate(told, &object, &Value::Null);
        let told: Vec<_> = outcome.denials.iter().map(|d| (d.index, &*d.message, &*d.reason)).collect();
        assert_eq!(told, [(0, "too many", "Invalid"), (1, "7 are too many", "Forbidden")]);
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_unless_the_policy_ignores_it() {
        let mut spec = json!({"validations": [{"expression": "object.spec.none == 1"}]});
        let object = json!({"spec": {}});
        assert_eq!(
            messages(spec.clone(), &object),
            ["expression 'object.spec.none == 1' resulted in error: no such key: none"]
        );
        spec["failurePolicy"] = "Ignore".into();
        assert!(messages(spec, &object).is_empty());
    }

    #[test]
    fn conditions_variables_params_and_the_request_are_seen() {
        let object = json!({"spec": {"replicas": 7}});
        let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConditions": [{"name": "mine", "expression": "request.userInfo.username == 'joe'"}],
            "variables": [{"name": "wanted", "expression": "object.spec.replicas"}, {"name": "more", "expression": "variables.wanted - int(params.data.max)"},
                {"name": "broken", "expression": "object.none"}],
            "validations": [
                {"expression": "variables.more <= 0", "messageExpression": "string(variables.more) + ' too many in ' + namespaceObject.metadata.name"},
                {"expression": "true || variables.broken"},
                {"expression": "authorizer.requestResource.check('allowed').allowed()"}],
            "auditAnnotations": [{"key": "more", "valueExpression": "string(variables.more)"}]});
        let params = json!({"data": {"max": "5"}});
        let outcome = evaluate(spec.clone(), &object, &params);
        assert_eq!(outcome.denials.iter().map(|d| &*d.message).collect::<Vec<_>>(), ["2 too many in n"]);
        assert_eq!(outcome.annotations, [Annotation { key: "more".into(), value: "2".into() }]);
        let mut other = spec;
        other["matchConditions"][0]["expression"] = "request.userInfo.username == 'ann'".into();
        assert_eq!(evaluate(other, &object, &params), Outcome::default());
    }

    #[test]
    fn a_variable_that_fails_is_named() {
        let spec = json!({"variables": [{"name": "v", "expression": "object.none"}], "validations": [{"expression": "variables.v == 1"}]});
        assert_eq!(
            messages(spec, &json!({})),
            [
                "expression 'variables.v == 1' resulted in error: composited variable \"v\" fails to evaluate: no such key: none"
            ]
        );
    }
}
