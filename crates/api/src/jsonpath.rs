//! The paths by which printer columns of custom resources find their cells, a part of kubectl's JSONPath: fields, items,
//! wildcards, descents and filters. <https://kubernetes.io/docs/reference/kubectl/jsonpath/>

use serde_json::Value;
use smol_str::SmolStr;

/// A path, without braces: `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(SmolStr),
    Item(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Descend,
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    /// How the sides compare; without, the left one must be there.
    right: Option<(Compare, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

const COMPARISONS: [(&str, Compare); 6] = [
    ("==", Compare::Equal),
    ("!=", Compare::NotEqual),
    ("<=", Compare::AtMost),
    (">=", Compare::AtLeast),
    ("<", Compare::Less),
    (">", Compare::Greater),
];

/// No step may find more values than this.
const MAX_FOUND: usize = 1024;

impl JsonPath {
    /// Parses a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        let mut parser = Parser { rest: text };
        let path = parser.path(0)?;
        if parser.rest.is_empty() { Ok(path) } else { Err(format!("unexpected {:?}", parser.rest)) }
    }

    /// The names of a path that only descends into fields; `None` of any other.
    pub fn fields(&self) -> Option<Vec<SmolStr>> {
        let name = |step: &Step| match step {
            Step::Field(name) => Some(name.clone()),
            _ => None,
        };
        self.0.iter().map(name).collect()
    }

    /// The values that it finds.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.take(value, &mut next);
                next.truncate(MAX_FOUND);
            }
            found = next;
        }
        found
    }
}

impl Step {
    fn take<'a>(&self, value: &'a Value, out: &mut Vec<&'a Value>) {
        match (self, value) {
            (Step::Field(name), Value::Object(map)) => out.extend(map.get(name.as_str())),
            (Step::Item(index), Value::Array(items)) => {
                out.extend(at(*index, items.len()).and_then(|at| items.get(at)))
            }
            (Step::Slice(from, to), Value::Array(items)) => {
                let bound = |index: i64| at(index, items.len()).unwrap_or(if index < 0 { 0 } else { items.len() });
                let (from, to) = (from.map_or(0, bound), to.map_or(items.len(), bound));
                out.extend(items.get(from..to).into_iter().flatten());
            }
            (Step::All, Value::Array(items)) => out.extend(items),
            (Step::All, Value::Object(map)) => out.extend(map.values()),
            (Step::Descend, _) => descend(value, out),
            (Step::Filter(filter), Value::Array(items)) => out.extend(items.iter().filter(|item| filter.holds(item))),
            _ => {}
        }
    }
}

/// The place of an item that may be counted from the end.
fn at(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(i64::try_from(length).ok()?)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < length)
}

fn descend<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    if out.len() >= MAX_FOUND {
        return;
    }
    out.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| descend(item, out)),
        Value::Object(map) => map.values().for_each(|value| descend(value, out)),
        _ => {}
    }
}

impl Operand {
    fn value<'a>(&'a self, item: &'a Value) -> Option<&'a Value> {
        match self {
            Operand::Path(path) => path.find(item).into_iter().next(),
            Operand::Value(value) => Some(value),
        }
    }
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let Some(left) = self.left.value(item) else { return false };
        let Some((compare, right)) = &self.right else { return true };
        let Some(right) = right.value(item) else { return false };
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
            _ => None,
        };
        match compare {
            Compare::Equal => order.is_some_and(|order| order.is_eq()),
            Compare::NotEqual => order.is_none_or(|order| order.is_ne()),
            Compare::Less => order.is_some_and(|order| order.is_lt()),
            Compare::AtMost => order.is_some_and(|order| order.is_le()),
            Compare::Greater => order.is_some_and(|order| order.is_gt()),
            Compare::AtLeast => order.is_some_and(|order| order.is_ge()),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected {token:?} at {:?}", self.rest)) }
    }

    fn path(&mut self, depth: usize) -> Result<JsonPath, String> {
        if depth > 8 {
            return Err("nested too deeply".into());
        }
        let mut steps = Vec::new();
        loop {
            if self.eat("..") {
                steps.push(Step::Descend);
                if !self.rest.starts_with('[') {
                    steps.push(self.field()?);
                }
            } else if self.eat(".") {
                if !self.rest.starts_with('[') {
                    steps.push(self.field()?);
                }
            } else if self.eat("[") {
                steps.push(self.bracket(depth)?);
            } else {
                return if steps.is_empty() { Err("is empty".into()) } else { Ok(JsonPath(steps)) };
            }
        }
    }

    fn field(&mut self) -> Result<Step, String> {
        if self.eat("*") {
            return Ok(Step::All);
        }
        let mut name = String::new();
        while let Some(c) = self.rest.chars().next() {
            if "[].()=!<> ,'\"".contains(c) {
                break;
            }
            self.rest = &self.rest[c.len_utf8()..];
            if c == '\\' {
                let Some(escaped) = self.rest.chars().next() else { return Err("ends in an escape".into()) };
                self.rest = &self.rest[escaped.len_utf8()..];
                name.push(escaped);
            } else {
                name.push(c);
            }
        }
        if name.is_empty() { Err(format!("expected a field at {:?}", self.rest)) } else { Ok(Step::Field(name.into())) }
    }

    fn bracket(&mut self, depth: usize) -> Result<Step, String> {
        if self.eat("?(") {
            let filter = self.filter(depth)?;
            self.expect(")]")?;
            return Ok(Step::Filter(filter));
        }
        let step = if self.eat("*") {
            Step::All
        } else if let Some(text) = self.quoted()? {
            Step::Field(text.into())
        } else {
            let from = self.number();
            match self.eat(":") {
                true => Step::Slice(from, self.number()),
                false => Step::Item(from.ok_or_else(|| format!("invalid array index at {:?}", self.rest))?),
            }
        };
        self.expect("]")?;
        Ok(step)
    }

    fn quoted(&mut self) -> Result<Option<String>, String> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) else { return Ok(None) };
        let inner = &self.rest[1..];
        let Some((text, rest)) = inner.split_once(quote) else { return Err("unterminated quoted string".into()) };
        self.rest = rest;
        Ok(Some(text.to_owned()))
    }

    fn number(&mut self) -> Option<i64> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number = digits.parse().ok()?;
        self.rest = rest;
        Some(number)
    }

    fn filter(&mut self, depth: usize) -> Result<Filter, String> {
        let left = self.operand(depth)?;
        self.rest = self.rest.trim_start();
        for (token, compare) in COMPARISONS {
            if self.eat(token) {
                let right = self.operand(depth)?;
                self.rest = self.rest.trim_start();
                return Ok(Filter { left, right: Some((compare, right)) });
            }
        }
        Ok(Filter { left, right: None })
    }

    fn operand(&mut self, depth: usize) -> Result<Operand, String> {
        self.rest = self.rest.trim_start();
        if self.eat("@") {
            return self.path(depth + 1).map(Operand::Path);
        }
        if let Some(text) = self.quoted()? {
            return Ok(Operand::Value(text.into()));
        }
        let end = self.rest.find([')', ' ', '=', '!', '<', '>']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let value: Value = serde_json::from_str(word).map_err(|_| format!("unrecognized value {word:?}"))?;
        self.rest = rest;
        Ok(Operand::Value(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_found() {
        let object = json!({
            "spec": {"a": 1, "list": [10, 20, 30]}, "metadata": {"labels": {"a.b/c": "x"}},
            "status": {"conditions": [{"type": "Ready", "status": "True", "n": 1}, {"type": "Other", "status": "False", "n": 2}]},
        });
        for (path, expected) in [
            (".spec.a", json!([1])),
            (".spec.list[1]", json!([20])),
            (".spec.list[-1]", json!([30])),
            (".spec.list[0:2]", json!([10, 20])),
            (".spec.list[*]", json!([10, 20, 30])),
            (r".metadata.labels.a\.b/c", json!(["x"])),
            (".metadata.labels['a.b/c']", json!(["x"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.n > 1)].type", json!(["Other"])),
            (".status.conditions[?(@.type != 'Ready')].n", json!([2])),
            (".status.conditions[?(@.missing)].n", json!([])),
            ("..type", json!(["Ready", "Other"])),
            (".nothing.at.all", json!([])),
        ] {
            let parsed = JsonPath::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(json!(parsed.find(&object)), expected, "{path}");
        }
        for bad in ["", "spec", ".spec[", ".spec[x]", ".spec..", ".a[?(@.b==)]", ".a['b"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(JsonPath::parse(".spec.a").unwrap().fields().unwrap(), ["spec", "a"]);
        assert_eq!(JsonPath::parse(".spec[0]").unwrap().fields(), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z.@\\[\\]()?*'\"=!<>:0-9\\\\é-]{0,30}") {
            if let Ok(path) = JsonPath::parse(&text) {
                path.find(&json!({"a": [{"b": 1}, [1, 2]]}));
            }
        }
    }
}
