//! JSON patches, merge patches and strategic merge patches of any object by any patch.

#![no_main]

use arbitrary::{Result, Unstructured};
use coracle_api::decode::{self, FieldValidation};
use coracle_api::patch::{json_patch, merge_patch, strategic_merge};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const WORDS: [&str; 60] = [
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
    "initContainers",
    "ports",
    "containerPort",
    "protocol",
    "env",
    "value",
    "image",
    "volumes",
    "volumeMounts",
    "mountPath",
    "tolerations",
    "nodeSelector",
    "hostAliases",
    "ip",
    "imagePullSecrets",
    "conditions",
    "type",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$setElementOrder/env",
    "$deleteFromPrimitiveList/finalizers",
    "$setElementOrder/finalizers",
    "$setElementOrder/ports",
    "delete",
    "replace",
    "merge",
    "op",
    "path",
    "from",
    "add",
    "remove",
    "move",
    "copy",
    "test",
    "/spec/containers/0",
    "/spec/containers/-",
    "/metadata/labels",
    "/metadata/labels/a~1b",
    "/spec",
    "/metadata",
    "",
    "/",
    "/spec/containers/1/env",
    "a",
    "b",
    "v1",
];

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(bytes: &mut Unstructured<'_>) -> Result<()> {
    let kind = coracle_fuzz::kind(bytes.arbitrary()?);
    let top = json!({"apiVersion": kind.api_version(), "kind": &*kind.kind, "metadata": {"name": "a"}});
    let object = coracle_fuzz::object(bytes, &WORDS, top)?;
    let patch = coracle_fuzz::value(bytes, &WORDS)?;
    let mut patched = object.clone();
    merge_patch(&mut patched, &patch);
    let once = patched.clone();
    merge_patch(&mut patched, &patch);
    assert_eq!(once, patched, "a merge patch is idempotent");
    let _ = decode::decode_patched(kind, &mut patched, FieldValidation::Warn);

    let mut patched = object.clone();
    let operations = match patch {
        Value::Array(_) => patch.clone(),
        ref one => json!([one]),
    };
    if json_patch(&mut patched, &operations).is_ok() {
        let _ = decode::decode_patched(kind, &mut patched, FieldValidation::Warn);
    }

    // A strategic merge patch is of what is stored, which fits its schema.
    let Some(def) = kind.def() else { return Ok(()) };
    let mut stored = object;
    if decode::decode_value(def, &mut stored, FieldValidation::Ignore).is_ok()
        && strategic_merge(def, &mut stored, &patch).is_ok()
    {
        let _ = decode::decode_patched(kind, &mut stored, FieldValidation::Warn);
    }
    Ok(())
}
