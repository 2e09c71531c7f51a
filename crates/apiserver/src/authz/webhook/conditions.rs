//! Expressions that must hold for a webhook to be asked about a question.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use coracle_api::admission_expressions::compile;
use coracle_cel::budget::MATCH_CONDITIONS_BUDGET;
use coracle_cel::{Activation, Budget, CelValue, Environment, Program, Type, TypeSource};
use serde_json::Value;

/// The compiled conditions of one webhook.
pub(super) struct Conditions(Vec<(String, Program)>);

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

fn object(name: &'static str, fields: Vec<(&'static str, Type)>) -> Type {
    Type::Object(Arc::new(Declared { name, fields }))
}

/// The type of `request`: the spec of a review.
fn request() -> Type {
    use Type::String;
    let texts = || Type::list(String);
    let selector = |name: &'static str, requirement: &'static str| {
        let requirement = object(requirement, vec![("key", String), ("operator", String), ("values", texts())]);
        object(name, vec![("requirements", Type::list(requirement))])
    };
    let names = ["namespace", "verb", "group", "version", "resource", "subresource", "name"];
    let mut resource: Vec<(&str, Type)> = names.map(|name| (name, String)).into();
    resource
        .push(("fieldSelector", selector("kubernetes.FieldSelectorAttributes", "kubernetes.FieldSelectorRequirement")));
    resource
        .push(("labelSelector", selector("kubernetes.LabelSelectorAttributes", "kubernetes.LabelSelectorRequirement")));
    object(
        "kubernetes.SubjectAccessReviewSpec",
        vec![
            ("resourceAttributes", object("kubernetes.ResourceAttributes", resource)),
            (
                "nonResourceAttributes",
                object("kubernetes.NonResourceAttributes", vec![("path", String), ("verb", String)]),
            ),
            ("user", String),
            ("groups", texts()),
            ("extra", Type::map(String, texts())),
            ("uid", String),
        ],
    )
}

impl Conditions {
    /// # Errors
    /// An expression is none: which one, and why.
    pub fn of(expressions: &[String]) -> Result<Conditions> {
        let environment = Environment::new().variable("request", request());
        let compiled = |(number, expression): (usize, &String)| {
            let program = compile(expression, &environment, &[Type::Bool]);
            let program = program.map_err(|why| anyhow!("matchConditions[{number}].expression: {why}"))?;
            Ok((expression.clone(), program))
        };
        Ok(Conditions(expressions.iter().enumerate().map(compiled).collect::<Result<_>>()?))
    }

    /// Whether all hold. One that does not decides, even if others fail.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn hold(&self, spec: &Value) -> Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let value = CelValue::from_json(spec, &request()).map_err(|error| error.to_string())?;
        let activation = Activation::new().with("request", value);
        let mut budget = Budget::new(MATCH_CONDITIONS_BUDGET);
        let mut failures = Vec::new();
        for (expression, program) in &self.0 {
            match program.evaluate(&activation, &mut budget) {
                Ok(CelValue::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(error) => failures.push(format!("expression '{expression}' resulted in error: {error}")),
            }
        }
        if failures.is_empty() { Ok(true) } else { Err(failures.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_say_which_questions_are_asked() {
        let conditions = |expressions: &[&str]| Conditions::of(&expressions.map_owned());
        let spec = json!({"user": "joe", "groups": ["a"], "resourceAttributes": {"verb": "get", "resource": "pods"}});
        let hold = |expressions: &[&str]| conditions(expressions).unwrap().hold(&spec);
        assert_eq!(hold(&[]), Ok(true));
        assert_eq!(hold(&["has(request.resourceAttributes)", "'a' in request.groups"]), Ok(true));
        assert_eq!(hold(&["request.nonResourceAttributes.path == '/'", "request.user == 'jane'"]), Ok(false));
        assert!(hold(&["request.resourceAttributes.namespace == 'dev'"]).unwrap_err().contains("resulted in error"));
        let error = conditions(&["true", "request.nobody == ''"]).err().unwrap().to_string();
        assert!(error.starts_with("matchConditions[1].expression: compilation failed"), "{error}");
        assert!(conditions(&["request.user"]).is_err());
    }

    trait Owned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl Owned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }
}
