//! The secrets that objects name, each followed by a watch of its own while one does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coracle_client::{Informer, ObjectKey};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many are followed. Where more are named, each namespace has its share.
const MAX: usize = 4096;

/// Whether and how a secret is known.
pub enum Known {
    /// It is this one.
    Here(Arc<Secret>),
    /// There is none.
    Missing,
    /// Nobody has looked yet.
    Unknown,
}

/// Secrets that are followed.
pub struct Secrets {
    client: Client,
    changed: Arc<Notify>,
    followed: Mutex<BTreeMap<ObjectKey, Informer<Secret>>>,
    /// There are more than are followed.
    is_full: AtomicBool,
}

impl Secrets {
    /// None yet; `changed` is told of every change.
    pub fn new(client: Client, changed: Arc<Notify>) -> Secrets {
        Secrets { client, changed, followed: Mutex::default(), is_full: AtomicBool::new(false) }
    }

    /// What is known of a secret.
    pub fn get(&self, key: &ObjectKey) -> Known {
        if !is_name(key) {
            return Known::Missing;
        }
        match self.followed.lock().get(key) {
            Some(informer) => match informer.store().get_key(key) {
                Some(secret) => Known::Here(secret),
                None if informer.has_synced() => Known::Missing,
                None => Known::Unknown,
            },
            // What is not followed any more is not waited for.
            None if self.is_full.load(Ordering::Relaxed) => Known::Missing,
            None => Known::Unknown,
        }
    }

    /// Follows these and no others.
    pub fn follow(&self, wanted: &BTreeSet<ObjectKey>) {
        let mut followed = self.followed.lock();
        let chosen = chosen(wanted, MAX);
        followed.retain(|key, _| chosen.contains(key));
        let is_full = wanted.len() > MAX;
        if is_full && !self.is_full.load(Ordering::Relaxed) {
            tracing::warn!("more than {MAX} secrets are named by Ingresses and Gateways; the others are not read");
        }
        self.is_full.store(is_full, Ordering::Relaxed);
        for key in chosen {
            followed.entry(key.clone()).or_insert_with(|| {
                let api = Api::namespaced(self.client.clone(), &key.namespace);
                let name = Some(format!("metadata.name={}", key.name));
                let informer = Informer::with_selectors(api, None, name, Vec::new());
                let changed = self.changed.clone();
                informer.subscribe(move |_| changed.notify_one());
                informer.start();
                let (changed, synced) = (self.changed.clone(), informer.clone());
                tokio::spawn(async move {
                    synced.synced().await;
                    changed.notify_one();
                });
                informer
            });
        }
    }

    /// Waits until all that are followed are known.
    pub async fn synced(&self) {
        let followed: Vec<_> = self.followed.lock().values().cloned().collect();
        for informer in followed {
            informer.synced().await;
        }
    }
}

/// Whether there can be such a secret. What is no name would be read as something else in a selector of fields.
fn is_name(key: &ObjectKey) -> bool {
    let is_end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |text: &str| {
        let bytes = text.as_bytes();
        bytes.first().is_some_and(is_end)
            && bytes.last().is_some_and(is_end)
            && bytes.iter().all(|byte| is_end(byte) || *byte == b'-')
    };
    key.namespace.len() <= 63 && is_label(&key.namespace) && key.name.len() <= 253 && key.name.split('.').all(is_label)
}

/// Those that are followed of those that are named: of each namespace as many as of any other, while there are.
fn chosen(wanted: &BTreeSet<ObjectKey>, max: usize) -> BTreeSet<&ObjectKey> {
    let mut of_namespace: HashMap<&str, usize> = HashMap::new();
    let numbered = wanted.iter().filter(|key| is_name(key)).map(|key| {
        let number = of_namespace.entry(&key.namespace).or_default();
        *number += 1;
        (*number, key)
    });
    let mut all: Vec<(usize, &ObjectKey)> = numbered.collect();
    all.sort_unstable();
    all.into_iter().take(max).map(|(_, key)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_of_a_secret_is_not_looked_for() {
        for (namespace, name, wanted) in [
            ("n", "web.tls-1", true),
            ("n", "a=b", false),
            ("n", "a,metadata.name!=b", false),
            ("n", "", false),
            ("n", "a..b", false),
            ("n", "-a", false),
            ("n", "A", false),
            ("n/secrets", "a", false),
            ("", "a", false),
            ("n.m", "a", false),
        ] {
            assert_eq!(is_name(&ObjectKey::new(namespace, name)), wanted, "{namespace}/{name}");
        }
    }

    #[test]
    fn one_namespace_has_no_more_secrets_than_leaves_others_theirs() {
        let mut wanted: BTreeSet<ObjectKey> = (0..100).map(|n| ObjectKey::new("a", format!("s{n:03}"))).collect();
        wanted.insert(ObjectKey::new("z", "own"));
        wanted.insert(ObjectKey::new("z", "no=name"));
        let chosen = chosen(&wanted, 10);
        assert_eq!(chosen.len(), 10);
        assert!(chosen.contains(&ObjectKey::new("z", "own")));
        assert!(chosen.contains(&ObjectKey::new("a", "s008")) && !chosen.contains(&ObjectKey::new("a", "s009")));
    }
}
