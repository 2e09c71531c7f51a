//! An object as the watch cache holds it: its canonical JSON bytes and the few parsed fields that reads
//! select by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use coracle_api::Kind;
use coracle_api::meta;
use coracle_api::protobuf;
use coracle_api::schema::DefId;
use coracle_store::Revision;
use serde::Deserialize;
use serde_json::Value;

/// One stored object at one revision. Never changes.
#[derive(Debug)]
pub struct Object {
    /// Canonical JSON with `metadata.resourceVersion` in it.
    pub bytes: Bytes,
    /// The revision that wrote it.
    pub revision: Revision,
    /// Where in `bytes` the digits of the resource version stand.
    revision_at: usize,
    /// Namespace, name and UID, keys and values of labels, values of `fields`.
    texts: Texts,
    /// Fields that field selectors of this kind may name, besides name and namespace.
    fields: &'static [&'static str],
    /// The protobuf message, made when a client first asks for it.
    message: OnceLock<Bytes>,
}

/// Short texts in one piece of memory, each once: what is kept by the hundred thousand and for long must not be scattered
/// among what comes and goes.
#[derive(Clone, Debug, Default)]
struct Texts {
    joined: Box<str>,
    /// Where each text begins and ends.
    ranges: Box<[(u32, u32)]>,
}

impl Texts {
    fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Texts> {
        let mut joined = String::new();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for text in texts {
            let known = ranges.iter().find(|(from, to)| joined.get(*from as usize..*to as usize) == Some(text));
            let range = match known {
                Some(range) => *range,
                None => {
                    let from = u32::try_from(joined.len()).ok()?;
                    joined.push_str(text);
                    (from, u32::try_from(joined.len()).ok()?)
                }
            };
            ranges.push(range);
        }
        Some(Texts { joined: joined.into(), ranges: ranges.into() })
    }

    /// The text of this number; empty when there are fewer.
    fn get(&self, number: usize) -> &str {
        let range = self.ranges.get(number);
        range.and_then(|(from, to)| self.joined.get(*from as usize..*to as usize)).unwrap_or_default()
    }
}

/// Numbers of texts.
const NAMESPACE: usize = 0;
const NAME: usize = 1;
const UID: usize = 2;
const LABELS: usize = 3;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: &'a str,
    #[serde(borrow, default)]
    labels: Option<BTreeMap<Text<'a>, Text<'a>>>,
}

/// Borrowed unless it has escapes.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Object {
    /// Reads what the store holds; `None` when it is not an object.
    pub fn parse(kind: &Kind, bytes: Bytes, revision: Revision) -> Option<Object> {
        let head: Head = serde_json::from_slice(&bytes).ok()?;
        let says_its_type =
            head.kind.as_deref() == Some(&*kind.kind) && head.api_version.as_deref() == Some(kind.api_version());
        if !says_its_type {
            return Object::parse(kind, typed(kind, &bytes)?, revision);
        }
        let meta = head.metadata;
        let revision_at = (meta.resource_version.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
        let fields = kind.strategy.supported_fields();
        let value = if fields.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).ok()? };
        let values = if fields.is_empty() { Vec::new() } else { kind.strategy.selectable_fields(&value) };
        let labels = meta.labels.unwrap_or_default();
        let head = [meta.namespace.as_deref().unwrap_or_default(), &*meta.name, &*meta.uid];
        let labels = labels.iter().flat_map(|(key, value)| [&*key.0, &*value.0]);
        let texts = Texts::new(head.into_iter().chain(labels).chain(values.iter().map(|value| &**value)))?;
        Some(Object { revision, revision_at, texts, fields, message: OnceLock::new(), bytes })
    }

    /// The same object with another resource version: what a watch says of a deletion.
    pub fn at_revision(&self, revision: Revision) -> Object {
        let old = self.bytes[self.revision_at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = revision.to_string();
        let mut bytes = BytesMut::with_capacity(self.bytes.len() + digits.len());
        bytes.extend_from_slice(&self.bytes[..self.revision_at]);
        bytes.extend_from_slice(digits.as_bytes());
        bytes.extend_from_slice(&self.bytes[self.revision_at + old..]);
        Object {
            bytes: bytes.freeze(),
            revision,
            revision_at: self.revision_at,
            texts: self.texts.clone(),
            fields: self.fields,
            message: OnceLock::new(),
        }
    }

    /// The object as a protobuf message of its stored version, without an envelope.
    pub fn message(&self, def: DefId) -> Bytes {
        self.message.get_or_init(|| protobuf::encode(def, &self.value()).into()).clone()
    }

    /// The object as a tree, to change it.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.texts.get(NAME)
    }

    /// The namespace, where the kind has them.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.texts.get(NAMESPACE)).filter(|namespace| !namespace.is_empty())
    }

    pub fn uid(&self) -> &str {
        self.texts.get(UID)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let mut numbers = (LABELS..self.first_field()).step_by(2);
        numbers.find(|number| self.texts.get(*number) == key).map(|number| self.texts.get(number + 1))
    }

    /// The value of a selectable field.
    pub fn field(&self, field: &str) -> Option<&str> {
        match field {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace().unwrap_or_default()),
            _ => {
                let number = self.fields.iter().position(|name| *name == field)?;
                Some(self.texts.get(self.first_field() + number))
            }
        }
    }

    fn first_field(&self) -> usize {
        self.texts.ranges.len().saturating_sub(self.fields.len())
    }
}

/// An object that does not say its kind, or another one, says it again: where it is stored decides.
fn typed(kind: &Kind, bytes: &[u8]) -> Option<Bytes> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    meta::set_type(&mut value, kind.api_version(), &kind.kind);
    serde_json::to_vec(&value).map(Bytes::from).ok()
}

/// A shared object.
pub type Shared = Arc<Object>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_stored_without_its_kind_is_read_with_it() {
        let kind = coracle_api::kinds::by_kind("", "v1", "ConfigMap").expect("a kind of the table");
        for stored in [
            r#"{"metadata":{"name":"a","namespace":"d","resourceVersion":"7","uid":"u"}}"#,
            r#"{"apiVersion":"foo/v9","kind":"Pod","metadata":{"name":"a","resourceVersion":"7"}}"#,
            r#"{"apiVersion":null,"kind":null,"metadata":{"name":"a","resourceVersion":"7"}}"#,
        ] {
            let object = Object::parse(kind, Bytes::from_static(stored.as_bytes()), 7).expect("it is read");
            let value = object.value();
            assert_eq!((meta::kind(&value), meta::api_version(&value)), ("ConfigMap", "v1"));
            assert_eq!(object.at_revision(123).value()["metadata"]["resourceVersion"], "123");
        }
    }

    #[test]
    fn what_selectors_ask_for_is_found_by_its_name() {
        let kind = coracle_api::kinds::by_kind("", "v1", "Pod").expect("a kind of the table");
        let stored = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"d","resourceVersion":"7",
            "uid":"u","labels":{"a":"","d":"\u0061","z":"Running"}},
            "spec":{"nodeName":"n","restartPolicy":"Always"},"status":{"phase":"Running","podIP":"10.0.0.1"}}"#;
        let parsed = Object::parse(kind, Bytes::from_static(stored.as_bytes()), 7).expect("it is read");
        for object in [parsed.at_revision(8), parsed] {
            assert_eq!((object.namespace(), object.name(), object.uid()), (Some("d"), "a", "u"));
            let labels = ["a", "d", "z", "u", "", "Running"].map(|key| object.label(key));
            assert_eq!(labels, [Some(""), Some("a"), Some("Running"), None, None, None]);
            let fields = ["spec.nodeName", "spec.restartPolicy", "status.phase", "status.podIP", "spec.hostNetwork"];
            let expected = ["n", "Always", "Running", "10.0.0.1", "false"].map(Some);
            assert_eq!(fields.map(|field| object.field(field)), expected);
            assert_eq!((object.field("status.nominatedNodeName"), object.field("status.message")), (Some(""), None));
        }
    }

    #[test]
    fn every_kind_gives_the_values_of_its_selectable_fields_in_their_order() {
        const NO_TEXTS: [&str; 4] = ["spec.hostNetwork", "spec.unschedulable", "status.replicas", "status.successful"];
        for kind in coracle_api::kinds::built_in().kinds() {
            let fields = kind.strategy.supported_fields();
            for (number, field) in fields.iter().enumerate() {
                let path = if *field == "source" { "source.component" } else { field };
                let value =
                    path.rsplit('.').fold(serde_json::json!(field), |value, key| serde_json::json!({key: value}));
                let values = kind.strategy.selectable_fields(&value);
                assert_eq!(values.len(), fields.len(), "{} {}", kind.group, kind.kind);
                assert!(values[number] == *field || NO_TEXTS.contains(field), "{field}: {values:?}");
            }
        }
    }
}
