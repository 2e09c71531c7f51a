//! Expressions: compiled, estimated and evaluated over an object, within a budget.

#![no_main]

use std::sync::Arc;

use coracle_cel::estimate::Sizes;
use coracle_cel::{Activation, Budget, CelValue, Environment, Program, Type};
use libfuzzer_sys::fuzz_target;

struct Anything;

impl Sizes for Anything {
    fn largest(&self, path: &[Arc<str>]) -> Option<u64> {
        (path.len() < 5).then_some(u64::MAX / 2)
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(expression) = std::str::from_utf8(data) else { return };
    let environment = Environment::for_rule(&Type::Dyn, expression.len() % 2 == 0).constructing();
    let Ok(program) = Program::compile(expression, &environment) else { return };
    program.estimated_cost(&Anything);
    let object = serde_json::json!({
        "a": [1, 2, {"b": "text"}], "c": 1.5, "d": null, "s": "10.0.0.1/8", "t": "2026-01-01T00:00:00Z", "q": "1.5Gi",
        "u": "https://a.example:80/b?c=d", "v": "1.2.3", "m": {"k": "v", "l": [true, false]}, "i": 9_223_372_036_854_775_807_i64,
    });
    let activation =
        Activation::new().with("self", CelValue::from_any(&object)).with("oldSelf", CelValue::from_any(&object));
    // Less than requests have, so that a second is enough for every input.
    let mut budget = Budget::new(200_000);
    if let Ok(value) = program.evaluate(&activation, &mut budget) {
        let _ = value.to_json(&mut budget);
    }
});
