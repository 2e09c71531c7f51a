//! Objects in protobuf, as `application/vnd.kubernetes.protobuf` has them, driven by the field numbers of
//! the schema tables.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>

mod decode;
mod encode;
mod presence;
mod wire;

use serde_json::Value;

use crate::schema::{self, DefId, id};
use wire::{Reader, Writer};

pub use decode::decode;
pub use encode::encode;

/// The media type of objects in protobuf.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body starts with.
const MAGIC: &[u8] = b"k8s\0";

/// The outer message of a body (`runtime.Unknown`): of what type the object is, and its message.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Envelope<'a> {
    /// Group and version, as in `apiVersion`.
    pub api_version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// The object's own message.
    pub raw: &'a [u8],
    /// Media type of `raw`; empty is protobuf.
    pub content_type: &'a str,
}

impl<'a> Envelope<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// It does not start with the four magic bytes, is cut short, or is encoded in a way that is not read.
    pub fn parse(body: &'a [u8]) -> Result<Envelope<'a>, String> {
        let Some(message) = body.strip_prefix(MAGIC) else {
            return Err("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".into());
        };
        let mut envelope = Envelope::default();
        let mut fields = Reader(message);
        while let Some((number, wire)) = fields.next()? {
            match number {
                1 => {
                    let mut types = Reader(wire.bytes()?);
                    while let Some((number, wire)) = types.next()? {
                        match number {
                            1 => envelope.api_version = wire.text()?,
                            2 => envelope.kind = wire.text()?,
                            _ => {}
                        }
                    }
                }
                2 => envelope.raw = wire.bytes()?,
                3 if !wire.bytes()?.is_empty() => {
                    return Err(format!(
                        "content encoding {:?} is not supported: send the object as it is",
                        wire.text()?
                    ));
                }
                4 => envelope.content_type = wire.text()?,
                _ => {}
            }
        }
        Ok(envelope)
    }

    /// The definition that the envelope names.
    pub fn def(&self) -> Option<DefId> {
        let (group, version) = self.api_version.rsplit_once('/').unwrap_or(("", self.api_version));
        match self.kind {
            // Options are registered in every group.
            "DeleteOptions" => Some(id::META_V1_DELETE_OPTIONS),
            kind => schema::by_gvk(group, version, kind),
        }
    }

    /// The object inside, of a definition, with the envelope's type.
    ///
    /// # Errors
    /// What is wrong with the message, and in which field.
    pub fn object(&self, def: DefId) -> Result<Value, String> {
        self.at_depth(def, 0)
    }

    /// The same for an envelope inside of a message.
    fn at_depth(&self, def: DefId, depth: usize) -> Result<Value, String> {
        let mut value = match self.content_type {
            "" | MEDIA_TYPE => decode::object(def, self.raw, depth)?,
            "application/json" => serde_json::from_slice(self.raw).map_err(|error| error.to_string())?,
            other => return Err(format!("content type {other:?} is not supported inside of {MEDIA_TYPE}")),
        };
        if let Some(map) = value.as_object_mut() {
            for (key, text) in [("apiVersion", self.api_version), ("kind", self.kind)] {
                if !text.is_empty() {
                    map.insert(key.into(), text.into());
                }
            }
        }
        Ok(value)
    }
}

/// Puts a message into its envelope.
pub fn wrap(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 24));
    out.0.extend_from_slice(MAGIC);
    out.message(1, |types| {
        types.bytes(1, api_version.as_bytes());
        types.bytes(2, kind.as_bytes());
    });
    out.bytes(2, raw);
    out.0
}

/// An object as a body; `None` when its type has no protobuf form.
pub fn encode_object(object: &Value) -> Option<Vec<u8>> {
    let envelope =
        Envelope { api_version: object["apiVersion"].as_str()?, kind: object["kind"].as_str()?, ..Envelope::default() };
    let def = envelope.def()?;
    Some(wrap(envelope.api_version, envelope.kind, &encode(def, object)))
}

/// A list as a body: its `metadata` and the messages of its items.
pub fn encode_list<T: AsRef<[u8]>>(
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: impl Iterator<Item = T>,
) -> Vec<u8> {
    let mut list = Writer::default();
    list.bytes(1, &encode(id::META_V1_LIST_META, metadata));
    for item in items {
        list.bytes(2, item.as_ref());
    }
    wrap(api_version, kind, &list.0)
}

/// One event of a watch as a frame of the stream: four bytes of length, most significant first, and the
/// message `WatchEvent` without an envelope, whose object is a body with one.
pub fn watch_frame(event: &str, object: &[u8]) -> Vec<u8> {
    let mut message = Writer(Vec::with_capacity(object.len() + event.len() + 24));
    message.0.extend_from_slice(&[0; 4]);
    message.bytes(1, event.as_bytes());
    // A RawExtension around the object.
    message.message(2, |raw| raw.bytes(1, object));
    let mut frame = message.0;
    let length = u32::try_from(frame.len().saturating_sub(4)).unwrap_or(u32::MAX);
    if let Some(head) = frame.first_chunk_mut() {
        *head = length.to_be_bytes();
    }
    frame
}

/// The frame of an event as [`watch_frame`] makes it of [`wrap`], without the object's message of `length` bytes, which
/// comes last: so the message need not be copied.
pub fn watch_head(event: &str, api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut envelope = Writer(wrap(api_version, kind, &[]));
    // The empty message that stands there, its tag and length.
    envelope.0.truncate(envelope.0.len().saturating_sub(2));
    envelope.head(2, length);
    let enveloped = envelope.0.len().saturating_add(length);
    let mut extension = Writer::default();
    extension.head(1, enveloped);
    let extended = extension.0.len().saturating_add(enveloped);
    let mut message = Writer::default();
    message.bytes(1, event.as_bytes());
    message.head(2, extended);
    let whole = u32::try_from(message.0.len().saturating_add(extended)).unwrap_or(u32::MAX);
    [&whole.to_be_bytes()[..], &message.0, &extension.0, &envelope.0].concat()
}

#[cfg(test)]
mod tests;
