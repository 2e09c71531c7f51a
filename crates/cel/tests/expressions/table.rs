//! Runs a table of expressions.

use coracle_cel::{Activation, Budget, CelValue, Environment, Program};

/// How the value of an expression prints, or what is wrong with it.
pub fn outcome(expression: &str) -> String {
    let program = match Program::compile(expression, &Environment::new()) {
        Ok(program) => program,
        Err(errors) => return format!("compile: {}", errors.errors[0].message),
    };
    match program.evaluate(&Activation::new(), &mut Budget::default()) {
        Ok(value) => print(&value),
        Err(error) => format!("error: {error}"),
    }
}

fn print(value: &CelValue<'_>) -> String {
    match value {
        CelValue::Null => "null".into(),
        CelValue::Bool(value) => value.to_string(),
        CelValue::Int(value) => value.to_string(),
        CelValue::Uint(value) => format!("{value}u"),
        CelValue::Double(value) => format!("{value:?}"),
        CelValue::String(text) => format!("'{}'", &**text),
        CelValue::Bytes(bytes) => format!("b'{}'", String::from_utf8_lossy(bytes)),
        CelValue::Duration(nanos) => format!("{nanos}ns"),
        CelValue::Timestamp(at) => at.to_string(),
        CelValue::List(list) => {
            let items: Vec<String> = list.iter().map(|item| print(&item.expect("an item"))).collect();
            format!("[{}]", items.join(", "))
        }
        CelValue::Map(map) => {
            let entries = map.keys().into_iter().map(|key| {
                let value = map.get(&key).expect("a value").expect("a value of its type");
                format!("{}: {}", print(&key.value()), print(&value))
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        CelValue::Optional(Some(value)) => format!("some({})", print(value)),
        CelValue::Optional(None) => "none".into(),
        CelValue::Type(of) => format!("type({of})"),
        CelValue::Extension(_) => value.type_name(),
    }
}

/// Compares every line of a table and shows all that differ.
pub fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(expression, expected)| (expression, expected, outcome(expression)))
        .filter(|(_, expected, found)| *expected != found)
        .map(|(expression, expected, found)| format!("{expression}\n  expected {expected}\n  found    {found}"))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}
