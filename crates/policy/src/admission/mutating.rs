//! A MutatingAdmissionPolicy, compiled.

use coracle_api::admission_expressions::{Variable, compile, mutation_types, mutations};
use coracle_api::meta::{list, text};
use coracle_cel::value::{Key, Text};
use coracle_cel::{Budget, CelValue, EvalError, Program};
use serde_json::{Value, json};

use super::conditions::{Conditions, Verdict};
use super::scope::Scope;

/// The compiled expressions of a policy.
#[derive(Debug)]
pub struct MutatingPolicy {
    conditions: Conditions,
    variables: Vec<Variable>,
    mutations: Vec<Mutation>,
}

#[derive(Debug)]
struct Mutation {
    is_patch: bool,
    expression: String,
    program: Result<Program, String>,
}

/// How an object is to be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// What is to be merged into it, as if it were applied.
    Configuration(Value),
    /// A JSON patch.
    Patch(Value),
}

impl MutatingPolicy {
    /// Compiles a policy. What does not compile is told when it is evaluated.
    pub fn new(policy: &Value) -> Self {
        let (_, (variables, environment)) = mutations(policy);
        let mutation = |mutation: &Value| {
            let of = text(mutation, &["patchType"]);
            let is_patch = of == "JSONPatch";
            let key = if is_patch { "jsonPatch" } else { "applyConfiguration" };
            let expression = text(mutation, &[key, "expression"]).to_owned();
            let program = compile(&expression, &environment, &mutation_types(of));
            Mutation { is_patch, expression, program }
        };
        Self {
            conditions: Conditions::of_policy(policy),
            variables,
            mutations: list(policy, &["spec", "mutations"]).iter().map(mutation).collect(),
        }
    }

    /// Whether the policy is about a request.
    pub fn matches(&self, scope: &Scope<'_>) -> Verdict {
        self.conditions.evaluate(scope)
    }

    /// How many mutations it has.
    pub fn count(&self) -> usize {
        self.mutations.len()
    }

    /// How one of its mutations changes the object of a request. Each sees what those before it made.
    ///
    /// # Errors
    /// The expression does not compile, has no value, or costs too much.
    pub fn change(&self, index: usize, scope: &Scope<'_>) -> Result<Change, String> {
        let mutation = self.mutations.get(index).ok_or("there is no such mutation")?;
        let program = mutation.program.as_ref().map_err(|why| format!("compilation error: {why}"))?;
        let failed = |error: EvalError| match error {
            EvalError::Failed(why) => format!("expression '{}' resulted in error: {why}", mutation.expression),
            limit => limit.to_string(),
        };
        let mut budget = Budget::default();
        let activation = scope.activation(&self.variables, true).map_err(failed)?;
        let made = program.evaluate(&activation, &mut budget).map_err(failed)?;
        match mutation.is_patch {
            false => made.to_json(&mut budget).map(Change::Configuration).map_err(|error| error.to_string()),
            true => patch(&made, &mut budget).map(Change::Patch).map_err(|error| error.to_string()),
        }
    }
}

/// The JSON of a list of operations.
fn patch(made: &CelValue<'_>, budget: &mut Budget) -> Result<Value, EvalError> {
    let CelValue::List(operations) = made else {
        return Err(mismatch("array"));
    };
    operations.iter().map(|operation| self::operation(&operation?, budget)).collect()
}

fn mismatch(wanted: &str) -> EvalError {
    EvalError::Failed(format!("type mismatch: JSONPatchType.expression should evaluate to {wanted}"))
}

fn operation(made: &CelValue<'_>, budget: &mut Budget) -> Result<Value, EvalError> {
    let CelValue::Map(fields) = made else {
        return Err(mismatch("array of JSONPatch"));
    };
    let mut operation = json!({});
    for name in ["op", "path", "from", "value"] {
        if let Some(value) = fields.get(&Key::String(Text::Borrowed(name))) {
            operation[name] = value?.to_json(budget)?;
        }
    }
    Ok(operation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Admitted, Resource, review_request};
    use coracle_cel::library::authorizer::{Authorizer, Decision, Question};

    struct Nobody;

    impl Authorizer for Nobody {
        fn authorize(&self, _: &Question) -> Decision {
            Decision::default()
        }
    }

    fn change(mutation: Value) -> Result<Change, String> {
        let resource = Resource { group: "apps", version: "v1", plural: "deployments", kind: "Deployment" };
        let admitted = Admitted {
            operation: "CREATE",
            resource,
            requested: resource,
            subresource: "",
            body: None,
            name: "d",
            namespace: "n",
            object: Some(&json!({"spec": {"replicas": 2}})),
            old_object: None,
            options: &json!({}),
            dry_run: false,
            user: &json!({}),
        };
        let (request, none) = (review_request(&admitted), Value::Null);
        let scope =
            Scope { admitted: &admitted, request: &request, params: &none, namespace: &none, authorizer: &Nobody };
        let spec = json!({"variables": [{"name": "wanted", "expression": "object.spec.replicas + 1"}], "mutations": [mutation]});
        MutatingPolicy::new(&json!({"spec": spec})).change(0, &scope)
    }

    #[test]
    fn mutations_say_how_an_object_changes() {
        let apply = |expression: &str| {
            change(json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}))
        };
        let configuration = json!({"spec": {"replicas": 3}});
        assert_eq!(
            apply("Object{spec: Object.spec{replicas: variables.wanted}}"),
            Ok(Change::Configuration(configuration))
        );
        assert_eq!(
            apply("Object{spec: object.none}"),
            Err("expression 'Object{spec: object.none}' resulted in error: no such key: none".into())
        );
        let patch =
            |expression: &str| change(json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}));
        let expression = "[JSONPatch{op: 'add', path: '/spec/x', value: Object.spec.x{a: variables.wanted}}, JSONPatch{op: 'remove', path: '/y'}]";
        let operations = json!([{"op": "add", "path": "/spec/x", "value": {"a": 3}}, {"op": "remove", "path": "/y"}]);
        assert_eq!(patch(expression), Ok(Change::Patch(operations)));
        assert!(patch("[1]").expect_err("it is none").contains("must evaluate to list(JSONPatch) but got list(int)"));
    }
}
