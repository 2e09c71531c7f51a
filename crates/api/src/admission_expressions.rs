//! The expressions of admission policies and of match conditions: what they may name, and what they must be.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>

use std::sync::Arc;

use coracle_cel::library::authorizer::{AUTHORIZER, RESOURCE_CHECK};
use coracle_cel::{Environment, Program, Type, TypeSource, construct};
use serde_json::Value;

use crate::meta::{list, text};

/// What an expression may name besides `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// `params`
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`
    pub authorizer: bool,
}

impl Names {
    /// Those of the expressions of a policy; without an authorizer, those of its messages and annotations.
    pub fn of_policy(policy: &Value, authorizer: bool) -> Self {
        Self { params: !policy["spec"]["paramKind"].is_null(), authorizer }
    }
}

/// An object type that is declared here.
#[derive(Debug)]
struct Declared {
    name: &'static str,
    fields: Vec<(&'static str, Type)>,
}

impl TypeSource for Declared {
    fn name(&self) -> &str {
        self.name
    }

    fn field(&self, property: &str) -> Option<Type> {
        self.fields.iter().find(|(name, _)| *name == property).map(|(_, of)| of.clone())
    }
}

fn object<const N: usize>(name: &'static str, fields: [(&'static str, Type); N]) -> Type {
    Type::Object(Arc::new(Declared { name, fields: fields.into() }))
}

/// The type of `request`.
pub fn request() -> Type {
    use Type::{Bool, Dyn, String};
    let texts = || Type::list(String);
    let kind = || object("kubernetes.GroupVersionKind", ["group", "version", "kind"].map(|name| (name, String)));
    let resource =
        || object("kubernetes.GroupVersionResource", ["group", "version", "resource"].map(|name| (name, String)));
    let user = object(
        "kubernetes.UserInfo",
        [("username", String), ("uid", String), ("groups", texts()), ("extra", Type::map(String, texts()))],
    );
    object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", String),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", String),
            ("name", String),
            ("namespace", String),
            ("operation", String),
            ("userInfo", user),
            ("dryRun", Bool),
            ("options", Dyn),
        ],
    )
}

/// The type of `namespaceObject`.
pub fn namespace() -> Type {
    use Type::{Int, String, Timestamp};
    let map = || Type::map(String, String);
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", String),
            ("generateName", String),
            ("namespace", String),
            ("labels", map()),
            ("annotations", map()),
            ("UID", String),
            ("creationTimestamp", Timestamp),
            ("deletionGracePeriodSeconds", Int),
            ("deletionTimestamp", Timestamp),
            ("generation", Int),
            ("resourceVersion", String),
            ("finalizers", Type::list(String)),
        ],
    );
    let condition = object(
        "kubernetes.NamespaceCondition",
        [
            ("status", String),
            ("type", String),
            ("lastTransitionTime", Timestamp),
            ("message", String),
            ("reason", String),
        ],
    );
    let status = object("kubernetes.NamespaceStatus", [("conditions", Type::list(condition)), ("phase", String)]);
    let spec = object("kubernetes.NamespaceSpec", [("finalizers", Type::list(String))]);
    object("kubernetes.Namespace", [("metadata", metadata), ("spec", spec), ("status", status)])
}

/// What an expression may name, where the object has any type.
pub fn environment(names: Names) -> Environment {
    typed_environment(names, &Type::Dyn, &Type::Dyn)
}

/// The same where the types of the object and of the parameters are known.
pub fn typed_environment(names: Names, of: &Type, params: &Type) -> Environment {
    let mut environment = Environment::new()
        .variable("object", of.clone())
        .variable("oldObject", of.clone())
        .variable("request", request())
        .variable("namespaceObject", namespace());
    if names.params {
        environment = environment.variable("params", params.clone());
    }
    if names.authorizer {
        environment =
            environment.variable("authorizer", AUTHORIZER).variable("authorizer.requestResource", RESOURCE_CHECK);
    }
    environment
}

/// A variable of a policy: an expression by name.
#[derive(Clone, Debug)]
pub struct Variable {
    /// As expressions name it: `variables.size`.
    pub name: String,
    /// The compiled expression, or what is wrong with it.
    pub program: Result<Arc<Program>, String>,
}

/// Compiles the variables of a policy, each of which may name those before it. The environment that comes back knows all
/// of them; what a variable is that has no type is known only when it is evaluated.
pub fn variables(policy: &Value, environment: Environment) -> (Vec<Variable>, Environment) {
    let mut environment = environment.variable("variables", object("kubernetes.variables", []));
    let mut made = Vec::new();
    for variable in list(policy, &["spec", "variables"]) {
        let program = compile(text(variable, &["expression"]), &environment, &[]).map(Arc::new);
        let of = program.as_ref().map_or(Type::Dyn, |program| program.result_type().clone());
        let name = format!("variables.{}", text(variable, &["name"]));
        environment = environment.variable(name.clone(), of);
        made.push(Variable { name, program });
    }
    (made, environment)
}

/// The environment of the variables of a mutating policy; its variables, and the environment of its mutations, which
/// sees them.
pub fn mutations(policy: &Value) -> (Environment, (Vec<Variable>, Environment)) {
    let environment = environment(Names::of_policy(policy, true)).constructing();
    (environment.clone(), variables(policy, environment))
}

/// What the expression of a mutation must be.
pub fn mutation_types(patch_type: &str) -> [Type; 1] {
    match patch_type {
        "JSONPatch" => [Type::list(construct::json_patch())],
        _ => [construct::object()],
    }
}

/// Compiles an expression that must have one of these types; none stands for any.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn compile(expression: &str, environment: &Environment, wanted: &[Type]) -> Result<Program, String> {
    let program =
        Program::compile(expression, environment).map_err(|errors| format!("compilation failed: {errors}"))?;
    let of = program.result_type();
    if wanted.is_empty() || wanted.contains(of) {
        return Ok(program);
    }
    let names: Vec<String> = wanted.iter().map(type_name).collect();
    let of = type_name(of);
    Err(match names.as_slice() {
        [one] => format!("must evaluate to {one} but got {of}"),
        many => format!("must evaluate to one of [{}] but got {of}", many.join(" ")),
    })
}

/// The name of a type as upstream's messages have it.
fn type_name(of: &Type) -> String {
    match of {
        Type::Null => "null_type".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ALL: Names = Names { params: true, authorizer: true };

    #[test]
    fn what_an_expression_may_name_is_known_when_it_is_compiled() {
        let bool = [Type::Bool];
        for good in [
            "object.spec.replicas <= params.maxReplicas",
            "request.userInfo.username == 'admin' && request.kind.group == ''",
            "namespaceObject.metadata.labels['a'] == 'b'",
            "authorizer.requestResource.check('approve').allowed()",
            "authorizer.group('apps').resource('deployments').check('get').allowed()",
        ] {
            assert!(
                compile(good, &environment(ALL), &bool).is_ok(),
                "{good}: {:?}",
                compile(good, &environment(ALL), &bool)
            );
        }
        let none = Names { params: false, authorizer: false };
        let wrong = |expression: &str| compile(expression, &environment(none), &bool).expect_err(expression);
        assert_eq!(
            wrong("object.x >"),
            "compilation failed: ERROR: <input>:1:11: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | object.x >\n | ..........^"
        );
        assert!(
            wrong("params.x").starts_with("compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'")
        );
        assert!(wrong("request.uid == ''").contains("undefined field 'uid'"));
        assert_eq!(wrong("'a'"), "must evaluate to bool but got string");
    }

    #[test]
    fn variables_may_name_those_before_them() {
        let policy = json!({"spec": {"variables": [
            {"name": "size", "expression": "size(object.items)"},
            {"name": "large", "expression": "variables.size > 5"},
            {"name": "wrong", "expression": "variables.later"},
            {"name": "later", "expression": "1"}]}});
        let (variables, environment) = variables(&policy, environment(ALL));
        assert_eq!(variables.iter().map(|v| v.program.is_ok()).collect::<Vec<_>>(), [true, true, false, true]);
        assert!(compile("variables.large && variables.size > 1", &environment, &[Type::Bool]).is_ok());
        let error = compile("variables.none", &environment, &[Type::Bool]).expect_err("there is none");
        assert!(error.contains("undefined field 'none'"), "{error}");
    }
}
