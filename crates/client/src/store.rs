//! The read-only cache behind an informer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use kube::Resource;
use parking_lot::RwLock;

/// Namespace and name of an object; the namespace of a cluster-scoped one is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> ObjectKey {
        ObjectKey { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> ObjectKey {
        let meta = object.meta();
        ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

/// `namespace/name`, or `name` alone for a cluster-scoped object.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// Computes the values under which an index finds an object ([`Store::by_index`]).
pub type Indexer<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// A store was asked for an index that it does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache has no index \"{0}\": name it where the informer is made")]
pub struct NoIndex(pub String);

impl From<NoIndex> for kube::Error {
    fn from(error: NoIndex) -> kube::Error {
        kube::Error::Service(Box::new(error))
    }
}

struct Index<K> {
    keys_of: Indexer<K>,
    found: HashMap<String, BTreeSet<ObjectKey>>,
}

struct Contents<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: HashMap<&'static str, Index<K>>,
}

/// All objects an informer selects, by namespace and name, as of the last event. Cheap to clone.
pub struct Store<K>(Arc<RwLock<Contents<K>>>);

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Store(self.0.clone())
    }
}

impl<K: Resource> Store<K> {
    /// A store of these objects, which no informer follows.
    pub fn of(objects: Vec<K>, indexes: Vec<(&'static str, Indexer<K>)>) -> Store<K> {
        let store = Store::new(indexes);
        objects.into_iter().for_each(|object| drop(store.insert(Arc::new(object))));
        store
    }

    pub(crate) fn new(indexes: Vec<(&'static str, Indexer<K>)>) -> Store<K> {
        let store = Store(Arc::new(RwLock::new(Contents { objects: BTreeMap::new(), indexes: HashMap::new() })));
        store.add_indexes(indexes);
        store
    }

    /// Adds those indexes that are missing, with the objects that are there.
    pub(crate) fn add_indexes(&self, indexes: Vec<(&'static str, Indexer<K>)>) {
        let mut contents = self.0.write();
        let Contents { objects, indexes: known } = &mut *contents;
        for (name, keys_of) in indexes {
            known.entry(name).or_insert_with(|| {
                let mut index = Index { keys_of, found: HashMap::new() };
                objects.iter().for_each(|(key, object)| index.insert(object, key));
                index
            });
        }
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get_key(&ObjectKey::new(namespace, name))
    }

    /// One object by its key.
    pub fn get_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.0.read().objects.get(key).cloned()
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.read().objects.values().cloned().collect()
    }

    /// All objects of a namespace, ordered by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = ObjectKey::new(namespace, "");
        let contents = self.0.read();
        contents
            .objects
            .range(from..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, v)| v.clone())
            .collect()
    }

    /// The objects that the index `name` finds under `value`.
    ///
    /// # Errors
    /// There is no such index: nothing is known of what it would find.
    pub fn by_index(&self, name: &str, value: &str) -> Result<Vec<Arc<K>>, NoIndex> {
        let contents = self.0.read();
        let index = contents.indexes.get(name).ok_or_else(|| NoIndex(name.to_owned()))?;
        let keys = index.found.get(value).into_iter().flatten();
        Ok(keys.filter_map(|key| contents.objects.get(key).cloned()).collect())
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        self.0.read().objects.keys().cloned().collect()
    }

    /// Puts an object in place of the one before, which it returns.
    pub(crate) fn insert(&self, object: Arc<K>) -> Option<Arc<K>> {
        let key = ObjectKey::of(&*object);
        let mut contents = self.0.write();
        let Contents { objects, indexes } = &mut *contents;
        let old = objects.insert(key.clone(), object.clone());
        for index in indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(old, &key);
            }
            index.insert(&object, &key);
        }
        old
    }

    pub(crate) fn remove(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let mut contents = self.0.write();
        let Contents { objects, indexes } = &mut *contents;
        let old = objects.remove(key)?;
        for index in indexes.values_mut() {
            index.remove(&old, key);
        }
        Some(old)
    }
}

impl<K> Index<K> {
    fn insert(&mut self, object: &K, key: &ObjectKey) {
        for value in (self.keys_of)(object) {
            self.found.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, object: &K, key: &ObjectKey) {
        for value in (self.keys_of)(object) {
            if let Some(keys) = self.found.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.found.remove(&value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Pod, PodSpec};

    fn pod(namespace: &str, name: &str, node: &str) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some(namespace.into());
        pod.metadata.name = Some(name.into());
        pod.spec = Some(PodSpec { node_name: Some(node.into()), ..Default::default() });
        Arc::new(pod)
    }

    #[test]
    fn an_index_follows_its_objects() {
        let by_node: Indexer<Pod> = Box::new(|pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect());
        let store = Store::new(vec![("node", by_node)]);
        store.insert(pod("a", "x", "n1"));
        store.insert(pod("a", "y", "n1"));
        store.insert(pod("b", "x", "n2"));
        assert_eq!(store.by_index("node", "n1").unwrap().len(), 2);
        assert_eq!(store.list_namespace("a").len(), 2);
        store.insert(pod("a", "x", "n2"));
        assert_eq!(store.by_index("node", "n2").unwrap().len(), 2);
        store.remove(&ObjectKey::new("a", "y"));
        assert!(store.by_index("node", "n1").unwrap().is_empty());
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn an_index_that_comes_later_finds_what_was_there_and_one_that_never_came_is_an_error() {
        let store = Store::new(Vec::new());
        store.insert(pod("a", "x", "n1"));
        assert_eq!(store.by_index("node", "n1"), Err(NoIndex("node".into())));
        let by_node: Indexer<Pod> = Box::new(|pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect());
        store.add_indexes(vec![("node", by_node)]);
        store.insert(pod("a", "y", "n1"));
        assert_eq!(store.by_index("node", "n1").unwrap().len(), 2);
    }
}
