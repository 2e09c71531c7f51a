//! One key and its value in one piece of memory: hundreds of thousands are kept for long among what comes and goes.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use triomphe::ThinArc;

use crate::Revision;

/// One key as it was after some revision. Never changes; a clone shares it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue(ThinArc<Head, u8>);

/// What stands before the bytes of key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    create_revision: Revision,
    mod_revision: Revision,
    /// Milliseconds since 1970; 0 for never.
    expires: u64,
    key_length: u32,
}

impl KeyValue {
    /// A key that was made by one revision and last changed by another.
    pub fn new(key: &str, value: &[u8], create_revision: Revision, mod_revision: Revision) -> KeyValue {
        KeyValue::expiring(key, value, create_revision, mod_revision, 0)
    }

    /// `expires` is in milliseconds since 1970; 0 for never.
    pub(crate) fn expiring(
        key: &str,
        value: &[u8],
        create_revision: Revision,
        mod_revision: Revision,
        expires: u64,
    ) -> KeyValue {
        // A key that long is refused before it comes here.
        let key_length = u32::try_from(key.len()).unwrap_or(u32::MAX);
        let head = Head { create_revision, mod_revision, expires, key_length };
        KeyValue(ThinArc::from_header_and_slice(head, &[key.as_bytes(), value].concat()))
    }

    /// The key, for example `/registry/pods/default/web`.
    pub fn key(&self) -> &str {
        std::str::from_utf8(self.key_bytes()).unwrap_or_default()
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        self.parts().1
    }

    /// The revision that made the key.
    pub fn create_revision(&self) -> Revision {
        self.0.header.header.create_revision
    }

    /// The revision that last changed it.
    pub fn mod_revision(&self) -> Revision {
        self.0.header.header.mod_revision
    }

    /// When the store removes it by itself, where this process decides on that.
    pub fn expires(&self) -> Option<SystemTime> {
        let millis = self.expires_millis();
        (millis > 0).then(|| UNIX_EPOCH.checked_add(Duration::from_millis(millis))).flatten()
    }

    pub(crate) fn expires_millis(&self) -> u64 {
        self.0.header.header.expires
    }

    /// The bytes of the key, in whose order keys are.
    pub fn key_bytes(&self) -> &[u8] {
        self.parts().0
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        let length = self.0.header.header.key_length as usize;
        self.0.slice.split_at_checked(length).unwrap_or((&self.0.slice, &[]))
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.key(), self.mod_revision(), self.value().len())
    }
}

/// What has a key in whose bytes' order it is kept.
pub trait Keyed {
    /// The bytes of the key.
    fn key_bytes(&self) -> &[u8];
}

impl Keyed for KeyValue {
    fn key_bytes(&self) -> &[u8] {
        KeyValue::key_bytes(self)
    }
}

/// An element of an ordered set: two with the same key are the same.
#[derive(Clone, Debug)]
pub struct ByKey<T>(pub T);

impl<T: Keyed> Borrow<[u8]> for ByKey<T> {
    fn borrow(&self) -> &[u8] {
        self.0.key_bytes()
    }
}

impl<T: Keyed> PartialEq for ByKey<T> {
    fn eq(&self, other: &ByKey<T>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: Keyed> Eq for ByKey<T> {}

impl<T: Keyed> PartialOrd for ByKey<T> {
    fn partial_cmp(&self, other: &ByKey<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Keyed> Ord for ByKey<T> {
    fn cmp(&self, other: &ByKey<T>) -> Ordering {
        self.0.key_bytes().cmp(other.0.key_bytes())
    }
}

/// The time after this one in milliseconds since 1970.
pub(crate) fn millis_after(now: SystemTime, ttl: Duration) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(ttl);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1)
}
