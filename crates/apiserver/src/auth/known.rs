//! Which objects there are that tokens are about, as the watch caches have them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::meta;
use subtle::ConstantTimeEq;

use super::service_account;
use crate::cache::Caches;
use crate::storage::{core, key};
use crate::token_tracking::{self, Uses};

/// Tells the token verifier which objects exist, and which tokens secrets hold.
pub(crate) struct Known {
    pub caches: Arc<Caches>,
    /// Told of tokens in secrets that are used.
    pub uses: Uses,
}

impl service_account::Objects for Known {
    fn exists(&self, kind: &str, namespace: &str, name: &str, uid: &str) -> bool {
        let (plural, namespace) = match kind {
            "serviceaccount" => ("serviceaccounts", Some(namespace)),
            "pod" => ("pods", Some(namespace)),
            "secret" => ("secrets", Some(namespace)),
            _ => ("nodes", None),
        };
        let object = self.caches.of(core(plural)).and_then(|cache| cache.get(&key(namespace, name)).ok().flatten());
        object.is_some_and(|object| *object.uid() == *uid)
    }

    fn holds_token(&self, namespace: &str, name: &str, token: &str) -> bool {
        let key = key(Some(namespace), name);
        let secret = self.caches.of(core("secrets")).and_then(|cache| cache.get(&key).ok().flatten());
        secret.is_some_and(|secret| {
            let secret = secret.value();
            let held = STANDARD.decode(meta::text(&secret, &["data", "token"])).unwrap_or_default();
            let holds = !meta::is_deleting(&secret)
                && !token_tracking::is_invalid(&secret)
                && bool::from(held.ct_eq(token.as_bytes()));
            if holds {
                self.uses.tell(key, &secret);
            }
            holds
        })
    }
}
