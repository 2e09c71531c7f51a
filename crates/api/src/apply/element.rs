//! One step of a field path: a field, a list item by its keys or its value, or an index.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Number, Value};

use crate::field::quote;

/// One step of a field path. They are ordered as upstream's: fields, keys, values, indices.
#[derive(Clone, Debug)]
pub enum Element<'a> {
    /// A field of a struct or a key of a map: `f:`.
    Field(Cow<'a, str>),
    /// The item of a list-map with these keys, which are sorted by name: `k:`.
    Key(Vec<(Cow<'a, str>, Cow<'a, Value>)>),
    /// The item of a set: `v:`.
    Value(Cow<'a, Value>),
    /// The item at a place of a list: `i:`.
    Index(i64),
}

/// Why a key of a FieldsV1 is no [`Element`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadElement {
    /// A kind of element that is not known. Upstream leaves those out silently.
    #[error("unknown path element type")]
    Unknown,
    /// Anything else.
    #[error("{0}")]
    Malformed(String),
}

impl<'a> Element<'a> {
    /// Reads a key of a FieldsV1.
    ///
    /// # Errors
    /// When it is not well-formed.
    pub fn parse(text: &'a str) -> Result<Self, BadElement> {
        let malformed = |error: &dyn fmt::Display| BadElement::Malformed(error.to_string());
        let Some((kind, rest)) = text.split_at_checked(1) else {
            return Err(BadElement::Malformed("key must be 2 characters long:".into()));
        };
        let Some(rest) = rest.strip_prefix(':') else {
            return Err(BadElement::Malformed(format!("missing colon: {text}")));
        };
        match kind {
            "f" => Ok(Element::Field(rest.into())),
            "v" => serde_json::from_str(rest).map(|value| Element::Value(Cow::Owned(value))).map_err(|e| malformed(&e)),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).map_err(|e| malformed(&e))?;
                Ok(Element::Key(keys.into_iter().map(|(k, v)| (Cow::Owned(k), Cow::Owned(v))).collect()))
            }
            "i" => rest.parse().map(Element::Index).map_err(|e| malformed(&e)),
            _ => Err(BadElement::Unknown),
        }
    }

    /// Appends the key of a FieldsV1, as a JSON string.
    pub fn print(&self, out: &mut String) {
        match self {
            Element::Field(name) => field_key(name, false, out),
            Element::Key(keys) => {
                let mut text = String::from("{");
                for (n, (name, value)) in keys.iter().enumerate() {
                    if n > 0 {
                        text.push(',');
                    }
                    json_string("", name, &mut text);
                    text.push(':');
                    scalar(value, &mut text);
                }
                text.push('}');
                json_string("k:", &text, out);
            }
            Element::Value(value) => {
                let mut text = String::new();
                scalar(value, &mut text);
                json_string("v:", &text, out);
            }
            Element::Index(index) => json_string("i:", &index.to_string(), out),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Element::Field(_) => 0,
            Element::Key(_) => 1,
            Element::Value(_) => 2,
            Element::Index(_) => 3,
        }
    }
}

/// Appends the key of a field, as a JSON string. The names in a schema have nothing to escape.
pub(super) fn field_key(name: &str, named: bool, out: &mut String) {
    if named {
        out.push_str("\"f:");
        out.push_str(name);
        out.push('"');
    } else {
        json_string("f:", name, out);
    }
}

fn scalar(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => json_string("", text, out),
        other => out.push_str(&other.to_string()),
    }
}

/// Appends a JSON string.
pub(super) fn json_string(prefix: &str, text: &str, out: &mut String) {
    out.push('"');
    out.push_str(prefix);
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let (special, after) = special.split_at(1);
        match special {
            "\"" => out.push_str("\\\""),
            "\\" => out.push_str("\\\\"),
            control => {
                let quoted = Value::from(control).to_string();
                out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out.push('"');
}

impl Ord for Element<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Element::Field(a), Element::Field(b)) => a.cmp(b),
            (Element::Key(a), Element::Key(b)) => compare_keys(a, b),
            (Element::Value(a), Element::Value(b)) => compare_values(a, b),
            (Element::Index(a), Element::Index(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for Element<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Element<'_> {}

type Keys<'a> = [(Cow<'a, str>, Cow<'a, Value>)];

fn compare_keys(a: &Keys<'_>, b: &Keys<'_>) -> Ordering {
    let pairs = a.iter().zip(b).map(|(a, b)| a.0.cmp(&b.0).then_with(|| compare_values(&a.1, &b.1)));
    pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// Orders JSON values: numbers by their size (an integer equals the float of the same size), strings, booleans, lists,
/// maps, null.
pub fn compare_values(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let pairs = a.iter().zip(b).map(|(a, b)| compare_values(a, b));
            pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let pairs = a.iter().zip(b).map(|(a, b)| a.0.cmp(b.0).then_with(|| compare_values(a.1, b.1)));
            pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Exact also where a float cannot hold the integer: an order that is not total would make sorting panic.
fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => compare_with_float(a, b.as_f64().unwrap_or_default()),
        (None, Some(b)) => compare_with_float(b, a.as_f64().unwrap_or_default()).reverse(),
        (None, None) => {
            let (a, b) = (a.as_f64().unwrap_or_default(), b.as_f64().unwrap_or_default());
            a.partial_cmp(&b).unwrap_or(Ordering::Equal)
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a float that is no i128 becomes the nearest one")]
fn compare_with_float(whole: i128, float: f64) -> Ordering {
    let floor = float.floor();
    whole.cmp(&(floor as i128)).then(if float > floor { Ordering::Less } else { Ordering::Equal })
}

/// Whether two values are the same, numbers by their size.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    compare_values(a, b).is_eq()
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(keys) => {
                f.write_str("[")?;
                for (n, (name, value)) in keys.iter().enumerate() {
                    write!(f, "{}{name}={}", if n > 0 { "," } else { "" }, shown(value))?;
                }
                f.write_str("]")
            }
            Element::Value(value) => write!(f, "[={}]", shown(value)),
            Element::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn round_trip(text: &str) -> String {
        let mut out = String::new();
        Element::parse(text).expect("it parses").print(&mut out);
        serde_json::from_str(&out).expect("it is a JSON string")
    }

    #[test]
    fn keys_are_printed_as_they_were_read() {
        for text in ["f:a\"b", "f:", r#"k:{"name":"x","port":80}"#, r#"v:"a\\b""#, "v:1.5", "v:true", "i:-1"] {
            assert_eq!(round_trip(text), text);
        }
        assert_eq!(round_trip(r#"k:{ "b":1, "a":2 }"#), r#"k:{"a":2,"b":1}"#);
        assert_eq!(Element::parse("x:a"), Err(BadElement::Unknown));
        for text in ["", "f", "fa", "é:", "k:[]", "k:{", "v:", "v:1 1", "i:x"] {
            assert!(matches!(Element::parse(text), Err(BadElement::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn elements_are_shown_as_upstream_does() {
        let shown = |text| Element::parse(text).map(|element| element.to_string());
        assert_eq!(shown("f:spec").as_deref(), Ok(".spec"));
        assert_eq!(shown(r#"k:{"port":80,"protocol":"TCP"}"#).as_deref(), Ok(r#"[port=80,protocol="TCP"]"#));
        assert_eq!(shown(r#"v:"a""#).as_deref(), Ok(r#"[="a"]"#));
        assert_eq!(shown("i:3").as_deref(), Ok("[3]"));
    }

    #[test]
    fn numbers_are_compared_by_their_size() {
        let order = |a: Value, b: Value| compare_values(&a, &b);
        assert_eq!(order(json!(1), json!(1.0)), Ordering::Equal);
        assert_eq!(order(json!(9), json!(10)), Ordering::Less);
        assert_eq!(order(json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0)), Ordering::Greater);
        assert_eq!(order(json!(-1), json!(-1.5)), Ordering::Greater);
        assert_eq!(order(json!(u64::MAX), json!(1e300)), Ordering::Less);
        assert_eq!(order(json!("a"), json!(1)), Ordering::Greater);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-4i64..4).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn the_order_is_total(values in proptest::collection::vec(any_value(), 3)) {
            let [a, b, c] = [&values[0], &values[1], &values[2]];
            prop_assert_eq!(compare_values(a, b), compare_values(b, a).reverse());
            if compare_values(a, b).is_le() && compare_values(b, c).is_le() {
                prop_assert!(compare_values(a, c).is_le());
            }
        }

        #[test]
        fn no_key_panics(text in "([fkvix]?:?)?.{0,12}") {
            if let Ok(element) = Element::parse(&text) {
                let mut out = String::new();
                element.print(&mut out);
                let again: String = serde_json::from_str(&out).expect("it is a JSON string");
                prop_assert_eq!(Element::parse(&again), Ok(element));
            }
        }
    }
}
