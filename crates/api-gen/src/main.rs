//! Writes the schema tables of `coracle-api`: run `cargo run -p coracle-schema-gen` after a change of
//! the Kubernetes version. The output is checked in, and a test of this crate checks it for drift.

use std::path::Path;

fn main() -> Result<(), String> {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/src/schema");
    let generated = coracle_schema_gen::generate()?;
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(out.join(name), bytes).map_err(|e| format!("failed to write {}: {e}", out.join(name).display()))
    };
    write("tables.rs", generated.tables.as_bytes())?;
    write("descriptions.json.z", &coracle_schema_gen::compress(&generated.descriptions))
}
