//! Rules over objects that a schema describes: types of fields, escaped names, transition rules, cost and messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_cel::library::authorizer::{AUTHORIZER, Authorization, Authorizer, Decision, Question};
use coracle_cel::message::message;
use coracle_cel::{Activation, Budget, CelValue, Environment, EvalError, ListKind, Program, Type, TypeSource};
use serde_json::{Value, json};

#[derive(Debug)]
struct Object {
    name: &'static str,
    fields: BTreeMap<&'static str, Type>,
}

impl TypeSource for Object {
    fn name(&self) -> &str {
        self.name
    }

    fn field(&self, property: &str) -> Option<Type> {
        self.fields.get(property).cloned()
    }
}

fn object(name: &'static str, fields: &[(&'static str, Type)]) -> Type {
    Type::Object(Arc::new(Object { name, fields: fields.iter().cloned().collect() }))
}

fn widget() -> Type {
    let port = object("selfType.ports.@items", &[("name", Type::String), ("port", Type::Int)]);
    object(
        "selfType",
        &[
            ("replicas", Type::Int),
            ("max", Type::Int),
            ("ratio", Type::Double),
            ("name", Type::String),
            ("x-dash", Type::String),
            ("namespace", Type::String),
            ("at", Type::Timestamp),
            ("wait", Type::Duration),
            ("raw", Type::Bytes),
            ("any", Type::Dyn),
            ("labels", Type::map(Type::String, Type::String)),
            ("set", Type::list_of_kind(Type::String, ListKind::Set)),
            ("ports", Type::list_of_kind(port, ListKind::Map(vec!["name".into()]))),
            ("atomic", Type::list(Type::Int)),
        ],
    )
}

fn program(rule: &str) -> Program {
    Program::compile(rule, &Environment::for_rule(&widget(), false)).unwrap_or_else(|errors| panic!("{errors}"))
}

fn evaluate(rule: &str, new: &Value, old: &Value) -> Result<bool, EvalError> {
    let of = widget();
    let activation = Activation::new()
        .with("self", CelValue::from_json(new, &of).expect("an object"))
        .with("oldSelf", CelValue::from_json(old, &of).expect("an object"));
    let value = program(rule).evaluate(&activation, &mut Budget::default())?;
    Ok(value.as_bool().expect("a rule is true or false"))
}

#[test]
fn fields_have_the_types_of_the_schema() {
    let new = json!({
        "replicas": 3, "max": 5, "ratio": 1, "name": "a", "x-dash": "d", "namespace": "n", "at": "2024-01-01T00:00:00Z",
        "wait": "1h", "raw": "aGk=", "any": {"deep": [1, "a"]}, "labels": {"k": "v"}, "set": ["a", "b"],
        "ports": [{"name": "x", "port": 1}, {"name": "y", "port": 2}], "atomic": [1, 2], "unknown": 1
    });
    for rule in [
        "self.replicas <= self.max",
        "self.ratio == 1.0",
        "type(self.ratio) == double",
        "self.x__dash__dash == 'd'",
        "self.__namespace__ == 'n'",
        "self.at < timestamp('2025-01-01T00:00:00Z')",
        "self.wait == duration('60m')",
        "self.raw == b'hi'",
        "self.any.deep[0] == 1 && self.any.deep[1] == 'a'",
        "self.labels['k'] == 'v' && self.labels.k == 'v' && 'k' in self.labels",
        "self.labels.all(k, self.labels[k] == 'v')",
        "self.labels.exists(k, v, k == 'k' && v == 'v')",
        "has(self.name) && self.ports.all(p, p.port > 0)",
        "self.ports.map(p, p.port).sum() == 3",
        "self.ports.exists_one(p, p.name == 'x')",
        "self.?name.orValue('z') == 'a'",
        "self.set == ['a', 'b']",
        "size(self.ports) == 2",
    ] {
        assert_eq!(evaluate(rule, &new, &json!({})), Ok(true), "{rule}");
    }
}

#[test]
fn what_the_schema_does_not_have_is_a_compile_error() {
    for (rule, expected) in [
        ("self.missing == 1", "ERROR: <input>:1:5: undefined field 'missing'\n | self.missing == 1\n | ....^"),
        (
            "self.replicas == 'a'",
            "ERROR: <input>:1:15: found no matching overload for '_==_' applied to '(int, string)'\n \
             | self.replicas == 'a'\n | ..............^",
        ),
        (
            "self.name.x",
            "ERROR: <input>:1:10: type 'string' does not support field selection\n | self.name.x\n | .........^",
        ),
        (
            "'é' + other",
            "ERROR: <input>:1:7: undeclared reference to 'other' (in container '')\n | 'é' + other\n | .．....^",
        ),
        (
            "'é' == ) 1",
            "ERROR: <input>:1:8: Syntax error: extraneous input ')' expecting {'[', '{', '(', '.', '-', '!', 'true', \
             'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 'é' == ) 1\n | .．.....^",
        ),
        (
            "self.replicas >",
            "ERROR: <input>:1:16: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', \
             'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | self.replicas >\n \
             | ...............^",
        ),
    ] {
        let errors = Program::compile(rule, &Environment::for_rule(&widget(), false)).expect_err(rule);
        assert_eq!(errors.to_string(), expected);
    }
}

#[test]
fn transition_rules_see_the_old_object() {
    let (new, old) = (json!({"replicas": 3}), json!({"replicas": 2}));
    assert!(program("self.replicas >= oldSelf.replicas").uses("oldSelf"));
    assert!(!program("self.replicas >= 0").uses("oldSelf"));
    assert_eq!(evaluate("self.replicas >= oldSelf.replicas", &new, &old), Ok(true));
    assert_eq!(evaluate("self == oldSelf", &new, &old), Ok(false));
    let environment = Environment::for_rule(&widget(), true);
    let rule = Program::compile("!oldSelf.hasValue() || oldSelf.value().replicas < 3", &environment).expect("a rule");
    let value = CelValue::from_json(&old, &widget()).expect("an object");
    for old in [CelValue::none(), CelValue::some(value)] {
        let activation = Activation::new().with("oldSelf", old);
        assert_eq!(rule.evaluate(&activation, &mut Budget::default()).map(|v| v.as_bool()), Ok(Some(true)));
    }
}

#[test]
fn lists_compare_and_add_up_as_their_type_says() {
    let new = json!({
        "set": ["a", "b"], "atomic": [1, 2],
        "ports": [{"name": "x", "port": 1}, {"name": "y", "port": 2}]
    });
    let old = json!({
        "set": ["b", "a"], "atomic": [2, 1],
        "ports": [{"name": "y", "port": 2}, {"name": "x", "port": 1}]
    });
    assert_eq!(evaluate("self.set == oldSelf.set", &new, &old), Ok(true));
    assert_eq!(evaluate("self.ports == oldSelf.ports", &new, &old), Ok(true));
    assert_eq!(evaluate("self.atomic == oldSelf.atomic", &new, &old), Ok(false));
    assert_eq!(evaluate("size(self.set + oldSelf.set) == 2", &new, &old), Ok(true));
    assert_eq!(evaluate("size(self.ports + oldSelf.ports) == 2", &new, &old), Ok(true));
    assert_eq!(evaluate("size(self.atomic + oldSelf.atomic) == 4", &new, &old), Ok(true));
}

#[test]
fn what_is_missing_is_an_error_at_run_time() {
    let none = json!({});
    let failed = |rule| evaluate(rule, &none, &none).expect_err(rule).to_string();
    assert_eq!(failed("self.replicas > 1"), "no such key: replicas");
    assert_eq!(failed("self.labels['a'] == 'b'"), "no such key: labels");
    assert_eq!(evaluate("!has(self.replicas) || self.replicas > 1", &none, &none), Ok(true));
}

#[test]
fn cost_is_what_cel_go_counts() {
    let of = widget();
    let self_ = json!({"name": "abcdefghij", "atomic": [1, 2, 3], "replicas": 1, "labels": {}});
    let cost = |rule: &str| {
        let activation = Activation::new().with("self", CelValue::from_json(&self_, &of).expect("an object"));
        let mut budget = Budget::default();
        program(rule).evaluate(&activation, &mut budget).expect(rule);
        budget.last_cost()
    };
    for (rule, expected) in [
        ("true", 0),
        ("self.replicas == 1", 3),
        ("has(self.replicas)", 1),
        ("has(self.name) && true", 1),
        ("self.atomic[0] == 1", 4),
        ("self.atomic.all(x, true)", 2 + 9 + 1),
        ("self.labels.all(x, true)", 2 + 1),
        ("self.name.matches('[0-9]') || true", 2 + 4),
        ("self.name.startsWith('a')", 3),
        ("self.name + self.name == ''", 4 + 2),
        ("size(self.name) == 10", 4),
        ("1 in [1, 2, 3]", 0),
        ("self.replicas in self.atomic", 4 + 3),
        ("[self.replicas] == [1]", 12 + 1),
        ("duration('1h') == duration('60m')", 1),
    ] {
        assert_eq!(cost(rule), expected, "{rule}");
    }
}

#[test]
fn an_expression_and_an_object_have_a_limit() {
    let of = widget();
    let items: Vec<u32> = (0..2000).collect();
    let self_ = json!({ "atomic": items });
    let activation = Activation::new().with("self", CelValue::from_json(&self_, &of).expect("an object"));
    let rule = program("self.atomic.all(x, self.atomic.all(y, x + y >= 0))");
    assert_eq!(rule.evaluate(&activation, &mut Budget::default()).err(), Some(EvalError::CostLimit));
    let mut budget = Budget::new(30_000);
    let rule = program("self.atomic.all(x, x >= 0)");
    assert!(rule.evaluate(&activation, &mut budget).is_ok());
    assert!(budget.remaining() < 30_000);
    let results: Vec<_> = (0..5).map(|_| rule.evaluate(&activation, &mut budget).err()).collect();
    assert_eq!(results.last(), Some(&Some(EvalError::Budget)));
}

#[test]
fn messages_are_one_short_line() {
    let of = widget();
    let self_ = json!({"replicas": 7, "name": "a\nb"});
    let show = |expression: &str| {
        let activation = Activation::new().with("self", CelValue::from_json(&self_, &of).expect("an object"));
        message(&program(expression), &activation, &mut Budget::default()).expect("there is budget")
    };
    assert_eq!(show("'too many: ' + string(self.replicas)").as_deref(), Some("too many: 7"));
    assert_eq!(show("self.name"), None);
    assert_eq!(show("'  '"), None);
    assert_eq!(show("self.labels.a"), None);
    assert_eq!(show("lists.range(6000).map(x, 'a').join()"), None);
}

struct Everybody;

impl Authorizer for Everybody {
    fn authorize(&self, question: &Question) -> Decision {
        let allowed = question.resource == "pods" && question.verb == "get";
        Decision { allowed, reason: format!("{}/{}", question.namespace, question.name), error: None }
    }
}

#[test]
fn an_expression_asks_who_may_do_what() {
    let environment = Environment::new().variable("authorizer", AUTHORIZER);
    let ask = |expression: &str| {
        let program = Program::compile(expression, &environment).unwrap_or_else(|errors| panic!("{errors}"));
        let activation = Activation::new().with("authorizer", Authorization::of(&Everybody));
        program.evaluate(&activation, &mut Budget::default()).map(|value| value.as_bool())
    };
    assert_eq!(ask("authorizer.group('').resource('pods').namespace('a').check('get').allowed()"), Ok(Some(true)));
    assert_eq!(ask("authorizer.group('').resource('nodes').check('get').allowed()"), Ok(Some(false)));
    assert_eq!(ask("authorizer.path('/healthz').check('get').allowed()"), Ok(Some(false)));
    let reason =
        "authorizer.serviceAccount('a', 'b').group('').resource('pods').name('c').check('get').reason() == '/c'";
    assert_eq!(ask(reason), Ok(Some(true)));
    let thrice = "authorizer.path('/a').check('get').allowed() || authorizer.path('/b').check('get').allowed() \
                  || authorizer.path('/c').check('get').allowed()";
    assert_eq!(ask(thrice), Err(EvalError::CostLimit));
}
