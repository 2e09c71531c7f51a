//! The secrets that objects name, each followed by a watch of its own while one does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coracle_client::{Informer, ObjectKey};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many are followed.
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
        followed.retain(|key, _| wanted.contains(key));
        self.is_full.store(wanted.len() > MAX, Ordering::Relaxed);
        for key in wanted {
            if followed.len() >= MAX && !followed.contains_key(key) {
                tracing::warn!("more than {MAX} secrets are named by Ingresses and Gateways; the others are not read");
                return;
            }
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
}
