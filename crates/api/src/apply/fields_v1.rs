//! FieldsV1: field sets as JSON objects, in which `.` says that the path itself is a member.

use serde_json::Value;

use super::element::{BadElement, Element};
use super::set::{Entry, Set};

/// Reads a FieldsV1. Elements of an unknown kind are left out.
///
/// # Errors
/// When a key is not well-formed, or a value is no object.
pub fn parse(fields: &Value) -> Result<Set<'_>, BadElement> {
    children(fields)
}

/// The set below a key, and nothing else: `.` is the caller's.
fn children(value: &Value) -> Result<Set<'_>, BadElement> {
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Ok(Set::default()),
        _ => return Err(BadElement::Malformed("expected an object of fields".into())),
    };
    let mut entries = Vec::with_capacity(map.len());
    for (key, value) in map {
        if key == "." {
            continue;
        }
        let element = match Element::parse(key) {
            Err(BadElement::Unknown) => continue,
            parsed => parsed?,
        };
        let below = children(value)?;
        let member = below.is_empty() || value.get(".").is_some();
        entries.push(Entry { element, member, below });
    }
    Ok(entries.into_iter().collect())
}

/// A set as a FieldsV1, in upstream's order.
pub fn print(set: &Set<'_>) -> String {
    let mut out = String::with_capacity(256);
    print_to(set, &mut out);
    out
}

/// Appends a set as a FieldsV1.
pub fn print_to(set: &Set<'_>, out: &mut String) {
    out.push('{');
    contents(set, out);
    out.push('}');
}

fn contents(set: &Set<'_>, out: &mut String) {
    for (n, entry) in set.entries().iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        entry.element.print(out);
        out.push_str(":{");
        if entry.member && !entry.below.is_empty() {
            out.push_str("\".\":{},");
        }
        contents(&entry.below, out);
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn items_are_printed_in_upstreams_order() {
        let value =
            json!({"f:ports": {".": {}, "k:{\"port\":80}": {"f:port": {}}, "k:{\"port\":9}": {".": {}, "f:port": {}}}});
        let set = parse(&value).expect("it parses");
        assert_eq!(
            print(&set),
            r#"{"f:ports":{".":{},"k:{\"port\":9}":{".":{},"f:port":{}},"k:{\"port\":80}":{"f:port":{}}}}"#
        );
    }

    #[test]
    fn what_is_no_field_set_is_refused_or_left_out() {
        assert!(parse(&json!({"x:future": {"f:a": {}}})).expect("it parses").is_empty());
        assert!(parse(&json!({"a": {}})).is_err());
        assert!(parse(&json!({"f:a": 1})).is_err());
        assert!(parse(&json!([])).is_err());
        assert!(parse(&json!({})).expect("it parses").is_empty());
        let only_unknown = json!({"f:a": {"x:b": {}}});
        assert_eq!(print(&parse(&only_unknown).expect("it parses")), r#"{"f:a":{}}"#);
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![Just(json!({})), Just(json!(null)), Just(json!(1)), Just(json!("f:a"))];
        let key =
            prop_oneof!["[fkvix.]:?.{0,4}", "f:[a-c]", "v:[0-9]{1,2}", "k:\\{\"a\":[0-9]\\}", Just(".".to_owned())];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            proptest::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(value in any_json()) {
            if let Ok(set) = parse(&value) {
                let text: Value = serde_json::from_str(&print(&set)).expect("it is JSON");
                prop_assert_eq!(parse(&text), Ok(set));
            }
        }
    }
}
