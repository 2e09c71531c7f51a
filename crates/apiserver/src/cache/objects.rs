//! The objects of one resource as they are now, in the order of their keys and found by one.

use std::hash::BuildHasher;

use coracle_store::{ByKey, Keyed};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use imbl::OrdSet;

use crate::object::Object;

/// An ordered set, which a snapshot shares, and beside it a table for those who want one object. A way down the set compares
/// with a dozen objects that lie in as many places of memory; the table looks at one.
#[derive(Default)]
pub struct Objects {
    sorted: OrdSet<ByKey<Object>>,
    /// With the hash of the key, so that growing looks at no object.
    by_key: HashTable<(u32, Object)>,
    hasher: RandomState,
}

/// What a table wants of the hash that it keeps: bits at both ends.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl Objects {
    /// In the order of their keys.
    pub fn sorted(&self) -> &OrdSet<ByKey<Object>> {
        &self.sorted
    }

    /// The object of a key.
    pub fn get(&self, key: &str) -> Option<&Object> {
        let hash = self.hash(key.as_bytes());
        self.by_key.find(spread(hash), |found| is(found, hash, key.as_bytes())).map(|(_, object)| object)
    }

    /// Puts an object in the place of what has its key, which is answered.
    pub fn insert(&mut self, object: Object) -> Option<Object> {
        self.sorted.insert(ByKey(object.clone()));
        let key = object.key_bytes();
        let hash = self.hash(key);
        match self.by_key.entry(spread(hash), |found| is(found, hash, key), |(hash, _)| spread(*hash)) {
            Entry::Occupied(mut found) => Some(std::mem::replace(&mut found.get_mut().1, object)),
            Entry::Vacant(place) => {
                place.insert((hash, object));
                None
            }
        }
    }

    /// Takes out the object of a key.
    pub fn remove(&mut self, key: &str) -> Option<Object> {
        let hash = self.hash(key.as_bytes());
        let found = self.by_key.find_entry(spread(hash), |found| is(found, hash, key.as_bytes())).ok()?;
        let ((_, object), _) = found.remove();
        self.sorted.remove(key.as_bytes());
        Some(object)
    }

    /// Gives back memory that far more objects needed.
    pub fn shrink(&mut self) {
        if self.by_key.capacity() / 4 > self.by_key.len() {
            self.by_key.shrink_to(self.by_key.len().saturating_mul(2), |(hash, _)| spread(*hash));
        }
    }

    fn hash(&self, key: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(key);
        // Both halves are as good.
        (hash >> 32) as u32
    }
}

fn is((theirs, object): &(u32, Object), hash: u32, key: &[u8]) -> bool {
    *theirs == hash && object.key_bytes() == key
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_store::KeyValue;

    fn object(key: &str, revision: u64) -> Object {
        let kind = coracle_api::kinds::by_kind("", "v1", "ConfigMap").expect("a kind of the table");
        let name = key.rsplit('/').next().unwrap_or_default();
        let json =
            format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","resourceVersion":""}}}}"#);
        let stored = KeyValue::new(&format!("/registry/configmaps/{key}"), json.as_bytes(), 1, revision);
        Object::parse(kind, key, stored).expect("an object")
    }

    #[test]
    fn both_ways_show_the_same_objects_whatever_comes_and_goes() {
        let mut objects = Objects::default();
        let mut seen = std::collections::BTreeMap::new();
        let mut number = 7_u64;
        for revision in 1..20_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = format!("n{}/c{}", number >> 60, (number >> 33) % 500);
            let before = match number >> 32 & 1 == 0 && revision < 15_000 {
                true => (objects.insert(object(&key, revision)), seen.insert(key.clone(), revision)),
                false => (objects.remove(&key), seen.remove(&key)),
            };
            assert_eq!(before.0.map(|object| object.revision()), before.1, "{key}");
            if revision % 1000 == 0 {
                objects.shrink();
                let sorted = objects.sorted().iter().map(|object| (object.0.key().to_owned(), object.0.revision()));
                assert!(sorted.eq(seen.clone()));
                assert!(seen.iter().all(|(key, revision)| objects.get(key).map(Object::revision) == Some(*revision)));
                assert_eq!(objects.get("n0/other").map(Object::revision), None);
            }
        }
        assert!(objects.by_key.capacity() < 10_000);
    }
}
