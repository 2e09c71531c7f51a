//! An object as the watch cache holds it: its canonical JSON bytes and the few parsed fields that reads
//! select by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use coracle_api::kinds::Kind;
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
    pub namespace: Option<Box<str>>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub labels: BTreeMap<String, String>,
    /// Fields that field selectors of this kind may name, besides name and namespace.
    pub fields: Vec<(&'static str, String)>,
    /// The protobuf message, made when a client first asks for it.
    message: OnceLock<Bytes>,
}

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
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Object {
    /// Reads what the store holds; `None` when it is not an object.
    pub fn parse(kind: &Kind, bytes: Bytes, revision: Revision) -> Option<Object> {
        let head: Head = serde_json::from_slice(&bytes).ok()?;
        if head.kind.as_deref() != Some(kind.kind) || head.api_version.as_deref() != Some(&*kind.api_version()) {
            return Object::parse(kind, typed(kind, &bytes)?, revision);
        }
        let meta = head.metadata;
        let revision_at = (meta.resource_version.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
        let fields = if kind.strategy.supported_fields().is_empty() {
            Vec::new()
        } else {
            kind.strategy.selectable_fields(&serde_json::from_slice(&bytes).ok()?)
        };
        Some(Object {
            revision,
            revision_at,
            namespace: meta.namespace.map(|namespace| namespace.into()),
            name: meta.name.into(),
            uid: meta.uid.into(),
            labels: meta.labels.unwrap_or_default(),
            fields,
            message: OnceLock::new(),
            bytes,
        })
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
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
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

    /// The value of a selectable field.
    pub fn field(&self, field: &str) -> Option<&str> {
        match field {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(self.namespace.as_deref().unwrap_or_default()),
            _ => self.fields.iter().find(|(name, _)| *name == field).map(|(_, value)| value.as_str()),
        }
    }
}

/// An object that does not say its kind, or another one, says it again: where it is stored decides.
fn typed(kind: &Kind, bytes: &[u8]) -> Option<Bytes> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    meta::set_type(&mut value, &kind.api_version(), kind.kind);
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
}
