//! Server-side apply and the ownership of fields, of objects and managed fields of any kind.

#![no_main]

use arbitrary::{Result, Unstructured};
use coracle_api::Kind;
use coracle_api::apply::{Reset, Writer, apply, update};
use coracle_api::decode::{self, FieldValidation};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const WORDS: [&str; 56] = [
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "uid",
    "managedFields",
    "spec",
    "status",
    "containers",
    "ports",
    "containerPort",
    "protocol",
    "env",
    "value",
    "volumes",
    "nodeSelector",
    "data",
    "conditions",
    "type",
    "a",
    "b",
    "c",
    "manager",
    "one",
    "two",
    "operation",
    "Apply",
    "Update",
    "fieldsType",
    "FieldsV1",
    "fieldsV1",
    "time",
    "2026-01-01T00:00:00Z",
    "subresource",
    "scale",
    "f:spec",
    "f:metadata",
    "f:labels",
    "f:a",
    "f:data",
    "f:containers",
    "k:{\"name\":\"a\"}",
    "k:{\"containerPort\":1,\"protocol\":\"TCP\"}",
    "f:ports",
    "f:finalizers",
    "v:\"a\"",
    "i:0",
    ".",
    "f:status",
    "f:conditions",
    "k:{\"type\":\"a\"}",
    "v1",
];

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(bytes: &mut Unstructured<'_>) -> Result<()> {
    let kind = coracle_fuzz::kind(bytes.arbitrary()?);
    let force = bytes.arbitrary()?;
    let mut object = || {
        let top = json!({"apiVersion": kind.api_version(), "kind": &*kind.kind, "metadata": {"name": "a"}});
        coracle_fuzz::object(bytes, &WORDS, top)
    };
    let (live, new) = (object()?, object()?);
    // Nothing that is not decoded comes so far, but nothing depends on that.
    all(kind, live.clone(), &new, force);
    let decoded = |mut value: Value| {
        let def = kind.def()?;
        decode::decode_value(def, &mut value, FieldValidation::Ignore).ok().map(|_| value)
    };
    if let (Some(live), Some(new)) = (decoded(live), decoded(new)) {
        all(kind, live, &new, force);
    }
    Ok(())
}

fn all(kind: &Kind, live: Value, new: &Value, force: bool) {
    let writer = |manager| {
        let now = jiff::Timestamp::UNIX_EPOCH;
        Writer { manager, api_version: kind.api_version(), subresource: "", reset: Reset::of(kind, ""), now }
    };
    let mut created = new.clone();
    update(kind, None, &mut created, &writer("one"));
    let mut changed = new.clone();
    update(kind, Some(&live), &mut changed, &writer("one"));
    let mut same = changed.clone();
    update(kind, Some(&changed), &mut same, &writer("two"));
    let _ = apply(kind, None, new, &writer("two"), force);
    let _ = apply(kind, Some(&live), new, &writer("two"), force);
    let _ = apply(kind, Some(&changed), &live, &writer("two"), force);
}
