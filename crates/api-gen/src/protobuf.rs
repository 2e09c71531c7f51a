//! Reads `k8s-pb`: prost structs whose comments carry the markers of the Go sources.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Def, Ty, rust_files};

/// What the protobuf sources say of a field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Markers {
    /// Field numbers from the outer message inwards: more than one for a field of an inlined message.
    pub numbers: Vec<u32>,
    pub list_type: Option<&'static str>,
    pub list_keys: Vec<String>,
    pub patch_strategy: String,
    pub merge_key: Option<String>,
    pub default: Option<String>,
    pub atomic: bool,
}

/// One message: field identifier to its markers and the path of its message type.
#[derive(Debug, Default)]
pub(crate) struct Message {
    fields: BTreeMap<String, (Markers, Option<String>)>,
    atomic: bool,
}

/// Reads every message, by module path and name.
pub(crate) fn read(root: &Path) -> Result<BTreeMap<String, Message>, String> {
    let mut out = BTreeMap::new();
    for (module, file) in rust_files(root)? {
        let text = std::fs::read_to_string(&file).map_err(|e| format!("failed to read {}: {e}", file.display()))?;
        let mut current: Option<(String, Message)> = None;
        let mut comments: Vec<&str> = Vec::new();
        let mut tag: Option<u32> = None;
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("///") {
                comments.push(comment.trim());
            } else if line.starts_with("#[prost(") {
                tag = line.split("tag = \"").nth(1).and_then(|t| t.split('"').next()?.parse().ok());
            } else if let Some(rest) = line.strip_prefix("pub struct ") {
                let name = rest.split([' ', '{']).next().unwrap_or_default();
                let message = Message { atomic: comments.contains(&"+structType=atomic"), ..Message::default() };
                current = Some((format!("{module}::{name}"), message));
                comments.clear();
            } else if let (Some((_, message)), Some(rest)) = (&mut current, line.strip_prefix("pub ")) {
                let (ident, ty) = rest.split_once(':').unwrap_or((rest, ""));
                let mut markers = markers(&comments);
                markers.numbers.extend(tag.take());
                let inner = message_type(&module, ty);
                message.fields.insert(canonical(ident), (markers, inner));
                comments.clear();
            } else if line == "}"
                && let Some((path, message)) = current.take()
            {
                // Acronyms differ: HTTPGetAction is HttpGetAction here.
                out.insert(path.to_ascii_lowercase(), message);
                comments.clear();
            } else if !line.starts_with("#[") {
                comments.clear();
            }
        }
    }
    Ok(out)
}

/// Adds the markers to the definitions' fields, following inlined messages.
pub(crate) fn annotate(defs: &mut BTreeMap<String, Def>, messages: &BTreeMap<String, Message>) {
    for def in defs.values_mut() {
        let Some(message) = messages.get(&def.path.to_ascii_lowercase()) else { continue };
        def.atomic = message.atomic;
        let names: Vec<String> = def.fields.iter().flatten().map(|f| canonical(&f.name)).collect();
        for field in def.fields.iter_mut().flatten() {
            if let Some(markers) = find(message, &canonical(&field.name), &names, messages, 0) {
                field.markers = markers;
                if !matches!(field.ty, Ty::Array(_)) {
                    field.markers.list_type = None;
                }
            }
        }
    }
}

fn find(
    message: &Message,
    name: &str,
    siblings: &[String],
    messages: &BTreeMap<String, Message>,
    depth: usize,
) -> Option<Markers> {
    if let Some((markers, _)) = message.fields.get(name) {
        return Some(markers.clone());
    }
    if depth == 3 {
        return None;
    }
    message.fields.iter().filter(|(outer, _)| !siblings.contains(outer)).find_map(|(_, (outer, inner))| {
        let inner = messages.get(inner.as_ref()?)?;
        let mut found = find(inner, name, siblings, messages, depth + 1)?;
        found.numbers.splice(0..0, outer.numbers.iter().copied());
        Some(found)
    })
}

fn canonical(name: &str) -> String {
    name.trim_start_matches("r#").chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase()
}

fn markers(comments: &[&str]) -> Markers {
    let mut out = Markers::default();
    for comment in comments {
        let Some((key, value)) = comment.strip_prefix('+').and_then(|c| c.split_once('=')) else { continue };
        match key {
            "listType" => {
                out.list_type = match value {
                    "map" => Some("Map"),
                    "set" => Some("Set"),
                    _ => Some("Atomic"),
                }
            }
            "listMapKey" => out.list_keys.push(value.to_owned()),
            "patchStrategy" => out.patch_strategy = value.to_owned(),
            "patchMergeKey" => out.merge_key = Some(value.to_owned()),
            "mapType" | "structType" => out.atomic = value == "atomic",
            "default" => {
                out.default = match value {
                    "ref(AzureDataDiskCachingReadWrite)" => Some("\"ReadWrite\"".into()),
                    "ref(AzureSharedBlobDisk)" => Some("\"Shared\"".into()),
                    v if v.starts_with("ref(") => None,
                    v => Some(v.to_owned()),
                }
            }
            _ => {}
        }
    }
    out
}

/// The path of the message in `Option<Message>`, when it is one.
fn message_type(module: &str, ty: &str) -> Option<String> {
    let inner = ty.trim().trim_end_matches(',').strip_prefix("::core::option::Option<")?.strip_suffix('>')?;
    let mut parts: Vec<&str> = module.split("::").collect();
    let mut rest = inner;
    while let Some(outer) = rest.strip_prefix("super::") {
        parts.pop();
        rest = outer;
    }
    if rest.starts_with("::") || !rest.chars().any(|c| c.is_ascii_uppercase()) {
        return None;
    }
    parts.push(rest);
    Some(parts.join("::").to_ascii_lowercase())
}
