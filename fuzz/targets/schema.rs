//! Definitions of custom resources: a schema is checked as the definition is, and if it is taken, objects are pruned,
//! completed, checked, compared and applied by it.

#![no_main]

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use coracle_api::apply::{Reset, Writer, apply, update};
use coracle_api::decode::{self, FieldValidation, Format};
use coracle_api::{Registry, custom, kinds};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const WORDS: [&str; 92] = [
    "type",
    "object",
    "array",
    "string",
    "integer",
    "number",
    "boolean",
    "properties",
    "items",
    "additionalProperties",
    "required",
    "nullable",
    "default",
    "enum",
    "pattern",
    "format",
    "date-time",
    "int32",
    "int64",
    "byte",
    "ipv4",
    "uri",
    "uuid",
    "duration",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "description",
    "title",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
    "rule",
    "message",
    "messageExpression",
    "reason",
    "fieldPath",
    "optionalOldSelf",
    "atomic",
    "granular",
    "set",
    "map",
    "a",
    "b",
    "c",
    "name",
    "spec",
    "status",
    "metadata",
    "apiVersion",
    "kind",
    "labels",
    ".a",
    ".spec.a",
    "self.a",
    "self == oldSelf",
    "self.all(x, x == 'a')",
    "size(self) > 1",
    "self > 0",
    "has(self.a) && self.a.b",
    "'a' + self",
    "^[a-c]+$",
    "[",
    "replicas",
    "v1",
    "selectableFields",
    "jsonPath",
    "additionalPrinterColumns",
    "subresources",
    "scale",
    "specReplicasPath",
    "statusReplicasPath",
    ".spec.replicas",
    ".status.replicas",
    "labelSelectorPath",
];

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(bytes: &mut Unstructured<'_>) -> Result<()> {
    let schema = coracle_fuzz::object(bytes, &WORDS, json!({"type": "object", "properties": {}}))?;
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let version = match bytes.ratio(1, 4)? {
        true => coracle_fuzz::object(bytes, &WORDS, version)?,
        false => version,
    };
    let names = json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"});
    let mut definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "as.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
        "status": {"acceptedNames": names}});
    let of = kinds::by_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition").expect("it is built in");
    let def = of.def().expect("it is built in");
    if decode::decode_value(def, &mut definition, FieldValidation::Ignore).is_err() {
        return Ok(());
    }
    of.strategy.default(&mut definition);
    let mut errors = of.strategy.validate(&definition);
    errors.extend(of.strategy.validate_create(&definition));
    // What is refused is stored by nobody, but a server of another version may have taken it.
    let Some(defined) = custom::kinds(&definition) else { return Ok(()) };
    let kind = &defined.stored;
    let registry = Registry::new(defined.served.clone(), Vec::new());
    for _ in 0..2 {
        let top = json!({"apiVersion": "example.com/v1", "kind": "A", "metadata": {"name": "a", "namespace": "b"}});
        let (old, new) = (coracle_fuzz::object(bytes, &WORDS, top.clone())?, coracle_fuzz::object(bytes, &WORDS, top)?);
        let decoded = |object: &serde_json::Value| {
            let text = object.to_string();
            decode::decode(kind, text.as_bytes(), Format::Json, FieldValidation::Warn).ok().map(|(object, _)| object)
        };
        let (Some(old), Some(mut new)) = (decoded(&old), decoded(&new)) else { continue };
        coracle_fuzz::write(kind, old.clone());
        coracle_fuzz::write(kind, new.clone());
        kind.strategy.validate_update(&new, &old);
        let awaited = coracle_api::awaited::Awaited::default();
        let versions = custom::Versions::new(&registry, kind, &awaited);
        let writer = |manager| {
            let now = jiff::Timestamp::UNIX_EPOCH;
            Writer { manager, api_version: kind.api_version(), subresource: "", reset: Reset::of(kind, ""), now }
        };
        let _ = apply(&versions, Some(&old), &new, &writer("one"), true);
        update(&versions, Some(&old), &mut new, &writer("two"));
    }
    let _ = (errors, Arc::clone(kind));
    Ok(())
}
