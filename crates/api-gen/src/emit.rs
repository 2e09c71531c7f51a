//! Renders the tables and the descriptions.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::{Def, Field, Generated, Ty};

pub(crate) fn render(defs: &BTreeMap<String, Def>) -> Generated {
    let mut out = String::from(
        "//! Written by coracle-schema-gen from k8s-openapi and k8s-pb: do not edit.\n\n\
         use super::{Def, DefId, Field, ListType, Ty};\n\n\
         const F: Field = Field::EMPTY;\n\n",
    );
    let objects: Vec<(&String, &Def)> = defs.iter().filter(|(_, d)| d.scalar.is_none()).collect();
    let ids: BTreeMap<&str, usize> = objects.iter().enumerate().map(|(i, (name, _))| (name.as_str(), i)).collect();
    let _ =
        writeln!(out, "/// Every definition, sorted by name.\npub(super) static DEFS: [Def; {}] = [", objects.len());
    for (name, def) in &objects {
        let gvk = match &def.gvk {
            Some((g, v, k)) => format!("Some(({g:?}, {v:?}, {k:?}))"),
            None => "None".into(),
        };
        let _ = writeln!(out, "Def {{ name: {name:?}, gvk: {gvk}, atomic: {}, fields: &[", def.atomic);
        for field in def.fields.iter().flatten() {
            let held = crate::held::is_held(name, def, field);
            let _ = writeln!(out, "    {},", render_field(field, held, defs, &ids));
        }
        let _ = writeln!(out, "] }},");
    }
    out.push_str("];\n\n");
    for (name, def) in &objects {
        let named = ["PodTemplateSpec", ".JSON", ".JSONSchemaProps"].iter().any(|end| name.ends_with(end));
        if def.gvk.is_some() || name.contains(".meta.v1.") || named {
            let id = ids.get(name.as_str()).copied().unwrap_or_default();
            let _ = writeln!(out, "/// `{name}`.\npub const {}: DefId = DefId({id});", constant_name(name));
        }
    }
    let descriptions: serde_json::Map<String, Value> = defs
        .iter()
        .map(|(name, def)| {
            let fields: serde_json::Map<String, Value> =
                def.fields.iter().flatten().map(|f| (f.name.clone(), Value::String(f.description.clone()))).collect();
            (name.clone(), json!([def.description, fields]))
        })
        .collect();
    Generated { tables: out, descriptions: Value::Object(descriptions).to_string() }
}

/// `io.k8s.api.core.v1.Pod` to `CORE_V1_POD`.
fn constant_name(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let mut out = String::new();
    for part in &parts[parts.len().saturating_sub(3)..] {
        if !out.is_empty() {
            out.push('_');
        }
        let bytes = part.as_bytes();
        for (i, c) in part.char_indices() {
            let starts_word = i > 0
                && c.is_ascii_uppercase()
                && (!bytes[i - 1].is_ascii_uppercase() || bytes.get(i + 1).is_some_and(|n| n.is_ascii_lowercase()));
            if starts_word {
                out.push('_');
            }
            out.push(if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
        }
    }
    out
}

fn render_field(field: &Field, held: bool, defs: &BTreeMap<String, Def>, ids: &BTreeMap<&str, usize>) -> String {
    let m = &field.markers;
    let mut out = format!("Field {{ name: {:?}, ty: {}", field.name, render_ty(&field.ty, defs, ids));
    if field.required {
        out.push_str(", required: true");
    }
    if !m.numbers.is_empty() {
        let _ = write!(out, ", pb: &{:?}", m.numbers);
    }
    if let Some(list_type) = m.list_type {
        let _ = write!(out, ", list: ListType::{list_type}");
    }
    if !m.list_keys.is_empty() {
        let _ = write!(out, ", list_keys: &{:?}", m.list_keys);
    }
    if m.patch_strategy.contains("merge") {
        out.push_str(", patch_merge: true");
    }
    if m.patch_strategy.contains("retainKeys") {
        out.push_str(", patch_retain_keys: true");
    }
    if let Some(key) = &m.merge_key {
        let _ = write!(out, ", merge_key: Some({key:?})");
    }
    if let Some(default) = &m.default {
        let _ = write!(out, ", default: Some({default:?})");
    }
    if m.atomic {
        out.push_str(", atomic: true");
    }
    if held {
        out.push_str(", held: true");
    }
    out.push_str(", ..F }");
    out
}

fn render_ty(ty: &Ty, defs: &BTreeMap<String, Def>, ids: &BTreeMap<&str, usize>) -> String {
    match ty {
        Ty::Plain(name) => format!("Ty::{name}"),
        Ty::Ref(name) if name == "ByteString" => "Ty::Bytes".into(),
        Ty::Ref(name) => match (defs.get(name).and_then(|d| d.scalar), ids.get(name.as_str())) {
            (Some(scalar), _) => format!("Ty::{scalar}"),
            (None, Some(id)) => format!("Ty::Ref(DefId({id}))"),
            (None, None) => "Ty::Any".into(),
        },
        Ty::Array(inner) => format!("Ty::Array(&{})", render_ty(inner, defs, ids)),
        Ty::Map(inner) => format!("Ty::Map(&{})", render_ty(inner, defs, ids)),
    }
}
