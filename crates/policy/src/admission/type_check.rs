//! What is wrong with the expressions of a policy for the kinds that it is about. It is only told: objects are looked at
//! as they are.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking>

use coracle_api::admission_expressions::{Names, typed_environment, variables};
use coracle_api::meta::{list, text};
use coracle_cel::{Environment, Program, Type};
use serde_json::{Value, json};

/// At most so many kinds are looked at.
pub const MAX_KINDS: usize = 10;

/// A kind that a policy is about.
#[derive(Clone, Debug)]
pub struct CheckedKind {
    /// As it is told: `apps/v1, Kind=Deployment`.
    pub name: String,
    /// The type of its objects.
    pub of: Type,
}

/// The resources that a policy names one by one, as group, version and plural.
pub fn named_resources(policy: &Value) -> Vec<[String; 3]> {
    let mut found = Vec::new();
    for rule in list(policy, &["spec", "matchConstraints", "resourceRules"]) {
        let texts = |key: &str| -> Vec<&str> { list(rule, &[key]).iter().filter_map(Value::as_str).collect() };
        for group in texts("apiGroups") {
            for version in texts("apiVersions") {
                for resource in texts("resources") {
                    let names = [group, version, resource];
                    let vague = names.iter().any(|name| name.contains(['*', '/']));
                    let names = names.map(str::to_owned);
                    if !vague && found.len() < MAX_KINDS && !found.contains(&names) {
                        found.push(names);
                    }
                }
            }
        }
    }
    found
}

/// The warnings of `status.typeChecking.expressionWarnings`.
pub fn expression_warnings(policy: &Value, kinds: &[CheckedKind], params: &Type) -> Vec<Value> {
    let environments: Vec<(&str, [Environment; 2])> = kinds
        .iter()
        .map(|kind| {
            let with = |authorizer| {
                let environment = typed_environment(Names::of_policy(policy, authorizer), &kind.of, params);
                variables(policy, environment).1
            };
            (kind.name.as_str(), [with(true), with(false)])
        })
        .collect();
    let mut warnings = Vec::new();
    for (index, validation) in list(policy, &["spec", "validations"]).iter().enumerate() {
        for (field, place) in [("expression", 0), ("messageExpression", 1)] {
            let expression = text(validation, &[field]);
            if expression.is_empty() {
                continue;
            }
            let wrong = environments.iter().filter_map(|(name, environments)| {
                let errors = Program::compile(expression, environments.get(place)?).err()?;
                Some(format!("{name}: {errors}\n"))
            });
            let warning = wrong.collect::<Vec<_>>().join("\n");
            if !warning.is_empty() {
                warnings.push(json!({"fieldRef": format!("spec.validations[{index}].{field}"), "warning": warning}));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_api::{kinds, schema::expression_types};

    #[test]
    fn what_no_object_has_is_told_for_each_kind() {
        let policy = json!({"spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "*/scale", "replicasets"]}]},
            "variables": [{"name": "n", "expression": "object.spec.replicas"}],
            "validations": [{"expression": "variables.n > 1"}, {"expression": "object.spec.replicas > '1'", "messageExpression": "string(object.replicas)"}]}});
        let named = named_resources(&policy);
        assert_eq!(
            named.iter().map(|[_, _, plural]| plural.as_str()).collect::<Vec<_>>(),
            ["deployments", "replicasets"]
        );
        let kind = kinds::by_kind("apps", "v1", "Deployment").expect("a kind of the table");
        let kinds = [CheckedKind { name: "apps/v1, Kind=Deployment".into(), of: expression_types::of(&kind.schema) }];
        let warnings = expression_warnings(&policy, &kinds, &Type::Dyn);
        assert_eq!(warnings.len(), 2);
        assert_eq!(warnings[0]["fieldRef"], "spec.validations[1].expression");
        assert_eq!(
            warnings[1],
            json!({"fieldRef": "spec.validations[1].messageExpression", "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:14: undefined field 'replicas'\n | string(object.replicas)\n | .............^\n"})
        );
    }
}
