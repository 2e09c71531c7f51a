//! What rules can cost at most, by the sizes that their schema allows.

use std::sync::Arc;

use coracle_cel::estimate::{RULE_LIMIT, Sizes};
use coracle_cel::{Environment, Program, Type, TypeSource};

#[derive(Debug)]
struct Spec;

impl TypeSource for Spec {
    fn name(&self) -> &str {
        "Spec"
    }

    fn field(&self, property: &str) -> Option<Type> {
        Some(match property {
            "replicas" => Type::Int,
            "name" | "free" => Type::String,
            "names" => Type::list(Type::String),
            "labels" => Type::map(Type::String, Type::String),
            _ => return None,
        })
    }
}

/// Ten names of 20 code points each, and one text without a limit.
struct Limits;

impl Sizes for Limits {
    fn largest(&self, path: &[Arc<str>]) -> Option<u64> {
        let path: Vec<&str> = path.iter().map(|part| &**part).collect();
        match path.as_slice() {
            ["self", "replicas"] => Some(1),
            ["self", "name"] => Some(100),
            ["self", "names"] | ["self", "labels"] => Some(10),
            ["self", "names", "@items"] | ["self", "labels", "@keys" | "@values"] => Some(20),
            _ => None,
        }
    }
}

fn estimate(rule: &str) -> u64 {
    let environment = Environment::new().variable("self", Type::Object(Arc::new(Spec)));
    Program::compile(rule, &environment).unwrap_or_else(|errors| panic!("{errors}")).estimated_cost(&Limits)
}

#[test]
fn cost_follows_from_the_sizes() {
    for (rule, expected) in [
        ("true", 0),
        ("self.replicas == 3", 3),
        ("has(self.name)", 1),
        ("self.name.startsWith('a')", 2 + 10),
        ("self.name == self.name", 4 + 10),
        ("self.name + 'x' == ''", 2 + 11),
        ("self.name.matches('abcd')", 2 + 11),
        ("self.name.substring(2).matches('abcd')", 2 + 10 + 11),
        ("self.names.all(n, n == 'a')", 2 + 10 * (2 + 3) + 1),
        ("self.names.all(n, self.names.all(m, n == m))", 2 + 10 * (2 + 1 + 2 + 10 * (2 + 1 + 4) + 1) + 1),
        ("self.labels.all(k, k != 'a')", 2 + 10 * (2 + 3) + 1),
        ("self.replicas == 1 && self.replicas == 2", 6),
        ("self.replicas == 1 ? self.name == '' : true", 3 + 2),
        ("[1, 2, 3].all(x, x > 0)", 10 + 3 * (2 + 3) + 1),
        ("self.names.map(n, n).size() == 10", 2 + 10 + 10 * 13 + 1 + 2),
    ] {
        assert_eq!(estimate(rule), expected, "{rule}");
    }
}

#[test]
fn what_has_no_limit_is_too_much() {
    assert!(estimate("self.free.matches('[a-z]+')") > RULE_LIMIT);
    assert!(estimate("self.free.split(',').all(x, x == 'a')") > RULE_LIMIT);
    assert!(estimate("self.free == 'a'") < RULE_LIMIT);
}
