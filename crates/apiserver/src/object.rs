//! An object as the watch cache holds it: what the store holds, and where in it stands what reads select by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use coracle_api::Kind;
use coracle_api::protobuf;
use coracle_api::schema::DefId;
use coracle_api::{convert, meta};
use coracle_store::{KeyValue, Keyed, Revision};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use triomphe::ThinArc;

use crate::encode::Digits;
use crate::{selected, stored, tree};

/// One stored object at one revision. Never changes; a clone shares it. Kept by the hundred thousand and for long, so it
/// is one piece of memory besides what the store holds.
#[derive(Clone, Debug)]
pub struct Object(ThinArc<Head, u8>);

/// What stands before the bytes of an object: the ranges of its texts, then those texts that the JSON does not have as
/// they are.
#[derive(Debug)]
struct Head {
    stored: KeyValue,
    /// The JSON, where the store holds something else that means it.
    own: Option<Box<Bytes>>,
    /// The revision that it shows.
    revision: Revision,
    /// Where in the JSON the resource version goes, and how many bytes of it give way.
    hole: (u32, u16),
    /// Where in the store's key that below the resource begins.
    key_at: u16,
    /// How many texts there are, which may be as many as an object has room for labels, and how many of them are values of
    /// selectable fields.
    texts: u32,
    fields: u16,
    /// What else it is shown as, made when a client first asks for it.
    form: OnceLock<Box<Form>>,
}

/// What else an object is shown as.
#[derive(Debug)]
enum Form {
    /// The protobuf message, without an envelope.
    Message(Bytes),
    /// Versions that a webhook made of it, one for each that is served.
    Versions(Mutex<Vec<(Arc<Kind>, Object)>>),
}

/// Numbers of texts: these, then keys and values of labels, then values of selectable fields.
const NAMESPACE: usize = 0;
const NAME: usize = 1;
const UID: usize = 2;
const LABELS: usize = 3;
/// Bytes of the range of a text.
const RANGE: usize = 8;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Top<'a> {
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
    #[serde(borrow, default)]
    resource_version: Option<&'a str>,
    #[serde(borrow, default)]
    labels: Option<BTreeMap<Text<'a>, Text<'a>>>,
}

/// Borrowed unless it has escapes.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Collects where texts stand.
struct Texts<'a> {
    json: &'a [u8],
    ranges: Vec<(u32, u32)>,
    /// Those that do not stand in the JSON; their ranges begin behind it.
    others: String,
}

impl Texts<'_> {
    /// A text that may be a part of the JSON.
    fn push(&mut self, text: &str) -> Option<()> {
        let at = (text.as_ptr() as usize).wrapping_sub(self.json.as_ptr() as usize);
        if self.json.get(at..).and_then(|rest| rest.get(..text.len())).is_some() {
            self.ranges.push((u32::try_from(at).ok()?, u32::try_from(at + text.len()).ok()?));
            return Some(());
        }
        let known = |range: &&(u32, u32)| self.get(**range) == text.as_bytes();
        let range = match self.ranges.iter().find(known) {
            Some(range) => *range,
            None => {
                let from = self.json.len() + self.others.len();
                self.others.push_str(text);
                (u32::try_from(from).ok()?, u32::try_from(from + text.len()).ok()?)
            }
        };
        self.ranges.push(range);
        Some(())
    }

    fn get(&self, range: (u32, u32)) -> &[u8] {
        slice(self.json, self.others.as_bytes(), range)
    }

    /// The ranges, and behind them the texts that the JSON does not have.
    fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.ranges.len() * RANGE + self.others.len());
        for (from, to) in self.ranges {
            bytes.extend_from_slice(&from.to_le_bytes());
            bytes.extend_from_slice(&to.to_le_bytes());
        }
        bytes.extend_from_slice(self.others.as_bytes());
        bytes
    }
}

/// A range of two pieces of memory of which the second begins where the first ends.
fn slice<'a>(first: &'a [u8], second: &'a [u8], (from, to): (u32, u32)) -> &'a [u8] {
    let (from, to) = (from as usize, to as usize);
    match from.checked_sub(first.len()) {
        None => first.get(from..to),
        Some(from) => second.get(from..to.saturating_sub(first.len())),
    }
    .unwrap_or_default()
}

impl Object {
    /// Reads what the store holds at a key, of which `key` is the part below the resource; `None` when it is not an object.
    pub fn parse(kind: &Kind, key: &str, stored: KeyValue) -> Option<Object> {
        if stored::is_protobuf(stored.value()) {
            // The message is not kept beside the JSON.
            let json = stored::json(kind, stored.value()).ok()?;
            let read = KeyValue::new(stored.key(), &json, stored.create_revision(), stored.mod_revision());
            let found = parts(kind, read.value())??;
            return Object::of_parts(key, read, None, found);
        }
        let mut own = None;
        let found = match parts(kind, stored.value())? {
            Some(parts) => parts,
            None => {
                let json = own.insert(Box::new(stored::json(kind, stored.value()).ok()?));
                parts(kind, json)??
            }
        };
        Object::of_parts(key, stored, own, found)
    }

    fn of_parts(key: &str, stored: KeyValue, own: Option<Box<Bytes>>, found: Parts) -> Option<Object> {
        let (hole, texts, fields, bytes) = found;
        let revision = stored.mod_revision();
        let key_at = stored.key_bytes().len().checked_sub(key.len())?;
        let key_at = u16::try_from(key_at).ok()?;
        let head = Head { stored, own, revision, hole, key_at, texts, fields, form: OnceLock::new() };
        Some(Object(ThinArc::from_header_and_slice(head, &bytes)))
    }

    /// Reads an object of a custom resource that was stored under another definition than that of the kind; `None` when it
    /// has the form of the kind's, or is none.
    pub fn conformed(kind: &Kind, key: &str, stored: &KeyValue) -> Option<Object> {
        kind.schema.structural()?;
        let before: Value = serde_json::from_slice(stored.value()).ok()?;
        // In another version it is something else, and stays so.
        if kind.webhook.is_some() && meta::api_version(&before) != kind.api_version() {
            return None;
        }
        let mut value = before.clone();
        meta::set_type(&mut value, kind.api_version(), &kind.kind);
        convert::conform(kind, &mut value);
        if value == before {
            return None;
        }
        Object::meant(kind, key, stored, &mut value)
    }

    /// The object that something stored means.
    fn meant(kind: &Kind, key: &str, stored: &KeyValue, value: &mut Value) -> Option<Object> {
        meta::set_resource_version(value, "0");
        let json = Bytes::from(serde_json::to_vec(value).ok()?);
        let parts = parts(kind, &json)??;
        Object::of_parts(key, stored.clone(), Some(Box::new(json)), parts)
    }

    /// The version that it is in, such as `apps/v1`.
    pub fn api_version(&self) -> Cow<'_, str> {
        const HEAD: &[u8] = br#"{"apiVersion":""#;
        let plain = self.stored().strip_prefix(HEAD).and_then(|rest| rest.split(|byte| *byte == b'"').next());
        match plain.and_then(|text| std::str::from_utf8(text).ok()).filter(|text| !text.contains('\\')) {
            Some(text) => text.into(),
            None => {
                let top: Option<Top> = serde_json::from_slice(self.stored()).ok();
                top.and_then(|top| top.api_version).unwrap_or_default()
            }
        }
    }

    /// The object in a version that a webhook makes: it is in that one, or the webhook has been asked.
    pub fn version(&self, kind: &Arc<Kind>) -> Option<Object> {
        if kind.is_storage_version() && self.api_version() == kind.api_version() {
            return Some(self.clone());
        }
        let Some(Form::Versions(versions)) = self.head().form.get().map(|form| &**form) else { return None };
        // A kind of the same name may be of another definition.
        let versions = versions.lock();
        versions.iter().find(|(made, _)| Arc::ptr_eq(made, kind)).map(|(_, object)| object.clone())
    }

    /// Takes what a webhook made of the object; `None` if that is no object of the kind.
    pub fn put_version(&self, kind: &Arc<Kind>, mut value: Value) -> Option<Object> {
        let made = Object::meant(kind, self.key(), &self.head().stored, &mut value)?;
        let made = if made.revision() == self.revision() { made } else { made.at_revision(self.revision()) };
        if let Form::Versions(versions) = &**self.head().form.get_or_init(|| Box::new(Form::Versions(Mutex::default())))
        {
            let mut versions = versions.lock();
            versions.retain(|(other, _)| other.api_version() != kind.api_version());
            versions.push((kind.clone(), made.clone()));
        }
        Some(made)
    }

    /// The same object with another resource version: what a watch says of a deletion.
    pub fn at_revision(&self, revision: Revision) -> Object {
        let head = self.head();
        let own = head.own.clone();
        let head = Head { stored: head.stored.clone(), own, revision, form: OnceLock::new(), ..*head };
        Object(ThinArc::from_header_and_slice(head, &self.0.slice))
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    /// The key below the resource: `namespace/name` or `name`.
    pub fn key(&self) -> &str {
        std::str::from_utf8(self.key_bytes()).unwrap_or_default()
    }

    /// The revision that wrote it, or at which it was deleted.
    pub fn revision(&self) -> Revision {
        self.head().revision
    }

    /// The JSON without its resource version.
    pub fn stored(&self) -> &[u8] {
        match &self.head().own {
            Some(own) => own,
            None => self.head().stored.value(),
        }
    }

    /// Whether the store holds the object as one of a kind is stored, and nothing else that means it.
    pub fn is_stored_as(&self, kind: &Kind) -> bool {
        self.head().own.is_none() && (kind.webhook.is_none() || self.api_version() == kind.api_version())
    }

    /// The JSON before and behind the resource version.
    fn around(&self) -> (&[u8], &[u8]) {
        let (at, old) = self.head().hole;
        let (before, behind) = self.stored().split_at_checked(at as usize).unwrap_or_default();
        (before, behind.get(usize::from(old)..).unwrap_or_default())
    }

    /// The canonical JSON in three pieces, the one in the middle being the resource version, to be given to `write`.
    pub fn pieces(&self, mut write: impl FnMut(&[u8])) {
        let (before, behind) = self.around();
        write(before);
        write(Digits::of(self.revision()).as_ref());
        write(behind);
    }

    /// The bytes of the canonical JSON.
    pub fn len(&self) -> usize {
        let (before, behind) = self.around();
        before.len() + Digits::of(self.revision()).as_ref().len() + behind.len()
    }

    /// The canonical JSON.
    pub fn json(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.len());
        self.pieces(|piece| bytes.extend_from_slice(piece));
        bytes.freeze()
    }

    /// The canonical JSON in pieces that keep the object instead of copying it: for large ones that many read at once.
    pub fn shared_pieces(&self) -> [Bytes; 3] {
        let whole = Bytes::from_owner(Stored(self.clone()));
        let (before, behind) = self.around();
        let (end, start) = (before.len(), whole.len() - behind.len());
        [whole.slice(..end), Bytes::copy_from_slice(Digits::of(self.revision()).as_ref()), whole.slice(start..)]
    }

    /// The object as a protobuf message of its stored version, without an envelope.
    pub fn message(&self, def: DefId) -> Bytes {
        let make = || Bytes::from(protobuf::encode(def, &self.value()));
        match &**self.head().form.get_or_init(|| Box::new(Form::Message(make()))) {
            Form::Message(message) => message.clone(),
            Form::Versions(_) => make(),
        }
    }

    /// The object as a tree, to change it.
    pub fn value(&self) -> Value {
        let mut value: Value = serde_json::from_slice(self.stored()).unwrap_or_default();
        meta::set_resource_version(&mut value, &self.revision().to_string());
        value
    }

    /// The object as a tree without its managed fields, and those as JSON beside it.
    pub fn value_without_fields(&self) -> (Value, Option<String>) {
        let (mut value, fields) = tree::without_fields(self.stored()).unwrap_or_default();
        meta::set_resource_version(&mut value, &self.revision().to_string());
        (value, fields)
    }

    fn text(&self, number: usize) -> &str {
        let texts = self.head().texts as usize;
        if number >= texts {
            return "";
        }
        let Some((ranges, others)) = self.0.slice.split_at_checked(texts * RANGE) else { return "" };
        let Some(range) = ranges.get(number * RANGE..).and_then(|rest| rest.first_chunk::<RANGE>()) else { return "" };
        let [a, b, c, d, e, f, g, h] = *range;
        let range = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        std::str::from_utf8(slice(self.stored(), others, range)).unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.text(NAME)
    }

    /// The namespace, where the kind has them.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.text(NAMESPACE)).filter(|namespace| !namespace.is_empty())
    }

    pub fn uid(&self) -> &str {
        self.text(UID)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let mut numbers = (LABELS..self.first_field()).step_by(2);
        numbers.find(|number| self.text(*number) == key).map(|number| self.text(number + 1))
    }

    /// The value of a selectable field of its kind.
    pub fn field(&self, kind: &Kind, field: &str) -> Option<&str> {
        match field {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace().unwrap_or_default()),
            _ => {
                let number = kind.strategy.field_number(field)?;
                Some(self.text(self.first_field() + number))
            }
        }
    }

    fn first_field(&self) -> usize {
        self.head().texts.saturating_sub(self.head().fields.into()) as usize
    }
}

impl Keyed for Object {
    /// The bytes of [`Object::key`], in whose order objects are.
    fn key_bytes(&self) -> &[u8] {
        self.head().stored.key_bytes().get(usize::from(self.head().key_at)..).unwrap_or_default()
    }
}

/// The JSON of an object as a piece of memory.
struct Stored(Object);

impl AsRef<[u8]> for Stored {
    fn as_ref(&self) -> &[u8] {
        self.0.stored()
    }
}

/// Where the resource version goes, how many texts and fields there are, and their bytes.
type Parts = ((u32, u16), u32, u16, Vec<u8>);

/// The parts of an object; `None` within when it does not say what it is, or has no place for its resource version; `None`
/// when it is no object.
fn parts(kind: &Kind, json: &[u8]) -> Option<Option<Parts>> {
    let top: Top = serde_json::from_slice(json).ok()?;
    let says_its_type =
        kind.may_hold(top.api_version.as_deref().unwrap_or_default(), top.kind.as_deref().unwrap_or_default());
    let meta = top.metadata;
    let Some(version) = meta.resource_version.filter(|_| says_its_type) else { return Some(None) };
    let at = (version.as_ptr() as usize).checked_sub(json.as_ptr() as usize)?;
    let hole = (u32::try_from(at).ok()?, u16::try_from(version.len()).ok()?);
    let mut texts = Texts { json, ranges: Vec::new(), others: String::new() };
    for text in [meta.namespace.as_deref().unwrap_or_default(), &*meta.name, &*meta.uid] {
        texts.push(text)?;
    }
    for (key, value) in meta.labels.iter().flatten() {
        texts.push(&key.0)?;
        texts.push(&value.0)?;
    }
    let mut fields = 0;
    if kind.strategy.has_fields() {
        let value = selected::read(json, kind.strategy.selected_from())?;
        for text in kind.strategy.selectable_fields(&value) {
            texts.push(&text)?;
            fields += 1;
        }
    }
    Some(Some((hole, u32::try_from(texts.ranges.len()).ok()?, fields, texts.into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, stored: &str) -> Option<Object> {
        let kind = coracle_api::kinds::by_kind("", "v1", kind).expect("a kind of the table");
        Object::parse(kind, "d/a", KeyValue::new("/registry/x/d/a", stored.as_bytes(), 7, 7))
    }

    #[test]
    fn an_object_stored_without_its_kind_is_read_with_it() {
        for stored in [
            r#"{"metadata":{"name":"a","namespace":"d","resourceVersion":"3","uid":"u"}}"#,
            r#"{"metadata":{"name":"a","namespace":"d","uid":"u"}}"#,
            r#"{"apiVersion":"foo/v9","kind":"Pod","metadata":{"name":"a","resourceVersion":""}}"#,
            r#"{"apiVersion":null,"kind":null,"metadata":{"name":"a","resourceVersion":null}}"#,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#,
        ] {
            let object = object("ConfigMap", stored).expect("it is read");
            let value = object.value();
            assert_eq!((meta::kind(&value), meta::api_version(&value)), ("ConfigMap", "v1"));
            assert_eq!((object.key(), object.name()), ("d/a", "a"));
            for (object, version) in [(object.at_revision(123), "123"), (object, "7")] {
                assert_eq!(object.value()["metadata"]["resourceVersion"], version);
                let json = object.json();
                assert_eq!(json.len(), object.len());
                assert_eq!(object.shared_pieces().concat(), json);
                assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), object.value());
            }
        }
        assert!(object("ConfigMap", "[]").is_none() && object("ConfigMap", "{}").is_none());
    }

    #[test]
    fn what_selectors_ask_for_is_found_by_its_name() {
        let kind = coracle_api::kinds::by_kind("", "v1", "Pod").unwrap();
        let stored = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"d","resourceVersion":"7",
            "uid":"u","labels":{"a":"","d":"\u0061","z":"Running"}},
            "spec":{"nodeName":"n","restartPolicy":"Always"},"status":{"phase":"Running","podIP":"10.0.0.1"}}"#;
        let parsed = object("Pod", stored).expect("it is read");
        for object in [parsed.at_revision(8), parsed] {
            assert_eq!((object.namespace(), object.name(), object.uid()), (Some("d"), "a", "u"));
            let labels = ["a", "d", "z", "u", "", "Running"].map(|key| object.label(key));
            assert_eq!(labels, [Some(""), Some("a"), Some("Running"), None, None, None]);
            let fields = ["spec.nodeName", "spec.restartPolicy", "status.phase", "status.podIP", "spec.hostNetwork"];
            let expected = ["n", "Always", "Running", "10.0.0.1", "false"].map(Some);
            assert_eq!(fields.map(|field| object.field(kind, field)), expected);
            let others = ["status.nominatedNodeName", "status.message"].map(|field| object.field(kind, field));
            assert_eq!(others, [Some(""), None]);
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
                let read = selected::read(value.to_string().as_bytes(), kind.strategy.selected_from()).unwrap();
                assert_eq!(kind.strategy.selectable_fields(&read), values);
            }
        }
    }
}
