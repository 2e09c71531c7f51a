//! Label and field selectors: parsing and matching, with apimachinery's messages.

use std::fmt;

use serde_json::Value;

use crate::field;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The value is one of the values: `=`, `==`, `in`.
    In,
    /// There is no value, or it is none of the values: `!=`, `notin`.
    NotIn,
    /// There is a value: `key`.
    Exists,
    /// There is none: `!key`.
    DoesNotExist,
    /// The value is an integer above the one given.
    GreaterThan,
    /// The value is an integer below the one given.
    LessThan,
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|x| x == v);
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let number = |v: Option<&str>| v.and_then(|v| v.parse::<i64>().ok());
                match (number(value), number(self.values.first().map(String::as_str))) {
                    (Some(a), Some(b)) if self.operator == Operator::GreaterThan => a > b,
                    (Some(a), Some(b)) => a < b,
                    _ => false,
                }
            }
        }
    }
}

/// A label selector: all requirements must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelSelector {
    /// The requirements.
    pub requirements: Vec<Requirement>,
    nothing: bool,
}

/// At most this many requirements are read.
const MAX_REQUIREMENTS: usize = 10_000;

impl LabelSelector {
    /// A selector that matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// A selector that matches nothing.
    pub fn nothing() -> Self {
        Self { nothing: true, ..Self::default() }
    }

    /// One of requirements that all must hold.
    pub fn of_requirements(requirements: Vec<Requirement>) -> Self {
        Self { requirements, nothing: false }
    }

    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Parses the string form: `a=b,c in (x,y),!d`.
    ///
    /// # Errors
    /// Upstream's message: answer it as 400.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, at: 0 };
        let mut requirements = Vec::new();
        parser.space();
        while !parser.done() {
            requirements.push(parser.requirement()?);
            if requirements.len() > MAX_REQUIREMENTS {
                return Err(format!("unable to parse requirement: more than {MAX_REQUIREMENTS} requirements"));
            }
            parser.space();
            if parser.done() {
                break;
            }
            if !parser.eat(",") {
                let found = parser.word();
                return Err(format!("found '{found}', expected: ',' or 'end of string'"));
            }
            parser.space();
            if parser.done() {
                return Err("found '', expected: identifier after ','".into());
            }
        }
        requirements.sort_by(|a: &Requirement, b: &Requirement| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// Reads the object form with `matchLabels` and `matchExpressions`. `null` matches nothing, an
    /// empty object everything.
    ///
    /// # Errors
    /// When an operator or its values are not valid.
    pub fn from_object(selector: &Value) -> Result<Self, String> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in crate::meta::string_map(&selector["matchLabels"]) {
            requirements.push(Requirement { key: key.into(), operator: Operator::In, values: vec![value.into()] });
        }
        for expression in crate::meta::list(selector, &["matchExpressions"]) {
            let operator = match crate::meta::text(expression, &["operator"]) {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                "Gt" => Operator::GreaterThan,
                "Lt" => Operator::LessThan,
                other => return Err(format!("\"{other}\" is not a valid label selector operator")),
            };
            let values: Vec<String> = crate::meta::list(expression, &["values"])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            if matches!(operator, Operator::In | Operator::NotIn) && values.is_empty() {
                return Err("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".into());
            }
            requirements.push(Requirement { key: crate::meta::text(expression, &["key"]).into(), operator, values });
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// Reads a map of labels, as `spec.selector` of a Service is.
    pub fn from_map(labels: &Value) -> Self {
        let requirements = crate::meta::string_map(labels)
            .map(|(k, v)| Requirement { key: k.into(), operator: Operator::In, values: vec![v.into()] })
            .collect();
        Self { requirements, nothing: false }
    }

    /// Whether the labels, found by `get`, match.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }

    /// Whether a map of labels matches.
    pub fn matches(&self, labels: &Value) -> bool {
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let values = || {
                let mut sorted = r.values.clone();
                sorted.sort();
                sorted.join(",")
            };
            match r.operator {
                Operator::In if r.values.len() == 1 => write!(f, "{}={}", r.key, values())?,
                Operator::In => write!(f, "{} in ({})", r.key, values())?,
                Operator::NotIn if r.values.len() == 1 => write!(f, "{}!={}", r.key, values())?,
                Operator::NotIn => write!(f, "{} notin ({})", r.key, values())?,
                Operator::Exists => f.write_str(&r.key)?,
                Operator::DoesNotExist => write!(f, "!{}", r.key)?,
                Operator::GreaterThan => write!(f, "{}>{}", r.key, values())?,
                Operator::LessThan => write!(f, "{}<{}", r.key, values())?,
            }
        }
        Ok(())
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn done(&self) -> bool {
        self.at >= self.text.len()
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find([' ', '\t', '\r', '\n', ',', '(', ')', '=', '!', '<', '>']).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.eat("!");
        self.space();
        let key = self.word();
        if key.is_empty() {
            let found: String = self.rest().chars().take(1).collect();
            return Err(format!("found '{found}', expected: !, identifier, or 'end of string'"));
        }
        if let Some(message) = field::qualified_name(key).into_iter().next() {
            return Err(format!("key: Invalid value: {}: {message}", field::quote(key)));
        }
        self.space();
        let done = |operator, values: Vec<String>| Ok(Requirement { key: key.to_owned(), operator, values });
        if negated || self.done() || self.rest().starts_with(',') {
            return done(if negated { Operator::DoesNotExist } else { Operator::Exists }, Vec::new());
        }
        for (token, operator) in [
            ("==", Operator::In),
            ("=", Operator::In),
            ("!=", Operator::NotIn),
            (">", Operator::GreaterThan),
            ("<", Operator::LessThan),
        ] {
            if self.eat(token) {
                self.space();
                let value = self.word();
                check_value(key, value)?;
                if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
                    return Err(format!(
                        "values[0]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                        field::quote(value)
                    ));
                }
                return done(operator, vec![value.to_owned()]);
            }
        }
        let operator = match self.word() {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            other => {
                return Err(format!(
                    "unable to parse requirement: found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        };
        self.space();
        if !self.eat("(") {
            return Err(format!("found '{}', expected: '('", self.word()));
        }
        let mut values = Vec::new();
        loop {
            self.space();
            let value = self.word();
            check_value(key, value)?;
            if !values.iter().any(|v| v == value) {
                values.push(value.to_owned());
            }
            self.space();
            if self.eat(")") {
                return done(operator, values);
            }
            if !self.eat(",") {
                return Err(format!("found '{}', expected: ',' or ')'", self.word()));
            }
        }
    }
}

fn check_value(key: &str, value: &str) -> Result<(), String> {
    match field::label_value(value).into_iter().next() {
        None => Ok(()),
        Some(message) => Err(format!("values[0][{key}]: Invalid value: {}: {message}", field::quote(value))),
    }
}

/// A field selector: `field=value` or `field!=value`, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSelector {
    /// Field, whether it must be equal, and the value.
    pub terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// Parses the string form.
    ///
    /// # Errors
    /// Upstream's message: answer it as 400.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split_unescaped(text, ',') {
            if part.is_empty() {
                continue;
            }
            let invalid = || format!("invalid selector: '{text}'; can't understand '{part}'");
            let at = part.find(['=', '!']).ok_or_else(invalid)?;
            let (field, rest) = part.split_at(at);
            let (equal, value) = match rest {
                r if r.starts_with("!=") => (false, &r[2..]),
                r if r.starts_with("==") => (true, &r[2..]),
                r if r.starts_with('=') => (true, &r[1..]),
                _ => return Err(invalid()),
            };
            terms.push((field.to_owned(), equal, unescape(value)?));
        }
        Ok(Self { terms })
    }

    /// Checks that only `metadata.name`, `metadata.namespace` and the fields that a kind supports are named.
    ///
    /// # Errors
    /// Upstream's message: answer it as 400.
    pub fn check(&self, is_supported: impl Fn(&str) -> bool) -> Result<(), String> {
        match self.terms.iter().find(|(f, ..)| !is_supported(f) && f != "metadata.name" && f != "metadata.namespace") {
            Some((field, ..)) => Err(format!("field label not supported: {field}")),
            None => Ok(()),
        }
    }

    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a field must have, if the selector says so.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|(f, equal, _)| *equal && f == field).map(|(.., v)| v.as_str())
    }

    /// Whether the fields match that `get` gives; one that is not there has the empty value.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|(field, equal, value)| (get(field).unwrap_or_default() == value) == *equal)
    }

    /// Whether the fields match; one that is not there has the empty value.
    pub fn matches<K: AsRef<str>, V: AsRef<str>>(&self, fields: &[(K, V)]) -> bool {
        self.terms.iter().all(|(field, equal, value)| {
            let actual = fields.iter().find(|(k, _)| k.as_ref() == field).map_or("", |(_, v)| v.as_ref());
            (actual == value) == *equal
        })
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (field, equal, value)) in self.terms.iter().enumerate() {
            let separator = if i > 0 { "," } else { "" };
            let operator = if *equal { "=" } else { "!=" };
            let escaped = value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{separator}{field}{operator}{escaped}")?;
        }
        Ok(())
    }
}

fn split_unescaped(text: &str, separator: char) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == separator {
            out.push(&text[start..i]);
            start = i + c.len_utf8();
        }
    }
    out.push(&text[start..]);
    out
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let sequence: String = other.into_iter().collect();
                    return Err(format!("invalid field selector: invalid escape sequence: \\{sequence}"));
                }
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {c}")),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn labels_are_selected() {
        let selector = LabelSelector::parse("a=b, c in (x,y),!d,e,f!=g,n>3").expect("it parses");
        assert!(selector.matches(&json!({"a": "b", "c": "y", "e": "", "n": "4"})));
        assert!(!selector.matches(&json!({"a": "b", "c": "z", "e": "", "n": "4"})));
        assert!(!selector.matches(&json!({"a": "b", "c": "x", "e": "", "n": "4", "d": ""})));
        assert_eq!(selector.to_string(), "a=b,c in (x,y),!d,e,f!=g,n>3");
        for bad in ["a in", "a in (", "a b", ",", "a,", "a=b c", "a=-", "/=", "x>y", "!", "a in (b"] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
        assert!(LabelSelector::parse("a=").expect("it parses").matches(&json!({"a": ""})));
    }

    #[test]
    fn selector_objects() {
        let selector = LabelSelector::from_object(&json!({
            "matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["d"]}]
        }))
        .expect("it is valid");
        assert!(selector.matches(&json!({"a": "b"})));
        assert!(!selector.matches(&json!({"a": "b", "c": "d"})));
        assert!(LabelSelector::from_object(&json!({})).expect("it is valid").is_everything());
        assert!(!LabelSelector::from_object(&Value::Null).expect("it is valid").matches(&json!({})));
    }

    #[test]
    fn fields_are_selected() {
        let selector = FieldSelector::parse(r"spec.nodeName=a\,b,status.phase!=Failed").expect("it parses");
        assert!(selector.matches(&[("spec.nodeName", "a,b"), ("status.phase", "Running")]));
        assert!(!selector.matches(&[("spec.nodeName", "a,b"), ("status.phase", "Failed")]));
        assert_eq!(selector.exact("spec.nodeName"), Some("a,b"));
        assert_eq!(
            selector.check(|field| field == "spec.nodeName").err().as_deref(),
            Some("field label not supported: status.phase")
        );
        assert!(FieldSelector::parse("a").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z!=,<>() \\\\é/.]{0,40}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                let again = LabelSelector::parse(&selector.to_string());
                prop_assert_eq!(again.map(|s| s.to_string()), Ok(selector.to_string()));
            }
            let _ = FieldSelector::parse(&text);
        }
    }
}
