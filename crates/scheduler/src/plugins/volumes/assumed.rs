//! Objects as they will be once what was decided is written. The cache is what was, and decisions do not wait for it.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_client::{ObjectKey, Store};
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;

/// A cache of objects, some of which are assumed to be otherwise.
pub(crate) struct Assumed<K> {
    store: Store<K>,
    assumed: Mutex<HashMap<ObjectKey, Arc<K>>>,
}

impl<K: Resource> Assumed<K> {
    pub fn new(store: Store<K>) -> Assumed<K> {
        Assumed { store, assumed: Mutex::default() }
    }

    /// The objects as the server told of them.
    pub fn store(&self) -> &Store<K> {
        &self.store
    }

    /// An object, as it is assumed to be.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(namespace, name).map(|cached| self.newest(cached))
    }

    /// An object of the cache, as it is assumed to be. What was assumed of an older revision is forgotten.
    pub fn newest(&self, cached: Arc<K>) -> Arc<K> {
        let mut assumed = self.assumed.lock();
        if assumed.is_empty() {
            return cached;
        }
        let key = ObjectKey::of(&*cached);
        match assumed.get(&key) {
            Some(changed) if cached.uid() == changed.uid() && revision(&*cached) <= revision(&**changed) => {
                changed.clone()
            }
            Some(_) => {
                assumed.remove(&key);
                cached
            }
            None => cached,
        }
    }

    /// Takes an object for what it will be, on top of its revision.
    pub fn assume(&self, object: Arc<K>) {
        self.assumed.lock().insert(ObjectKey::of(&*object), object);
    }

    /// Takes an object for what the server told.
    pub fn forget(&self, key: &ObjectKey) {
        self.assumed.lock().remove(key);
    }
}

/// Resource versions of one kind are numbers that grow.
fn revision<K: Resource>(object: &K) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PersistentVolume;
    use serde_json::json;

    #[test]
    fn what_is_assumed_holds_until_the_server_tells_something_newer() {
        let volume = |version: &str, class: &str| -> PersistentVolume {
            let meta = json!({"name": "v", "uid": "u", "resourceVersion": version});
            serde_json::from_value(json!({"metadata": meta, "spec": {"storageClassName": class}})).unwrap()
        };
        let class = |volume: Arc<PersistentVolume>| volume.spec.clone().unwrap().storage_class_name.unwrap();
        let assumed = Assumed::new(Store::of(vec![volume("5", "cached")], Vec::new()));
        assumed.assume(Arc::new(volume("5", "assumed")));
        assert_eq!(class(assumed.get("", "v").unwrap()), "assumed");
        assumed.forget(&ObjectKey::new("", "v"));
        assert_eq!(class(assumed.get("", "v").unwrap()), "cached");
        assumed.assume(Arc::new(volume("4", "assumed")));
        assert_eq!(class(assumed.get("", "v").unwrap()), "cached");
    }
}
