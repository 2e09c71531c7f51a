//! Keys as callers name them and as etcd has them, which may begin differently.

use std::borrow::Cow;

use bytes::Bytes;

use super::messages;
use crate::{Change, Event, KeyValue, Revision};

/// What keys begin with, here and there.
#[derive(Clone, Debug)]
pub struct Keys {
    here: String,
    there: String,
}

impl Keys {
    /// `here` is what callers name, `there` what stands in etcd instead of it, if anything else; slashes around it do not
    /// matter.
    pub fn new(here: &str, there: Option<&str>) -> Keys {
        let there = there.map(|prefix| prefix.trim_matches('/')).filter(|prefix| !prefix.is_empty());
        let there = there.map_or(here.to_owned(), |prefix| format!("/{prefix}/"));
        Keys { here: here.to_owned(), there }
    }

    /// The key in etcd.
    pub fn there(&self, key: &str) -> Bytes {
        match key.strip_prefix(&self.here) {
            Some(rest) if self.here != self.there => Bytes::from(format!("{}{rest}", self.there)),
            _ => Bytes::copy_from_slice(key.as_bytes()),
        }
    }

    /// All keys that feeds tell of: the first, and the first behind them.
    pub fn all(&self) -> (Bytes, Bytes) {
        let start = Bytes::copy_from_slice(self.there.as_bytes());
        let end = end(&start);
        (start, end)
    }

    fn here<'a>(&self, key: &'a [u8]) -> Option<Cow<'a, str>> {
        let key = std::str::from_utf8(key).ok()?;
        match key.strip_prefix(&self.there) {
            Some(rest) if self.here != self.there => Some(Cow::Owned(format!("{}{rest}", self.here))),
            _ => Some(Cow::Borrowed(key)),
        }
    }

    /// A key and its value; `None` for a key that is no text, which is none of ours.
    pub fn kept(&self, kv: &messages::KeyValue) -> Option<KeyValue> {
        let key = self.here(&kv.key)?;
        Some(KeyValue::new(&key, &kv.value, revision(kv.create_revision), revision(kv.mod_revision)))
    }

    /// A change of a key.
    pub fn changed(&self, event: &messages::Event) -> Option<Event> {
        let kv = event.kv.as_ref()?;
        let change = match event.kind() {
            messages::EventType::Put => Change::Put(self.kept(kv)?),
            messages::EventType::Delete => Change::Delete(self.here(&kv.key)?.into()),
        };
        Some(Event { revision: revision(kv.mod_revision), change })
    }
}

/// The first key behind all that begin with `prefix`; for none, what etcd takes for the end of everything.
pub fn end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

/// The first key behind another.
pub fn behind(key: &[u8]) -> Bytes {
    [key, b"\0"].concat().into()
}

/// Revisions are never negative.
pub fn revision(number: i64) -> Revision {
    u64::try_from(number).unwrap_or_default()
}

/// As etcd has it.
pub fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_begin_there_as_they_are_told_to() {
        for (prefix, there) in [
            (None, "/registry/pods/a"),
            (Some("/registry"), "/registry/pods/a"),
            (Some("registry/"), "/registry/pods/a"),
            (Some("/x/y"), "/x/y/pods/a"),
        ] {
            let keys = Keys::new("/registry/", prefix);
            assert_eq!(keys.there("/registry/pods/a"), there);
            assert_eq!(keys.here(there.as_bytes()).as_deref(), Some("/registry/pods/a"));
            assert_eq!(keys.there("/other"), "/other");
        }
        assert!(Keys::new("/registry/", None).here(b"/registry/\xff").is_none());
    }

    #[test]
    fn a_prefix_ends_before_the_next_key() {
        assert_eq!(end(b"/registry/"), "/registry0");
        assert_eq!(end(b"a\xff\xff"), "b");
        assert_eq!(end(b""), "\0");
        assert_eq!(behind(b"a"), "a\0");
    }
}
