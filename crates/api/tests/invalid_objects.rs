//! Objects with one fault each, and what is said of it: fields and words are upstream's.

use coracle_api::Kind;
use coracle_api::decode::{self, FieldValidation, Format};
use coracle_api::kinds;
use coracle_api::{meta, meta_validate};
use serde_json::Value;

#[test]
fn every_fault_is_told_with_its_field_in_upstreams_words() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("invalid-objects.json")).expect("the table is JSON");
    let mut wrong = Vec::new();
    for case in &cases {
        let (found, expected) = (errors(case), &case["errors"]);
        if *expected != Value::from(found.clone()) {
            wrong.push(format!("{}:\n  expected {expected}\n  found    {found:?}", case["what"]));
        }
        // What is accepted here says why: upstream accepts it too, or something behind validation refuses it.
        let told = case["accepted"].is_string() || case["refused_by"].is_string();
        assert_eq!(found.is_empty(), told, "{}: {found:?}", case["what"]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() > 200);
}

fn kind_of(path: &str) -> &'static Kind {
    let segments: Vec<&str> =
        path.trim_matches('/').split('/').filter(|s| !["namespaces", "default"].contains(s)).collect();
    match segments.as_slice() {
        ["api", version] => kinds::by_resource("", version, "namespaces"),
        ["api", version, plural] => kinds::by_resource("", version, plural),
        ["apis", group, version, plural] => kinds::by_resource(group, version, plural),
        _ => None,
    }
    .unwrap_or_else(|| panic!("{path} is a resource"))
}

fn errors(case: &Value) -> Vec<String> {
    let kind = kind_of(case["path"].as_str().unwrap());
    let mut body = case["object"].clone();
    if meta::name(&body).is_empty() {
        meta::set_name(&mut body, "dr");
    }
    let decoded = decode::decode(kind, body.to_string().as_bytes(), Format::Json, FieldValidation::Strict);
    let mut object = match decoded {
        Ok((object, _)) => object,
        Err(status) => return vec![format!("STATUS {}", status.message)],
    };
    if kind.namespaced {
        meta::set_namespace(&mut object, "default");
    }
    meta::set_uid(&mut object, "u");
    kind.strategy.default(&mut object);
    kind.strategy.prepare_create(&mut object);
    let mut errors = meta_validate::validate(kind, &object);
    errors.extend(kind.strategy.validate(&object));
    errors.extend(kind.strategy.validate_create(&object));
    errors.iter().map(ToString::to_string).collect()
}
