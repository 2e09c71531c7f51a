//! No expression makes this crate panic, or take time or memory without bound.

use coracle_cel::{Activation, Budget, CelValue, Environment, EvalError, Program, Type};
use proptest::prelude::*;

struct Anything;

impl coracle_cel::estimate::Sizes for Anything {
    fn largest(&self, path: &[std::sync::Arc<str>]) -> Option<u64> {
        (path.len() < 5).then_some(u64::MAX / 2)
    }
}

/// Compiles, estimates and evaluates; only whether it returns matters. Threads of servers have stacks as small as this one.
fn run(expression: String) -> Result<(), String> {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let environment = Environment::new().variable("self", Type::Dyn).constructing();
        let program = Program::compile(&expression, &environment).map_err(|errors| errors.to_string())?;
        program.estimated_cost(&Anything);
        let object = serde_json::json!({"a": [1, 2, {"b": "text"}], "c": 1.5, "d": null});
        let activation = Activation::new().with("self", CelValue::from_any(&object));
        let mut budget = Budget::default();
        let value = program.evaluate(&activation, &mut budget).map_err(|error| error.to_string())?;
        value.to_json(&mut budget).map(|_| ()).map_err(|error| error.to_string())
    });
    thread.expect("a thread").join().expect("no panic")
}

const TOKENS: [&str; 71] = [
    "Object{",
    "Object.a{a:",
    "JSONPatch{op:",
    "path:",
    "jsonpatch.escapeKey(",
    "self",
    ".a",
    ".b",
    "[0]",
    "['a']",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    ".",
    "+",
    "-",
    "*",
    "/",
    "%",
    "&&",
    "||",
    "!",
    "==",
    "!=",
    "<",
    ">=",
    " in ",
    "1",
    "2u",
    "1.5",
    "'x'",
    "\"y",
    "b'z'",
    "r'\\d'",
    "has(",
    ".all(x,",
    ".map(x,",
    "x",
    ".exists(x,",
    ".filter(x,",
    ".?a",
    "[?0]",
    "null",
    "true",
    "size(",
    ".size()",
    "string(",
    ".split('')",
    ".join()",
    "optional.of(",
    ".orValue(",
    "'%s'.format([",
    ".optMap(x,",
    ".sortBy(x,",
    "duration('1h')",
    "timestamp(0)",
    ".substring(1)",
    ".matches('[a-z]+')",
    "quantity('1')",
    "ip('::1')",
    "cidr('::/0')",
    "url('/a')",
    "semver('1.0.0')",
    "9223372036854775807",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = run(text);
    }

    #[test]
    fn no_sequence_of_tokens_panics(tokens in proptest::collection::vec(0..TOKENS.len(), 0..16)) {
        let _ = run(tokens.into_iter().map(|token| TOKENS[token]).collect());
    }
}

#[test]
fn deep_expressions_are_refused() {
    for expression in [
        "self".to_owned() + &".a".repeat(40_000),
        "self".to_owned() + &"[0]".repeat(30_000),
        "1".to_owned() + &"+1".repeat(49_000),
        "!".repeat(90_000) + "true",
        "!-".repeat(40_000) + "1",
        "(".repeat(50_000),
        "[".repeat(50_000),
        "true?".repeat(15_000) + "1",
        "true?1:".repeat(10_000) + "1",
        "self".to_owned() + &".map(x,x)".repeat(9_000),
        "[1].map(x,".repeat(400),
        "x".repeat(100_001),
    ] {
        let error = run(expression).expect_err("too deep");
        assert!(error.contains("limit"), "{}", error.lines().next().unwrap_or_default());
    }
}

#[test]
fn expressions_as_deep_as_is_allowed_are_evaluated() {
    for depth in [10, 50, 100, 200, 240, 290, 330, 900] {
        let _ = run("self".to_owned() + &".a".repeat(depth));
        let _ = run("1".to_owned() + &"+1".repeat(depth));
        let _ = run("(".repeat(depth) + "1" + &")".repeat(depth));
        let _ = run("[".repeat(depth) + "1" + &"]".repeat(depth));
        let _ = run("[1].map(x,".repeat(depth) + "1" + &")".repeat(depth));
        let _ = run("true?1:".repeat(depth) + "1");
        let _ = run("[1]".to_owned() + &".map(x,[x,x])".repeat(depth));
        let _ = run("optional.of(1)".to_owned() + &".optMap(x,x)".repeat(depth));
        let _ = run("[1]".to_owned() + &".map(x,{x:x})".repeat(depth) + " == [1]");
    }
}

#[test]
fn wide_expressions_are_evaluated() {
    assert_eq!(run(vec!["self.c == 1.5"; 5000].join(" && ")), Ok(()));
    assert_eq!(run(format!("[{}].all(x, x == 1)", vec!["1"; 20_000].join(","))), Ok(()));
}

#[test]
fn what_grows_ends_at_a_limit() {
    let doubled = |link: &str, times: usize| "['aaaaaaaa']".to_owned() + &link.repeat(times);
    for expression in [
        doubled(".map(x, x + x)", 60),
        doubled(".map(x, x.replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'))", 12),
        doubled(".map(x, [x, x].join())", 60),
        "[[1, 2]]".to_owned() + &".map(x, x + x)".repeat(60),
        "[[1]]".to_owned() + &".map(x, dyn([x, x]))".repeat(60) + ".map(x, '%s'.format([x]))",
        "[[1]]".to_owned() + &".map(x, dyn([x, x]))".repeat(60) + ".map(x, x == x)",
        "lists.range(999999999)".to_owned(),
        "lists.range(9000).all(x, lists.range(9000).all(y, x + y >= 0))".to_owned(),
        "lists.range(100000).map(x, x).map(x, x).map(x, x).size() > 0".to_owned(),
    ] {
        assert_eq!(run(expression.clone()), Err(EvalError::CostLimit.to_string()), "{expression}");
    }
}

#[test]
fn patterns_are_not_compiled_without_end() {
    let one = "lists.range(9000).all(x, 'aab'.matches('^a' + '+b$'))";
    assert_eq!(run(one.into()), Ok(()));
    let many = r"lists.range(9000).all(x, !'a'.matches('\\pL{50}' + string(x)))";
    assert_eq!(run(many.into()), Err(EvalError::CostLimit.to_string()));
}

#[test]
fn large_patterns_are_refused() {
    assert!(run("'a'.matches('(a{1000}){1000}')".into()).is_err());
    assert!(run(format!("'a'.matches('{}')", "(".repeat(5000))).is_err());
    assert!(run("'a'.matches('(a{1000}){1000}' + 'b')".into()).is_err());
}
