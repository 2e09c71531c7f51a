//! The version 2 document in protobuf, as gnostic's `openapi.v2.Document`: client-go asks for
//! nothing else. Field numbers are those of gnostic's `OpenAPIv2.proto`.

use serde_json::Value;

/// A message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or(0));
    }

    fn bytes(&mut self, field: usize, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len());
        self.0.extend_from_slice(value);
    }

    fn message(&mut self, field: usize, value: Message) {
        self.bytes(field, &value.0);
    }

    /// A string, left out when it is empty or not there.
    fn text(&mut self, field: usize, value: &Value) {
        if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: usize, value: &Value) {
        for text in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn boolean(&mut self, field: usize, value: &Value) {
        if value == true {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    /// A whole number, left out when there is none.
    fn whole(&mut self, field: usize, value: &Value) {
        if let Some(value) = value.as_u64().and_then(|value| usize::try_from(value).ok()) {
            self.varint(field << 3);
            self.varint(value);
        }
    }

    /// A number, left out when there is none.
    fn number(&mut self, field: usize, value: &Value) {
        if let Some(value) = value.as_f64() {
            self.varint(field << 3 | 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A message with one field.
    fn wrapping(field: usize, inner: Message) -> Message {
        let mut out = Message::default();
        out.message(field, inner);
        out
    }

    /// A name and a message, as entries of maps are.
    fn named(name: &str, value: Message) -> Message {
        let mut out = Message::default();
        out.bytes(1, name.as_bytes());
        out.message(2, value);
        out
    }

    fn extensions(&mut self, field: usize, object: &Value) {
        for (key, value) in object.as_object().into_iter().flatten().filter(|(k, _)| k.starts_with("x-")) {
            self.message(field, Message::named(key, any(value)));
        }
    }
}

/// A free value is YAML; JSON is YAML.
fn any(value: &Value) -> Message {
    let mut out = Message::default();
    let mut yaml = value.to_string();
    yaml.push('\n');
    out.bytes(2, yaml.as_bytes());
    out
}

/// Encodes the document.
pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    out.message(2, info);
    let mut paths = Message::default();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        paths.message(2, Message::named(path, path_item(item)));
    }
    out.message(8, paths);
    out.message(9, schemas(&document["definitions"]));
    out.0
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(value) = item.get(method) {
            out.message(field, operation(value));
        }
    }
    for value in item["parameters"].as_array().into_iter().flatten() {
        out.message(9, parameter(value));
    }
    out
}

fn operation(value: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, &value["tags"]);
    out.text(3, &value["description"]);
    out.text(5, &value["operationId"]);
    out.texts(6, &value["produces"]);
    out.texts(7, &value["consumes"]);
    for value in value["parameters"].as_array().into_iter().flatten() {
        out.message(8, parameter(value));
    }
    let mut responses = Message::default();
    for (code, response) in value["responses"].as_object().into_iter().flatten() {
        let mut inner = Message::default();
        inner.text(1, &response["description"]);
        if let Some(value) = response.get("schema") {
            inner.message(2, Message::wrapping(1, schema(value)));
        }
        responses.message(1, Message::named(code, Message::wrapping(1, inner)));
    }
    out.message(9, responses);
    out.extensions(13, value);
    out
}

fn parameter(value: &Value) -> Message {
    let mut inner = Message::default();
    let kind = value["in"].as_str().unwrap_or_default();
    if kind == "body" {
        inner.text(1, &value["description"]);
        inner.text(2, &value["name"]);
        inner.text(3, &value["in"]);
        inner.boolean(4, &value["required"]);
        inner.message(5, schema(&value["schema"]));
        return Message::wrapping(1, Message::wrapping(1, inner));
    }
    inner.boolean(1, &value["required"]);
    inner.text(2, &value["in"]);
    inner.text(3, &value["description"]);
    inner.text(4, &value["name"]);
    let in_path = kind == "path";
    inner.text(if in_path { 5 } else { 6 }, &value["type"]);
    if !in_path {
        inner.boolean(20, &value["uniqueItems"]);
    }
    let non_body = Message::wrapping(if in_path { 4 } else { 3 }, inner);
    Message::wrapping(1, Message::wrapping(2, non_body))
}

fn schemas(map: &Value) -> Message {
    let mut out = Message::default();
    for (name, value) in map.as_object().into_iter().flatten() {
        out.message(1, Message::named(name, schema(value)));
    }
    out
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &value["$ref"]);
    out.text(2, &value["format"]);
    out.text(3, &value["title"]);
    out.text(4, &value["description"]);
    if let Some(default) = value.get("default") {
        out.message(5, any(default));
    }
    limits(&mut out, value);
    out.texts(19, &value["required"]);
    for allowed in value["enum"].as_array().into_iter().flatten() {
        out.message(20, any(allowed));
    }
    match value.get("additionalProperties") {
        None => {}
        Some(Value::Bool(allowed)) => {
            let mut inner = Message::default();
            inner.boolean(2, &Value::Bool(*allowed));
            out.message(21, inner);
        }
        Some(inner) => out.message(21, Message::wrapping(1, schema(inner))),
    }
    if let Some(ty) = value["type"].as_str() {
        let mut item = Message::default();
        item.bytes(1, ty.as_bytes());
        out.message(22, item);
    }
    if let Some(items) = value.get("items") {
        out.message(23, Message::wrapping(1, schema(items)));
    }
    for inner in value["allOf"].as_array().into_iter().flatten() {
        out.message(24, schema(inner));
    }
    if let Some(properties) = value.get("properties") {
        out.message(25, schemas(properties));
    }
    out.boolean(27, &value["readOnly"]);
    if let Some(example) = value.get("example") {
        out.message(30, any(example));
    }
    out.extensions(31, value);
    out
}

/// What a schema demands of values.
fn limits(out: &mut Message, value: &Value) {
    out.number(6, &value["multipleOf"]);
    out.number(7, &value["maximum"]);
    out.boolean(8, &value["exclusiveMaximum"]);
    out.number(9, &value["minimum"]);
    out.boolean(10, &value["exclusiveMinimum"]);
    out.whole(11, &value["maxLength"]);
    out.whole(12, &value["minLength"]);
    out.text(13, &value["pattern"]);
    out.whole(14, &value["maxItems"]);
    out.whole(15, &value["minItems"]);
    out.boolean(16, &value["uniqueItems"]);
    out.whole(17, &value["maxProperties"]);
    out.whole(18, &value["minProperties"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_have_gnostics_field_numbers() {
        let out = document(&json!({"swagger": "2.0", "info": {"title": "t", "version": "v"}}));
        assert_eq!(out, b"\x0a\x032.0\x12\x06\x0a\x01t\x12\x01v\x42\x00\x4a\x00");
        let out = schema(&json!({"$ref": "r", "x-a": 1})).0;
        assert_eq!(out, b"\x0a\x01r\xfa\x01\x0b\x0a\x03x-a\x12\x04\x12\x021\n");
        let out = schema(&json!({"maximum": 1.0, "minLength": 300, "enum": ["a"], "additionalProperties": true})).0;
        assert_eq!(out, b"\x39\0\0\0\0\0\0\xf0\x3f\x60\xac\x02\xa2\x01\x06\x12\x04\"a\"\n\xaa\x01\x02\x10\x01");
    }
}
