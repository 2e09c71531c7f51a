//! Reads `k8s-openapi`: one definition a file, its schema in a `json_schema!` block.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::{Def, Field, Ty, rust_files};

/// What is read although its version is not stable: MutatingAdmissionPolicy, which has no other one.
const BETA: &str = "api::admissionregistration::v1beta1";

/// Whether a definition is one of a version that is served.
fn is_served(module: &str, file: &Path) -> bool {
    let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stable = !module.split("::").any(|m| m.contains("alpha") || m.contains("beta"));
    let of_validation = name.starts_with("validat") || name.starts_with("audit_") || name.contains("type_checking");
    stable || module == BETA && !of_validation && name != "expression_warning"
}

/// Reads every definition of a stable version (`v1`, `v2`), of [`BETA`], and of the shared meta types.
pub(crate) fn read(root: &Path) -> Result<BTreeMap<String, Def>, String> {
    let mut defs = BTreeMap::new();
    for (module, file) in rust_files(root)? {
        if !is_served(&module, &file) {
            continue;
        }
        let text = std::fs::read_to_string(&file).map_err(|e| format!("failed to read {}: {e}", file.display()))?;
        let Some(name) = text.lines().next().and_then(|l| l.strip_prefix("// Generated from definition ")) else {
            continue;
        };
        let Some(schema) = schema(&text) else { continue };
        let schema = schema.map_err(|e| format!("{}: {e}", file.display()))?;
        let type_name = name.rsplit('.').next().unwrap_or(name);
        let constant = |key: &str| {
            let start = text.find(&format!("const {key}: &'static str = \""))?;
            text[start..].split('"').nth(1).map(str::to_owned)
        };
        let gvk = match (constant("GROUP"), constant("VERSION"), constant("KIND")) {
            (Some(group), Some(version), Some(kind)) => Some((group, version, kind)),
            _ => None,
        };
        let mut def = Def {
            path: format!("{module}::{type_name}"),
            description: schema["description"].as_str().unwrap_or_default().to_owned(),
            gvk,
            list_kind: constant("LIST_KIND"),
            scalar: scalar(type_name, &schema),
            ..Def::default()
        };
        if def.scalar.is_none() {
            let required: Vec<&str> =
                schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let mut fields = Vec::new();
            for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                fields.push(Field {
                    name: key.clone(),
                    ty: ty(property).map_err(|e| format!("{name}.{key}: {e}"))?,
                    description: property["description"].as_str().unwrap_or_default().to_owned(),
                    required: required.contains(&key.as_str()),
                    markers: Default::default(),
                });
            }
            def.fields = Some(fields);
        }
        defs.insert(name.to_owned(), def);
    }
    Ok(defs)
}

/// Adds the list kinds, which `k8s-openapi` expresses as one generic type.
pub(crate) fn add_lists(defs: &mut BTreeMap<String, Def>) {
    let mut lists = Vec::new();
    for (name, def) in defs.iter() {
        let (Some(list_kind), Some((group, version, kind))) = (&def.list_kind, &def.gvk) else { continue };
        let Some(prefix) = name.strip_suffix(kind.as_str()) else { continue };
        let field = |name: &str, ty: Ty, description: &str, number: u32| Field {
            name: name.into(),
            ty,
            description: description.into(),
            required: name == "items",
            markers: crate::protobuf::Markers {
                numbers: if number == 0 { vec![] } else { vec![number] },
                ..Default::default()
            },
        };
        let type_field = |field: &str| {
            def.fields.iter().flatten().find(|f| f.name == field).map(|f| f.description.clone()).unwrap_or_default()
        };
        lists.push((
            format!("{prefix}{list_kind}"),
            Def {
                description: format!("{list_kind} is a list of {kind} objects."),
                gvk: Some((group.clone(), version.clone(), list_kind.clone())),
                fields: Some(vec![
                    field("apiVersion", Ty::Plain("String"), &type_field("apiVersion"), 0),
                    field("items", Ty::Array(Box::new(Ty::Ref(name.clone()))), "The objects of the list.", 2),
                    field("kind", Ty::Plain("String"), &type_field("kind"), 0),
                    field(
                        "metadata",
                        Ty::Ref("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta".into()),
                        "Standard list metadata.",
                        1,
                    ),
                ]),
                ..Def::default()
            },
        ));
    }
    defs.extend(lists);
}

/// The table's type of a definition that is not an object with fields.
fn scalar(name: &str, schema: &Value) -> Option<&'static str> {
    Some(match name {
        "Quantity" => "Quantity",
        "IntOrString" => "IntOrString",
        "Time" => "Time",
        "MicroTime" => "MicroTime",
        _ if schema.get("properties").is_some() => return None,
        _ if schema["type"] == "object" && schema.get("required").is_none() => {
            if matches!(name, "RawExtension" | "FieldsV1") { "Object" } else { return None }
        }
        _ => "Any",
    })
}

fn ty(schema: &Value) -> Result<Ty, String> {
    if let Some(path) = schema["$ref"].as_str() {
        return Ok(Ty::Ref(definition_name(path)));
    }
    Ok(match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("byte")) => Ty::Plain("Bytes"),
        (Some("string"), _) => Ty::Plain("String"),
        (Some("boolean"), _) => Ty::Plain("Bool"),
        (Some("integer"), Some("int32")) => Ty::Plain("Int32"),
        (Some("integer"), _) => Ty::Plain("Int64"),
        (Some("number"), _) => Ty::Plain("Double"),
        (Some("array"), _) => Ty::Array(Box::new(ty(&schema["items"])?)),
        (Some("object"), _) => match schema.get("additionalProperties") {
            Some(inner) => Ty::Map(Box::new(ty(inner)?)),
            None => Ty::Plain("Object"),
        },
        _ => return Err(format!("a schema of no known type: {schema}")),
    })
}

/// `crate::api::core::v1::Pod` to `io.k8s.api.core.v1.Pod`.
fn definition_name(path: &str) -> String {
    if path.ends_with("ByteString") {
        return "ByteString".into();
    }
    let path = path.trim_start_matches("crate::").replace("::", ".");
    let path = path.replace("apiextensions_apiserver", "apiextensions-apiserver");
    format!("io.k8s.{}", path.replace("kube_aggregator", "kube-aggregator"))
}

/// Finds the `json_schema!({...})` block and turns it into JSON.
fn schema(text: &str) -> Option<Result<Value, String>> {
    let start = text.find("json_schema!(")? + "json_schema!(".len();
    let mut parser = Parser { text: &text[start..], at: 0 };
    Some(parser.value())
}

/// Parses the JSON-like block, in which a reference is a Rust expression in parentheses.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn value(&mut self) -> Result<Value, String> {
        self.skip_space();
        if self.eat("{") {
            let mut map = serde_json::Map::new();
            while !self.eat("}") {
                let key = self.string()?;
                if !self.eat(":") {
                    return Err(format!("no colon after {key}"));
                }
                map.insert(key, self.value()?);
                self.eat(",");
            }
            return Ok(Value::Object(map));
        }
        if self.eat("[") {
            let mut items = Vec::new();
            while !self.eat("]") {
                items.push(self.value()?);
                self.eat(",");
            }
            return Ok(Value::Array(items));
        }
        if self.rest().starts_with('"') {
            return self.string().map(Value::String);
        }
        if self.eat("true") {
            return Ok(Value::Bool(true));
        }
        if self.rest().starts_with("__gen.") {
            return self.reference();
        }
        if self.eat("(") {
            let value = self.reference()?;
            return if self.eat(")") { Ok(value) } else { Err("no end of the expression".into()) };
        }
        Err(format!("unexpected text {:?}", &self.rest()[..self.rest().len().min(40)]))
    }

    fn reference(&mut self) -> Result<Value, String> {
        let found = self.rest().find("subschema_for::<").ok_or("no reference in the expression")?;
        self.at += found + "subschema_for::<".len();
        let end = self.rest().find(">()").ok_or("no end of the reference")?;
        let path = self.rest()[..end].to_owned();
        self.at += end + ">()".len();
        let mut map = serde_json::Map::from_iter([("$ref".to_owned(), Value::String(path))]);
        if self.eat(";") {
            let marker = "insert(\"description\".into(), ";
            let found = self.rest().find(marker).ok_or("no description in the expression")?;
            self.at += found + marker.len();
            let text = self.string()?;
            map.insert("description".into(), Value::String(text));
            let end = self.rest().find("})").ok_or("no end of the expression")?;
            self.at += end + 1;
        }
        Ok(Value::Object(map))
    }

    fn string(&mut self) -> Result<String, String> {
        if !self.eat("\"") {
            return Err(format!("no string at {:?}", &self.rest()[..self.rest().len().min(40)]));
        }
        let mut out = String::new();
        let mut escaped = false;
        let mut end = None;
        for (i, c) in self.rest().char_indices() {
            match (escaped, c) {
                (true, 'n') => out.push('\n'),
                (true, 't') => out.push('\t'),
                (true, 'r') => out.push('\r'),
                (true, c) => out.push(c),
                (false, '\\') => {
                    escaped = true;
                    continue;
                }
                (false, '"') => {
                    end = Some(i + 1);
                    break;
                }
                (false, c) => out.push(c),
            }
            escaped = false;
        }
        self.at += end.ok_or("a string does not end")?;
        Ok(out)
    }
}
