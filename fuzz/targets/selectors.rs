//! What queries and definitions have as text: selectors of labels and fields, JSON paths, quantities, patterns, times of jobs.

#![no_main]

use coracle_api::jsonpath::JsonPath;
use coracle_api::quantity::Quantity;
use coracle_api::selector::{FieldSelector, LabelSelector};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let labels = json!({"a": "b", "app.kubernetes.io/name": "c", "n": "1", "": ""});
    if let Ok(selector) = LabelSelector::parse(text) {
        let again = LabelSelector::parse(&selector.to_string()).expect("a selector is written so that it can be read");
        assert_eq!(again.matches(&labels), selector.matches(&labels));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        selector.matches(&[("metadata.name", "a"), ("spec.nodeName", "b")]);
        let _ = selector.check(|field| field == "metadata.name");
    }
    if let Ok(path) = JsonPath::parse(text) {
        path.find(&json!({"a": [{"b": 1, "c": "d"}, {"b": 2}], "e": {"f.g": [1, [2, 3]]}}));
        path.fields();
    }
    if let Ok(quantity) = text.parse::<Quantity>() {
        let again: Quantity = quantity.to_string().parse().expect("a quantity is written so that it can be read");
        assert_eq!(again, quantity, "{text}");
        let _ = (quantity.value(), quantity.milli_value());
    }
    if let Ok(pattern) = coracle_cel::compile_pattern(text) {
        pattern.is_match(text);
    }
});
