//! Generates the schema tables of `coracle-api` from the sources of two crates: structure and
//! documentation come from `k8s-openapi`, protobuf field numbers, list keys and patch markers from
//! `k8s-pb`. Both are read as text, so neither is compiled.
//!
//! It never runs as part of the build: its output is checked in.

mod emit;
mod held;
mod openapi;
mod protobuf;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// What the generator writes.
pub struct Generated {
    /// The Rust source of the tables.
    pub tables: String,
    /// All descriptions as JSON: definition name to `[description, {field: description}]`.
    pub descriptions: String,
}

/// A type as the tables express it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ty {
    /// A type without parameters, by its name in the tables.
    Plain(&'static str),
    /// A definition, by its OpenAPI name.
    Ref(String),
    Array(Box<Ty>),
    Map(Box<Ty>),
}

/// One field of a definition.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub name: String,
    pub ty: Ty,
    pub description: String,
    pub required: bool,
    pub markers: protobuf::Markers,
}

/// One definition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Def {
    /// Module path and type name, for example `api::core::v1::Pod`.
    pub path: String,
    pub description: String,
    /// Group, version and kind of an object kind.
    pub gvk: Option<(String, String, String)>,
    /// Kind of its list.
    pub list_kind: Option<String>,
    /// `None` for a scalar or a free-form object.
    pub fields: Option<Vec<Field>>,
    /// The type that stands for a scalar definition.
    pub scalar: Option<&'static str>,
    pub atomic: bool,
}

/// Reads both crates and renders the tables.
///
/// # Errors
/// When cargo cannot tell where the sources are, or when a source does not have the expected shape.
pub fn generate() -> Result<Generated, String> {
    let sources = locate()?;
    let mut defs: BTreeMap<String, Def> = openapi::read(&sources.openapi.join("src/v1_35"))?;
    let messages = protobuf::read(&sources.protobuf.join("src"))?;
    protobuf::annotate(&mut defs, &messages);
    openapi::add_lists(&mut defs);
    Ok(emit::render(&defs))
}

/// Compresses the descriptions for the data file.
pub fn compress(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(text.as_bytes());
    encoder.finish().unwrap_or_default()
}

struct Sources {
    openapi: PathBuf,
    protobuf: PathBuf,
}

fn locate() -> Result<Sources, String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--features", "coracle-schema-gen/sources"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|e| format!("failed to run cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("failed to parse the output of cargo metadata: {e}"))?;
    let find = |name: &str| -> Result<PathBuf, String> {
        metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|p| p["name"] == name)
            .and_then(|p| p["manifest_path"].as_str())
            .and_then(|p| PathBuf::from(p).parent().map(PathBuf::from))
            .ok_or_else(|| format!("cargo metadata does not list the crate {name}"))
    };
    Ok(Sources { openapi: find("k8s-openapi")?, protobuf: find("k8s-pb")? })
}

/// Lists the Rust files under a directory with their module path, in a fixed order.
pub(crate) fn rust_files(root: &std::path::Path) -> Result<Vec<(String, PathBuf)>, String> {
    let mut out = Vec::new();
    let mut stack = vec![(String::new(), root.to_path_buf())];
    while let Some((module, dir)) = stack.pop() {
        let entries = std::fs::read_dir(&dir).map_err(|e| format!("failed to list {}: {e}", dir.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("failed to list {}: {e}", dir.display()))?.path();
            let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                let inner = if module.is_empty() { name } else { format!("{module}::{name}") };
                stack.push((inner, path));
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push((module.clone(), path));
            }
        }
    }
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    #[test]
    fn the_checked_in_tables_are_what_the_generator_writes() {
        let generated = super::generate().expect("the generator runs");
        assert!(
            generated.tables == include_str!("../../api/src/schema/tables.rs"),
            "tables.rs is out of date: run cargo run -p coracle-schema-gen"
        );
        let mut text = String::new();
        flate2::read::ZlibDecoder::new(&include_bytes!("../../api/src/schema/descriptions.json.z")[..])
            .read_to_string(&mut text)
            .expect("the descriptions decompress");
        assert!(
            generated.descriptions == text,
            "descriptions.json.z is out of date: run cargo run -p coracle-schema-gen"
        );
    }
}
