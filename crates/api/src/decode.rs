//! Turns a request body into an object of its kind: types are checked, unknown fields dropped or
//! refused, and values brought into the form that upstream's codecs write.

mod custom;
mod source;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::json::{self, Place};
use crate::kind::Kind;
use crate::kinds;
use crate::protobuf::Envelope;
use crate::quantity::Quantity;
use crate::schema::{self, DefId, Schema, Ty, id};
use crate::status::Status;

pub use source::Source;

/// What happens with unknown and duplicate fields: the query parameter `fieldValidation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the client is warned.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

/// The format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Protobuf, in the envelope of [`crate::protobuf`].
    Protobuf,
}

/// At most this many unknown fields are told.
const MAX_UNKNOWN: usize = 64;

/// Decodes an object of the kind that the endpoint serves. A body without `apiVersion` or `kind` gets
/// the endpoint's. Returns the object and the warnings for the client.
///
/// # Errors
/// 400 with upstream's messages.
pub fn decode(
    kind: &Kind,
    body: &[u8],
    format: Format,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let gvk = (&*kind.group, &*kind.version, &*kind.kind);
    let (mut value, source) = parse_as(gvk, kind.def(), body, format)?;
    check_type(gvk, &mut value)?;
    let warnings = conform(&kind.schema, gvk, &mut value, validation, &source)?;
    Ok((value, warnings))
}

/// Decodes an object of a definition by its OpenAPI name, for example
/// `io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions`. `apiVersion` and `kind` are not checked:
/// options are accepted in any group. An empty body is an empty object.
///
/// # Errors
/// 400 with upstream's messages; 500 when there is no such definition.
pub fn decode_options(def_name: &str, body: &[u8], format: Format) -> Result<Value, Status> {
    let def = schema::by_name(def_name).ok_or_else(|| Status::internal(format!("no schema for {def_name}")))?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    let gvk = ("", "v1", def.def().type_name());
    let (mut value, source) = parse_as(gvk, Some(def), body, format)?;
    conform(&def.into(), gvk, &mut value, FieldValidation::Ignore, &source)?;
    Ok(value)
}

/// Brings a value that is already parsed into the form of its definition. Returns the warnings.
///
/// # Errors
/// 400 with upstream's messages.
pub fn decode_value(def: DefId, value: &mut Value, validation: FieldValidation) -> Result<Vec<String>, Status> {
    let gvk = def.def().gvk.unwrap_or(("", "", def.def().type_name()));
    conform(&def.into(), gvk, value, validation, &Source::default())
}

/// Brings the outcome of a patch into the form of its kind, which a patch cannot change. Returns the warnings.
///
/// # Errors
/// What does not fit.
pub fn decode_patched(kind: &Kind, value: &mut Value, validation: FieldValidation) -> Result<Vec<String>, Misfit> {
    for (field, name) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if value[field].as_str().is_none_or(str::is_empty) {
            return Err(format!("Object '{name}' is missing in '{value}'").into());
        }
    }
    let (given, version) = (crate::meta::kind(value), crate::meta::api_version(value));
    if given != kind.kind || version != kind.api_version() {
        return Err(unregistered(given, version).into());
    }
    fit(&kind.schema, value, validation, &Source::default())
}

/// Why a value is not an object of its definition, in the words of upstream's two decoders.
#[derive(Clone, Debug, PartialEq)]
pub struct Misfit {
    /// As the decoder of JSON says it.
    pub json: String,
    /// As the converter of strategic merge patches says it.
    pub converter: String,
}

impl From<String> for Misfit {
    fn from(text: String) -> Self {
        Self { converter: text.clone(), json: text }
    }
}

/// Parses a body of any kind.
///
/// # Errors
/// What is wrong with the text.
pub fn parse(body: &[u8], format: Format) -> Result<(Value, Source<'_>), String> {
    let mut source = Source::default();
    let value = match format {
        Format::Json => {
            source.json = body;
            json::parse(body, &mut source.duplicates).map_err(|e| e.to_string())?
        }
        Format::Yaml => {
            let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
            source::yaml(text, &mut source).map_err(|e| format!("error converting YAML to JSON: {e}"))?
        }
        Format::Protobuf => {
            let envelope = Envelope::parse(body)?;
            let unknown = || {
                let (kind, version) = (crate::field::quote(envelope.kind), crate::field::quote(envelope.api_version));
                format!("no kind {kind} is registered for version {version}")
            };
            envelope.object(envelope.def().ok_or_else(unknown)?)?
        }
    };
    Ok((value, source))
}

type Gvk<'a> = (&'a str, &'a str, &'a str);

/// `def` is what protobuf is read by; what has none is not sent in it.
fn parse_as<'a>(
    gvk: Gvk<'_>,
    def: Option<DefId>,
    body: &'a [u8],
    format: Format,
) -> Result<(Value, Source<'a>), Status> {
    if format == Format::Protobuf {
        let def = def.ok_or_else(|| Status::unsupported_media_type(&["application/json", "application/yaml"]))?;
        return protobuf_as(gvk, def, body).map(|value| (value, Source::default()));
    }
    let unrecognized = |error: &str| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {error} ({})",
            gvk.2,
            json::summary(body)
        ))
    };
    let (value, source) =
        parse(body, format).map_err(|e| unrecognized(&format!("couldn't get version/kind; json parse error: {e}")))?;
    if !value.is_object() {
        let go = go_value(&value);
        return Err(unrecognized(&format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {go} into Go value of type struct"
        )));
    }
    Ok((value, source))
}

/// An object of another type than expected is not read: its type alone says what is wrong with it.
fn protobuf_as(gvk: Gvk<'_>, def: DefId, body: &[u8]) -> Result<Value, Status> {
    let unrecognized = |error: String| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type {}): {error}", gvk.2))
    };
    let cannot = |error: String| {
        let version = crate::field::quote(gvk.1);
        Status::bad_request(format!("{} in version {version} cannot be handled as a {}: {error}", gvk.2, gvk.2))
    };
    let envelope = Envelope::parse(body).map_err(unrecognized)?;
    if !envelope.kind.is_empty() && envelope.kind != gvk.2 {
        return Ok(json!({"apiVersion": envelope.api_version, "kind": envelope.kind}));
    }
    envelope.object(def).map_err(cannot)
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Checks that the body is of the endpoint's kind, and fills in what it does not say.
fn check_type(expected: Gvk<'_>, value: &mut Value) -> Result<(), Status> {
    let Some(map) = value.as_object_mut() else { return Ok(()) };
    let text = |map: &Map<String, Value>, key: &str| match map.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(s)) => Ok(s.clone()),
        Some(other) => Err(Status::bad_request(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct field .{key} of type string",
            go_value(other)
        ))),
    };
    let (version, kind) = (text(map, "apiVersion")?, text(map, "kind")?);
    let expected_version = api_version(expected.0, expected.1);
    if !kind.is_empty() && kind != expected.2 {
        let given = if version.is_empty() { expected_version.clone() } else { version.clone() };
        let (group, version_only) = given.rsplit_once('/').unwrap_or(("", &given));
        let known = kinds::by_kind(group, version_only, &kind).is_some()
            || schema::by_gvk(group, version_only, &kind).is_some();
        return Err(Status::bad_request(if known {
            format!(
                "{kind} in version {} cannot be handled as a {}: converting ({version_only}.{kind}) to ({}.{}): unknown conversion",
                crate::field::quote(version_only),
                expected.2,
                expected.0.split('.').next().filter(|g| !g.is_empty()).unwrap_or("core"),
                expected.2,
            )
        } else {
            unregistered(&kind, &given)
        }));
    }
    if !version.is_empty() && version != expected_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected_version})"
        )));
    }
    if version.is_empty() {
        map.insert("apiVersion".into(), expected_version.into());
    }
    if kind.is_empty() {
        map.insert("kind".into(), expected.2.into());
    }
    Ok(())
}

fn unregistered(kind: &str, version: &str) -> String {
    format!(
        "no kind {} is registered for version {} in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"",
        crate::field::quote(kind),
        crate::field::quote(version),
    )
}

fn conform(
    schema: &Schema,
    gvk: Gvk<'_>,
    value: &mut Value,
    validation: FieldValidation,
    source: &Source<'_>,
) -> Result<Vec<String>, Status> {
    fit(schema, value, validation, source).map_err(|misfit| {
        Status::bad_request(format!(
            "{} in version {} cannot be handled as a {}: {}",
            gvk.2,
            crate::field::quote(gvk.1),
            gvk.2,
            misfit.json
        ))
    })
}

fn fit(
    schema: &Schema,
    value: &mut Value,
    validation: FieldValidation,
    source: &Source<'_>,
) -> Result<Vec<String>, Misfit> {
    if json::is_too_deep(value) {
        return Err("json: exceeded max depth".to_owned().into());
    }
    let resets = value["metadata"]["managedFields"].as_array().is_some_and(Vec::is_empty);
    let unknown = match schema {
        Schema::Generated(def) => {
            let mut walker = Walker { unknown: Vec::new() };
            walker.object(*def, value, &Place::Root, "")?;
            walker.unknown
        }
        Schema::Structural(definition) => custom::fit(&definition.root, value)?,
    };
    // Unlike other empty lists, this one says something: nobody shall own anything.
    if let (true, Some(metadata)) = (resets, value.get_mut("metadata").and_then(Value::as_object_mut)) {
        metadata.insert("managedFields".into(), Value::Array(Vec::new()));
    }
    if validation == FieldValidation::Ignore {
        return Ok(Vec::new());
    }
    // Upstream looks for what definitions of custom resources do not know once the text is read.
    let problems = source.problems(&unknown, matches!(schema, Schema::Generated(_)));
    if validation == FieldValidation::Strict && !problems.is_empty() {
        return Err(format!("strict decoding error: {}", problems.join(", ")).into());
    }
    Ok(problems)
}

/// What Go's JSON errors call a value.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(n) if n.is_f64() => format!("number {n}"),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
    }
}

/// What Go's JSON errors call a type.
fn go_type(ty: Ty) -> String {
    match ty {
        Ty::String | Ty::Time | Ty::MicroTime => "string".into(),
        Ty::Bool => "bool".into(),
        Ty::Int32 => "int32".into(),
        Ty::Int64 => "int64".into(),
        Ty::Double => "float64".into(),
        Ty::IntOrString => "intstr.IntOrString".into(),
        Ty::Quantity => "resource.Quantity".into(),
        Ty::Bytes => "[]uint8".into(),
        Ty::Object | Ty::Any => "runtime.RawExtension".into(),
        Ty::Ref(id) => {
            let mut parts = id.def().name.rsplit('.');
            let name = parts.next().unwrap_or_default();
            format!("{}.{name}", parts.next().unwrap_or_default())
        }
        Ty::Array(inner) => format!("[]{}", go_type(*inner)),
        Ty::Map(inner) => format!("map[string]{}", go_type(*inner)),
    }
}

struct Walker {
    unknown: Vec<String>,
}

impl Walker {
    fn object(&mut self, def: DefId, value: &mut Value, place: &Place<'_>, outer: &str) -> Result<(), Misfit> {
        let definition = def.def();
        let name = definition.type_name();
        // Any JSON value, as defaults and enums of schemas are.
        if def == id::APIEXTENSIONS_V1_JSON {
            return Ok(());
        }
        let Value::Object(map) = value else { return Err(mismatch(value, Ty::Ref(def), place, outer)) };
        if definition.fields.is_empty() {
            return Ok(());
        }
        let mut drop = Vec::new();
        for (key, inner) in map.iter_mut() {
            let Some(field) = definition.field(key) else {
                if self.unknown.len() < MAX_UNKNOWN {
                    self.unknown.push(Place::Key(place, key).told());
                }
                drop.push(key.clone());
                continue;
            };
            if inner.is_null() {
                if field.ty != Ty::Any {
                    drop.push(key.clone());
                }
                continue;
            }
            self.value(field.ty, inner, &Place::Key(place, key), name)?;
            let empty = match (&field.ty, &*inner) {
                (Ty::Array(_), Value::Array(items)) => items.is_empty(),
                (Ty::Map(_), Value::Object(entries)) => entries.is_empty(),
                _ => false,
            };
            if empty && !field.required {
                drop.push(key.clone());
            }
        }
        for key in drop {
            map.remove(&key);
        }
        if def == id::META_V1_OBJECT_META {
            for field in ["name", "generateName", "namespace", "uid", "resourceVersion", "selfLink"] {
                if map.get(field).is_some_and(|v| v == "") {
                    map.remove(field);
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, ty: Ty, value: &mut Value, place: &Place<'_>, outer: &str) -> Result<(), Misfit> {
        let fits = match ty {
            Ty::String => value.is_string(),
            Ty::Bool => value.is_boolean(),
            Ty::Int32 => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Ty::Int64 => value.as_i64().is_some(),
            Ty::Double => value.is_number(),
            Ty::IntOrString => value.is_string() || value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Ty::Quantity => return quantity(value),
            Ty::Time | Ty::MicroTime => return time(value, ty, place, outer),
            Ty::Bytes => return bytes(value, place, outer),
            Ty::Object | Ty::Any => true,
            Ty::Ref(def) => return self.object(def, value, place, outer),
            Ty::Array(inner) => {
                let Value::Array(items) = value else { return Err(mismatch(value, ty, place, outer)) };
                for (index, item) in items.iter_mut().enumerate() {
                    zero_for_null(*inner, item);
                    self.value(*inner, item, &Place::Item(place, index), outer)?;
                }
                return Ok(());
            }
            Ty::Map(inner) => {
                let Value::Object(map) = value else { return Err(mismatch(value, ty, place, outer)) };
                for (key, item) in map.iter_mut() {
                    zero_for_null(*inner, item);
                    self.value(*inner, item, &Place::Entry(place, key), outer)?;
                }
                return Ok(());
            }
        };
        if fits { Ok(()) } else { Err(mismatch(value, ty, place, outer)) }
    }
}

/// Go reads a `null` item of a list or map as the zero value.
fn zero_for_null(ty: Ty, value: &mut Value) {
    if !value.is_null() {
        return;
    }
    *value = match ty {
        Ty::String | Ty::Bytes => "".into(),
        Ty::Bool => false.into(),
        Ty::Int32 | Ty::Int64 | Ty::Double | Ty::IntOrString => 0.into(),
        Ty::Quantity => "0".into(),
        Ty::Ref(id::APIEXTENSIONS_V1_JSON) => return,
        Ty::Ref(_) | Ty::Map(_) | Ty::Object => Value::Object(Map::new()),
        Ty::Array(_) => Value::Array(Vec::new()),
        Ty::Time | Ty::MicroTime | Ty::Any => return,
    };
}

fn mismatch(value: &Value, ty: Ty, place: &Place<'_>, outer: &str) -> Misfit {
    let mut given = go_value(value);
    if let (Value::Number(n), Ty::Int32 | Ty::Int64) = (value, ty) {
        given = format!("number {n}");
    }
    let place = place.go_path();
    let json = format!("json: cannot unmarshal {given} into Go struct field {outer}.{place} of type {}", go_type(ty));
    let from = go_kind(value);
    let converter = match ty {
        Ty::Ref(_) => format!("cannot restore struct from: {from}"),
        Ty::Array(_) | Ty::Bytes => format!("cannot restore slice from {from}"),
        Ty::Map(_) => format!("cannot restore map from {from}"),
        Ty::String if value.is_number() => format!("cannot convert {from} to string"),
        Ty::String | Ty::Bool | Ty::Int32 | Ty::Int64 | Ty::Double => format!("unrecognized type: {}", go_type(ty)),
        _ => json.clone(),
    };
    Misfit { json, converter }
}

/// What Go calls the kind of a value that was read without a type.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn quantity_misfit(error: crate::quantity::ParseError) -> Misfit {
    error.to_string().into()
}

fn quantity(value: &mut Value) -> Result<(), Misfit> {
    let canonical = match &*value {
        Value::String(text) => {
            let parsed: Quantity = text.parse().map_err(quantity_misfit)?;
            let canonical = parsed.to_string();
            if canonical == *text {
                return Ok(());
            }
            canonical
        }
        Value::Number(number) => {
            let parsed: Quantity = number.to_string().parse().map_err(quantity_misfit)?;
            parsed.to_string()
        }
        _ => return Err(quantity_misfit(crate::quantity::ParseError::Format)),
    };
    *value = Value::String(canonical);
    Ok(())
}

fn time(value: &mut Value, ty: Ty, place: &Place<'_>, outer: &str) -> Result<(), Misfit> {
    let Value::String(text) = &*value else {
        // A null time in a list or map stays null, as the zero time is written.
        return if value.is_null() { Ok(()) } else { Err(mismatch(value, ty, place, outer)) };
    };
    let layout = if ty == Ty::Time { "2006-01-02T15:04:05Z07:00" } else { "2006-01-02T15:04:05.000000Z07:00" };
    let parsed = crate::meta::parse_time(text).ok_or_else(|| {
        format!(
            "parsing time {0} as {1}: cannot parse {0} as \"2006\"",
            crate::field::quote(text),
            crate::field::quote(layout)
        )
    })?;
    let canonical = match ty {
        Ty::Time => crate::meta::format_time(parsed),
        _ => crate::meta::format_micro_time(parsed),
    };
    if canonical != *text {
        *value = Value::String(canonical);
    }
    Ok(())
}

fn bytes(value: &mut Value, place: &Place<'_>, outer: &str) -> Result<(), Misfit> {
    let Value::String(text) = &*value else { return Err(mismatch(value, Ty::Bytes, place, outer)) };
    // Go's decoder skips line ends.
    let stripped;
    let compact = if text.contains(['\n', '\r']) {
        stripped = text.replace(['\n', '\r'], "");
        stripped.as_str()
    } else {
        text.as_str()
    };
    if let Err(error) = STANDARD.decode(compact) {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => compact.len(),
        };
        return Err(format!("illegal base64 data at input byte {at}").into());
    }
    if compact.len() != text.len() {
        *value = Value::String(compact.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(group: &str, name: &str) -> &'static Kind {
        kinds::by_kind(group, "v1", name).expect("the kind is there")
    }

    fn run(kind: &Kind, body: &str, validation: FieldValidation) -> Result<(Value, Vec<String>), String> {
        decode(kind, body.as_bytes(), Format::Json, validation).map_err(|s| s.message)
    }

    #[test]
    fn unknown_fields_are_dropped_warned_about_or_refused() {
        let body = r#"{"metadata":{"name":"x"},"spec":{"foo":1,"containers":[{"bar":2}]}}"#;
        let pod = kind("", "Pod");
        let (value, warnings) = run(pod, body, FieldValidation::Warn).expect("it decodes");
        assert_eq!(value["spec"].get("foo"), None);
        assert_eq!(value["kind"], "Pod");
        assert_eq!(warnings, [r#"unknown field "spec.foo""#, r#"unknown field "spec.containers[0].bar""#]);
        assert_eq!(
            run(pod, body, FieldValidation::Strict).unwrap_err(),
            "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.foo\", unknown field \"spec.containers[0].bar\""
        );
        assert!(run(pod, body, FieldValidation::Ignore).expect("it decodes").1.is_empty());
        let twice = r#"{"spec":{"nodeName":"a","nodeName":"b"}}"#;
        let (_, warnings) = run(pod, twice, FieldValidation::Warn).expect("it decodes");
        assert_eq!(warnings, ["duplicate field \"spec.nodeName\""]);
    }

    #[test]
    fn what_is_wrong_with_fields_is_told_in_the_order_of_the_document() {
        let body = r#"{"spec":{"zoo":1,"nodeName":"a","nodeName":"b","ant":{"x":1},"nodeName":"c"}}"#;
        let (_, warnings) = run(kind("", "Pod"), body, FieldValidation::Warn).expect("it decodes");
        let [unknown, twice] =
            ["unknown", "duplicate"].map(|what| move |path: &str| format!("{what} field \"spec.{path}\""));
        assert_eq!(warnings, [unknown("zoo"), twice("nodeName"), unknown("ant"), twice("nodeName")]);
        // Paths that are too long to be looked for come last, and none is lost.
        let long = "x".repeat(2000);
        let body = format!(r#"{{"spec":{{"{long}":1,"zoo":2,"nodeName":"a","nodeName":"b","ant":3}}}}"#);
        let (_, warnings) = run(kind("", "Pod"), &body, FieldValidation::Warn).expect("it decodes");
        let cut = format!("{}...", &long[.."x".len() * (256 - "spec.".len())]);
        assert_eq!(warnings, [unknown("zoo"), twice("nodeName"), unknown("ant"), unknown(&cut)]);
    }

    #[test]
    fn a_key_that_yaml_has_twice_has_its_last_value_and_is_told_with_its_line() {
        let body = "metadata:\n  name: a\nspec:\n  nodeName: a\n  nodeName: b\n  foo: 1\n";
        let pod = kind("", "Pod");
        let run = |validation| decode(pod, body.as_bytes(), Format::Yaml, validation).map_err(|s| s.message);
        let twice = "yaml: unmarshal errors:\n  line 5: key \"nodeName\" already set in map";
        let (value, warnings) = run(FieldValidation::Warn).expect("it decodes");
        assert_eq!((value["spec"]["nodeName"].as_str(), &*warnings[0]), (Some("b"), twice));
        assert!(run(FieldValidation::Ignore).expect("it decodes").1.is_empty());
        assert_eq!(
            run(FieldValidation::Strict).unwrap_err(),
            format!(
                "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: {twice}, unknown field \"spec.foo\""
            )
        );
    }

    #[test]
    fn wrong_types_are_told_as_go_does() {
        let error =
            run(kind("apps", "Deployment"), r#"{"spec":{"replicas":"3"}}"#, FieldValidation::Strict).unwrap_err();
        assert_eq!(
            error,
            "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        let error = run(kind("", "Pod"), r#"{"spec":{"containers":{}}}"#, FieldValidation::Strict).unwrap_err();
        assert!(
            error.ends_with(
                "cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
            ),
            "{error}"
        );
        let error = run(kind("", "ConfigMap"), r#"{"data":{"a":1}}"#, FieldValidation::Strict).unwrap_err();
        assert!(error.ends_with("json: cannot unmarshal number into Go struct field ConfigMap.data of type string"));
        let error = run(kind("", "Secret"), r#"{"data":{"a":"%"}}"#, FieldValidation::Strict).unwrap_err();
        assert!(error.ends_with("illegal base64 data at input byte 0"), "{error}");
    }

    #[test]
    fn a_patch_cannot_make_another_kind_of_an_object() {
        let misfit = |changed: Value| {
            let mut object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}});
            crate::patch::merge_patch(&mut object, &changed);
            decode_patched(kind("", "ConfigMap"), &mut object, FieldValidation::Warn).map_err(|misfit| misfit.json)
        };
        assert!(misfit(json!({"data": {"a": "b"}})).is_ok());
        assert!(misfit(json!({"kind": null})).unwrap_err().starts_with("Object 'Kind' is missing in '{"));
        assert!(misfit(json!({"apiVersion": null})).unwrap_err().starts_with("Object 'apiVersion' is missing in"));
        assert!(misfit(json!({"kind": 7})).unwrap_err().starts_with("Object 'Kind' is missing in"));
        let error = misfit(json!({"apiVersion": "foo/v9"})).unwrap_err();
        assert!(error.starts_with("no kind \"ConfigMap\" is registered for version \"foo/v9\" in scheme"), "{error}");
        assert!(misfit(json!({"kind": "Pod"})).unwrap_err().starts_with("no kind \"Pod\""));
    }

    #[test]
    fn the_endpoint_decides_the_kind() {
        let error =
            run(kind("", "Pod"), r#"{"apiVersion":"apps/v1","kind":"Pod"}"#, FieldValidation::Warn).unwrap_err();
        assert!(error.starts_with("the API version in the data (apps/v1) does not match"), "{error}");
        let error = run(kind("", "Pod"), r#"{"apiVersion":"v1","kind":"Service"}"#, FieldValidation::Warn).unwrap_err();
        assert!(error.starts_with("Service in version \"v1\" cannot be handled as a Pod"), "{error}");
        assert!(run(kind("", "Pod"), "[]", FieldValidation::Warn).is_err());
        assert!(run(kind("", "Pod"), "{", FieldValidation::Warn).is_err());
    }

    #[test]
    fn values_become_canonical() {
        let body = r#"{"metadata":{"name":"x","labels":{},"creationTimestamp":null},"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"1000m","memory":0.5}}}]}}"#;
        let (value, _) = run(kind("", "Pod"), body, FieldValidation::Strict).expect("it decodes");
        assert_eq!(value["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
        assert_eq!(value["spec"]["containers"][0]["resources"]["limits"]["memory"], "500m");
        assert_eq!(value["metadata"], serde_json::json!({"name": "x"}));
    }

    #[test]
    fn yaml_is_read() {
        let body = b"kind: ConfigMap\napiVersion: v1\ndata:\n  a: b\n";
        let (value, _) =
            decode(kind("", "ConfigMap"), body, Format::Yaml, FieldValidation::Strict).expect("it decodes");
        assert_eq!(value["data"]["a"], "b");
    }

    #[test]
    fn options_may_be_empty() {
        let name = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
        assert_eq!(decode_options(name, b" ", Format::Json).expect("it decodes"), serde_json::json!({}));
        let options = decode_options(name, br#"{"gracePeriodSeconds":0}"#, Format::Json).expect("it decodes");
        assert_eq!(options["gracePeriodSeconds"], 0);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200), yaml: bool) {
            let format = if yaml { Format::Yaml } else { Format::Json };
            let _ = decode(kind("", "Pod"), &body, format, FieldValidation::Strict);
        }

        #[test]
        fn no_text_panics(body in r#"(\{|\}|\[|\]|"spec"|"metadata"|:|,|null|1|-|"[a-z]{0,3}"|&|\*|\n| ){0,40}"#) {
            let _ = decode(kind("", "Pod"), body.as_bytes(), Format::Json, FieldValidation::Strict);
            let _ = decode(kind("", "Pod"), body.as_bytes(), Format::Yaml, FieldValidation::Strict);
        }
    }
}
